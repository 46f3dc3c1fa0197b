# SPDX-License-Identifier: Apache-2.0
"""Starts real MongoDB servers for tests: a replica set of one or three, or one alone.

The program is `mongod` on PATH, or the one that the package `fiftyone-db` brings.
`ZAQAR_TEST_MONGODB_URI` names a replica set that runs already. Where there is neither,
tests are skipped, unless `ZAQAR_TEST_REQUIRE` names `mongodb`.
"""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.errors import PyMongoError

from tests.servers import free_port
from zaqar.bench.mongod import find_mongod

NAME = "zaqar"
START_SECONDS = 60

# Elections of tests are quick: a lost primary is replaced after 1 to 2 seconds.
FAST = {
    "electionTimeoutMillis": 1000,
    "heartbeatIntervalMillis": 250,
    "heartbeatTimeoutSecs": 1,
    "catchUpTimeoutMillis": 1000,
}

ECONOMY = (
    *("--wiredTigerCacheSizeGB", "0.25"),
    *("--oplogSize", "64"),
    *("--setParameter", "diagnosticDataCollectionEnabled=false"),
    "--nounixsocket",
    *("--wiredTigerEngineConfigString", "log=(file_max=4MB,prealloc=false)"),
)


def program(folder: Path) -> list[str]:
    """Return the words that run a server; skip the test or fail if there is none."""
    if found := find_mongod(folder):
        return found
    absent = (
        "There is no mongod: neither on PATH, nor by the package fiftyone-db with the "
        "system library libcurl.so.4 or the package pycurl."
    )
    if "mongodb" in os.environ.get("ZAQAR_TEST_REQUIRE", ""):
        pytest.fail(absent)
    pytest.skip(absent)


class MongoServer:
    """A server of its own data in `folder`; it can be killed and started again.

    It is a replica set of one and makes itself that, unless `alone`, which is a server
    without one, or `member`, which waits to be put into a set.
    """

    def __init__(
        self, folder: Path, *options: str, alone: bool = False, member: bool = False
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.alone = alone
        self._ready = self.answers if alone or member else self.is_writable
        (folder / "data").mkdir()
        self._options = [
            *("--port", str(self.port)),
            *("--bind_ip", "127.0.0.1"),
            *("--dbpath", str(folder / "data")),
            *ECONOMY,
            *([] if alone else ["--replSet", NAME]),
            *options,
        ]
        self._launch()
        try:
            if not (alone or member):
                self._wait(self.answers)
                initiate([self])
            self._wait(self._ready)
        except BaseException:
            self.kill()
            raise

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def uri(self) -> str:
        return self.uri_of()

    def uri_of(self, login: str = "", **options: str) -> str:
        """Return the URI with a login (`user:password@`) and options."""
        if not self.alone:
            options = {"replicaSet": NAME, **options}
        pairs = "&".join(f"{name}={value}" for name, value in options.items())
        return f"mongodb://{login}{self.address}/?{pairs}".removesuffix("?")

    def start(self) -> None:
        """Start it again after it was killed, and wait until it serves as before."""
        self._launch()
        self._wait(self._ready)

    def _launch(self) -> None:
        with (self.folder / "mongod.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*program(self.folder), *self._options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _wait(self, fact: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not fact():
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.kill()
                raise AssertionError((self.folder / "mongod.log").read_text()[-9999:])
            time.sleep(0.02)

    @contextmanager
    def client(self, login: str = "") -> Iterator[pymongo.MongoClient[Any]]:
        """Connect to this server itself, whatever its part in the set."""
        with pymongo.MongoClient(
            f"mongodb://{login}{self.address}/",
            directConnection=True,
            serverSelectionTimeoutMS=1000,
            connectTimeoutMS=1000,
            socketTimeoutMS=20_000,
        ) as client:
            yield client

    def hello(self) -> dict[str, Any]:
        """Return what it says of itself; nothing if it does not answer."""
        try:
            with self.client() as client:
                return client.admin.command("hello")
        except PyMongoError:
            return {}

    def answers(self) -> bool:
        return bool(self.hello())

    def is_writable(self) -> bool:
        return bool(self.hello().get("isWritablePrimary"))

    def stop_for_a_while(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def initiate(servers: list[MongoServer]) -> None:
    """Make a replica set of the servers."""
    members = [
        {"_id": number, "host": server.address} for number, server in enumerate(servers)
    ]
    config = {"_id": NAME, "members": members, "settings": FAST}
    with servers[0].client() as client:
        client.admin.command("replSetInitiate", config)


class MongoReplicaSet:
    """Three servers with the data on each."""

    def __init__(self, folder: Path) -> None:
        self.servers: list[MongoServer] = []
        try:
            for number in range(3):
                place = folder / str(number)
                place.mkdir()
                self.servers.append(MongoServer(place, member=True))
            initiate(self.servers)
            self.wait_until_whole()
        except BaseException:
            self.kill()
            raise

    @property
    def uri(self) -> str:
        hosts = ",".join(server.address for server in self.servers)
        return f"mongodb://{hosts}/?replicaSet={NAME}"

    def primary(self) -> MongoServer:
        """Return the server that takes writes; wait while there is none."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for server in self.servers:
                if server.is_writable():
                    return server
            time.sleep(0.05)
        raise AssertionError("The replica set has no primary.")

    def wait_until_whole(self) -> None:
        """Wait until one is the primary and the others follow it."""
        self.primary()
        deadline = time.monotonic() + START_SECONDS
        while not all(
            facts.get("isWritablePrimary") or facts.get("secondary")
            for facts in (server.hello() for server in self.servers)
        ):
            assert time.monotonic() < deadline, "A member does not follow."
            time.sleep(0.05)

    def step_down(self, seconds: int = 10) -> MongoServer:
        """Let the primary become a secondary; return it."""
        primary = self.primary()
        with primary.client() as client:
            client.admin.command(
                "replSetStepDown", seconds, secondaryCatchUpPeriodSecs=5
            )
        return primary

    def kill_primary(self) -> MongoServer:
        """Kill the primary; return it, so that it can be started again."""
        primary = self.primary()
        primary.kill()
        return primary

    def go_on(self) -> None:
        for server in self.servers:
            server.go_on()

    def kill(self) -> None:
        for server in self.servers:
            server.kill()


@cache
def shared_client(uri: str) -> pymongo.MongoClient[Any]:
    """Return the client that prepares the server of `mongo_uri` for tests."""
    return pymongo.MongoClient(uri)


@pytest.fixture(scope="session")
def mongo_uri() -> Iterator[str]:
    """The URI of a replica set that tests share; each uses a database of its own."""
    if uri := os.environ.get("ZAQAR_TEST_MONGODB_URI"):
        yield uri
        shared_client(uri).close()
        return
    # Nobody kills it, so nothing of it has to be on a disk.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="zaqar-mongo-", dir=memory) as folder:
        server = MongoServer(Path(folder))
        yield server.uri
        shared_client(server.uri).close()
        server.kill()


@pytest.fixture
def own_mongo(tmp_path: Path) -> Iterator[MongoServer]:
    """A replica set of one for one test, which may do to it what it likes."""
    server = MongoServer(tmp_path)
    yield server
    server.go_on()
    server.kill()


@pytest.fixture
def mongo_replica_set(tmp_path: Path) -> Iterator[MongoReplicaSet]:
    """A replica set of three for one test, which may do to it what it likes."""
    replica_set = MongoReplicaSet(tmp_path)
    yield replica_set
    replica_set.go_on()
    replica_set.kill()

# SPDX-License-Identifier: Apache-2.0
"""Which server has a key: one server, the master of Sentinels, or a node of a cluster.

Each kind has the same three methods: `pool`, `refresh` and `close`.
"""

import threading
import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Protocol, TypeVar, cast

from redis import connection as library
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from zaqar.storage.redis.address import Address, Host
from zaqar.storage.redis.pool import Connection, Pool, Unreached

T = TypeVar("T")

# What a Sentinel has to tell is little, and others may have to be asked too.
SENTINEL_TIMEOUT = 1.0


class Nodes(Protocol):
    """Finds the servers."""

    # Whether another server may have taken over when one fails or refuses to write.
    fails_over: bool

    def pool(self, key: str) -> Pool:
        """Return the connections to the server that has the key. Raises Unreached."""
        ...

    def place(self, key: str) -> int:
        """Return a number for the keys that are on one server, wherever it is."""
        ...

    def refresh(self) -> None:
        """Forget where the servers are."""
        ...

    def moved(self, error: MovedError) -> None:
        """Note that a slot has moved."""
        ...

    def asked(self, error: AskError) -> Pool:
        """Return the server that a slot is just moving to."""
        ...

    def pools(self) -> list[Pool]:
        """Return the connections to all servers that hold keys. Raises Unreached."""
        ...

    def close(self) -> None: ...


def open_nodes(address: Address) -> Nodes:
    """Choose the kind; connects to nothing."""
    if address.cluster:
        return Cluster(address)
    if address.master is not None:
        return Sentinels(address)
    return Single(address)


def _settings(timeout: float) -> dict[str, Any]:
    # NOTE: attempts are made by the client, for it knows which may be repeated.
    return {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }


def _maker(address: Address, host: Host) -> Callable[[], Connection]:
    """Return a function that makes a connection, not yet connected."""
    settings = _settings(address.timeout) | address.identity
    kind: Any = library.Connection
    if not address.hosts:
        kind = library.UnixDomainSocketConnection
        settings["path"] = address.path
    else:
        settings |= {"host": host[0], "port": host[1]}
    if address.tls is not None:
        kind = library.SSLConnection
        settings |= {"ssl_cert_reqs": "required"} | address.tls
        settings["ssl_check_hostname"] = settings["ssl_cert_reqs"] == "required"
    return cast(Callable[[], Connection], partial(kind, **settings))


class Search:
    """A search that threads share: none repeats the one that it has waited for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed = 0.0
        self._cause: Exception | None = None

    def run(self, find: Callable[[], T]) -> T:
        """Return what is found, by this thread or another before. Raises Unreached."""
        began = time.monotonic()
        with self._lock:
            if self._cause is not None and self._failed > began:
                raise Unreached(self._cause)
            try:
                return find()
            except Unreached as error:
                self._failed, self._cause = time.monotonic(), error.cause
                raise


class Single:
    """One server, named by the URI."""

    fails_over = False

    def __init__(self, address: Address) -> None:
        host = address.hosts[0] if address.hosts else ("", 0)
        self._pool = Pool(_maker(address, host))

    def pool(self, key: str) -> Pool:
        return self._pool

    def place(self, key: str) -> int:
        return 0

    def refresh(self) -> None:
        pass

    def moved(self, error: MovedError) -> None:
        raise error

    def asked(self, error: AskError) -> Pool:
        raise error

    def pools(self) -> list[Pool]:
        return [self._pool]

    def close(self) -> None:
        self._pool.drop_idle()


class Sentinels:
    """The server that Sentinels call the master at this time."""

    fails_over = True

    def __init__(self, address: Address) -> None:
        self._address = address
        self._search = Search()
        self._master: Pool | None = None

    def pool(self, key: str) -> Pool:
        return self._master or self._search.run(self._find)

    def _find(self) -> Pool:
        master = self._master
        if master is None:
            master = self._master = self._found()
        return master

    def _found(self) -> Pool:
        address = self._address
        make: Any = Sentinel
        sentinels = make(
            address.hosts,
            sentinel_kwargs=_settings(min(address.timeout, SENTINEL_TIMEOUT))
            | {
                "username": address.sentinel_username,
                "password": address.sentinel_password,
            },
        )
        try:
            host, port = sentinels.discover_master(address.master)
        except (RedisError, OSError) as error:
            raise Unreached(error) from None
        finally:
            for client in sentinels.sentinels:
                client.close()
        return Pool(_maker(address, (host, port)))

    def place(self, key: str) -> int:
        return 0

    def refresh(self) -> None:
        master, self._master = self._master, None
        if master is not None:
            master.drop_idle()

    def moved(self, error: MovedError) -> None:
        raise error

    def asked(self, error: AskError) -> Pool:
        raise error

    def pools(self) -> list[Pool]:
        return [self.pool("")]

    def close(self) -> None:
        self.refresh()


class Cluster:
    """The nodes of a cluster, each with some of the slots."""

    fails_over = True

    def __init__(self, address: Address) -> None:
        self._address = address
        self._search = Search()
        self._pools: dict[Host, Pool] = {}
        self._owners: dict[int, Host] = {}
        # Who told the owners last: to be asked first, for others may be dead.
        self._told_by: tuple[Host, ...] = ()

    def pool(self, key: str) -> Pool:
        owner = self._owners.get(_slot(key))
        if owner is None:
            owner = self._search.run(self._find).get(_slot(key))
            if owner is None:
                raise Unreached(RedisError("No node of the cluster has the slot."))
        return self._at(owner)

    def _at(self, host: Host) -> Pool:
        pool = self._pools.get(host)
        if pool is None:
            new = Pool(_maker(self._address, host))
            pool = self._pools.setdefault(host, new)
        return pool

    def _find(self) -> dict[int, Host]:
        """Ask one node after the other for the owners of the slots."""
        if owners := self._owners:
            return owners
        cause: Exception = RedisError("No node of the cluster answers.")
        hosts = (*self._told_by, *self._pools, *self._address.hosts)
        for host in dict.fromkeys(hosts):
            try:
                ranges = self._at(host).ask(("CLUSTER", "SLOTS"))
            except Unreached as error:
                cause = error.cause
                continue
            except RedisError as error:
                cause = error
                continue
            self._told_by = (host,)
            self._owners = owners = _owners(ranges, host)
            return owners
        raise Unreached(cause)

    def place(self, key: str) -> int:
        return _slot(key)

    def refresh(self) -> None:
        self._owners = {}

    def moved(self, error: MovedError) -> None:
        self._owners[int(error.slot_id)] = (error.host, int(error.port))

    def asked(self, error: AskError) -> Pool:
        return self._at((error.host, int(error.port)))

    def pools(self) -> list[Pool]:
        return [
            self._at(host)
            for host in sorted(set(self._search.run(self._find).values()))
        ]

    def close(self) -> None:
        for pool in list(self._pools.values()):
            pool.drop_idle()


def _owners(ranges: Any, asked: Host) -> dict[int, Host]:
    """Read the answer of CLUSTER SLOTS; a node without a name is the one asked."""
    owners = {}
    for first, last, (host, port, *_), *_ in ranges:
        name = host.decode() if host else ""
        owner = (name if name not in ("", "?") else asked[0], int(port))
        for slot in range(first, last + 1):
            owners[slot] = owner
    return owners


@lru_cache(maxsize=10_000)
def _slot(key: str) -> int:
    slot: int = key_slot(key.encode())
    return slot

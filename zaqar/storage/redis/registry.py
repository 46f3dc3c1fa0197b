# SPDX-License-Identifier: Apache-2.0
"""The Redis registry: directory, map of queues, quotas, rates; one command each."""

from typing import Any

import msgspec

from zaqar.errors import BindingChanged, DirectoryChanged
from zaqar.model import Binding, QueueKey
from zaqar.storage.redis import opening
from zaqar.storage.redis.address import parse
from zaqar.storage.redis.client import Client, Script
from zaqar.storage.redis.keys import Keys, key_of, member, project_range

WRITE = Script("write_directory", base="registry")
BIND = Script("bind", base="registry")
UNBIND = Script("unbind", base="registry")
UNBIND_POOL = Script("unbind_pool", base="registry")
BOUND = Script("bound", base="registry")
SET_QUOTA = Script("set_quota", base="registry")
QUOTAS = Script("quotas", base="registry")
TAKE = Script("take", base="", repeatable=False)

# How many bindings one script looks at or removes.
PAGE = 500


class RedisRegistry:
    """The registry in Redis or Valkey; shared by threads, safe across fork.

    All keys begin with `prefix`, which may be that of a store; in a cluster one node
    has them all. Raises as `RedisStore`.
    """

    def __init__(
        self,
        uri: str,
        *,
        max_reconnect_attempts: int = 10,
        reconnect_sleep: float = 1.0,
        prefix: str = "zaqar",
    ) -> None:
        self._client = Client(
            parse(uri),
            max_reconnect_attempts=max_reconnect_attempts,
            reconnect_sleep=reconnect_sleep,
        )
        # The names are in scripts/registry.lua.
        root = self._root = Keys(prefix).registry
        self._directory = f"{root}:directory"
        self._bindings = f"{root}:bindings"
        self._names = f"{root}:names"
        self._quotas = f"{root}:quotas"
        self._rate = Keys(prefix).rate
        self._pulse = f"{root}:pulse"
        opening.check(self._client)

    def read_directory(self) -> tuple[bytes, str]:
        command = ("HMGET", self._directory, "d", "v")
        document, version = self._client.ask(self._directory, command)
        return document or b"", (version or b"").decode()

    def write_directory(self, document: bytes, version: str, *, expect: str) -> None:
        (changed,) = self._client.run(WRITE, self._root, document, version, expect)
        if changed:
            raise DirectoryChanged()

    def find_queue(self, key: QueueKey) -> Binding | None:
        command = ("HGET", self._bindings, member(key))
        return _binding(self._client.ask(self._bindings, command))

    def bind_queue(
        self, key: QueueKey, binding: Binding, *, expect: Binding | None
    ) -> None:
        expected = (0, "") if expect is None else (1, expect.version)
        packed = msgspec.msgpack.encode((binding.pool, binding.version))
        values = (member(key), packed, binding.version, binding.pool, *expected)
        _demand(self._client.run(BIND, self._root, *values))

    def unbind_queue(self, key: QueueKey, expect: Binding) -> None:
        _demand(self._client.run(UNBIND, self._root, member(key), expect.version))

    def list_queues(
        self, project: str, *, marker: str | None = None, limit: int, name: str = ""
    ) -> list[tuple[str, Binding]]:
        found: list[tuple[str, Binding]] = []
        first, last = project_range(project, marker)
        size = PAGE if name else min(limit, PAGE)
        while len(found) < limit:
            _, entries, packed = self._client.run(BOUND, self._root, first, last, size)
            for entry, value in zip(entries, packed, strict=True):
                bound, binding = key_of(entry).name, _binding(value)
                if name in bound and binding is not None:
                    found.append((bound, binding))
            if len(entries) < size:
                break
            first = b"(" + entries[-1]
        return found[:limit]

    def count_queues(self, project: str) -> int:
        command = ("ZLEXCOUNT", self._names, *project_range(project, None))
        counted: int = self._client.ask(self._names, command)
        return counted

    def count_bound(self, pool: str) -> int:
        entries = f"{self._root}:p:{pool}"
        counted: int = self._client.ask(entries, ("SCARD", entries))
        return counted

    def unbind_pool(self, pool: str, limit: int) -> int:
        freed = 0
        while freed < limit:
            size = min(limit - freed, PAGE)
            _, done = self._client.run(UNBIND_POOL, self._root, pool, size)
            freed += done
            if done < size:
                break
        return freed

    def get_quota(self, project: str) -> bytes:
        command = ("HGET", self._quotas, project)
        return self._client.ask(self._quotas, command) or b""

    def set_quota(self, project: str, document: bytes) -> None:
        self._client.run(SET_QUOTA, self._root, project, document)

    def list_quotas(
        self, *, marker: str | None = None, limit: int
    ) -> list[tuple[str, bytes]]:
        found: list[tuple[str, bytes]] = []
        first = b"-" if marker is None else b"(" + marker.encode()
        while len(found) < limit:
            size = min(limit - len(found), PAGE)
            _, projects, documents = self._client.run(QUOTAS, self._root, first, size)
            found += zip(map(bytes.decode, projects), documents, strict=True)
            if len(projects) < size:
                break
            first = b"(" + projects[-1]
        return found

    def take_request(self, project: str, *, rate: float, burst: int) -> float:
        key = self._rate(project)
        early = self._client.run(TAKE, key, repr(rate), burst, attempts=1)
        return float(early)

    def ping(self) -> None:
        self._client.ask(self._pulse, ("SET", self._pulse, 1), attempts=1)

    def clock(self) -> float:
        return self._client.clock(self._root, attempts=1)

    def close(self) -> None:
        self._client.close()


def _binding(packed: bytes | None) -> Binding | None:
    if packed is None:
        return None
    return Binding(*msgspec.msgpack.decode(packed, type=tuple[str, str]))


def _demand(reply: Any) -> None:
    """Raises BindingChanged if the reply says so."""
    if reply[0]:
        raise BindingChanged(_binding(reply[1] if len(reply) > 1 else None))

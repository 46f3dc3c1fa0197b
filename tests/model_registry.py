# SPDX-License-Identifier: Apache-2.0
"""A registry of dictionaries that is right by being simple.

The contract suite is proven on it.
"""

import threading
import time

from zaqar.errors import BindingChanged, DirectoryChanged
from zaqar.model import Binding, QueueKey


class RegistryData:
    """What the handles of one registry share."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.directory = (b"", "")
        self.bindings: dict[QueueKey, Binding] = {}
        self.quotas: dict[str, bytes] = {}


class ModelRegistry:
    """The operations of `zaqar.storage.registry.Registry`, under one lock."""

    def __init__(self, data: RegistryData | None = None) -> None:
        self._data = data or RegistryData()

    def read_directory(self) -> tuple[bytes, str]:
        return self._data.directory

    def write_directory(self, document: bytes, version: str, *, expect: str) -> None:
        with self._data.lock:
            _, stored = self._data.directory
            if stored == version:
                return
            if stored != expect:
                raise DirectoryChanged()
            self._data.directory = (document, version)

    def find_queue(self, key: QueueKey) -> Binding | None:
        return self._data.bindings.get(key)

    def bind_queue(
        self, key: QueueKey, binding: Binding, *, expect: Binding | None
    ) -> None:
        with self._data.lock:
            stored = self._data.bindings.get(key)
            if _version(stored) == binding.version:
                return
            if _version(stored) != _version(expect):
                raise BindingChanged(stored)
            self._data.bindings[key] = binding

    def unbind_queue(self, key: QueueKey, expect: Binding) -> None:
        with self._data.lock:
            stored = self._data.bindings.get(key)
            if stored is None:
                return
            if stored.version != expect.version:
                raise BindingChanged(stored)
            del self._data.bindings[key]

    def list_queues(
        self, project: str, *, marker: str | None = None, limit: int, name: str = ""
    ) -> list[tuple[str, Binding]]:
        with self._data.lock:
            found = [
                (key.name, binding)
                for key, binding in self._data.bindings.items()
                if key.project == project
                and (marker is None or key.name.encode() > marker.encode())
                and name in key.name
            ]
        return sorted(found, key=lambda item: item[0].encode())[:limit]

    def count_queues(self, project: str) -> int:
        with self._data.lock:
            return sum(key.project == project for key in self._data.bindings)

    def count_bound(self, pool: str) -> int:
        return len(self._bound(pool))

    def unbind_pool(self, pool: str, limit: int) -> int:
        with self._data.lock:
            gone = self._bound(pool)[:limit]
            for key in gone:
                del self._data.bindings[key]
            return len(gone)

    def _bound(self, pool: str) -> list[QueueKey]:
        return [key for key, each in self._data.bindings.items() if each.pool == pool]

    def get_quota(self, project: str) -> bytes:
        return self._data.quotas.get(project, b"")

    def set_quota(self, project: str, document: bytes) -> None:
        with self._data.lock:
            self._data.quotas.pop(project, None)
            if document:
                self._data.quotas[project] = document

    def list_quotas(
        self, *, marker: str | None = None, limit: int
    ) -> list[tuple[str, bytes]]:
        with self._data.lock:
            found = sorted(self._data.quotas.items(), key=lambda item: item[0].encode())
        behind = [
            item
            for item in found
            if marker is None or item[0].encode() > marker.encode()
        ]
        return behind[:limit]

    def take_request(self, project: str, *, rate: float, burst: int) -> None:
        return None

    def ping(self) -> None:
        pass

    def clock(self) -> float:
        return time.time()

    def close(self) -> None:
        pass


def _version(binding: Binding | None) -> str | None:
    return None if binding is None else binding.version

# SPDX-License-Identifier: Apache-2.0
"""The pools as this process knows them: their directory, and a store for each.

The directory is read again every few seconds, and whenever something depends on its
being fresh; the stores of pools follow it.
"""

import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import closing
from functools import partial
from typing import Any
from uuid import uuid4

from oslo_log import log

from zaqar import directory
from zaqar.directory import Directory
from zaqar.errors import (
    ConfigurationError,
    DirectoryChanged,
    PoolNotFound,
    StorageUnavailable,
)
from zaqar.model import Pool
from zaqar.storage.base import Store
from zaqar.storage.pooling.identity import identity
from zaqar.storage.registry import Registry

LOG = log.getLogger(__name__)

# Seconds for which the directory is believed (issue: changes hold within 10).
KNOWN = 4.0
# Seconds for which a store that nobody shall use any more may still be in use.
LINGER = 15.0
ATTEMPTS = 30
# Seconds between two attempts to change the directory.
LONGEST_PAUSE = 0.1
# How many queues are taken out of the map together.
CHUNK = 1000

# The id of the pool that is not registered: the store that the options name.
VIRTUAL = ""

# Seconds for which a store is waited for that is to become a pool (contract: 10).
PROBE_SECONDS = 9.0

OpenStore = Callable[[str, Mapping[str, Any]], Store]
# What a store promises, and its identity.
Probed = tuple[tuple[str, ...], str]


class Pools:
    """Shared by the threads of a process.

    `open_store` opens the store of a URI with options of its driver, and raises
    ConfigurationError. `virtual` is the store of queues that no pool can have; None:
    there is none.
    """

    def __init__(
        self, registry: Registry, open_store: OpenStore, virtual: Store | None = None
    ) -> None:
        self.registry = registry
        self._open = open_store
        self._virtual = virtual
        self._lock = threading.Lock()
        # By place: one that takes long keeps nobody from opening another.
        self._opening: dict[tuple[str, str], threading.Lock] = {}
        self._directory = Directory()
        self._version: str | None = None
        # NOTE: of the start of a reading, so that nothing read is believed too long.
        self._read_at = -KNOWN
        self._by_id: dict[str, Pool] = {}
        # By what they were opened with; a pool that is changed gets another.
        self._stores: dict[tuple[str, str], Store] = {}
        self._retired: list[tuple[float, Store]] = []
        self._closed = False

    # The directory --------------------------------------------------------------------

    def directory(self) -> Directory:
        """Return what was known some seconds ago, or longer if nobody can be asked."""
        if self._version is None:
            return self.fresh()
        if time.monotonic() - self._read_at > KNOWN and self._lock.acquire(False):
            try:
                self._refresh()
            except StorageUnavailable as error:
                LOG.warning("The pools cannot be read, and stay as known: %s", error)
                self._read_at = time.monotonic()
            finally:
                self._lock.release()
        return self._directory

    def fresh(self) -> Directory:
        """Return the directory as it is stored now. Raises StorageUnavailable."""
        with self._lock:
            self._refresh()
            return self._directory

    def change(self, step: Callable[[Directory], Directory]) -> Directory:
        """Store what the step makes of the directory, and return that.

        The step may run several times. Raises what it raises, and StorageUnavailable.
        """
        for attempt in range(ATTEMPTS):
            document, version = self.registry.read_directory()
            changed = step(directory.read(document))
            new = directory.write(changed)
            if new != document:
                try:
                    self.registry.write_directory(new, uuid4().hex, expect=version)
                except DirectoryChanged:
                    # Who waits for the lock behind another writer always comes late.
                    time.sleep(random.random() * min(LONGEST_PAUSE, 0.001 * 2**attempt))
                    continue
            self.fresh()
            return changed
        raise StorageUnavailable("Pools and flavors keep changing.")

    def collect(self) -> int:
        """Take the queues of removed pools out of the map; return how many."""
        collected, gone = 0, self.directory().gone
        for id in gone:
            while done := self.registry.unbind_pool(id, CHUNK):
                collected += done
        if gone:
            self.change(partial(Directory.without_gone, ids=gone))
        return collected

    def _refresh(self) -> None:
        begun = time.monotonic()
        document, version = self.registry.read_directory()
        if version != self._version:
            self._directory = directory.read(document)
            self._by_id = {pool.id: pool for pool in self._directory.pools}
            self._version = version
            self._retire()
        self._read_at = begun
        self._close_retired()

    # Stores ---------------------------------------------------------------------------

    def store(self, id: str) -> Store:
        """Return the store of the pool with this id.

        Raises PoolNotFound; StorageUnavailable also where it cannot be opened.
        """
        if id == VIRTUAL:
            if self._virtual is None:
                raise PoolNotFound(id)
            return self._virtual
        self.directory()
        pool = self._by_id.get(id)
        if pool is None:
            self.fresh()
            pool = self._by_id.get(id)
        if pool is None:
            raise PoolNotFound(id)
        return self._opened(pool)

    @property
    def virtual(self) -> Store | None:
        return self._virtual

    def all(self) -> list[tuple[str, str]]:
        """Return name and id of each pool; the virtual one's name is empty."""
        found = [(pool.name, pool.id) for pool in self.directory().pools]
        return found if self._virtual is None else [*found, ("", VIRTUAL)]

    def probe(self, uri: str, options: Mapping[str, Any]) -> Probed:
        """Return what a store of this URI promises, and its identity, if it works.

        Raises ConfigurationError, StorageUnavailable; the latter also if it takes too
        long, and then what was begun ends by itself.
        """
        found: Future[Probed] = Future()
        threading.Thread(
            target=self._probe, args=(uri, options, found), daemon=True
        ).start()
        try:
            return found.result(PROBE_SECONDS)
        except TimeoutError:
            raise StorageUnavailable(
                f"it did not answer within {PROBE_SECONDS:.0f} s"
            ) from None

    def _probe(
        self, uri: str, options: Mapping[str, Any], found: "Future[Probed]"
    ) -> None:
        try:
            with closing(self._open(uri, options)) as store:
                store.ping()
                found.set_result((store.capabilities(), identity(store)))
        # Whatever it is, it is raised where it was asked for.
        except BaseException as error:
            found.set_exception(error)

    def _opened(self, pool: Pool) -> Store:
        place = _place(pool)
        store = self._stores.get(place)
        if store is not None:
            return store
        with self._opening.setdefault(place, threading.Lock()):
            if place in self._stores:
                return self._stores[place]
            try:
                store = self._open(pool.uri, pool.options)
            except ConfigurationError as error:
                raise StorageUnavailable(
                    f"Pool {pool.name} cannot be opened: {error}"
                ) from None
            if self._closed:
                # Whoever asks a slow pool in the background may come after the end.
                store.close()
                raise StorageUnavailable(f"Pool {pool.name} is not used any more")
            self._stores[place] = store
            return store

    def _retire(self) -> None:
        """Put the stores aside that no pool has any more."""
        used = {_place(pool) for pool in self._directory.pools}
        for place in set(self._stores) - used:
            self._retired.append((time.monotonic(), self._stores.pop(place)))

    def _close_retired(self) -> None:
        due = time.monotonic() - LINGER
        for since, store in [*self._retired]:
            if since < due:
                self._retired.remove((since, store))
                store.close()

    def close(self) -> None:
        self._closed = True
        stores = [*self._stores.values(), *(store for _, store in self._retired)]
        if self._virtual is not None:
            stores.append(self._virtual)
        for store in stores:
            store.close()
        self.registry.close()


def _place(pool: Pool) -> tuple[str, str]:
    return pool.uri, repr(sorted(pool.options.items()))

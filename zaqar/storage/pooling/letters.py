# SPDX-License-Identifier: Apache-2.0
"""Brings dead letters to their queue where that lives in another pool than the source.

The source's store puts them into a queue of the right name of its own, which the map
does not show: the outbox. From there they are carried, and deleted once they are there;
a carrier that dies in between is followed by another one, which finds what is left.
Each outbox is noted in the map, under a project that no client can name.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec
from oslo_log import log

from zaqar.errors import (
    BindingChanged,
    PoolNotFound,
    QueueNotFound,
    StorageUnavailable,
)
from zaqar.model import Binding, QueueKey
from zaqar.storage.base import Store
from zaqar.storage.pooling.carrying import carry
from zaqar.storage.pooling.identity import is_same
from zaqar.storage.pooling.places import Places
from zaqar.storage.pooling.pools import Pools

LOG = log.getLogger(__name__)

# SECURITY: a header cannot hold it, so no client has it.
PROJECT = "\x00outboxes"
CHUNK = 100
# Seconds between two looks at all outboxes: they are empty unless a carrier died, or
# the pool of the dead letters did not answer.
LOOK_SECONDS = 60.0


class Letters:
    """Shared by the threads of a process."""

    def __init__(self, pools: Pools, places: Places) -> None:
        self._pools = pools
        self._places = places
        self._noted: set[str] = set()
        self._looked_at = time.monotonic()

    @contextmanager
    def carried(
        self, pool: str, store: Store, target: QueueKey, now: float
    ) -> Iterator[None]:
        """Carry what the block lets the pool's store move to the queue `target`."""
        binding, _ = self._places.known(target)
        if binding is not None and binding.pool == pool:
            yield
            return
        self._note(pool, target)
        yield
        try:
            self._carry(pool, store, target, now)
        except StorageUnavailable as error:
            LOG.warning("Dead letters wait for %s: %s", target.name, error)

    def sweep(self, now: float) -> int:
        """Carry what was left behind, now and then; return how many messages."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return 0
        self._looked_at = time.monotonic()
        carried, marker = 0, None
        while notes := self._pools.registry.list_queues(
            PROJECT, marker=marker, limit=CHUNK
        ):
            for name, note in notes:
                carried += self._look(name, note, now)
            marker = notes[-1][0]
        return carried

    def _look(self, name: str, note: Binding, now: float) -> int:
        pool, project, queue = msgspec.json.decode(name)
        try:
            store = self._pools.store(pool)
            return self._carry(pool, store, QueueKey(project, queue), now)
        except PoolNotFound:
            self._places.unbind(QueueKey(PROJECT, name), note)
        except StorageUnavailable as error:
            LOG.warning("Dead letters wait for %s: %s", queue, error)
        return 0

    def _note(self, pool: str, target: QueueKey) -> None:
        name = msgspec.json.encode([pool, target.project, target.name]).decode()
        if name in self._noted:
            return
        key = QueueKey(PROJECT, name)
        if self._places.read(key) is None:
            with suppress(BindingChanged):
                self._places.bind(key, pool, expect=None)
        self._noted.add(name)

    def _carry(self, pool: str, store: Store, target: QueueKey, now: float) -> int:
        """Empty the outbox of a pool; return how many messages it had."""
        try:
            if not store.export_messages(target, 1, now=now):
                return 0
            home = self._home(pool, store, target)
            return 0 if home is None else carry(store, home, target, now)
        except QueueNotFound:
            return 0

    def _home(self, pool: str, outbox: Store, target: QueueKey) -> Store | None:
        """Return the store of the dead letter queue; None: the outbox became it."""
        binding = self._places.read(target)
        if binding is not None:
            try:
                if binding.pool == pool:
                    return None
                home = self._pools.store(binding.pool)
                home.get_queue(target)
            except (PoolNotFound, QueueNotFound):
                pass
            else:
                return None if is_same(home, outbox) else home
        try:
            self._places.bind(target, pool, expect=binding)
        except BindingChanged:
            return self._home(pool, outbox, target)
        return None

# SPDX-License-Identifier: Apache-2.0
"""Runs a step on the store in which a queue lives."""

from collections.abc import Callable
from typing import TypeVar

from zaqar.errors import PoolNotFound, QueueNotFound, StorageUnavailable
from zaqar.model import Binding, QueueKey
from zaqar.storage.base import Store
from zaqar.storage.pooling.places import Places
from zaqar.storage.pooling.pools import Pools

T = TypeVar("T")


class Routing:
    """Shared by the threads of a process."""

    def __init__(self, pools: Pools, places: Places) -> None:
        self._pools = pools
        self._places = places

    def at(self, key: QueueKey, step: Callable[[Store], T]) -> T:
        """Run the step on the queue's store. Raises QueueNotFound."""
        return self.at_place(key, lambda store, binding: step(store))

    def at_place(self, key: QueueKey, step: Callable[[Store, Binding], T]) -> T:
        """Run the step on the queue's store, again if the place was outdated."""
        binding, is_fresh = self._places.known(key)
        while True:
            if binding is None:
                raise QueueNotFound(key.name)
            try:
                return step(self.store(key, binding), binding)
            except (QueueNotFound, StorageUnavailable):
                if is_fresh:
                    raise
                before, binding = binding, self._places.read(key)
                is_fresh = True
                if before == binding:
                    raise

    def store(self, key: QueueKey, binding: Binding) -> Store:
        """Return the store of a place. Raises QueueNotFound if the pool is gone."""
        try:
            return self._pools.store(binding.pool)
        except PoolNotFound:
            raise QueueNotFound(key.name) from None

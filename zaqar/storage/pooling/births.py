# SPDX-License-Identifier: Apache-2.0
"""How queues get their place: they are born in a pool of their flavor, and stay there.

What needs both the map and a pool is ordered so that a process killed in between leaves
nothing that clients see: a binding without a queue is an absent queue, and a queue
without a binding is found by nobody.
"""

from collections.abc import Callable
from contextlib import suppress

from zaqar.errors import (
    BindingChanged,
    QueueChanged,
    QueueNotFound,
    StorageUnavailable,
)
from zaqar.model import Binding, Metadata, Queue, QueueKey
from zaqar.storage.base import Store
from zaqar.storage.pooling.carrying import carry, carry_subscriptions
from zaqar.storage.pooling.places import Places
from zaqar.storage.pooling.pools import VIRTUAL, Pools
from zaqar.storage.pooling.routing import Routing

# Puts the queue whose key and metadata it knows into a store, as `Store.put_queue`.
Put = Callable[[Store, str | None], bool]

ATTEMPTS = 30


class Births:
    """Shared by the threads of a process; `flavor_of` as the router's."""

    def __init__(
        self,
        pools: Pools,
        places: Places,
        routing: Routing,
        flavor_of: Callable[[Metadata], str | None],
    ) -> None:
        self._pools = pools
        self._places = places
        self._routing = routing
        self._flavor_of = flavor_of

    def create(
        self,
        key: QueueKey,
        metadata: Metadata,
        revision: str,
        put: Put,
        now: float,
    ) -> bool:
        """Create the queue if it is absent, and say whether it is new."""
        for _ in range(ATTEMPTS):
            # What was found in the pool may be removed or filled by others meanwhile.
            with suppress(BindingChanged, QueueChanged, QueueNotFound):
                return self._create(key, metadata, revision, put, now)
        raise StorageUnavailable(f"Queue {key.name} is created and removed too often.")

    def _create(
        self,
        key: QueueKey,
        metadata: Metadata,
        revision: str,
        put: Put,
        now: float,
    ) -> bool:
        """Create the queue in its pool, or in one that is chosen for it.

        Raises BindingChanged, QueueChanged, QueueNotFound if it has to be tried again.
        """
        binding = self._places.read(key)
        if binding is not None:
            with suppress(QueueNotFound):
                return (
                    self._routing.store(key, binding).get_queue(key).revision
                    == revision
                )
        pool = self._choose(key, metadata, binding)
        is_bound = binding is not None and binding.pool == pool
        if binding is None or not is_bound:
            binding = self._places.bind(key, pool, expect=binding)
        try:
            store = self._routing.store(key, binding)
            is_new = put(store, None) or (not is_bound and _furnish(store, key, put))
        except StorageUnavailable:
            # The next attempt may choose a pool that works.
            self._places.unbind(key, binding)
            raise
        if is_new:
            self._confirm(key, store, binding, now)
        return is_new

    def _confirm(
        self, key: QueueKey, store: Store, binding: Binding, now: float
    ) -> None:
        """Give a new version to the binding of a queue that was created just now.

        Somebody who removes the queue before it was created has read the binding, and
        must not take it away; or has done so, and the queue is bound again. If it was
        bound elsewhere meanwhile, what others have posted here follows.
        """
        expect: Binding | None = binding
        while True:
            try:
                self._places.bind(key, binding.pool, expect=expect)
                return
            except BindingChanged as error:
                expect = error.binding
            if expect is None:
                continue
            # It is not there where it is bound: then its name comes here.
            with suppress(QueueNotFound):
                if expect.pool != binding.pool:
                    carry(store, self._routing.store(key, expect), key, now)
                    store.delete_queue(key)
                return

    def _choose(
        self, key: QueueKey, metadata: Metadata, binding: Binding | None
    ) -> str:
        """Return the id of the pool that a new queue gets; the one it has, if that
        will do: so that all who create it at once agree."""
        flavor = self._flavor_of(metadata)
        directory = self._pools.fresh()
        fit = {pool.id for pool in directory.pools_of(flavor) if pool.weight}
        has_default = self._pools.virtual is not None
        if flavor is None and has_default and not directory.pools_of(None):
            return VIRTUAL
        chosen = directory.choose(key.project, flavor).id
        return binding.pool if binding is not None and binding.pool in fit else chosen

    def replace(
        self,
        key: QueueKey,
        metadata: Metadata,
        expect: str,
        put: Put,
        now: float,
    ) -> None:
        """Replace the metadata; move the name to another pool if the flavor changes.

        The messages stay behind then (contract: such a queue is bound anew), and so
        does what subscribers were not told yet; they stay subscribed.
        """
        old = self._get(key)
        flavor = self._flavor_of(metadata)
        target = None
        if self._flavor_of(old.metadata) != flavor:
            target = self._choose(key, metadata, self._places.read(key))
        self._routing.at(key, lambda store: put(store, expect))
        binding = self._places.read(key)
        if target is None or binding is None or binding.pool == target:
            return
        source, store = self._routing.store(key, binding), self._pools.store(target)
        if not put(store, None):
            _furnish(store, key, put)
        carry_subscriptions(source, store, key, now)
        try:
            self._places.bind(key, target, expect=binding)
        except BindingChanged:
            raise QueueChanged(self._get(key)) from None
        source.delete_queue(key)

    def remove(self, key: QueueKey) -> None:
        """Remove the queue if it is there."""
        binding = self._places.read(key)
        if binding is None:
            return
        with suppress(QueueNotFound):
            self._routing.store(key, binding).delete_queue(key)
        self._places.unbind(key, binding)

    def _get(self, key: QueueKey) -> Queue:
        return self._routing.at(key, lambda store: store.get_queue(key))


def _furnish(store: Store, key: QueueKey, put: Put) -> bool:
    """Give metadata to a queue that was found in the pool it is bound to just now.

    Somebody left it there: it was an outbox of dead letters, or the map was lost. Its
    messages stay, and so does metadata that it has. Says whether it is new to clients.
    """
    found = store.get_queue(key)
    if found.metadata:
        return False
    put(store, found.revision)
    return True

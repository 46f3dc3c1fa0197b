# SPDX-License-Identifier: Apache-2.0
"""Many stores behind the interface of one: each queue lives in one pool.

A new queue is bound to a pool of its flavor; from then on its operations go there. The
map of bindings is kept by the registry, the queue itself with its messages by the pool.
Steps that need both are ordered so that a process killed in between leaves nothing that
clients see: a binding without a queue is an absent queue.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

from zaqar.errors import (
    BindingChanged,
    PoolNotFound,
    QueueChanged,
    QueueNotFound,
    StorageUnavailable,
)
from zaqar.model import (
    Binding,
    Claim,
    DeadLetter,
    Message,
    Metadata,
    NewMessage,
    Page,
    Parcel,
    Queue,
    QueueKey,
    QueueStats,
)
from zaqar.storage.base import CAPABILITIES, Store
from zaqar.storage.pooling.carrying import carry
from zaqar.storage.pooling.letters import Letters
from zaqar.storage.pooling.listing import Listing
from zaqar.storage.pooling.places import Places
from zaqar.storage.pooling.pools import VIRTUAL, Pools

T = TypeVar("T")
# Puts the queue whose key and metadata it knows into a store, as `Store.put_queue`.
Put = Callable[[Store, str | None], bool]

ATTEMPTS = 30


class Router:
    """The store of a service with pools.

    `flavor_of` returns the name of the flavor that metadata asks for, or None.
    """

    def __init__(
        self, pools: Pools, flavor_of: Callable[[Metadata], str | None]
    ) -> None:
        self._pools = pools
        self._flavor_of = flavor_of
        self._places = Places(pools.registry)
        self._letters = Letters(pools, self._places)
        self._listing = Listing(pools)

    # Queues ---------------------------------------------------------------------------

    def put_queue(
        self,
        key: QueueKey,
        metadata: Metadata,
        *,
        delays: bool,
        revision: str,
        expect: str | None = None,
        now: float,
    ) -> bool:
        """As the interface says.

        Raises InvalidRequest besides, if the metadata asks for a flavor that the
        project does not have, and StorageUnavailable if no pool may have the queue.
        """

        def put(store: Store, expect: str | None) -> bool:
            return store.put_queue(
                key, metadata, delays=delays, revision=revision, expect=expect, now=now
            )

        if expect is not None:
            self._replace(key, metadata, expect, put)
            return False
        for _ in range(ATTEMPTS):
            try:
                return self._create(key, metadata, revision, put, now)
            except BindingChanged:
                continue
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

        Raises BindingChanged if it has to be tried again.
        """
        binding = self._places.read(key)
        if binding is not None:
            with suppress(QueueNotFound):
                return self._store(key, binding).get_queue(key).revision == revision
        pool = self._choose(key, metadata, binding)
        is_bound = binding is not None and binding.pool == pool
        if binding is None or not is_bound:
            binding = self._places.bind(key, pool, expect=binding)
        try:
            store = self._store(key, binding)
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
                    carry(store, self._store(key, expect), key, now)
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

    def _replace(
        self,
        key: QueueKey,
        metadata: Metadata,
        expect: str,
        put: Put,
    ) -> None:
        """Replace the metadata; move the name to another pool if the flavor changes.

        The messages stay behind then (contract: such a queue is bound anew).
        """
        old = self.get_queue(key)
        flavor = self._flavor_of(metadata)
        target = None
        if self._flavor_of(old.metadata) != flavor:
            target = self._choose(key, metadata, self._places.read(key))
        self._at(key, lambda store: put(store, expect))
        binding = self._places.read(key)
        if target is None or binding is None or binding.pool == target:
            return
        source, store = self._store(key, binding), self._pools.store(target)
        if not put(store, None):
            _furnish(store, key, put)
        try:
            self._places.bind(key, target, expect=binding)
        except BindingChanged:
            raise QueueChanged(self.get_queue(key)) from None
        source.delete_queue(key)

    def get_queue(self, key: QueueKey) -> Queue:
        return self._at(key, lambda store: store.get_queue(key))

    def delete_queue(self, key: QueueKey) -> None:
        binding = self._places.read(key)
        if binding is None:
            return
        with suppress(QueueNotFound):
            self._store(key, binding).delete_queue(key)
        self._places.unbind(key, binding)

    def list_queues(
        self,
        project: str,
        *,
        marker: str | None = None,
        limit: int,
        name: str = "",
        match: Mapping[str, str | int] | None = None,
    ) -> Page[Queue]:
        return self._listing.page(project, marker, limit, name, match or {})

    def get_queues(self, project: str, names: Sequence[str]) -> list[Queue]:
        bound = [
            (name, self._places.known(QueueKey(project, name))[0])
            for name in dict.fromkeys(names)
        ]
        return self._listing.fetch(
            project, [(name, binding) for name, binding in bound if binding]
        )

    def count_queues(self, project: str) -> int:
        return self._pools.registry.count_queues(project)

    def queue_stats(self, key: QueueKey, *, now: float) -> QueueStats:
        return self._at(key, lambda store: store.queue_stats(key, now=now))

    def purge_queue(
        self, key: QueueKey, *, messages: bool, subscriptions: bool, now: float
    ) -> None:
        if messages:
            self._at(
                key,
                lambda store: store.purge_queue(
                    key, messages=True, subscriptions=subscriptions, now=now
                ),
            )

    # Messages -------------------------------------------------------------------------

    def post_messages(
        self,
        key: QueueKey,
        messages: Sequence[NewMessage],
        *,
        client: str,
        revision: str,
        now: float,
    ) -> None:
        self._at(
            key,
            lambda store: store.post_messages(
                key, messages, client=client, revision=revision, now=now
            ),
        )

    def list_messages(
        self,
        key: QueueKey,
        *,
        marker: str | None = None,
        limit: int,
        skip_client: str | None = None,
        claimed: bool = False,
        delayed: bool = False,
        now: float,
    ) -> Page[Message]:
        return self._at(
            key,
            lambda store: store.list_messages(
                key,
                marker=marker,
                limit=limit,
                skip_client=skip_client,
                claimed=claimed,
                delayed=delayed,
                now=now,
            ),
        )

    def get_messages(
        self, key: QueueKey, ids: Sequence[str], *, now: float
    ) -> list[Message]:
        return self._at(key, lambda store: store.get_messages(key, ids, now=now))

    def delete_message(
        self, key: QueueKey, id: str, *, claim: str | None = None, now: float
    ) -> None:
        self._at(key, lambda store: store.delete_message(key, id, claim=claim, now=now))

    def delete_messages(
        self,
        key: QueueKey,
        ids: Sequence[str],
        *,
        claims: Sequence[str] | None = None,
        now: float,
    ) -> None:
        self._at(
            key, lambda store: store.delete_messages(key, ids, claims=claims, now=now)
        )

    def pop_messages(self, key: QueueKey, limit: int, *, now: float) -> list[Message]:
        return self._at(key, lambda store: store.pop_messages(key, limit, now=now))

    # Claims ---------------------------------------------------------------------------

    def create_claim(
        self,
        key: QueueKey,
        claim: str,
        *,
        ttl: int,
        grace: int,
        limit: int,
        dead_letter: DeadLetter | None = None,
        revision: str,
        now: float,
    ) -> list[Message]:
        def create(store: Store) -> list[Message]:
            return store.create_claim(
                key,
                claim,
                ttl=ttl,
                grace=grace,
                limit=limit,
                dead_letter=dead_letter,
                revision=revision,
                now=now,
            )

        if dead_letter is None or dead_letter.queue == key.name:
            return self._at(key, create)
        target = QueueKey(key.project, dead_letter.queue)

        def create_and_carry(store: Store, binding: Binding) -> list[Message]:
            with self._letters.carried(binding.pool, store, target, now):
                return create(store)

        return self._at_place(key, create_and_carry)

    def get_claim(self, key: QueueKey, claim: str, *, now: float) -> Claim:
        return self._at(key, lambda store: store.get_claim(key, claim, now=now))

    def renew_claim(
        self, key: QueueKey, claim: str, *, ttl: int, grace: int, now: float
    ) -> None:
        self._at(
            key,
            lambda store: store.renew_claim(key, claim, ttl=ttl, grace=grace, now=now),
        )

    def release_claim(self, key: QueueKey, claim: str, *, now: float) -> None:
        self._at(key, lambda store: store.release_claim(key, claim, now=now))

    # Messages on their way to another store -------------------------------------------

    def export_messages(self, key: QueueKey, limit: int, *, now: float) -> list[Parcel]:
        return self._at(key, lambda store: store.export_messages(key, limit, now=now))

    def import_messages(
        self, key: QueueKey, parcels: Sequence[Parcel], *, now: float
    ) -> None:
        self._at(key, lambda store: store.import_messages(key, parcels, now=now))

    # Upkeep ---------------------------------------------------------------------------

    def capabilities(self) -> tuple[str, ...]:
        """Return what all pools promise."""
        pools = self._pools.directory().pools
        return tuple(
            each
            for each in CAPABILITIES
            if all(each in pool.capabilities for pool in pools)
        )

    def ping(self) -> None:
        """Check the registry and each pool."""
        self._pools.registry.ping()
        for _, id in self._pools.all():
            with suppress(PoolNotFound):
                self._pools.store(id).ping()

    def clock(self) -> float:
        # One clock for all pools: that of the registry.
        return self._pools.registry.clock()

    def sweep(self, *, now: float) -> int:
        """Sweep each pool; one that does not work keeps none of the others waiting."""
        collected, failures = 0, []
        for name, id in self._pools.all():
            try:
                store = self._pools.store(id)
                collected += store.sweep(now=now)
            except PoolNotFound:
                continue
            except StorageUnavailable as error:
                failures.append(f"{name or 'the default pool'}: {error}")
        collected += self._pools.collect() + self._letters.sweep(now)
        if failures:
            raise StorageUnavailable("; ".join(failures))
        return collected

    def close(self) -> None:
        self._pools.close()

    # How a step is run ----------------------------------------------------------------

    def _at(self, key: QueueKey, step: Callable[[Store], T]) -> T:
        """Run the step on the queue's store. Raises QueueNotFound."""
        return self._at_place(key, lambda store, binding: step(store))

    def _at_place(self, key: QueueKey, step: Callable[[Store, Binding], T]) -> T:
        """Run the step on the queue's store, again if the place was outdated."""
        binding, is_fresh = self._places.known(key)
        while True:
            if binding is None:
                raise QueueNotFound(key.name)
            try:
                return step(self._store(key, binding), binding)
            except (QueueNotFound, StorageUnavailable):
                if is_fresh:
                    raise
                before, binding = binding, self._places.read(key)
                is_fresh = True
                if before == binding:
                    raise

    def _store(self, key: QueueKey, binding: Binding) -> Store:
        """Return the store of a place. Raises QueueNotFound if the pool is gone."""
        try:
            return self._pools.store(binding.pool)
        except PoolNotFound:
            raise QueueNotFound(key.name) from None


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

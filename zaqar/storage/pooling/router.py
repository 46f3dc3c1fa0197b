# SPDX-License-Identifier: Apache-2.0
"""Many stores behind the interface of one: each queue lives in one pool.

The map of bindings is kept by the registry, the queue itself with its messages by the
pool.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from zaqar.errors import PoolNotFound, StorageUnavailable
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
    Usage,
)
from zaqar.storage.base import CAPABILITIES, Store
from zaqar.storage.pooling.births import Births
from zaqar.storage.pooling.letters import Letters
from zaqar.storage.pooling.listing import Listing
from zaqar.storage.pooling.measuring import Measuring
from zaqar.storage.pooling.outboxes import Leasing, RoutedOutboxes
from zaqar.storage.pooling.places import Places
from zaqar.storage.pooling.pools import Pools
from zaqar.storage.pooling.routing import Routing


class Router(RoutedOutboxes):
    """The store of a service with pools.

    `flavor_of` returns the name of the flavor that metadata asks for, or None.
    """

    def __init__(
        self, pools: Pools, flavor_of: Callable[[Metadata], str | None]
    ) -> None:
        self._pools = pools
        self._places = Places(pools.registry)
        self._routing = Routing(pools, self._places)
        self._births = Births(pools, self._places, self._routing, flavor_of)
        self._letters = Letters(pools, self._places)
        self._listing = Listing(pools)
        self._leasing = Leasing(pools)
        self._measuring = Measuring(pools)

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
            self._births.replace(key, metadata, expect, put, now)
            return False
        return self._births.create(key, metadata, revision, put, now)

    def get_queue(self, key: QueueKey) -> Queue:
        return self._routing.at(key, lambda store: store.get_queue(key))

    def delete_queue(self, key: QueueKey) -> None:
        self._births.remove(key)

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
        return self._routing.at(key, lambda store: store.queue_stats(key, now=now))

    def count_subscriptions(self, project: str, *, now: float) -> int:
        return self._measuring.subscriptions(project, now=now)

    def measure_usage(self, project: str, *, sizes: bool, now: float) -> Usage:
        return self._measuring.measure(project, sizes=sizes, now=now)

    def purge_queue(
        self, key: QueueKey, *, messages: bool, subscriptions: bool, now: float
    ) -> None:
        self._routing.at(
            key,
            lambda store: store.purge_queue(
                key, messages=messages, subscriptions=subscriptions, now=now
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
    ) -> bool:
        return self._routing.at(
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
        return self._routing.at(
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
        return self._routing.at(
            key, lambda store: store.get_messages(key, ids, now=now)
        )

    def delete_message(
        self, key: QueueKey, id: str, *, claim: str | None = None, now: float
    ) -> None:
        self._routing.at(
            key, lambda store: store.delete_message(key, id, claim=claim, now=now)
        )

    def delete_messages(
        self,
        key: QueueKey,
        ids: Sequence[str],
        *,
        claims: Sequence[str] | None = None,
        now: float,
    ) -> None:
        self._routing.at(
            key, lambda store: store.delete_messages(key, ids, claims=claims, now=now)
        )

    def pop_messages(self, key: QueueKey, limit: int, *, now: float) -> list[Message]:
        return self._routing.at(
            key, lambda store: store.pop_messages(key, limit, now=now)
        )

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
            return self._routing.at(key, create)
        target = QueueKey(key.project, dead_letter.queue)

        def create_and_carry(store: Store, binding: Binding) -> list[Message]:
            with self._letters.carried(binding.pool, store, target, now):
                return create(store)

        return self._routing.at_place(key, create_and_carry)

    def get_claim(self, key: QueueKey, claim: str, *, now: float) -> Claim:
        return self._routing.at(key, lambda store: store.get_claim(key, claim, now=now))

    def renew_claim(
        self, key: QueueKey, claim: str, *, ttl: int, grace: int, now: float
    ) -> None:
        self._routing.at(
            key,
            lambda store: store.renew_claim(key, claim, ttl=ttl, grace=grace, now=now),
        )

    def release_claim(self, key: QueueKey, claim: str, *, now: float) -> None:
        self._routing.at(key, lambda store: store.release_claim(key, claim, now=now))

    # Messages on their way to another store -------------------------------------------

    def export_messages(self, key: QueueKey, limit: int, *, now: float) -> list[Parcel]:
        return self._routing.at(
            key, lambda store: store.export_messages(key, limit, now=now)
        )

    def import_messages(
        self, key: QueueKey, parcels: Sequence[Parcel], *, now: float
    ) -> None:
        self._routing.at(
            key, lambda store: store.import_messages(key, parcels, now=now)
        )

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
        self._listing.close()
        self._leasing.close()
        self._pools.close()

# SPDX-License-Identifier: Apache-2.0
"""Subscriptions and outboxes over many stores: each lives with its queue."""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from oslo_log import log

from zaqar.errors import LeaseLost, PoolNotFound, QueueNotFound, StorageUnavailable
from zaqar.model import (
    Attempt,
    Delivery,
    Page,
    QueueKey,
    Settled,
    Subscription,
    Work,
)
from zaqar.storage.base import Store
from zaqar.storage.delivering import EVERYTHING
from zaqar.storage.pooling.pools import Pools
from zaqar.storage.pooling.routing import Routing

LOG = log.getLogger(__name__)

# How long a pool is waited for that is asked for work; what it says later counts then.
PATIENCE = 0.2


class RoutedOutboxes:
    """The part of the router that serves subscribers."""

    _routing: Routing
    _leasing: "Leasing"

    # Subscriptions --------------------------------------------------------------------

    def add_subscription(
        self, key: QueueKey, subscription: Subscription, *, now: float
    ) -> Subscription:
        return self._routing.at(
            key, lambda store: store.add_subscription(key, subscription, now=now)
        )

    def get_subscription(self, key: QueueKey, id: str, *, now: float) -> Subscription:
        return self._routing.at(
            key, lambda store: store.get_subscription(key, id, now=now)
        )

    def list_subscriptions(
        self, key: QueueKey, *, marker: str | None = None, limit: int, now: float
    ) -> Page[Subscription]:
        return self._routing.at(
            key,
            lambda store: store.list_subscriptions(
                key, marker=marker, limit=limit, now=now
            ),
        )

    def set_subscription(
        self,
        key: QueueKey,
        subscription: Subscription,
        *,
        expect: Subscription,
        now: float,
    ) -> None:
        self._routing.at(
            key,
            lambda store: store.set_subscription(
                key, subscription, expect=expect, now=now
            ),
        )

    def remove_subscription(self, key: QueueKey, id: str) -> None:
        self._routing.at(key, lambda store: store.remove_subscription(key, id))

    # The outbox -----------------------------------------------------------------------

    def lease_outboxes(
        self,
        holder: str,
        *,
        seconds: float,
        limit: int,
        without: Collection[str] = (),
        anew: bool = False,
        now: float,
    ) -> list[QueueKey]:
        """As the interface says; limit and order are those of each pool.

        A pool that does not answer keeps none waiting.
        """
        return self._leasing.lease(
            holder,
            lambda store: store.lease_outboxes(
                holder,
                seconds=seconds,
                limit=limit,
                without=without,
                anew=anew,
                now=now,
            ),
        )

    def read_outbox(
        self,
        key: QueueKey,
        *,
        notices: int,
        deliveries: int,
        size: int = EVERYTHING,
        busy: Collection[str] = (),
        now: float,
    ) -> Work:
        try:
            return self._routing.at(
                key,
                lambda store: store.read_outbox(
                    key,
                    notices=notices,
                    deliveries=deliveries,
                    size=size,
                    busy=busy,
                    now=now,
                ),
            )
        except QueueNotFound:
            return Work()

    def settle_outbox(
        self,
        key: QueueKey,
        holder: str,
        settled: Settled,
        *,
        seconds: float,
        now: float,
    ) -> None:
        try:
            self._routing.at(
                key,
                lambda store: store.settle_outbox(
                    key, holder, settled, seconds=seconds, now=now
                ),
            )
        except QueueNotFound:
            raise LeaseLost(key.name) from None

    def release_outbox(self, key: QueueKey, holder: str, *, now: float) -> None:
        try:
            self._routing.at(
                key, lambda store: store.release_outbox(key, holder, now=now)
            )
        except QueueNotFound:
            return

    def add_delivery(self, key: QueueKey, delivery: Delivery, *, now: float) -> None:
        self._routing.at(key, lambda store: store.add_delivery(key, delivery, now=now))

    def list_deliveries(
        self,
        key: QueueKey,
        subscription: str,
        *,
        marker: str | None = None,
        limit: int,
        now: float,
    ) -> Page[Delivery]:
        return self._routing.at(
            key,
            lambda store: store.list_deliveries(
                key, subscription, marker=marker, limit=limit, now=now
            ),
        )

    def list_attempts(
        self, key: QueueKey, subscription: str, *, now: float
    ) -> list[Attempt]:
        return self._routing.at(
            key, lambda store: store.list_attempts(key, subscription, now=now)
        )

    def replay_deliveries(
        self,
        key: QueueKey,
        subscription: str,
        messages: Sequence[str] | None,
        *,
        now: float,
    ) -> int:
        return self._routing.at(
            key,
            lambda store: store.replay_deliveries(key, subscription, messages, now=now),
        )


class Leasing:
    """Asks all pools for work at once."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        self._threads: ThreadPoolExecutor | None = None
        # Who asks, and which pool: one that hangs is not asked again meanwhile.
        self._asked: dict[tuple[str, str], Future[list[QueueKey]]] = {}

    def lease(
        self, holder: str, take: Callable[[Store], list[QueueKey]]
    ) -> list[QueueKey]:
        pools = self._pools.all()
        if len(pools) == 1:
            return self._of_pool(pools[0][1], take)
        self._threads = self._threads or ThreadPoolExecutor(32, "leases")
        for _, id in pools:
            if (holder, id) not in self._asked:
                self._asked[holder, id] = self._threads.submit(self._of_pool, id, take)
        asked = {
            pair: of for pair, of in self._asked.copy().items() if pair[0] == holder
        }
        wait(asked.values(), PATIENCE)
        found: list[QueueKey] = []
        for pair, of_pool in asked.items():
            if of_pool.done():
                self._asked.pop(pair, None)
                found += of_pool.result()
        return found

    def _of_pool(
        self, id: str, take: Callable[[Store], list[QueueKey]]
    ) -> list[QueueKey]:
        try:
            return take(self._pools.store(id))
        except PoolNotFound:
            return []
        except StorageUnavailable as error:
            LOG.warning("A pool is not asked for deliveries: %s", error)
            return []

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

# SPDX-License-Identifier: Apache-2.0
"""Subscriptions and outboxes of the MongoDB store (see `storage/delivering.py`)."""

from collections.abc import Collection, Sequence

from zaqar.model import (
    Attempt,
    Delivery,
    Page,
    QueueKey,
    Settled,
    Subscription,
    Work,
)
from zaqar.storage.delivering import EVERYTHING
from zaqar.storage.mongodb.documents import name_of
from zaqar.storage.mongodb.failures import Patience
from zaqar.storage.mongodb.outboxes import Most, Outboxes
from zaqar.storage.mongodb.steps import step
from zaqar.storage.mongodb.subscribing import Subscribing


class MongoOutboxes:
    """The part of the store that serves subscribers."""

    _patience: Patience
    _is_ready: bool
    _subscribing: Subscribing
    _outboxes: Outboxes

    def _prepare(self) -> None:
        raise NotImplementedError

    # Subscriptions --------------------------------------------------------------------

    @step
    def add_subscription(
        self, key: QueueKey, subscription: Subscription, *, now: float
    ) -> Subscription:
        return self._subscribing.add(name_of(key), subscription, now)

    @step
    def get_subscription(self, key: QueueKey, id: str, *, now: float) -> Subscription:
        return self._subscribing.get(name_of(key), id, now)

    @step
    def list_subscriptions(
        self, key: QueueKey, *, marker: str | None = None, limit: int, now: float
    ) -> Page[Subscription]:
        return self._subscribing.page(name_of(key), marker, limit, now)

    @step
    def set_subscription(
        self,
        key: QueueKey,
        subscription: Subscription,
        *,
        expect: Subscription,
        now: float,
    ) -> None:
        self._subscribing.replace(name_of(key), subscription, expect, now)

    @step
    def remove_subscription(self, key: QueueKey, id: str) -> None:
        self._subscribing.remove(name_of(key), id)

    # The outbox -----------------------------------------------------------------------

    @step
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
        return self._outboxes.lease(holder, seconds, limit, without, anew, now)

    @step
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
        most = Most(notices, deliveries, size)
        return self._outboxes.read(name_of(key), most, frozenset(busy), now)

    @step
    def settle_outbox(
        self,
        key: QueueKey,
        holder: str,
        settled: Settled,
        *,
        seconds: float,
        now: float,
    ) -> None:
        self._outboxes.settle(name_of(key), holder, settled, seconds, now)

    @step
    def release_outbox(self, key: QueueKey, holder: str, *, now: float) -> None:
        self._outboxes.release(name_of(key), holder, now)

    @step
    def add_delivery(self, key: QueueKey, delivery: Delivery, *, now: float) -> None:
        self._outboxes.add(name_of(key), delivery, now)

    @step
    def list_deliveries(
        self,
        key: QueueKey,
        subscription: str,
        *,
        marker: str | None = None,
        limit: int,
        now: float,
    ) -> Page[Delivery]:
        return self._outboxes.page(name_of(key), subscription, marker, limit, now)

    @step
    def list_attempts(
        self, key: QueueKey, subscription: str, *, now: float
    ) -> list[Attempt]:
        return self._subscribing.attempts(name_of(key), subscription, now)[::-1]

    @step
    def replay_deliveries(
        self,
        key: QueueKey,
        subscription: str,
        messages: Sequence[str] | None,
        *,
        now: float,
    ) -> int:
        return self._outboxes.replay(name_of(key), subscription, messages, now)

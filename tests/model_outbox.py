# SPDX-License-Identifier: Apache-2.0
"""What queues owe their subscribers, in lists and dictionaries (see `model_store`)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from zaqar.errors import (
    LeaseLost,
    QueueNotFound,
    SubscriberExists,
    SubscriptionChanged,
    SubscriptionNotFound,
)
from zaqar.model import (
    Attempt,
    Delivery,
    Notice,
    Page,
    QueueKey,
    Settled,
    Subscription,
    Work,
)
from zaqar.storage.delivering import EVERYTHING, KEPT_ATTEMPTS, KEPT_FAILURES
from zaqar.storage.portions import Portion, Portions, in_turn


@dataclass
class StoredOutbox:
    """What a queue owes its subscribers."""

    watched: bool = False
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    # With the instants at which they are due.
    notices: list[tuple[float, Notice]] = field(default_factory=list)
    # In the order in which they were put.
    deliveries: dict[tuple[str, str], Delivery] = field(default_factory=dict)
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)
    holder: str | None = None
    held_until: float = 0.0
    released: float = 0.0

    def settle(self, now: float) -> int:
        """Drop expired subscriptions with all that is theirs; return how many."""
        ended = [s.id for s in self.subscriptions.values() if s.expires <= now]
        for id in ended:
            self.remove(id)
        return len(ended)

    def remove(self, id: str) -> None:
        self.subscriptions.pop(id, None)
        self.attempts.pop(id, None)
        self.deliveries = {
            pair: each for pair, each in self.deliveries.items() if pair[0] != id
        }

    def due(self) -> float | None:
        """Return the earliest instant at which there is something to do."""
        waiting = [d.due for d in self.deliveries.values() if d.due is not None]
        return min([*waiting, *(due for due, _ in self.notices)], default=None)


class ModelOutboxes:
    """The operations of `zaqar.storage.delivering`."""

    # Of the whole store: a lock, and queues that have an `outbox`.
    _lock: Any
    _queues: dict[QueueKey, Any]

    # Subscriptions

    def add_subscription(
        self, key: QueueKey, subscription: Subscription, *, now: float
    ) -> Subscription:
        with self._lock:
            outbox = self._outbox(key, now)
            outbox.watched = True
            for other in outbox.subscriptions.values():
                if other.subscriber == subscription.subscriber:
                    return other
            outbox.subscriptions[subscription.id] = subscription
            return subscription

    def get_subscription(self, key: QueueKey, id: str, *, now: float) -> Subscription:
        with self._lock:
            return self._subscribed(key, id, now)[1]

    def list_subscriptions(
        self, key: QueueKey, *, marker: str | None = None, limit: int, now: float
    ) -> Page[Subscription]:
        with self._lock:
            known = self._outbox(key, now).subscriptions
            ids = sorted(id for id in known if marker is None or id > marker)[:limit]
            return Page(tuple(known[id] for id in ids), ids[-1] if ids else None)

    def set_subscription(
        self,
        key: QueueKey,
        subscription: Subscription,
        *,
        expect: Subscription,
        now: float,
    ) -> None:
        with self._lock:
            outbox, old = self._subscribed(key, subscription.id, now)
            if old == subscription:
                return
            if old != expect:
                raise SubscriptionChanged(key.name, old.id)
            for other in outbox.subscriptions.values():
                if other is not old and other.subscriber == subscription.subscriber:
                    raise SubscriberExists(key.name, subscription.subscriber)
            outbox.subscriptions[subscription.id] = subscription

    def remove_subscription(self, key: QueueKey, id: str) -> None:
        with self._lock:
            if key not in self._queues:
                raise QueueNotFound(key.name)
            self._queues[key].outbox.remove(id)

    # The outbox

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
        with self._lock:
            found = []
            for key, queue in self._queues.items():
                outbox, due = queue.outbox, queue.outbox.due()
                is_mine = outbox.holder == holder
                if is_mine and anew and (due is None or due > now):
                    outbox.holder = None
                if is_mine:
                    is_free = anew or outbox.held_until <= now + seconds / 2
                else:
                    is_held = outbox.holder is not None and outbox.held_until > now
                    is_free = not (anew or is_held or key.project in without)
                if due is not None and due <= now and is_free:
                    found.append((max(due, outbox.released), key))
            found = sorted(found, key=lambda each: each[0])[:limit]
            for _, key in found:
                outbox = self._queues[key].outbox
                outbox.holder, outbox.held_until = holder, now + seconds
            return [key for _, key in found]

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
        with self._lock:
            try:
                outbox = self._outbox(key, now)
            except QueueNotFound:
                return Work()
            due: list[Delivery] = []
            ids = in_turn(outbox.subscriptions.keys() - busy, now)
            owing = {d.subscription for d in outbox.deliveries.values() if d.due}
            portions, told = Portions(size, len(owing - {*busy})), Portion(size)
            for id in ids:
                mine = [
                    delivery
                    for delivery in outbox.deliveries.values()
                    if delivery.subscription == id
                    and delivery.due is not None
                    and delivery.due <= now
                ]
                due += [
                    each
                    for each in sorted(mine, key=lambda each: each.due or 0.0)[
                        :deliveries
                    ]
                    if portions.take(id, len(each.notice.body))
                ]
            shown = [n for at, n in outbox.notices if at <= now][:notices]
            return Work(
                tuple(n for n in shown if told.takes(len(n.body))),
                tuple(due),
                tuple(outbox.subscriptions.values()),
                frozenset(
                    delivery.subscription
                    for delivery in outbox.deliveries.values()
                    if delivery.due is not None and not delivery.failures
                ),
                told.cut or portions.cut,
            )

    def settle_outbox(
        self,
        key: QueueKey,
        holder: str,
        settled: Settled,
        *,
        seconds: float,
        now: float,
    ) -> None:
        with self._lock:
            if key not in self._queues or self._queues[key].outbox.holder != holder:
                raise LeaseLost(key.name)
            outbox = self._outbox(key, now)
            outbox.held_until = now + seconds
            for delivery in settled.waiting:
                if delivery.subscription in outbox.subscriptions:
                    pair = (delivery.subscription, delivery.notice.id)
                    outbox.deliveries[pair] = delivery
            for pair in settled.finished:
                outbox.deliveries.pop(pair, None)
            for id, attempts in settled.attempts.items():
                if id in outbox.subscriptions:
                    log = [*outbox.attempts.get(id, []), *attempts]
                    outbox.attempts[id] = log[-KEPT_ATTEMPTS:]
            outbox.notices = [
                (due, notice)
                for due, notice in outbox.notices
                if notice.id not in settled.notices
            ]
            for id in {delivery.subscription for delivery in settled.waiting}:
                failed = sorted(
                    pair
                    for pair, delivery in outbox.deliveries.items()
                    if pair[0] == id and delivery.due is None
                )
                for pair in failed[: max(0, len(failed) - KEPT_FAILURES)]:
                    del outbox.deliveries[pair]

    def release_outbox(self, key: QueueKey, holder: str, *, now: float) -> None:
        with self._lock:
            queue = self._queues.get(key)
            if queue is not None and queue.outbox.holder == holder:
                queue.outbox.holder, queue.outbox.released = None, now

    def add_delivery(self, key: QueueKey, delivery: Delivery, *, now: float) -> None:
        with self._lock:
            outbox, _ = self._subscribed(key, delivery.subscription, now)
            pair = (delivery.subscription, delivery.notice.id)
            outbox.deliveries.setdefault(pair, delivery)

    def list_deliveries(
        self,
        key: QueueKey,
        subscription: str,
        *,
        marker: str | None = None,
        limit: int,
        now: float,
    ) -> Page[Delivery]:
        with self._lock:
            outbox, _ = self._subscribed(key, subscription, now)
            found = sorted(
                (id, delivery)
                for (owner, id), delivery in outbox.deliveries.items()
                if owner == subscription and (marker is None or id > marker)
            )[:limit]
            return Page(
                tuple(delivery for _, delivery in found),
                found[-1][0] if found else None,
            )

    def list_attempts(
        self, key: QueueKey, subscription: str, *, now: float
    ) -> list[Attempt]:
        with self._lock:
            outbox, _ = self._subscribed(key, subscription, now)
            return outbox.attempts.get(subscription, [])[::-1]

    def replay_deliveries(
        self,
        key: QueueKey,
        subscription: str,
        messages: Sequence[str] | None,
        *,
        now: float,
    ) -> int:
        with self._lock:
            outbox, _ = self._subscribed(key, subscription, now)
            failed = [
                pair
                for pair, delivery in outbox.deliveries.items()
                if pair[0] == subscription
                and delivery.due is None
                and (messages is None or pair[1] in messages)
            ]
            for pair in failed:
                outbox.deliveries[pair] = Delivery(
                    subscription, outbox.deliveries[pair].notice, 0, now
                )
            return len(failed)

    # Steps of the operations

    def _outbox(self, key: QueueKey, now: float) -> StoredOutbox:
        """Return the outbox without what has expired. Raises QueueNotFound."""
        if key not in self._queues:
            raise QueueNotFound(key.name)
        outbox: StoredOutbox = self._queues[key].outbox
        outbox.settle(now)
        return outbox

    def _subscribed(
        self, key: QueueKey, id: str, now: float
    ) -> tuple[StoredOutbox, Subscription]:
        outbox = self._outbox(key, now)
        if id not in outbox.subscriptions:
            raise SubscriptionNotFound(key.name, id)
        return outbox, outbox.subscriptions[id]

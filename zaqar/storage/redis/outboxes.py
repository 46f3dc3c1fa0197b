# SPDX-License-Identifier: Apache-2.0
"""Subscriptions and outboxes of the Redis store (see `storage/delivering.py`)."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

from zaqar.errors import (
    LeaseLost,
    QueueNotFound,
    StorageUnavailable,
    SubscriberExists,
    SubscriptionChanged,
    SubscriptionNotFound,
)
from zaqar.model import (
    Attempt,
    Delivery,
    Page,
    QueueKey,
    Settled,
    Subscription,
    Work,
)
from zaqar.storage.delivering import EVERYTHING, KEPT_ATTEMPTS, KEPT_FAILURES
from zaqar.storage.redis import telling
from zaqar.storage.redis.client import Client, Script
from zaqar.storage.redis.index import Outbox
from zaqar.storage.redis.worklist import Worklist

# How the replies of these scripts begin (scripts/common.lua); 0 is that it is done.
NO_SUBSCRIPTION, SUBSCRIBER_EXISTS, NOT_HOLDER, CHANGED = range(7, 11)

WATCHED = ("outbox", "watched")
DELIVERIES = (*WATCHED, "deliveries")
ADD = Script("add_subscription", *WATCHED)
SET = Script("set_subscription", *WATCHED)
GET = Script("get_subscription", *WATCHED)
LIST = Script("list_subscriptions", *WATCHED)
REMOVE = Script("remove_subscription", "outbox")
COLLECT = Script("collect", "outbox")
LEASE = Script("lease", "outbox")
READ = Script("read_outbox", *WATCHED)
SETTLE = Script("settle_outbox", *DELIVERIES)
RELEASE = Script("release_outbox", "outbox")
ADD_DELIVERY = Script("add_delivery", *DELIVERIES)
LIST_DELIVERIES = Script("list_deliveries", *WATCHED)
ATTEMPTS = Script("list_attempts", *WATCHED)
REPLAY = Script("replay", *DELIVERIES)

# How many steps of settling one script takes: some milliseconds of work.
STEPS = 500


class RedisOutboxes:
    """The part of the store that serves subscribers."""

    _client: Client
    _worklist: Worklist
    _record: Callable[[QueueKey], str]
    _run: Callable[..., Any]

    # Subscriptions --------------------------------------------------------------------

    def add_subscription(
        self, key: QueueKey, subscription: Subscription, *, now: float
    ) -> Subscription:
        reply = self._run(ADD, key, repr(now), *telling.pack(subscription))
        return telling.subscription(*reply[1:])

    def get_subscription(self, key: QueueKey, id: str, *, now: float) -> Subscription:
        _, packed = self._of_subscription(GET, key, now, id)
        return telling.subscription(id.encode(), packed)

    def list_subscriptions(
        self, key: QueueKey, *, marker: str | None = None, limit: int, now: float
    ) -> Page[Subscription]:
        _, ids, values = self._run(LIST, key, repr(now), telling.bound(marker), limit)
        items = tuple(map(telling.subscription, ids, values))
        return Page(items, items[-1].id if items else None)

    def set_subscription(
        self,
        key: QueueKey,
        subscription: Subscription,
        *,
        expect: Subscription,
        now: float,
    ) -> None:
        values = *telling.pack(subscription), telling.pack(expect)[-1]
        status = self._of_subscription(SET, key, now, *values)[0]
        if status == SUBSCRIBER_EXISTS:
            raise SubscriberExists(key.name, subscription.subscriber)
        if status == CHANGED:
            raise SubscriptionChanged(key.name, subscription.id)

    def remove_subscription(self, key: QueueKey, id: str) -> None:
        self._run(REMOVE, key, id)

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
        until = now + seconds
        keys, failure = [], None
        for _, key in self._worklist.take(
            holder, until=until, limit=limit, without=without, anew=anew, now=now
        ):
            try:
                if self._lease(key, holder, until, now):
                    keys.append(key)
                elif anew:
                    self.release_outbox(key, holder, now=now)
            except StorageUnavailable as error:
                # In a cluster the others may be fine; this one is looked at again.
                failure = error
        if failure is not None and not keys:
            raise failure
        return keys

    def _lease(self, key: QueueKey, holder: str, until: float, now: float) -> bool:
        values = (repr(now), holder, repr(until))
        status, *told = self._client.run(LEASE, self._record(key), *values)
        if told:
            self._worklist.announce(key, told, holder)
        return bool(status != NOT_HOLDER)

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
            reply = self._run(READ, key, repr(now), notices, deliveries, size, *busy)
        except QueueNotFound:
            return Work()
        _, messages, values, waiting, subscriptions, behind, cut = reply
        found: list[Delivery] = []
        for at in range(0, len(waiting), 3):
            found += telling.deliveries(waiting[at].decode(), *waiting[at + 1 : at + 3])
        return Work(
            tuple(map(telling.notice, messages, values)),
            tuple(found),
            telling.subscriptions(subscriptions),
            frozenset(id.decode() for id in behind),
            bool(cut),
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
        terms = (repr(now), holder, repr(now + seconds), KEPT_FAILURES, KEPT_ATTEMPTS)
        steps = list(telling.steps(settled))
        # Without any it still holds the lease.
        for start in range(0, len(steps) or 1, STEPS):
            part = chain.from_iterable(steps[start : start + STEPS])
            try:
                reply = self._run(SETTLE, key, *terms, *part)
            except QueueNotFound:
                raise LeaseLost(key.name) from None
            if reply[0] == NOT_HOLDER:
                raise LeaseLost(key.name)

    def release_outbox(self, key: QueueKey, holder: str, *, now: float) -> None:
        _, *told = self._client.run(RELEASE, self._record(key), holder, repr(now))
        if told:
            self._worklist.announce(key, told, holder)

    def add_delivery(self, key: QueueKey, delivery: Delivery, *, now: float) -> None:
        new = telling.write_delivery(delivery)
        _, *told = self._of_subscription(
            ADD_DELIVERY, key, now, delivery.subscription, KEPT_FAILURES, *new
        )
        self._announce(key, told)

    def list_deliveries(
        self,
        key: QueueKey,
        subscription: str,
        *,
        marker: str | None = None,
        limit: int,
        now: float,
    ) -> Page[Delivery]:
        values = (subscription, telling.bound(marker), limit)
        _, *found = self._of_subscription(LIST_DELIVERIES, key, now, *values)
        items = sorted(
            telling.deliveries(subscription, *found), key=lambda each: each.notice.id
        )[:limit]
        return Page(tuple(items), items[-1].notice.id if items else None)

    def list_attempts(
        self, key: QueueKey, subscription: str, *, now: float
    ) -> list[Attempt]:
        _, found = self._of_subscription(ATTEMPTS, key, now, subscription)
        return list(map(telling.read_attempt, found))

    def replay_deliveries(
        self,
        key: QueueKey,
        subscription: str,
        messages: Sequence[str] | None,
        *,
        now: float,
    ) -> int:
        which = ["1"] if messages is None else ["0", *dict.fromkeys(messages)]
        _, count, *told = self._of_subscription(
            REPLAY, key, now, subscription, KEPT_FAILURES, *which
        )
        self._announce(key, told)
        return int(count)

    # Steps ----------------------------------------------------------------------------

    def _of_subscription(
        self, script: Script, key: QueueKey, now: float, id: str, *values: Any
    ) -> Any:
        """Run a script. Raises QueueNotFound, SubscriptionNotFound."""
        reply = self._run(script, key, repr(now), id, *values)
        if reply[0] == NO_SUBSCRIPTION:
            raise SubscriptionNotFound(key.name, id)
        return reply

    def _announce(self, key: QueueKey, told: Sequence[bytes]) -> None:
        """Tell the list of outboxes, if it has to be told.

        What was stored is stored whatever becomes of this; the sweep makes good for it.
        """
        if any(told):
            with suppress(StorageUnavailable):
                self._worklist.announce(key, told)

    def _end(self, outbox: Outbox, now: float) -> int:
        """Remove subscriptions that have ended; return how many."""
        total = 0
        while outbox.ends <= now:
            (count,) = self._client.run(COLLECT, self._record(outbox.key), repr(now))
            total += count
            if not count:
                break
        return total

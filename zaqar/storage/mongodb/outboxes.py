# SPDX-License-Identifier: Apache-2.0
"""Outboxes: leased, read, settled, released.

The lease stands in the document of the queue, with an instant that is never later than
what is due. Posts bring it forward; only who releases the outbox puts it off, and only
if nothing was added since he began to look.
"""

from collections.abc import Collection, Sequence
from itertools import islice
from math import inf
from typing import Any, NamedTuple

from pymongo import UpdateOne, WriteConcern

from zaqar.errors import LeaseLost, QueueNotFound
from zaqar.model import Delivery, Page, QueueKey, Settled, Work
from zaqar.storage.mongodb.deliveries import Deliveries, owners
from zaqar.storage.mongodb.documents import Document, key_of
from zaqar.storage.mongodb.notices import (
    Notices,
    first,
    notice_of,
    notices_of,
    readable,
)
from zaqar.storage.mongodb.posting import Posting
from zaqar.storage.mongodb.reading import Reading, View
from zaqar.storage.mongodb.subscribing import (
    Subscribing,
    subscribed,
    subscription_of,
)
from zaqar.storage.mongodb.watching import CHUNK, Watching
from zaqar.storage.portions import Portion, Portions, in_turn

IS_WATCHED = {"watched": {"$exists": True}}
FREE = {"holder": 1, "held": 1}
WAITING, UNTRIED = "waiting", "untried"


class Most(NamedTuple):
    """What a reading takes at most; `size` is in bytes."""

    notices: int
    deliveries: int
    size: int


class Found(NamedTuple):
    """What is in an outbox; `waiting` and `untried` are ids of subscriptions."""

    notices: list[Document]
    subscriptions: list[Document]
    waiting: set[str]
    untried: set[str]


class Outboxes:
    def __init__(
        self,
        database: Any,
        reading: Reading,
        posting: Posting,
        watching: Watching,
        subscribing: Subscribing,
    ) -> None:
        self._queues = database.queues
        # A lease that is lost with its server is one that somebody else may have.
        self._soon = database.queues.with_options(write_concern=WriteConcern(1))
        self._messages = database.messages
        self._notices = Notices(database)
        self._deliveries = Deliveries(database)
        self._reading = reading
        self._posting = posting
        self._watching = watching
        self._subscribing = subscribing

    def lease(
        self,
        holder: str,
        seconds: float,
        limit: int,
        without: Collection[str],
        anew: bool,
        now: float,
    ) -> list[QueueKey]:
        """Take outboxes that have something due and are free."""
        # A dispatcher of hundreds of queues asks ten times a second. What it has
        # is offered to it again in half the time, in case it lost sight of it.
        own = {"holder": holder, "held": {"$lte": inf if anew else now + seconds / 2}}
        others: Document = {"held": {"$not": {"$gt": now}}}
        if without:
            others["project"] = {"$nin": list(without)}
        either = [own] if anew else [others, own]
        free = IS_WATCHED | {"owes": {"$lte": now}, "$or": either}
        shown, by_due = {"_id": 1}, [("owes", 1)]
        found = self._queues.find(
            free, shown, sort=by_due, limit=limit, batch_size=limit + 1
        )
        names = [each["_id"] for each in found]
        if not names:
            return []
        mine = {"holder": holder, "held": now + seconds}
        take = [UpdateOne(free | {"_id": name}, {"$set": mine}) for name in names]
        self._soon.bulk_write(take, ordered=False)
        taken = self._queues.find({"_id": {"$in": names}, **IS_WATCHED, **mine}, shown)
        won = {each["_id"] for each in taken}
        return [key_of(name) for name in names if name in won]

    def read(self, name: str, most: Most, busy: frozenset[str], now: float) -> Work:
        """Return what is due, but no deliveries of those that are busy."""
        view = self._view(name)
        if view is None:
            return Work()
        outbox = view.queue["watched"]
        told = Portion(most.size)
        found = self._find(view, outbox, max(most.notices, 1), told, now)
        if any(view.is_over(each["number"]) for each in found.notices):
            # They are in the way of others.
            for dropped in view.dropped:
                self._notices.remove(name, *dropped)
            return self.read(name, most, busy, now)
        live = {each["id"] for each in found.subscriptions if each["expires"] > now}
        self._clean(name, outbox, found, found.waiting - live, now)
        waiting = in_turn((found.waiting & live) - busy, now)
        portions = Portions(most.size, len(waiting))
        # A message that came again after it was taken has two; they are settled as one.
        notices: dict[str, Document] = {}
        for each in found.notices[: most.notices]:
            notices.setdefault(each["id"], each)
        due = self._deliveries.due(
            name, outbox, waiting, most.deliveries, now, portions
        )
        return Work(
            tuple(map(notice_of, notices.values())),
            tuple(due),
            tuple(subscription_of(s) for s in found.subscriptions if s["id"] in live),
            frozenset(found.untried & live),
            told.cut or portions.cut,
        )

    def _find(
        self, view: View, outbox: int, notices: int, told: Portion, now: float
    ) -> Found:
        name, found = view.queue["_id"], Found([], [], set(), set())
        for each in self._messages.aggregate(
            [
                *readable(view, outbox, notices, now),
                _part("deliveries", *owners(name, outbox, WAITING)),
                _part("deliveries", *owners(name, outbox, UNTRIED)),
                # In the end: who has subscribed before a post is told of it, and who
                # has deliveries is known.
                _part("subscriptions", *subscribed(name, outbox)),
            ],
            hint="notices",
        ):
            if "number" in each:
                if told.takes(len(each["body"])):
                    found.notices.append(each)
            elif "subscriber" in each:
                found.subscriptions.append(each)
            elif WAITING in each:
                found.waiting.add(each[WAITING])
            else:
                found.untried.add(each[UNTRIED])
        return found

    def _clean(
        self, name: str, outbox: int, found: Found, gone: set[str], now: float
    ) -> None:
        """Remove deliveries of subscriptions that are gone: they would seem to be due
        again and again.
        """
        if gone:
            for each in found.subscriptions:
                if each["id"] in gone:
                    self._subscribing.end(each, now)
            absent = gone - {each["id"] for each in found.subscriptions}
            self._deliveries.drop(name, outbox, absent)

    def _view(self, name: str) -> View | None:
        """Return the queue, without posts of dead writers; None: nobody watches it."""
        while True:
            try:
                view = self._reading.view(name)
            except QueueNotFound:
                return None
            if "watched" not in view.queue:
                return None
            if not view.is_dead:
                return view
            self._posting.bury(name, view)

    def settle(
        self, name: str, holder: str, settled: Settled, seconds: float, now: float
    ) -> None:
        """Store what became of the work. Raises LeaseLost."""
        queue = self._queues.find_one_and_update(
            {"_id": name, "live": True, "holder": holder} | IS_WATCHED,
            {"$set": {"held": now + seconds}, "$inc": {"told": len(settled.waiting)}},
            projection={"watched": 1, "told": 1},
        )
        if queue is None:
            raise LeaseLost(key_of(name).name)
        outbox, order = queue["watched"], queue["told"]
        if settled.waiting or settled.attempts:
            live = self._subscribing.live(name, outbox, now)
            logs = {id: settled.attempts[id] for id in live & settled.attempts.keys()}
            self._deliveries.log(name, outbox, logs)
        else:
            live = set()
        self._deliveries.settle(name, outbox, order, settled, live)
        if settled.waiting:
            put = live & {each.subscription for each in settled.waiting}
            gone = put - self._subscribing.live(name, outbox, now)
            self._deliveries.drop(name, outbox, gone)
        if settled.notices:
            self._notices.settle(name, outbox, settled.notices)

    def release(self, name: str, holder: str, now: float) -> None:
        mine = {"holder": holder}
        if not self.put_off(name, mine, now):
            self._soon.update_one({"_id": name, **mine}, {"$unset": FREE})

    def put_off(self, name: str, mine: Document, now: float) -> bool:
        """Find out when something is due, and free the outbox until then.

        Those that wait already come before it. Only if the queue is as described, and
        nothing is added meanwhile.
        """
        view = self._view(name)
        if view is None:
            return True
        outbox, told = view.queue["watched"], view.queue["told"]
        due = self._next_due(view, outbox)
        done = self._soon.update_one(
            {"_id": name, "watched": outbox, "told": told, **mine},
            {"$set": {"owes": max(due, now)}, "$unset": FREE},
        )
        return bool(done.matched_count)

    def _next_due(self, view: View, outbox: int) -> float:
        name = view.queue["_id"]
        next_due, waiting = inf, set[str]()
        for each in self._messages.aggregate(
            [*first(view, outbox), _part("deliveries", *owners(name, outbox, WAITING))],
            hint="notices",
        ):
            if WAITING in each:
                waiting.add(each[WAITING])
            else:
                next_due = each["since"]
        if waiting:
            # What others have left is never due; who reads the outbox removes it.
            waiting &= self._subscribing.live(name, outbox, -inf)
        for delivery in self._deliveries.due(name, outbox, waiting, 1):
            assert delivery.due is not None
            next_due = min(next_due, delivery.due)
        return next_due

    def add(self, name: str, delivery: Delivery, now: float) -> None:
        """Let a delivery wait that no notice is the cause of."""
        outbox, order = self._watching.count(name)
        self._subscribing.find(name, outbox, delivery.subscription, now)
        assert outbox is not None
        self._deliveries.add(name, outbox, order, delivery)
        if delivery.due is not None:
            self._watching.owe(name, outbox, delivery.due)

    def page(
        self, name: str, subscription: str, marker: str | None, limit: int, now: float
    ) -> Page[Delivery]:
        outbox = self._watching.find(name)
        self._subscribing.find(name, outbox, subscription, now)
        assert outbox is not None
        return self._deliveries.page(name, outbox, subscription, marker, limit)

    def replay(
        self, name: str, subscription: str, messages: Sequence[str] | None, now: float
    ) -> int:
        outbox = self._watching.find(name)
        self._subscribing.find(name, outbox, subscription, now)
        assert outbox is not None
        replayed = self._deliveries.replay(name, outbox, subscription, messages, now)
        self._watching.owe(name, outbox, now)
        return replayed

    # Upkeep ---------------------------------------------------------------------------

    def mend(self, now: float) -> None:
        """Let outboxes be leased to which somebody added who died before he said so."""
        names = self._watching.names_waiting(now)
        while some := list(islice(names, CHUNK)):
            told = {notices_of(name): name for name in some}
            notices = {"queue": {"$in": list(told)}, "outbox": {"$gte": 0}}
            waiting = {"queue": {"$in": some}, "outbox": {"$gte": 0}}
            waiting |= {WAITING: {"$gte": ""}}
            by_queue = {"$group": {"_id": "$queue"}}
            found = self._messages.aggregate(
                [
                    {"$match": notices},
                    by_queue,
                    _part("deliveries", {"$match": waiting}, by_queue),
                ]
            )
            for name in {told.get(each["_id"], each["_id"]) for each in found}:
                self.put_off(name, {"holder": {"$exists": False}}, now)


def _part(collection: str, *stages: Document) -> Document:
    return {"$unionWith": {"coll": collection, "pipeline": list(stages)}}

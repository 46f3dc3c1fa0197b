# SPDX-License-Identifier: Apache-2.0
"""Deliveries: what single subscriptions did not take yet.

A delivery (collection `deliveries`)::

    _id        the queue's `_id`, the outbox, the subscription and the message
    queue      the `_id` of the queue; the shard key of the collection
    outbox     the one that it belongs to, see watching.py
    subscription, failures, due (absent: it has failed for good)
    id, body, ttl, delay (absent: none)      of the notice
    order      grows with each that is put; it stays where one is put again
    waiting    the subscription, if it is due some day
    untried    the same, if it was not tried yet
    failed     the same, if it has failed for good
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from math import inf
from typing import Any

import msgspec
from pymongo import DeleteOne, UpdateOne, WriteConcern

from zaqar.model import Attempt, Delivery, Page, Settled
from zaqar.storage.delivering import EVERYTHING, KEPT_ATTEMPTS, KEPT_FAILURES
from zaqar.storage.mongodb.documents import Document
from zaqar.storage.mongodb.notices import notice_of
from zaqar.storage.mongodb.reading import BY_ID
from zaqar.storage.mongodb.subscribing import deliveries_of, delivery_id, id_of
from zaqar.storage.mongodb.watching import drop
from zaqar.storage.portions import Portions

PLACES = ("due", "waiting", "untried", "failed")
# So many subscriptions are asked for their deliveries in one trip.
TOGETHER = 100


class Deliveries:
    def __init__(self, database: Any) -> None:
        self._deliveries = database.deliveries
        # What a log has lost with a server that was replaced is missing there only.
        self._logs = database.subscriptions.with_options(write_concern=WriteConcern(1))

    def add(self, name: str, outbox: int, order: int, delivery: Delivery) -> None:
        """Let it wait, if it is not there."""
        put = new_delivery(name, outbox, order, delivery)
        self._deliveries.update_one(
            {"_id": put["_id"], "queue": name}, {"$setOnInsert": put}, upsert=True
        )

    def settle(
        self, name: str, outbox: int, order: int, settled: Settled, live: set[str]
    ) -> None:
        """Put, finish, and forget the oldest of too many failures."""
        mine = [each for each in settled.waiting if each.subscription in live]
        steps: list[Any] = [
            _replacement(new_delivery(name, outbox, place, each))
            for place, each in enumerate(mine, start=order)
        ]
        steps += [
            DeleteOne({"_id": delivery_id(name, outbox, *pair), "queue": name})
            for pair in settled.finished
        ]
        if steps:
            self._deliveries.bulk_write(steps)
        for id in {each.subscription for each in mine if each.due is None}:
            self._forget(name, outbox, id)

    def _forget(self, name: str, outbox: int, subscription: str) -> None:
        its = {"queue": name, "outbox": outbox, "failed": subscription}
        newest = {"sort": [("id", -1)], "skip": KEPT_FAILURES}
        drop(self._deliveries, its, **newest)

    def drop(self, name: str, outbox: int, subscriptions: Collection[str]) -> None:
        """Remove what was put for subscriptions that are gone by now."""
        for id in subscriptions:
            drop(self._deliveries, deliveries_of(name, outbox, id), hint=BY_ID)

    def log(
        self, name: str, outbox: int, attempts: Mapping[str, Sequence[Attempt]]
    ) -> None:
        """Add attempts to the logs of subscriptions."""
        steps = [
            UpdateOne(
                {"_id": id_of(name, outbox, id), "queue": name},
                {
                    "$push": {
                        "attempts": {
                            "$each": [msgspec.structs.asdict(each) for each in new],
                            "$slice": -KEPT_ATTEMPTS,
                        }
                    }
                },
            )
            for id, new in attempts.items()
        ]
        if steps:
            self._logs.bulk_write(steps, ordered=False)

    def due(
        self,
        name: str,
        outbox: int,
        subscriptions: Iterable[str],
        limit: int,
        now: float = inf,
        portions: Portions | None = None,
    ) -> list[Delivery]:
        """Return the first that are due of each subscription; any without `now`."""
        if not limit:
            return []
        found: list[Document] = []
        portions = portions or Portions(EVERYTHING, 1)
        rest = iter(subscriptions)
        while some := list(islice(rest, TOGETHER)):
            first, *others = (_first(name, outbox, id, limit, now) for id in some)
            parts = [
                {"$unionWith": {"coll": "deliveries", "pipeline": part}}
                for part in others
            ]
            # In the order of subscriptions; what is left is read for nothing.
            with self._deliveries.aggregate([*first, *parts]) as cursor:
                for each in cursor:
                    if portions.take(each["subscription"], len(each["body"])):
                        found.append(each)
                    if portions.is_used_up:
                        return list(map(delivery_of, found))
        return list(map(delivery_of, found))

    def page(
        self, name: str, outbox: int, subscription: str, marker: str | None, limit: int
    ) -> Page[Delivery]:
        """Return deliveries of a subscription behind the marker, by message."""
        found = self._deliveries.find(
            deliveries_of(name, outbox, subscription, marker or ""),
            sort=[("_id", 1)],
            limit=limit,
            hint=BY_ID,
        )
        items = tuple(map(delivery_of, found))
        return Page(items, items[-1].notice.id if items else None)

    def replay(
        self,
        name: str,
        outbox: int,
        subscription: str,
        messages: Sequence[str] | None,
        now: float,
    ) -> int:
        """Let failed deliveries wait again; return how many."""
        wanted: Document = {"queue": name, "outbox": outbox, "failed": subscription}
        hint = "failed"
        if messages is not None:
            ids = [delivery_id(name, outbox, subscription, each) for each in messages]
            wanted["_id"], hint = {"$in": ids}, BY_ID
        again = {"waiting": subscription, "untried": subscription}
        done = self._deliveries.update_many(
            wanted,
            {"$set": {"failures": 0, "due": now, **again}, "$unset": {"failed": 1}},
            hint=hint,
        )
        replayed: int = done.modified_count
        return replayed


def owners(name: str, outbox: int, field: str) -> list[Document]:
    """Return the stages that read which subscriptions have deliveries of a kind.

    The index is read at one place for each of them; many of one cost nothing.
    """
    return [
        {"$match": {"queue": name, "outbox": outbox, field: {"$gte": ""}}},
        {"$group": {"_id": f"${field}"}},
        {"$project": {"_id": 0, field: "$_id"}},
    ]


def delivery_of(document: Document) -> Delivery:
    return Delivery(
        document["subscription"],
        notice_of(document),
        document["failures"],
        document.get("due"),
    )


def _first(
    name: str, outbox: int, subscription: str, limit: int, now: float
) -> list[Document]:
    its = {"queue": name, "outbox": outbox, "waiting": subscription}
    return [
        {"$match": its | {"due": {"$lte": now}}},
        {"$sort": {"due": 1, "order": 1}},
        {"$limit": limit},
    ]


def new_delivery(name: str, outbox: int, order: int, delivery: Delivery) -> Document:
    """Return a delivery as it is put."""
    subscription, notice = delivery.subscription, delivery.notice
    document: Document = {
        "_id": delivery_id(name, outbox, subscription, notice.id),
        "queue": name,
        "outbox": outbox,
        "subscription": subscription,
        "id": notice.id,
        "body": notice.body,
        "ttl": notice.ttl,
        "order": order,
        "failures": delivery.failures,
    }
    if notice.delay:
        document["delay"] = notice.delay
    if delivery.due is None:
        return document | {"failed": subscription}
    document |= {"due": float(delivery.due), "waiting": subscription}
    return document if delivery.failures else document | {"untried": subscription}


def _replacement(put: Document) -> UpdateOne:
    """Return the write that puts a delivery; of one that is there, its state."""
    state = {"failures", *PLACES} & put.keys()
    absent = {field: 1 for field in PLACES if field not in put}
    return UpdateOne(
        {"_id": put["_id"], "queue": put["queue"]},
        {
            "$set": {field: put[field] for field in state},
            "$unset": absent,
            "$setOnInsert": {field: put[field] for field in put.keys() - state},
        },
        upsert=True,
    )

# SPDX-License-Identifier: Apache-2.0
"""Subscriptions: add, get, list, replace, remove, collect.

A subscription (collection `subscriptions`)::

    _id        the queue's `_id`, the outbox and the subscription's id
    queue      the `_id` of the queue; the shard key of the collection
    outbox     the one that it belongs to, see watching.py
    id, subscriber, ttl, created, options (JSON text), confirmed
    expires    0: it is being removed
    attempts   its log, oldest first

Who finds one that has ended removes its deliveries first and then the document, so who
dies in between leaves it to be found again.
"""

from math import inf
from typing import Any

import msgspec
from pymongo.errors import DuplicateKeyError

from zaqar.errors import SubscriberExists, SubscriptionChanged, SubscriptionNotFound
from zaqar.model import Attempt, Page, Subscription
from zaqar.storage.mongodb.documents import Document, key_of
from zaqar.storage.mongodb.reading import BY_ID
from zaqar.storage.mongodb.watching import CHUNK, Watching, drop

# Behind every text.
LAST = "\U0010ffff"
WITHOUT_LOG = {"attempts": 0}


class Subscribing:
    def __init__(self, database: Any, watching: Watching) -> None:
        self._subscriptions = database.subscriptions
        self._deliveries = database.deliveries
        self._watching = watching

    def add(self, name: str, new: Subscription, now: float) -> Subscription:
        """Store it, or return the live one of its subscriber."""
        while True:
            outbox = self._watching.begin(name, now)
            added = new
            try:
                self._subscriptions.insert_one(
                    {"_id": id_of(name, outbox, new.id)}
                    | {"queue": name, "outbox": outbox, "id": new.id}
                    | _fields(new)
                )
            except DuplicateKeyError:
                other = self._other(name, outbox, new)
                if other is None or other["expires"] <= now:
                    self._collect(other, now)
                    continue
                added = subscription_of(other)
            if self._watching.confirm(name, outbox):
                return added

    def _other(self, name: str, outbox: int, new: Subscription) -> Document | None:
        """Return the one that is in the way of another one."""
        same = {"queue": name, "outbox": outbox, "subscriber": new.subscriber}
        found: Document | None = self._subscriptions.find_one(same, WITHOUT_LOG)
        if found is None:
            its = {"_id": id_of(name, outbox, new.id), "queue": name}
            found = self._subscriptions.find_one(its, WITHOUT_LOG)
        return found

    def find(
        self, name: str, outbox: int | None, id: str, now: float, *, log: bool = False
    ) -> Document:
        """Raises SubscriptionNotFound."""
        found: Document | None = None
        if outbox is not None:
            found = self._subscriptions.find_one(
                {
                    "_id": id_of(name, outbox, id),
                    "queue": name,
                    "expires": {"$gt": now},
                },
                None if log else WITHOUT_LOG,
            )
        if found is None:
            raise SubscriptionNotFound(key_of(name).name, id)
        return found

    def get(self, name: str, id: str, now: float) -> Subscription:
        return subscription_of(self.find(name, self._watching.find(name), id, now))

    def attempts(self, name: str, id: str, now: float) -> list[Attempt]:
        """Return the log of a subscription, oldest first."""
        outbox = self._watching.find(name)
        found = self.find(name, outbox, id, now, log=True)
        return msgspec.convert(found.get("attempts", []), list[Attempt])

    def page(
        self, name: str, marker: str | None, limit: int, now: float
    ) -> Page[Subscription]:
        outbox = self._watching.find(name)
        if outbox is None:
            return Page()
        behind = id_of(name, outbox, marker or "")
        wanted = {
            "queue": name,
            "_id": {"$gt": behind, "$lt": id_of(name, outbox, LAST)},
            "expires": {"$gt": now},
        }
        found = self._subscriptions.find(
            wanted, WITHOUT_LOG, sort=[("_id", 1)], limit=limit, hint=BY_ID
        )
        items = tuple(map(subscription_of, found))
        return Page(items, items[-1].id if items else None)

    def replace(
        self, name: str, new: Subscription, expect: Subscription, now: float
    ) -> None:
        """Raises SubscriptionNotFound, SubscriptionChanged, SubscriberExists."""
        outbox = self._watching.find(name)
        found = self.find(name, outbox, new.id, now)
        stored = subscription_of(found)
        if stored == new:
            return
        if stored != expect:
            raise SubscriptionChanged(key_of(name).name, new.id)
        assert outbox is not None
        same = {field: found[field] for field in _fields(expect)}
        its = id_of(name, outbox, new.id)
        while True:
            try:
                done = self._subscriptions.update_one(
                    {"_id": its, "queue": name, **same},
                    {"$set": _fields(new)},
                )
            except DuplicateKeyError:
                other = self._other(name, outbox, new)
                if other is not None and other["_id"] == its:
                    other = None
                if other is not None and other["expires"] > now:
                    queue = key_of(name).name
                    raise SubscriberExists(queue, new.subscriber) from None
                self._collect(other, now)
            else:
                if not done.matched_count:
                    raise SubscriptionChanged(key_of(name).name, new.id)
                return

    def remove(self, name: str, id: str) -> None:
        outbox = self._watching.find(name)
        if outbox is None:
            return
        its = {"_id": id_of(name, outbox, id), "queue": name}
        ended = self._subscriptions.find_one_and_update(its, {"$set": {"expires": 0.0}})
        self._collect(ended, 0.0)
        self._watching.end_if_idle(name, outbox)

    def live(self, name: str, outbox: int, now: float) -> set[str]:
        """Return the ids of live subscriptions."""
        its = {"queue": name, "outbox": outbox}
        shown = {"_id": 0, "id": 1, "expires": 1}
        found = self._subscriptions.find(its, shown)
        return {each["id"] for each in found if each["expires"] > now}

    # Upkeep ---------------------------------------------------------------------------

    def collect(self, now: float) -> None:
        """Remove those that have ended."""
        touched = set()
        wanted = {"expires": {"$gt": -inf, "$lte": now}}
        while True:
            found = list(self._subscriptions.find(wanted, WITHOUT_LOG, limit=CHUNK))
            for each in found:
                self._collect(each, now)
                touched.add((each["queue"], each["outbox"]))
            if len(found) < CHUNK:
                break
        for name, outbox in touched:
            self._watching.end_if_idle(name, outbox)

    def _collect(self, ended: Document | None, now: float) -> None:
        """Remove a subscription that has ended, with its deliveries."""
        if ended is not None and self.end(ended, now):
            its = {"_id": ended["_id"], "queue": ended["queue"]}
            self._subscriptions.delete_one(its | {"expires": {"$lte": 0.0}})

    def end(self, ended: Document, now: float) -> bool:
        """Remove the deliveries of one that has ended; say whether it has."""
        its = {"_id": ended["_id"], "queue": ended["queue"]}
        # Somebody whose clock is behind may have renewed it since it was read.
        done = self._subscriptions.update_one(
            its | {"expires": {"$lte": now}}, {"$set": {"expires": 0.0}}
        )
        if not done.matched_count:
            return False
        theirs = deliveries_of(ended["queue"], ended["outbox"], ended["id"])
        drop(self._deliveries, theirs, hint=BY_ID)
        return True


def subscribed(name: str, outbox: int) -> list[Document]:
    """Return the stages that read the subscriptions, also those that have ended."""
    return [
        {"$match": {"queue": name, "outbox": outbox}},
        {"$project": WITHOUT_LOG},
    ]


def id_of(name: str, outbox: int, id: str) -> str:
    return f"{name} {outbox}:{id}"


def delivery_id(name: str, outbox: int, subscription: str, message: str) -> str:
    """Return the `_id` of a delivery; those of a subscription begin alike."""
    return f"{name} {outbox}:{len(subscription)}:{subscription}{message}"


def deliveries_of(
    name: str, outbox: int, subscription: str, behind: str = ""
) -> Document:
    """Return the filter of a subscription's deliveries behind a message."""
    first = delivery_id(name, outbox, subscription, behind)
    last = delivery_id(name, outbox, subscription, LAST)
    return {"queue": name, "_id": {"$gt": first, "$lt": last}}


def subscription_of(document: Document) -> Subscription:
    return Subscription(
        document["id"],
        document["subscriber"],
        # NOTE: beyond 32 bits it is an Int64 of bson, which JSON encoders do not know.
        int(document["ttl"]),
        document["created"],
        msgspec.json.decode(document["options"]),
        document["confirmed"],
    )


def _fields(subscription: Subscription) -> Document:
    return {
        "subscriber": subscription.subscriber,
        "ttl": subscription.ttl,
        "created": subscription.created,
        "expires": float(subscription.expires),
        "options": msgspec.json.encode(subscription.options).decode(),
        "confirmed": subscription.confirmed,
    }

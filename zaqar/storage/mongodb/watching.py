# SPDX-License-Identifier: Apache-2.0
"""What the document of a queue says of its subscribers.

Fields of a queue, absent while nobody watches it::

    watched    the number of its outbox: one of the queue's numbers, so a queue that is
               watched anew has a higher one. All that subscribers have (subscriptions,
               notices, deliveries) bears it, and is gone when this is.
    watchers   how many subscriptions were ever added
    told       counts what was added to the outbox
    owes       an instant not later than that at which something is due (none: inf)
    holder, held      who has the lease of the outbox, and until when

and longer::

    abandoned  {outbox, at}: outboxes up to this one may have left something

Posts read `watched` with their reservation, and set `owes` with their release.
"""

from collections.abc import Iterator
from math import inf
from typing import Any

from pymongo import WriteConcern

from zaqar.errors import QueueNotFound
from zaqar.storage.mongodb.documents import Document, Pipeline, key_of, number_at
from zaqar.storage.mongodb.notices import notices_of
from zaqar.storage.mongodb.reading import BY_ID

OF_WATCHING = ["watched", "watchers", "told", "owes", "holder", "held"]
# Milliseconds after which nobody adds to an outbox that is gone.
FORGIVEN = 600_000
CHUNK = 1000


def abandoned() -> Document:
    """Return the expression of the field for a queue whose outbox, if any, goes."""
    new = {"outbox": "$watched", "at": "$$NOW"}
    old = {"$ifNull": ["$abandoned", "$$REMOVE"]}
    return {"$cond": ["$watched", new, old]}


ENDS: Pipeline = [{"$set": {"abandoned": abandoned()}}, {"$unset": OF_WATCHING}]


class Watching:
    def __init__(self, database: Any) -> None:
        self._queues = database.queues
        self._soon = database.queues.with_options(write_concern=WriteConcern(1))
        self._messages = database.messages
        self._subscriptions = database.subscriptions
        self._deliveries = database.deliveries

    def find(self, name: str) -> int | None:
        """Return the outbox; None if nobody watches. Raises QueueNotFound."""
        queue = self._queues.find_one({"_id": name, "live": True}, {"watched": 1})
        if queue is None:
            raise QueueNotFound(key_of(name).name)
        outbox: int | None = queue.get("watched")
        return outbox

    def begin(self, name: str, now: float) -> int:
        """Return the outbox, a new one if need be. Raises QueueNotFound."""
        while (outbox := self.find(name)) is None:
            number = {"$max": [{"$add": ["$last", 1]}, number_at(now)]}
            new = {"watched": number, "last": number, "watchers": 0, "told": 0}
            self._queues.update_one(
                {"_id": name, "live": True, "watched": {"$exists": False}},
                [{"$set": new | {"owes": inf}}],
            )
        return outbox

    def confirm(self, name: str, outbox: int) -> bool:
        """Say whether a subscription that was added is there to stay.

        Who ends the outbox has looked for subscriptions between this write and its own.
        """
        done = self._queues.update_one(
            {"_id": name, "live": True, "watched": outbox}, {"$inc": {"watchers": 1}}
        )
        return bool(done.matched_count)

    def end_if_idle(self, name: str, outbox: int) -> None:
        """Let posts pay nothing any more if the last subscription is gone."""
        mine = {"_id": name, "live": True, "watched": outbox}
        queue = self._queues.find_one(mine, {"watchers": 1})
        its = {"queue": name, "outbox": outbox}
        if queue is not None and self._subscriptions.find_one(its, {"_id": 1}) is None:
            self._queues.update_one(mine | {"watchers": queue["watchers"]}, ENDS)

    def end(self, name: str) -> None:
        """End the outbox with all that is in it. Raises QueueNotFound."""
        done = self._queues.update_one(
            {"_id": name, "live": True, "watched": {"$exists": True}}, ENDS
        )
        if not done.matched_count:
            self.find(name)

    # What is due ----------------------------------------------------------------------

    def owe(self, name: str, outbox: int, due: float) -> None:
        """Let the outbox be leased when this is due, which was added to it."""
        self._soon.update_one({"_id": name, "watched": outbox}, owing(due))

    def count(self, name: str) -> tuple[int | None, int]:
        """Return the outbox, if there is one, and a number that only grows.

        Raises QueueNotFound.
        """
        queue = self._queues.find_one_and_update(
            {"_id": name, "live": True},
            {"$inc": {"told": 1}},
            projection={"watched": 1, "told": 1},
        )
        if queue is None:
            raise QueueNotFound(key_of(name).name)
        return queue.get("watched"), queue.get("told", 0)

    # Upkeep ---------------------------------------------------------------------------

    def remove_remains(self) -> None:
        """Remove what is left of outboxes that are gone."""
        found = self._queues.find({"abandoned.outbox": {"$gte": 0}}, {"abandoned": 1})
        for queue in found:
            last = queue["abandoned"]["outbox"]
            old = {"queue": queue["_id"], "outbox": {"$gte": 0, "$lte": last}}
            drop(self._subscriptions, old)
            for kind in ("waiting", "failed"):
                drop(self._deliveries, old | {kind: {"$gte": ""}}, hint=kind)
            notices = old | {"queue": notices_of(queue["_id"])}
            drop(self._messages, notices, hint="notices")
            age = {"$subtract": ["$$NOW", "$abandoned.at"]}
            self._queues.update_one(
                {
                    "_id": queue["_id"],
                    "abandoned.outbox": last,
                    "$expr": {"$gt": [age, FORGIVEN]},
                },
                {"$unset": {"abandoned": 1}},
            )

    def names_waiting(self, now: float) -> Iterator[str]:
        """Return watched queues that owe nothing at `now`, as far as they know."""
        found = self._queues.find(
            {"watched": {"$exists": True}, "owes": {"$gt": now}}, {"_id": 1}
        )
        for queue in found:
            yield queue["_id"]


def owing(due: float) -> Document:
    """Return the update of a queue to whose outbox something was added."""
    return {"$min": {"owes": due}, "$inc": {"told": 1}}


def drop(collection: Any, wanted: Document, **options: Any) -> None:
    """Remove documents of one queue, some at a time."""
    while True:
        found = collection.find(wanted, {"_id": 1}, limit=CHUNK, **options)
        ids = [each["_id"] for each in found]
        if ids:
            some = {"queue": wanted["queue"], "_id": {"$in": ids}}
            collection.delete_many(some, hint=BY_ID)
        if len(ids) < CHUNK:
            return

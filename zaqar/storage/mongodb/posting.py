# SPDX-License-Identifier: Apache-2.0
"""Appends messages: reserve numbers, insert, release.

The reservation is noted in the queue's document, so readers stop before it. When it is
released, all its messages become visible at once, and count.

Reservation and messages wait until a majority has them. The release does not wait: if
it is lost with its server, the messages are all there, and whoever finds the
reservation too old releases it. If some of the messages are not there, their writer has
died, nobody was told that they are stored, and they are dropped.

Where somebody watches the queue, notices go the same way (see notices.py).
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

import pymongo
from pymongo import ReturnDocument, WriteConcern
from pymongo.errors import BulkWriteError, PyMongoError

from zaqar.errors import QueueChanged, QueueNotFound, StorageUnavailable
from zaqar.storage.mongodb.counting import Counting
from zaqar.storage.mongodb.documents import (
    DELAYED,
    GONE,
    STATES,
    Document,
    Pipeline,
    key_of,
    number_at,
    queue_of,
)
from zaqar.storage.mongodb.failures import is_duplicate
from zaqar.storage.mongodb.gathering import Gathering
from zaqar.storage.mongodb.notices import Notices, Watch, new_notice, since
from zaqar.storage.mongodb.reading import (
    BY_ID,
    Reading,
    Stage,
    View,
    exactly,
    of_messages,
)
from zaqar.storage.mongodb.watching import owing

# Seconds until a post gives up that waits for another one with the same messages.
PATIENCE = 8.0
# Seconds for which a failed post tries to clean up after itself.
GIVING_UP = 0.5
# Milliseconds after which a dropped writer does not come back.
FORGIVEN = 600_000


class Posting:
    """`relaxed` reserves nothing: readers may miss what a slower writer inserts."""

    def __init__(
        self, database: Any, reading: Reading, counting: Counting, *, relaxed: bool
    ) -> None:
        self._reading = reading
        self._counting = counting
        self._relaxed = relaxed
        self._messages = database.messages
        self._notices = Notices(database)
        self._gathering: Gathering[list[Document], bool] = Gathering()
        self._surely = database.queues
        self._soon = database.queues.with_options(write_concern=WriteConcern(1))

    def post(
        self,
        name: str,
        documents: list[Document],
        now: float,
        revision: str,
    ) -> bool:
        """Append messages that have no `number` yet; those that are stored stay.

        Who watches the queue is told of them. Says whether nobody holds the outbox.

        Raises QueueNotFound or QueueChanged.
        """

        def send(posts: list[list[Document]]) -> list[bool]:
            together = list(chain.from_iterable(posts))
            is_owed = self.post_alone(name, together, now, revision, tells=True)
            return [is_owed] * len(posts)

        return self._gathering.join((name, revision), documents, send)

    def post_alone(
        self,
        name: str,
        documents: Sequence[Document],
        now: float,
        revision: str | None = None,
        *,
        tells: bool = False,
    ) -> bool:
        """Append messages; to a queue of any revision if none is given.

        Says whether it tells of them, and nobody holds the outbox.
        Raises QueueNotFound or QueueChanged.
        """
        can_delay = any(each["state"] == DELAYED for each in documents)
        first, watch = self._reserve(name, len(documents), now, revision, can_delay)
        for number, document in enumerate(documents, start=first):
            document["number"] = number
            if self._relaxed:
                document |= {"counted": 0, "uncounted": 1}
        due, notices = None, []
        if watch is not None and tells:
            due = min(since(watch, each) for each in documents)
            notices = [new_notice(name, watch, each) for each in documents]
        try:
            inserted = self._insert(name, first, documents, notices)
            if due is not None and inserted < len(documents):
                self._notices.take_back(name, documents)
        except Exception:
            self._give_up(name, first)
            raise
        if self._relaxed:
            self._counting.changed(name, inserted)
            if due is not None:
                self._soon.update_one({"_id": name}, owing(due))
        else:
            self._release(name, first, documents, inserted, due)
        return watch is not None and tells and watch.held <= now

    # Reserve --------------------------------------------------------------------------

    def _reserve(
        self,
        name: str,
        count: int,
        now: float,
        revision: str | None,
        can_delay: bool,
    ) -> tuple[int, Watch | None]:
        """Reserve numbers; return the first of them, and who watches the queue."""
        wanted: Document = {"_id": name, "live": True}
        if revision is not None:
            wanted["revision"] = revision
        while True:
            # Were it lost with its server, messages would be seen one by one.
            queue = (self._soon if self._relaxed else self._surely).find_one_and_update(
                wanted,
                self._reservation(count, now, can_delay),
                projection={"last": 1, "watched": 1, "delays": 1, "held": 1},
                return_document=ReturnDocument.AFTER,
            )
            if queue is not None:
                watched, held = queue.get("watched"), queue.get("held", 0.0)
                watch = watched and Watch(watched, queue["delays"], held)
                return queue["last"] - count + 1, watch
            found = self._soon.find_one({"_id": name, "live": True})
            if found is None:
                raise QueueNotFound(key_of(name).name)
            if revision is not None and found["revision"] != revision:
                raise QueueChanged(queue_of(found))

    def _reservation(self, count: int, now: float, can_delay: bool) -> Pipeline:
        first = {"$max": [{"$add": ["$last", 1]}, number_at(now)]}
        slow: Document = {"slow": True} if can_delay else {}
        if self._relaxed:
            return [{"$set": {"last": {"$add": [first, count - 1]}} | slow}]
        entry = {"first": first, "count": count, "at": "$$NOW"}
        return [
            {
                "$set": {
                    "last": {"$add": [first, count - 1]},
                    "posting": {"$concatArrays": ["$posting", [entry]]},
                    **slow,
                }
            }
        ]

    # Insert ---------------------------------------------------------------------------

    def _insert(
        self,
        name: str,
        first: int,
        documents: Sequence[Document],
        notices: Sequence[Document],
    ) -> int:
        """Insert what is not stored yet; return how many messages that were.

        The notices come first: where the messages are all there, so are they.
        """
        rest, inserted = list(documents), 0
        deadline = time.monotonic() + PATIENCE
        while rest:
            try:
                self._messages.insert_many([*notices, *rest])
            except BulkWriteError as error:
                if not is_duplicate(error):
                    raise
                done = error.details["nInserted"] - len(notices)
                notices = ()
                inserted += done
                rest = self._absent(name, first, rest[done:], deadline)
            else:
                return inserted + len(rest)
        return inserted

    def _absent(
        self, name: str, first: int, documents: list[Document], deadline: float
    ) -> list[Document]:
        """Return those that nobody has stored, once it is known."""
        moves = {each["_id"]: each.get("move") for each in documents}
        while True:
            view = self._reading.view(name, _same(name, documents))
            found = view.found
            if self._must_wait(view, first):
                if time.monotonic() > deadline:
                    raise StorageUnavailable("Another post of the same messages hangs.")
                if view.is_dead:
                    self.bury(name, view)
                time.sleep(0.01)
            elif any(
                _is_trace(each, moves)
                for each in found
                if each["number"] < first and not view.is_over(each["number"])
            ):
                if time.monotonic() > deadline:
                    raise StorageUnavailable("An earlier message hangs.")
                if not self._counting.count(name):
                    time.sleep(0.01)
            else:
                break
        if view.old:
            self._messages.delete_many(exactly(name, view.old), hint=BY_ID)
        stored = {each["_id"] for each in found if not view.is_over(each["number"])}
        return [each for each in documents if each["_id"] not in stored]

    @staticmethod
    def _must_wait(view: View, first: int) -> bool:
        """Say whether somebody posts the same messages now, who may yet fail."""
        return any(
            reservation["first"] != first and _has(reservation, each["number"])
            for reservation in view.queue["posting"]
            for each in view.found
        )

    # Release --------------------------------------------------------------------------

    def _release(
        self,
        name: str,
        first: int,
        documents: Sequence[Document],
        inserted: int,
        due: float | None,
    ) -> None:
        """Make them visible; `due`: when the first one is to be told, if any is."""
        # If less was inserted, nobody else could tell that this is all.
        is_whole = inserted == len(documents)
        told = {} if due is None else owing(due)
        added = {"total": inserted} | told.pop("$inc", {})
        done = (self._soon if is_whole else self._surely).update_one(
            {"_id": name, "live": True, "posting.first": first},
            {"$pull": {"posting": {"first": first}}, "$inc": added, **told},
        )
        if not done.matched_count:
            self._check(name, first, documents)

    def _check(self, name: str, first: int, documents: Sequence[Document]) -> None:
        """Find out what became of a reservation that is there no more."""
        try:
            view = self._reading.view(name)
            buried, base = view.queue["buried"], view.base
        except QueueNotFound:
            buried, base = [], first
        if any(each["first"] == first and each["kept"] for each in buried):
            return
        # Not what somebody else has stored by now under the same ids.
        self._messages.delete_many(exactly(name, documents), hint=BY_ID)
        self._notices.remove(name, first, first + len(documents) - 1)
        if first <= base:
            raise QueueNotFound(key_of(name).name)
        raise StorageUnavailable("The post took too long and was dropped.")

    # What dead writers leave ----------------------------------------------------------

    def bury(self, name: str, view: View) -> None:
        """End the oldest reservation of the queue, whose writer has died."""
        self._bury(name, view, view.queue["posting"][0])

    def _give_up(self, name: str, first: int) -> None:
        """End a reservation of this process, so that nobody has to wait for it."""
        # The caller has waited long enough.
        with suppress(PyMongoError, QueueNotFound), pymongo.timeout(GIVING_UP):
            view = self._reading.view(name)
            for each in view.queue["posting"]:
                if each["first"] == first:
                    self._bury(name, view, each)

    def _bury(self, name: str, view: View, reservation: Document) -> None:
        """Release a reservation if all its messages are there, else drop them.

        That is noted, lest the writer comes back and inserts something still. What
        earlier ones have inserted so is removed before their notes are.
        """
        first, count = reservation["first"], reservation["count"]
        last = first + count - 1
        for dropped in view.dropped:
            self._drop(name, *dropped)
        its = _between(name, first, last)
        kept = self._messages.count_documents(its) == count
        entry = {"first": first, "last": last, "kept": kept, "at": "$$NOW"}
        done = self._surely.update_one(
            {"_id": name, "live": True, "posting.first": first}, _burial(entry)
        )
        if done.matched_count and not kept:
            self._drop(name, first, last)

    def _drop(self, name: str, first: int, last: int) -> None:
        self._messages.delete_many(_between(name, first, last))
        self._notices.remove(name, first, last)


def _between(name: str, first: int, last: int) -> Document:
    return {
        "queue": name,
        "state": {"$in": STATES},
        "number": {"$gte": first, "$lte": last},
    }


def _burial(entry: Document) -> Pipeline:
    others = {"$ne": ["$$this.first", entry["first"]]}
    young = {"$gt": ["$$this.at", {"$subtract": ["$$NOW", FORGIVEN]}]}
    remembered = {"$filter": {"input": "$buried", "cond": young}}
    return [
        {
            "$set": {
                "posting": {"$filter": {"input": "$posting", "cond": others}},
                "buried": {"$concatArrays": [remembered, [entry]]},
                "total": {"$add": ["$total", _size(entry)]},
                # Its notices may wait since any time, if somebody watches.
                "owes": {"$cond": ["$watched", 0.0, "$$REMOVE"]},
                "told": {"$cond": ["$watched", {"$add": ["$told", 1]}, "$$REMOVE"]},
            }
        }
    ]


def _size(entry: Document) -> int:
    """Return how many messages become visible."""
    size: int = entry["last"] - entry["first"] + 1
    return size if entry["kept"] else 0


def _same(name: str, documents: Sequence[Document]) -> Stage:
    ids = [each["_id"] for each in documents]
    return of_messages(
        {"$match": {"queue": name, "_id": {"$in": ids}}},
        {"$project": {"number": 1, "state": 1, "move": 1}},
    )


def _is_trace(found: Document, moves: dict[str, str | None]) -> bool:
    """Say whether this is only what is left of an earlier message with the id.

    But a dead letter that has arrived by the same move, and is gone, has arrived.
    """
    move = moves[found["_id"]]
    has_arrived = move is not None and found.get("move") == move
    return bool(found["state"] == GONE) and not has_arrived


def _has(reservation: Document, number: int) -> bool:
    first: int = reservation["first"]
    return first <= number < first + int(reservation["count"])

# SPDX-License-Identifier: Apache-2.0
"""How many messages a queue has, without counting them and without transactions.

The queue's document has `total` and `claimed`. A message that is taken, set free or
removed changes by itself alone; in the same write it notes in `uncounted` that the
queue does not know of it yet. Numbers that are shown are those of the queue, corrected
by the few messages that have a note. Now and then a count moves the notes into the
queue's numbers, and removes from the collection what is gone.

A message contributes NOTHING, ONE (in total) or HELD (in total and claimed).
`counted` is what the queue's numbers hold of it (absent: ONE), and `uncounted` is
3 * counted + what it really contributes, there only where the two differ or where
the message is gone.

A count is made of two steps, each of which can be repeated: the queue's document takes
the sums together with the list of the messages they came from (`count`), in one write
that succeeds only if nobody counted in between (`counts`); then the messages learn what
was counted of them, and by which count (`learned`). Whoever finds a list does the
second step; who comes late with it teaches nothing to messages that know better.
"""

import time
from collections import defaultdict
from math import inf
from typing import Any

from pymongo import UpdateMany

from zaqar.model import QueueKey
from zaqar.storage.mongodb.documents import (
    CLAIMED,
    ENDLESS,
    FORGOTTEN,
    GONE,
    LEAVING,
    NO_NOTE,
    Document,
    Pipeline,
    key_of,
    name_of,
)
from zaqar.storage.mongodb.reading import BY_ID, View, exactly

NOTHING, ONE, HELD = range(3)
# The condition that `uncounted` is a note.
NOTES: Document = {"$gte": 0, "$lt": NO_NOTE}
# So many notes at most are moved at once.
CHUNK = 1000
# So many milliseconds what was popped keeps its note at least.
POPPING = 2000
OF_QUEUE = {
    "base": 1,
    "posting": {"$slice": 1},
    "buried": 1,
    "counts": 1,
    "count": 1,
}
NOTED = {"queue": 1, "number": 1, "state": 1, "uncounted": 1, "move": 1, "origin": 1}
# After so many changes of a queue by this process it counts.
CHANGES = 500
# So many notes make statistics dearer than a count; seconds until they are met again,
# for some may have to stay.
MANY_NOTES = 100
AGAIN = 1.0
# So many queues are remembered at most.
MANY = 10_000

COUNTED = {"$ifNull": ["$counted", ONE]}


def noted(contribution: int | Document) -> Document:
    """Return the expression of what `uncounted` becomes; absent if all is counted."""
    note = {"$add": [{"$multiply": [3, COUNTED]}, contribution]}
    return {"$cond": [{"$eq": [COUNTED, contribution]}, "$$REMOVE", note]}


def note(counted: int, contribution: int) -> int:
    """Return what `uncounted` becomes where the two differ."""
    return 3 * counted + contribution


# A message goes; its note stays even if it was never counted, or it would never leave.
GOES: Pipeline = [
    {"$set": {"state": GONE, "uncounted": {"$multiply": [3, COUNTED]}}},
    {"$unset": FORGOTTEN},
]
# The condition that no count has told a message what is known of it; what GOES is then.
FRESH: Document = {"counted": {"$exists": False}}
GOES_FRESH: Document = {
    "$set": {"state": GONE, "uncounted": note(ONE, NOTHING)},
    "$unset": dict.fromkeys(FORGOTTEN, 1),
}


def is_fresh(document: Document) -> bool:
    """Say whether no count can change what is known of it, as long as it is FRESH."""
    return "counted" not in document


def difference(uncounted: int) -> tuple[int, int]:
    """Return by how much total and claimed change when a note is counted."""
    counted, real = divmod(uncounted, 3)
    return (real > NOTHING) - (counted > NOTHING), (real == HELD) - (counted == HELD)


def sums(notes: list[tuple[int, int]]) -> tuple[int, int]:
    """Add up notes, each with how often it is there."""
    total = claimed = 0
    for uncounted, times in notes:
        more, held = difference(uncounted)
        total += more * times
        claimed += held * times
    return total, claimed


class Counting:
    """Counts queues; shared by the threads of a process."""

    def __init__(self, database: Any) -> None:
        self._queues = database.queues
        self._messages = database.messages
        self._changes: dict[str, int] = {}
        self._met: dict[str, float] = {}

    def changed(self, name: str, messages: int) -> None:
        """Note that messages have changed, and count if they are enough."""
        # NOTE: threads may lose each other's numbers here; nothing depends on them.
        changes = self._changes.get(name, 0) + messages
        if changes < CHANGES:
            self._changes[name] = changes
            return
        self._changes.pop(name, None)
        self.count(name)

    def met(self, name: str, notes: int) -> None:
        """Count a queue in which so many notes were met, if they are in the way."""
        since = time.monotonic() - self._met.get(name, -inf)
        if notes < MANY_NOTES or since < AGAIN:
            return
        if len(self._met) >= MANY:
            self._met.clear()
        self._met[name] = time.monotonic()
        self.count(name)

    def count(self, name: str) -> int:
        """Count what is uncounted, a chunk at most; return how much it was."""
        queue = self._queues.find_one({"_id": name, "live": True}, OF_QUEUE)
        if queue is None:
            return 0
        if "count" in queue:
            self.finish(name, queue["count"])
        notes = list(self._messages.find(*_countable(name, queue)))
        # What is visible is told by the search already.
        view = View(queue, notes, relaxed=True)
        if view.old:
            self._messages.delete_many(exactly(name, view.old), hint=BY_ID)
        found = view.visible
        if not found:
            return 0
        self._conclude_moves(found)
        total, claimed = sums([(each["uncounted"], 1) for each in found])
        counted = {
            "id": queue["counts"] + 1,
            "top": max(each["number"] for each in found),
            "of": _by_contribution(found),
        }
        done = self._queues.update_one(
            {
                "_id": name,
                "live": True,
                "counts": queue["counts"],
                "count": {"$exists": False},
            },
            {
                "$inc": {"counts": 1, "total": total, "claimed": claimed},
                "$set": {"count": counted},
            },
        )
        if done.matched_count:
            self.finish(name, counted)
        return len(found)

    def finish(self, name: str, count: Document) -> None:
        """Let messages know that they were counted; safe to do twice, and late."""
        *learning, gone = count["of"]
        # An id that is stored anew has a higher number.
        same = {"queue": name, "number": {"$lte": count["top"]}}
        if gone:
            whole = same | {"_id": {"$in": gone}, "state": GONE}
            self._messages.delete_many(whole, hint=BY_ID)
        # Who is late finds messages that a later count has taught already.
        unaware = same | {"learned": {"$not": {"$gte": count["id"]}}}
        learn = [
            UpdateMany(
                unaware | {"_id": {"$in": ids}},
                _learns(contribution, count["id"]),
                hint=BY_ID,
            )
            for contribution, ids in enumerate(learning)
            if ids
        ]
        if learn:
            self._messages.bulk_write(learn)
        self._queues.update_one(
            {"_id": name, "count.id": count["id"]}, {"$unset": {"count": 1}}
        )

    def _conclude_moves(self, found: list[Document]) -> None:
        """Let dead letters that have come and gone leave the queues they came from.

        Their traces, which are about to be removed, tell a mover that they arrived.
        """
        moves: dict[tuple[str, str], list[str]] = defaultdict(list)
        for each in found:
            if each["state"] == GONE and "move" in each:
                key = key_of(each["queue"])
                source = name_of(QueueKey(key.project, each["origin"]))
                id = each["_id"].removeprefix(each["queue"])
                moves[source, each["move"]].append(source + id)
        for (source, move), ids in moves.items():
            left = {"queue": source, "_id": {"$in": ids}, "state": LEAVING}
            self._messages.update_many(left | {"leaving.move": move}, GOES, hint=BY_ID)


def _countable(name: str, queue: Document) -> tuple[Document, Document, int, int]:
    """Return the arguments of the search for what has a note.

    But not for what cannot be seen yet, and not for what was popped just now: who
    popped it may have to look which of it was his.
    """
    posting = queue["posting"]
    horizon = posting[0]["first"] if posting else ENDLESS
    wanted = {
        "queue": name,
        "uncounted": NOTES,
        "number": {"$lt": horizon},
        # What was never popped is less than any instant.
        "$expr": {"$lt": ["$popped_at", {"$subtract": ["$$NOW", POPPING]}]},
    }
    return wanted, NOTED, 0, CHUNK


def _by_contribution(found: list[Document]) -> list[list[str]]:
    """Return the `_id`s of what contributes NOTHING, ONE and HELD, and of what is gone.

    LEAVING contributes nothing, too, but stays until it has left.
    """
    lists: list[list[str]] = [[], [], [], []]
    for each in found:
        place = 3 if each["state"] == GONE else each["uncounted"] % 3
        lists[place].append(each["_id"])
    return lists


def _learns(contribution: int, count: int) -> Pipeline:
    real = {
        "$switch": {
            "branches": [
                {"case": {"$in": ["$state", [GONE, LEAVING]]}, "then": NOTHING},
                {"case": {"$eq": ["$state", CLAIMED]}, "then": HELD},
            ],
            "default": ONE,
        }
    }
    note = {"$add": [3 * contribution, real]}
    is_known = {
        "$and": [{"$eq": [contribution, real]}, {"$ne": ["$state", GONE]}],
    }
    return [
        {
            "$set": {
                "counted": contribution,
                "learned": count,
                "uncounted": {"$cond": [is_known, "$$REMOVE", note]},
            }
        }
    ]

# SPDX-License-Identifier: Apache-2.0
"""The numbers of a queue, read in one trip.

First the queue's document is read, then the notes of messages that it does not know of
(see counting.py), then its document once more. If nobody counted in between, or was
about to tell messages what was counted, its sums and the notes belong together.
"""

from collections.abc import Callable, Sequence
from typing import Any

from zaqar.model import Landmark, QueueKey, QueueStats
from zaqar.storage.mongodb.counting import NOTES, Counting, sums
from zaqar.storage.mongodb.documents import Document, name_of
from zaqar.storage.mongodb.ends import FEW, NEWEST, OLDEST, Ends, Search, living
from zaqar.storage.mongodb.gathering import Gathering
from zaqar.storage.mongodb.reading import Stage, View, of_messages
from zaqar.storage.mongodb.viewing import Viewing

AGAIN = {
    "total": 1,
    "claimed": 1,
    "counts": 1,
    "count": 1,
    "posting": 1,
    "is_again": {"$literal": 1},
}


def noted_in(name: str) -> Document:
    return {"queue": name, "uncounted": NOTES}


def parts(name: str, *, few: bool = False) -> list[Stage]:
    """Return the parts that read the notes, one by one if they are few, and the queue
    again."""
    found: list[Stage] = [
        {"$match": noted_in(name)},
        # Left to itself the server may take the places of the whole queue.
        {"$sort": {"uncounted": 1, "popped_at": 1, "number": 1}},
    ]
    if few:
        # All of it is in the index.
        shown = {"_id": 0, "uncounted": 1, "number": 1}
        found += [{"$limit": FEW}, {"$project": shown}]
    else:
        times, first, last = {"$sum": 1}, {"$min": "$number"}, {"$max": "$number"}
        group = {"_id": "$uncounted", "times": times, "first": first, "last": last}
        found.append({"$group": group})
    again = [{"$match": {"_id": name}}, {"$project": AGAIN}]
    return [
        of_messages(*found),
        {"$unionWith": {"coll": "queues", "pipeline": again}},
    ]


class Statistics:
    def __init__(
        self, database: Any, viewing: Viewing, counting: Counting, ends: Ends
    ) -> None:
        self._messages = database.messages
        self._viewing = viewing
        self._counting = counting
        self._ends = ends
        self._gathering: Gathering[float, QueueStats] = Gathering()

    def read(self, key: QueueKey, now: float) -> QueueStats:
        def send(instants: list[float]) -> list[QueueStats]:
            return [self._read(name_of(key), max(instants))] * len(instants)

        return self._gathering.join(key, now, send)

    def _read(self, name: str, now: float) -> QueueStats:
        while True:
            search = self._ends.search(name)
            notes = parts(name, few=search.few)
            view = self._viewing.view(name, now, *notes, *search.parts(name))
            found = Found(view, search)
            if found.is_cut:
                self._ends.crowd(name)
            elif found.pending is not None:
                self._counting.finish(name, found.pending)
            elif found.is_of_one_count and self._ends.is_right(name, search, view):
                break
        unseen = self._notes(name, found.unseen)
        stats = found.stats(name, self._outermost, unseen)
        self._ends.learn(name, search, view, found.ends)
        if found.noted >= FEW:
            self._ends.crowd(name)
        self._counting.met(name, found.noted)
        return stats

    def _notes(self, name: str, conditions: list[Document]) -> list[int]:
        """Return the notes of messages under any of the conditions."""
        if not conditions:
            return []
        wanted = noted_in(name) | {"$or": conditions}
        found = self._messages.find(wanted, {"_id": 0, "uncounted": 1})
        return [each["uncounted"] for each in found]

    def _outermost(self, wanted: Document, direction: int) -> Document | None:
        found: Document | None = self._messages.find_one(
            wanted, {"created": 1, "number": 1}, sort=[("number", direction)]
        )
        return found


class Found:
    """What the parts have found."""

    def __init__(self, view: View, search: Search) -> None:
        self._view = view
        self._search = search
        self._notes: list[Document] = []
        self.ends: list[Document] = []
        self._again: Document = {}
        for each in view.found:
            if "uncounted" in each:
                number = each["number"]
                note = {"_id": each["uncounted"], "first": number, "last": number}
                self._notes.append(note | {"times": 1})
            elif "times" in each:
                self._notes.append(each)
            elif "is_again" in each:
                self._again = each
            else:
                self.ends.append(each)

    @property
    def is_cut(self) -> bool:
        """Whether there may be more than a few that were read one by one."""
        newest = [each for each in self.ends if each["direction"] == NEWEST]
        return self._search.few and FEW in (len(self._notes), len(newest))

    @property
    def noted(self) -> int:
        """How many notes were added up."""
        return sum(each["times"] for each in self._notes)

    @property
    def pending(self) -> Document | None:
        """The list of a count that has not told the messages yet."""
        return self._again.get("count")

    @property
    def is_of_one_count(self) -> bool:
        before = self._view.queue
        is_quiet = "count" not in before and "count" not in self._again
        return is_quiet and bool(self._again.get("counts") == before["counts"])

    @property
    def unseen(self) -> list[Document]:
        """The conditions under which notes do not count, if there may be such notes.

        A message of an earlier life may be left, or of a post that was dropped; and one
        may end before its post does.
        """
        # What is on its way is known from the later reading: what was released since
        # the earlier one is in the total.
        coming = [
            (each["first"], each["first"] + each["count"] - 1)
            for each in self._again.get("posting", ())
        ]
        ranges = [(0, self._view.base), *self._view.dropped, *coming]
        return [
            {"number": {"$gte": first, "$lte": last}}
            for first, last in ranges
            if any(
                each["first"] <= last and each["last"] >= first for each in self._notes
            )
        ]

    def stats(
        self,
        name: str,
        look: Callable[[Document, int], Document | None],
        unseen: Sequence[int],
    ) -> QueueStats:
        """`look` finds the outermost message of a condition in a direction; `unseen`
        are notes that do not count."""
        notes = [(each["_id"], each["times"]) for each in self._notes]
        total, claimed = sums([*notes, *((note, -1) for note in unseen)])
        total += self._again["total"]
        claimed += self._again["claimed"]
        if total <= 0:
            return QueueStats()
        oldest, newest = (
            self._visible_end(name, direction, look) for direction in (OLDEST, NEWEST)
        )
        if oldest is None or newest is None:
            return QueueStats()
        return QueueStats(
            total, max(claimed, 0), _landmark(name, oldest), _landmark(name, newest)
        )

    def _visible_end(
        self,
        name: str,
        direction: int,
        look: Callable[[Document, int], Document | None],
    ) -> Document | None:
        view = self._view
        mine = (each for each in self.ends if each["direction"] == direction)
        found = min(mine, key=lambda each: direction * each["number"], default=None)
        if found is None and not self._search.may_miss(direction):
            return None
        if found is not None and view.can_see(found["number"]):
            return found
        first = max(view.base + 1, self._search.oldest)
        between = {"$gte": first, "$lt": view.horizon}
        return look(living(name) | {"number": between}, direction)


def _landmark(name: str, document: Document) -> Landmark:
    return Landmark(document["_id"].removeprefix(name), document["created"])

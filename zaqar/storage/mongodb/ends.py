# SPDX-License-Identifier: Apache-2.0
"""Finds the oldest and the newest message that lives in a queue.

What was removed from an index is passed for some minutes (see floors.py). So a process
remembers what it has found: what has ended does not come back, and new messages come
behind all others. So nothing lives below the oldest one; and if anything is found that
is not below the newest one, what was newest since is there too.
"""

import time
from math import inf
from typing import NamedTuple

from zaqar.storage.mongodb.documents import CLAIMED, DELAYED, FREE, Document
from zaqar.storage.mongodb.floors import LASTING, MANY, Floor, Floors
from zaqar.storage.mongodb.reading import Stage, View, of_messages

OLDEST, NEWEST = 1, -1
# Seconds for which not much can have been claimed above the newest one.
SOON = 1.0
# So many messages are read at most to find the last of them, and so many notes one by
# one. PERF: where the server need not tell the last one, nor add up, and the ends are
# two parts instead of four, it takes 23 % less for statistics.
FEW = 30


def living(name: str, *states: int) -> Document:
    return {"queue": name, "state": {"$in": list(states or (FREE, DELAYED, CLAIMED))}}


class Search(NamedTuple):
    """Where the ends are looked for."""

    floor: Floor | None = None
    # Nothing lives below this number, known since `at`, when so many times messages had
    # come free at their old places.
    oldest: int = 0
    at: float = 0.0
    freed: int = 0
    # The last number that was seen to live, and when.
    newest: int = 0
    seen: float = 0.0
    # When more than a few were found the last time.
    crowded: float = -inf
    # Whether a few are expected.
    few: bool = False

    def parts(self, name: str) -> list[Stage]:
        """Return the parts that read the ends.

        Each state has a place of its own in the index. Of what is free it is
        known best where it begins. Above what is claimed lies what was taken and
        removed, so that is read from the newest one that was seen, up to the wall.
        """
        return [*self._oldest(name), *self._newest(name)]

    def _oldest(self, name: str) -> list[Stage]:
        held = living(name, DELAYED, CLAIMED) | _from(self.oldest)
        if self.floor is None:
            free = living(name, FREE) | _from(self.oldest)
            return [_end(free, OLDEST), _end(held, OLDEST)]
        free = living(name, FREE) | _from(max(self.oldest, self.floor.number + 1))
        return [_end({"$or": [free, held]}, OLDEST)]

    def _newest(self, name: str) -> list[Stage]:
        first = _from(max(self.oldest, self.newest))
        if self.few:
            return [_end(living(name) | first, NEWEST, few=True)]
        claimed = _last if time.monotonic() - self.seen < SOON else _end
        return [
            _end(living(name, FREE, DELAYED) | first, NEWEST),
            claimed(living(name, CLAIMED) | first, NEWEST),
        ]

    def may_miss(self, direction: int) -> bool:
        """Say whether there may be an end though none was found."""
        return direction == NEWEST and self.newest > self.oldest


def _from(number: int) -> Document:
    return {"number": {"$gte": number}}


def _end(wanted: Document, direction: int, *, few: bool = False) -> Stage:
    """Return the part that reads the outermost message, or all upwards if they are
    few."""
    return of_messages(
        {"$match": wanted},
        {"$sort": {"number": 1 if few else direction}},
        {"$limit": FEW if few else 1},
        {"$project": _shown(direction)},
    )


def _last(wanted: Document, direction: int) -> Stage:
    """Return the part that goes there upwards."""
    return of_messages(
        {"$match": wanted},
        {"$sort": {"number": 1}},
        {"$group": {"_id": 0, "last": {"$last": "$$ROOT"}}},
        {"$replaceRoot": {"newRoot": "$last"}},
        {"$project": _shown(direction)},
    )


def _shown(direction: int) -> Document:
    return {
        "created": 1,
        "number": 1,
        "state": 1,
        "direction": {"$literal": direction},
    }


class Ends:
    """Shared by the threads of a process; `relaxed` posts may arrive below an end."""

    def __init__(self, floors: Floors, *, relaxed: bool) -> None:
        self._floors = floors
        self._relaxed = relaxed
        self._known: dict[str, Search] = {}

    def search(self, name: str) -> Search:
        known = self._known.get(name, Search())
        now = time.monotonic()
        if now - known.at > LASTING:
            known = known._replace(oldest=0, at=now)
        few = now - known.seen < SOON and now - known.crowded > LASTING
        return known._replace(floor=self._floors.of(name), few=few)

    def is_right(self, name: str, search: Search, view: View) -> bool:
        """Say whether nothing has come free below where a search began; if it has,
        forget that.

        A message that is released between the parts of one reading is in neither end.
        """
        if search.oldest and search.freed != view.freed:
            self._known.pop(name, None)
            return False
        floor = search.floor
        return floor is None or self._floors.is_right(name, floor, view)

    def crowd(self, name: str) -> None:
        """Remember that there are more than a few, for a while."""
        known = self._known.get(name, Search())
        self._known[name] = known._replace(crowded=time.monotonic())

    def learn(
        self, name: str, search: Search, view: View, found: list[Document]
    ) -> None:
        """Remember what a search has found: all of it, if it can be seen."""
        if not all(view.can_see(each["number"]) for each in found):
            return
        numbers = [each["number"] for each in found]
        oldest = 0 if self._relaxed else min([*numbers, view.horizon])
        if len(self._known) >= MANY:
            self._known.clear()
        self._known[name] = search._replace(
            floor=None,
            oldest=oldest,
            freed=view.freed,
            newest=max(numbers, default=oldest),
            seen=time.monotonic(),
        )
        if search.floor is None and not view.can_delay:
            free = [each["number"] for each in found if each["state"] == FREE]
            self._floors.learn(name, None, view, min(free, default=None))

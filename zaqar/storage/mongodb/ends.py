# SPDX-License-Identifier: Apache-2.0
"""Finds the oldest and the newest message that lives in a queue.

What was removed from an index is passed for some minutes (see floors.py). So a process
remembers what it has found: what has ended does not come back, and new messages come
behind all others. So nothing lives below the oldest one; and if anything is found that
is not below the newest one, what was newest since is there too.
"""

import time
from typing import NamedTuple

from zaqar.storage.mongodb.documents import CLAIMED, DELAYED, FREE, Document
from zaqar.storage.mongodb.floors import LASTING, MANY, Floor, Floors
from zaqar.storage.mongodb.reading import Stage, View, of_messages

OLDEST, NEWEST = 1, -1
# Seconds for which not much can have been claimed above the newest one.
SOON = 1.0


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

    def parts(self, name: str) -> list[Stage]:
        """Return the parts that read the ends.

        Each state has a place of its own in the index. Of what is free it is
        known best where it begins. Above what is claimed lies what was taken and
        removed, so that is read from the newest one that was seen, up to the wall.
        """
        free = max(self.oldest, self.floor.number + 1 if self.floor else 0)
        newest = max(self.oldest, self.newest)
        claimed = _last if time.monotonic() - self.seen < SOON else _end
        return [
            _end(living(name, FREE), free, OLDEST),
            _end(living(name, DELAYED, CLAIMED), self.oldest, OLDEST),
            _end(living(name, FREE, DELAYED), newest, NEWEST),
            claimed(living(name, CLAIMED), newest, NEWEST),
        ]

    def may_miss(self, direction: int) -> bool:
        """Say whether there may be an end though none was found."""
        return direction == NEWEST and self.newest > self.oldest


def _end(wanted: Document, first: int, direction: int) -> Stage:
    """Return the part that reads the outermost message from a number on."""
    return of_messages(
        {"$match": wanted | {"number": {"$gte": first}}},
        {"$sort": {"number": direction}},
        {"$limit": 1},
        {"$project": _shown(direction)},
    )


def _last(wanted: Document, first: int, direction: int) -> Stage:
    """Return the part that goes there upwards."""
    return of_messages(
        {"$match": wanted | {"number": {"$gte": first}}},
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
        if time.monotonic() - known.at > LASTING:
            known = known._replace(oldest=0, at=time.monotonic())
        return known._replace(floor=self._floors.of(name))

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
        newest = max(numbers, default=oldest)
        self._known[name] = Search(
            None, oldest, search.at, view.freed, newest, time.monotonic()
        )
        free = [each["number"] for each in found if each["state"] == FREE]
        if not view.can_delay:
            self._floors.learn(name, search.floor, view, min(free, default=None))

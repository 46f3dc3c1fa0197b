# SPDX-License-Identifier: Apache-2.0
"""Below which number a queue has nothing that can be taken, as far as a process knows.

A server keeps what was removed from an index for a while (`minSnapshotHistoryWindow
InSeconds`, five minutes), and who looks for the oldest message that is free passes all
that was taken meanwhile. So a process remembers where it has found the first one.

Messages that come free again at their old places are announced by a number in the
queue's document (`freed`), which is read with each view. Announcements wait for no
majority, and one that was lost, with its service or in a failover, is made up for:
floors are forgotten after some seconds.
Without that a claim costs the more, the more was taken in those minutes.
"""

import time
from typing import Any, NamedTuple

from pymongo import WriteConcern

from zaqar.storage.mongodb.reading import View

# Seconds after which a floor is looked for again.
LASTING = 5.0
# So many queues are remembered at most.
MANY = 10_000


class Floor(NamedTuple):
    number: int
    # What the queue was when it was found.
    revision: str
    freed: int
    at: float


class Floors:
    """Shared by the threads of a process; `relaxed` posts may arrive below a floor."""

    def __init__(self, database: Any, *, relaxed: bool) -> None:
        self._soon = database.queues.with_options(write_concern=WriteConcern(1))
        self._relaxed = relaxed
        self._floors: dict[str, Floor] = {}

    def of(self, name: str) -> Floor | None:
        floor = self._floors.get(name)
        if floor is None or time.monotonic() - floor.at > LASTING:
            return None
        return floor

    def is_right(self, name: str, floor: Floor, view: View) -> bool:
        """Say whether a floor held when the view was read; if not, forget it."""
        queue = view.queue
        if (floor.revision, floor.freed) == (queue["revision"], view.freed):
            return True
        self._floors.pop(name, None)
        return False

    def learn(
        self, name: str, floor: Floor | None, view: View, first: int | None
    ) -> None:
        """Remember the first number that a view has shown to be free, if there was one;
        it began at the floor, or at the bottom."""
        if self._relaxed:
            return
        # Nothing is free below the first one, and nothing comes there by a post.
        queue = view.queue
        if first is None:
            first = queue["last"] + 1
        number = min(first, view.horizon) - 1
        at = time.monotonic() if floor is None else floor.at
        if len(self._floors) >= MANY:
            self._floors.clear()
        self._floors[name] = Floor(number, queue["revision"], view.freed, at)

    def announce(self, name: str) -> None:
        """Let everybody know that messages have come free at old places."""
        self._floors.pop(name, None)
        self._soon.update_one({"_id": name}, {"$inc": {"freed": 1}})

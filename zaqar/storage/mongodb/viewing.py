# SPDX-License-Identifier: Apache-2.0
"""Reads a queue as it is at an instant: what is due is done first, what is in the way
is removed, and each caller sees the states of messages that it can.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from zaqar.storage.mongodb.documents import CLAIMED, DELAYED, FREE, Document, is_live
from zaqar.storage.mongodb.floors import Floors
from zaqar.storage.mongodb.posting import Posting
from zaqar.storage.mongodb.reading import (
    BY_ID,
    Reading,
    Stage,
    View,
    behind,
    exactly,
    held_by,
)
from zaqar.storage.mongodb.settling import Settling

# Seconds for which a call does what must be done first, or does in steps. If that is
# not enough, it is refused, and the next one goes on.
LONG = 4.0
# Seconds for which it is known when something is due.
LOOKING = 0.5
# So many queues are remembered at most.
MANY = 10_000


class Kind(NamedTuple):
    """What decides which messages can be taken."""

    delays: bool
    can_delay: bool


PLAIN = Kind(False, False)


class Wake(NamedTuple):
    looked: float
    next: float


class Wakes:
    """When something is due in queues, as far as a process knows.

    Claims and delays last a second at least, so what others do meanwhile is not due
    before this is looked up again. What has a time of its own that is over is seen by
    whoever finds it.

    The index of what is due is a search more, and not a cheap one: what was taken is
    removed at its beginning.
    """

    def __init__(self) -> None:
        self._wakes: dict[str, Wake] = {}

    def is_asleep(self, name: str, now: float) -> bool:
        """Say whether nothing can be due."""
        wake = self._wakes.get(name)
        if wake is None:
            return False
        return wake.looked <= now < min(wake.looked + LOOKING, wake.next)

    def learn(self, name: str, now: float, next_due: float) -> None:
        if len(self._wakes) >= MANY:
            self._wakes.clear()
        self._wakes[name] = Wake(now, next_due)

    def forget(self, name: str) -> None:
        self._wakes.pop(name, None)


class Viewing:
    """Shared by the threads of a process."""

    def __init__(
        self,
        database: Any,
        reading: Reading,
        settling: Settling,
        posting: Posting,
        floors: Floors,
    ) -> None:
        self._messages = database.messages
        self._reading = reading
        self._settling = settling
        self._posting = posting
        self._floors = floors
        # It is checked whenever it is used.
        self._kinds: dict[str, Kind] = {}
        self._wakes = Wakes()

    def view(
        self, name: str, now: float, *parts: Stage, claims: Sequence[str] = ()
    ) -> View:
        """Read the queue and what the parts find, when nothing is due any more.

        Raises QueueNotFound, as all here.
        """
        while True:
            knows = self._wakes.is_asleep(name, now)
            view = self._reading.view(name, *parts, due=not knows, claims=claims)
            if not knows:
                self._wakes.learn(name, now, view.next_due)
            if knows and any(each.get("due", now + 1) <= now for each in view.found):
                self._wakes.forget(name)
            elif view.next_due <= now:
                self._settling.settle(name, now, LONG)
            elif view.is_dead:
                self._posting.bury(name, view)
            else:
                return view

    def view_behind(
        self,
        name: str,
        after: int,
        limit: int,
        now: float,
        *,
        claimed: bool = False,
        delayed: bool = False,
        claims: Sequence[str] = (),
    ) -> View:
        """Read the queue and the first messages behind a number.

        With `claims`, see whether one of them holds a message.
        """
        while True:
            kind = self._kinds.get(name, PLAIN)
            states = [FREE]
            if kind.can_delay and (delayed or not kind.delays):
                states.append(DELAYED)
            if claimed:
                states.append(CLAIMED)
            # Of messages that can be taken it may be known where they begin.
            knows = not claimed and not delayed
            floor = self._floors.of(name) if knows else None
            if floor is not None and floor.number <= after:
                floor = None
            part = behind(name, floor.number if floor else after, limit, states)
            view = self.view(name, now, part, claims=claims)
            if floor is not None and not self._floors.is_right(name, floor, view):
                continue
            if kind != (found := Kind(view.queue["delays"], view.can_delay)):
                self._kinds[name] = found
            elif view.old:
                # What a deleted queue or a dropped post has left is in the way.
                self._messages.delete_many(exactly(name, view.old), hint=BY_ID)
            else:
                if knows and (floor is not None or after == 0):
                    first = view.found[0]["number"] if view.found else None
                    self._floors.learn(name, floor, view, first)
                return view

    def held_by(self, name: str, claim: str, now: float) -> list[Document]:
        """Return the messages of a live claim; none if there is no such claim."""
        view = self._reading.view(name, held_by(name, claim))
        return [
            each for each in view.visible if is_live(each, now) and each["until"] > now
        ]

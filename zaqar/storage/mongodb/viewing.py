# SPDX-License-Identifier: Apache-2.0
"""Reads a queue as it is at an instant: what is due is done first, what is in the way
is removed, and each caller sees the states of messages that it can.
"""

from typing import Any

from zaqar.storage.mongodb.documents import CLAIMED, Document, is_live
from zaqar.storage.mongodb.posting import Posting
from zaqar.storage.mongodb.reading import (
    BY_ID,
    Reading,
    Stage,
    View,
    behind,
    exactly,
    held_by,
    waiting,
)
from zaqar.storage.mongodb.settling import Settling

# Seconds for which a call does what must be done first, or does in steps. If that is
# not enough, it is refused, and the next one goes on.
LONG = 4.0


class Viewing:
    """Shared by the threads of a process."""

    def __init__(
        self, database: Any, reading: Reading, settling: Settling, posting: Posting
    ) -> None:
        self._messages = database.messages
        self._reading = reading
        self._settling = settling
        self._posting = posting
        self._delaying: set[str] = set()

    def view(
        self, name: str, now: float, *parts: Stage, claim: str | None = None
    ) -> View:
        """Read the queue and what the parts find, when nothing is due any more.

        Raises QueueNotFound, as all here.
        """
        while True:
            view = self._reading.view(name, *parts, due=now, claim=claim)
            if view.is_due:
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
        claim: str | None = None,
    ) -> View:
        """Read the queue and the first messages behind a number.

        With `claim`, see whether it holds a message.
        """
        while True:
            delays = name in self._delaying
            states = waiting(delays and not delayed) + [CLAIMED] * claimed
            view = self.view(name, now, behind(name, after, limit, states), claim=claim)
            if view.queue["delays"] != delays:
                self._learn(name, view.queue["delays"])
            elif view.old:
                # What a deleted queue or a dropped post has left is in the way.
                self._messages.delete_many(exactly(name, view.old), hint=BY_ID)
            else:
                return view

    def _learn(self, name: str, delays: bool) -> None:
        """Remember whether the queue delays; it is checked whenever it is used."""
        if delays:
            self._delaying.add(name)
        else:
            self._delaying.discard(name)

    def held_by(self, name: str, claim: str, now: float) -> list[Document]:
        """Return the messages of a live claim; none if there is no such claim."""
        view = self._reading.view(name, held_by(name, claim))
        return [
            each for each in view.visible if is_live(each, now) and each["until"] > now
        ]

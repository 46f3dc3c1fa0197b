# SPDX-License-Identifier: Apache-2.0
"""Pops messages of a queue: what is still free goes, message by message, and whoever
has lost some of what it read looks which it got.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import uuid4

from zaqar.model import Message
from zaqar.storage.mongodb.counting import (
    FRESH,
    GOES,
    GOES_FRESH,
    Counting,
    is_fresh,
)
from zaqar.storage.mongodb.documents import (
    DELAYED,
    FREE,
    Document,
    Pipeline,
    message_of,
)
from zaqar.storage.mongodb.gathering import Gathering
from zaqar.storage.mongodb.reading import BY_ID
from zaqar.storage.mongodb.turns import Turns
from zaqar.storage.mongodb.viewing import Viewing


class Pop(NamedTuple):
    limit: int
    now: float


class Popping:
    """Shared by the threads of a process."""

    def __init__(
        self, database: Any, viewing: Viewing, counting: Counting, turns: Turns
    ) -> None:
        self._messages = database.messages
        self._viewing = viewing
        self._counting = counting
        self._turns = turns
        self._gathering: Gathering[Pop, list[Message]] = Gathering()

    def pop(self, name: str, limit: int, now: float) -> list[Message]:
        """Remove the oldest messages, each for one caller."""

        def send(pops: list[Pop]) -> list[list[Message]]:
            with self._turns.turn(name):
                return self._pop_all(name, pops)

        return self._gathering.join(name, Pop(limit, now), send)

    def _pop_all(self, name: str, pops: Sequence[Pop]) -> list[list[Message]]:
        """Pop for each in turn; who gets nothing has found nothing."""
        answers: list[list[Message]] = []
        now = max(each.now for each in pops)
        while len(answers) < len(pops):
            rest = pops[len(answers) :]
            wanted = sum(each.limit for each in rest)
            found = self._viewing.view_behind(name, 0, wanted, now).visible
            popped = self._take(name, found) if found else []
            self._counting.changed(name, len(popped))
            is_all = len(popped) == len(found)
            for each in rest:
                if not (is_all or popped):
                    # Others were quicker.
                    break
                mine, popped = popped[: each.limit], popped[each.limit :]
                answers.append([message_of(document, now) for document in mine])
        return answers

    def _take(self, name: str, found: list[Document]) -> list[Document]:
        """Remove what was found; return what nobody else took before."""
        token = uuid4().hex
        ids = {"$in": [each["_id"] for each in found]}
        its = {"queue": name, "_id": ids}
        free: Document = {"state": {"$in": [FREE, DELAYED]}}
        may_be_fresh = all(map(is_fresh, found))
        if may_be_fresh:
            free |= FRESH
        popping = _popping(token, fresh=may_be_fresh)
        done = self._messages.update_many(its | free, popping, hint=BY_ID)
        if done.modified_count == len(found):
            return found
        mine = {each["_id"] for each in self._messages.find(its | {"popped": token})}
        return [each for each in found if each["_id"] in mine]


def _popping(token: str, *, fresh: bool) -> Document | Pipeline:
    if fresh:
        # PERF: the server takes 10 % less where it need not compute what is known.
        return {
            **GOES_FRESH,
            "$set": GOES_FRESH["$set"] | {"popped": token},
            "$currentDate": {"popped_at": True},
        }
    first, *rest = GOES
    return [{"$set": first["$set"] | {"popped": token, "popped_at": "$$NOW"}}, *rest]

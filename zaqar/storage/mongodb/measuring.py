# SPDX-License-Identifier: Apache-2.0
"""What the messages of a project come to, and how many subscriptions it has.

Read from the messages, some queues at a time; what is posted just then may be counted
before it is visible.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from zaqar.model import Usage
from zaqar.storage.mongodb.documents import CLAIMED, DELAYED, FREE, Document

LIVING = {"$in": [FREE, DELAYED, CLAIMED]}
# How many queues are looked at in one trip.
CHUNK = 200


class Measuring:
    def __init__(self, database: Any) -> None:
        self._queues = database.queues
        self._messages = database.messages
        self._subscriptions = database.subscriptions

    def measure(self, project: str, *, sizes: bool, now: float) -> Usage:
        """Return how many live messages there are, and with `sizes` their bytes."""
        messages = size = 0
        for some in self._some(project):
            for each in self._sums(some, now) if sizes else self._counts(some, now):
                messages += each["messages"]
                size += each.get("bytes", 0)
        return Usage(messages, size)

    def subscriptions(self, project: str, now: float) -> int:
        """Return how many live subscriptions there are."""
        total = 0
        for some in self._some(project, {"watched": {"$exists": True}}):
            theirs = [{"queue": q["_id"], "outbox": q["watched"]} for q in some]
            wanted = {"$or": theirs, "expires": {"$gt": now}}
            total += self._subscriptions.count_documents(wanted)
        return total

    def _some(
        self, project: str, which: Document | None = None
    ) -> Iterator[list[Document]]:
        wanted = {"project": project, "live": True} | (which or {})
        shown = {"base": 1, "ended": 1, "watched": 1}
        found = self._queues.find(wanted, shown)
        some: list[Document] = []
        for queue in found:
            some.append(queue)
            if len(some) == CHUNK:
                yield some
                some = []
        if some:
            yield some

    def _sums(self, some: Sequence[Document], now: float) -> list[Document]:
        wanted = _in(some) | {"state": LIVING, "expires": {"$gt": now}}
        sums = {"messages": {"$sum": 1}, "bytes": {"$sum": {"$binarySize": "$body"}}}
        return list(
            self._messages.aggregate(
                [{"$match": wanted}, {"$group": {"_id": None, **sums}}]
            )
        )

    def _counts(self, some: Sequence[Document], now: float) -> list[Document]:
        """Count by index: what lives by its state, without what has expired."""
        living = _in(some) | {"state": LIVING}
        # What has expired has been due since then or before.
        overdue = {"due": {"$gte": 0, "$lte": now}, "expires": {"$lte": now}}
        found = self._messages.count_documents(living)
        return [{"messages": found - self._messages.count_documents(living | overdue)}]


def _in(some: Sequence[Document]) -> Document:
    """Return the condition that a message is in one of the queues, in its present life:
    what is left of an earlier one has lower numbers."""
    reborn = [queue for queue in some if "ended" in queue]
    names = [queue["_id"] for queue in some if "ended" not in queue]
    lives = [{"queue": each["_id"], "number": {"$gt": each["base"]}} for each in reborn]
    if not lives:
        return {"queue": {"$in": names}}
    return {"$or": [{"queue": {"$in": names}}, *lives]}

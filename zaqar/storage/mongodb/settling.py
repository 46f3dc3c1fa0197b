# SPDX-License-Identifier: Apache-2.0
"""Does what the time has changed: messages and claims that end, delays that are over.

Whoever reads a queue does this first if something is due, so nobody depends on the
sweep. Each change is made by one write that also checks that it is still due: several
callers may settle at once, and each thing is collected by one of them.
"""

import time
from collections.abc import Callable
from math import inf
from typing import Any

from zaqar.errors import StorageUnavailable
from zaqar.storage.mongodb.counting import GOES, ONE, noted
from zaqar.storage.mongodb.documents import (
    CLAIM_FIELDS,
    CLAIMED,
    DELAYED,
    FREE,
    LEAVING,
    Document,
    Pipeline,
)
from zaqar.storage.mongodb.floors import Floors
from zaqar.storage.mongodb.reading import BY_ID

CHUNK = 1000
WHAT_IS_DUE = {"state": 1, "due": 1, "expires": 1, "until": 1, "head": 1, "leaving": 1}


def comes_free(now: float) -> Pipeline:
    """Return the update that takes messages out of a claim."""
    waits = {"$gt": ["$visible", now]}
    return [
        {
            "$set": {
                "state": {"$cond": [waits, DELAYED, FREE]},
                "due": {
                    "$cond": [waits, {"$min": ["$visible", "$expires"]}, "$expires"]
                },
                "uncounted": noted(ONE),
            }
        },
        {"$unset": CLAIM_FIELDS},
    ]


SHOWS: Pipeline = [
    {"$set": {"state": FREE, "due": "$expires"}},
    {"$unset": ["visible"]},
]


class Settling:
    """`move` brings messages that are LEAVING on their way again."""

    def __init__(
        self,
        database: Any,
        move: Callable[[str, list[Document], float], None],
        floors: Floors,
    ) -> None:
        self._messages = database.messages
        self._floors = floors
        self._move = move

    def settle(self, name: str, now: float, seconds: float = inf) -> int:
        """Do what is due; return how many messages and claims were collected.

        Raises StorageUnavailable if so many seconds are not enough; whoever comes next
        goes on.
        """
        collected, begun = 0, time.monotonic()
        while True:
            found = list(
                self._messages.find(
                    {"queue": name, "due": {"$lte": now}},
                    WHAT_IS_DUE,
                    sort=[("due", 1)],
                    limit=CHUNK,
                    batch_size=CHUNK,
                )
            )
            if not found:
                return collected
            collected += self._settle(name, found, now)
            if time.monotonic() - begun > seconds:
                raise StorageUnavailable("Too much has ended at once; it is collected.")

    def _settle(self, name: str, found: list[Document], now: float) -> int:
        ended: list[str] = []
        freed: list[str] = []
        shown: list[str] = []
        heads: list[str] = []
        leaving: list[Document] = []
        for each in found:
            if each["state"] == LEAVING:
                leaving.append(each)
                continue
            if "head" in each and each["until"] <= now:
                heads.append(each["_id"])
            if each["expires"] <= now:
                ended.append(each["_id"])
            elif each["state"] == CLAIMED:
                freed.append(each["_id"])
            else:
                shown.append(each["_id"])
        collected = self._collect_heads(name, heads, now)
        collected += self._change(name, ended, GOES, {"expires": {"$lte": now}})
        self._change(name, freed, comes_free(now), {"until": {"$lte": now}})
        self._change(name, shown, SHOWS, {"state": DELAYED, "visible": {"$lte": now}})
        if freed or shown:
            self._floors.announce(name)
        if leaving:
            self._move(name, leaving, now)
        return collected

    def _collect_heads(self, name: str, heads: list[str], now: float) -> int:
        """Take the claim's id from the first message of each claim that has ended.

        Of several callers one succeeds; so each claim is collected once.
        """
        still = {"head": {"$exists": True}, "until": {"$lte": now}}
        return self._change(name, heads, [{"$unset": ["head"]}], still)

    def _change(
        self, name: str, ids: list[str], update: Pipeline, still: Document
    ) -> int:
        if not ids:
            return 0
        wanted = {"queue": name, "_id": {"$in": ids}, "state": {"$lte": CLAIMED}}
        done = self._messages.update_many(wanted | still, update, hint=BY_ID)
        changed: int = done.modified_count
        return changed

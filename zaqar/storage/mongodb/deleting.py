# SPDX-License-Identifier: Apache-2.0
"""Removes messages: one, several, or all that no live claim holds.

What removes several reaches them one by one; a reader may come in between.
"""

import time
from collections.abc import Sequence
from itertools import chain
from typing import Any

from pymongo import UpdateMany

from zaqar.errors import (
    ClaimDoesNotHoldMessage,
    MessageIsClaimed,
    StorageUnavailable,
)
from zaqar.storage.mongodb import viewing as views
from zaqar.storage.mongodb.counting import (
    CHUNK,
    FRESH,
    GOES,
    GOES_FRESH,
    Counting,
    is_fresh,
)
from zaqar.storage.mongodb.documents import (
    CLAIMED,
    DELAYED,
    FREE,
    Document,
    ids_in,
    is_live,
)
from zaqar.storage.mongodb.gathering import Gathering
from zaqar.storage.mongodb.reading import BY_ID, Reading, of_messages
from zaqar.storage.mongodb.viewing import Viewing


class Deleting:
    def __init__(
        self, database: Any, reading: Reading, viewing: Viewing, counting: Counting
    ) -> None:
        self._messages = database.messages
        self._reading = reading
        self._viewing = viewing
        self._counting = counting
        self._gathering: Gathering[Sequence[str], None] = Gathering()

    def one(self, name: str, id: str, claim: str | None, now: float) -> None:
        mine = {"_id": name + id, "queue": name, "expires": {"$gt": now}}
        while True:
            done = self._messages.update_one(mine | _held(claim, now), GOES)
            if done.matched_count:
                self._counting.changed(name, 1)
                return
            if self._is_gone(name, id, claim, now):
                return

    def _is_gone(self, name: str, id: str, claim: str | None, now: float) -> bool:
        """Say whether the message is not there; if it is there, say what keeps it.

        Raises MessageIsClaimed or ClaimDoesNotHoldMessage; False: nothing any more.
        """
        kept: list[Document] = [{"_id": name + id}]
        if claim is not None:
            kept.append({"claim": claim, "state": CLAIMED, "until": {"$gt": now}})
        view = self._reading.view(
            name, of_messages({"$match": {"queue": name, "$or": kept}})
        )
        found = view.visible
        message = next((each for each in found if each["_id"] == name + id), None)
        if message is None or not is_live(message, now):
            return True
        held = message["state"] == CLAIMED and message["until"] > now
        if held and claim is None:
            raise MessageIsClaimed(id)
        if claim is None or (held and message["claim"] == claim):
            return False
        lives = any(
            each.get("claim") == claim and each["until"] > now for each in found
        )
        if held and lives:
            raise MessageIsClaimed(id)
        raise ClaimDoesNotHoldMessage(claim, id)

    def several(
        self, name: str, ids: Sequence[str], claims: Sequence[str] | None, now: float
    ) -> None:
        if claims is None:

            def send(wishes: list[Sequence[str]]) -> list[None]:
                self._remove(name, list(chain.from_iterable(wishes)))
                return [None] * len(wishes)

            self._gathering.join(name, ids, send)
            return
        part = of_messages({"$match": ids_in(name, ids)}, {"$project": {"body": 0}})
        view = self._reading.view(name, part)
        for each in view.visible:
            held = each["state"] == CLAIMED and each["until"] > now
            if is_live(each, now) and not (held and each["claim"] in claims):
                id = each["_id"].removeprefix(name)
                raise ClaimDoesNotHoldMessage(", ".join(claims), id)
        may_be_fresh = all(map(is_fresh, view.visible))
        self._remove(name, ids, may_be_fresh, claim={"$in": list(claims)})

    def _remove(
        self,
        name: str,
        ids: Sequence[str],
        may_be_fresh: bool = True,
        **held: Document,
    ) -> None:
        """Remove messages, of whatever claims or of those that are named."""
        wanted = ids_in(name, ids) | {"state": CLAIMED if held else {"$lte": CLAIMED}}
        wanted |= held
        steps = [UpdateMany(wanted, GOES, hint=BY_ID)]
        if may_be_fresh:
            # PERF: claim and deletion together take the server a twentieth less where
            # it need not compute what is known, though it looks twice.
            steps.insert(0, UpdateMany(wanted | FRESH, GOES_FRESH, hint=BY_ID))
        removed = self._messages.bulk_write(steps).modified_count
        self._counting.changed(name, removed)
        if not removed:
            self._reading.check(name)

    def all_free(self, name: str, now: float) -> None:
        """Remove what no live claim holds, and no post is about to bring."""
        view = self._viewing.view(name, now)
        free = {"queue": name, "state": {"$in": [FREE, DELAYED]}}
        begun = time.monotonic()
        # A post that is still on its way comes after this.
        last = min(view.queue["last"], view.horizon - 1)
        while True:
            numbers = [
                each["number"]
                for each in self._messages.find(
                    free | {"number": {"$gt": view.base, "$lte": last}},
                    {"_id": 0, "number": 1},
                    sort=[("number", 1)],
                    limit=CHUNK,
                    batch_size=CHUNK,
                )
            ]
            if numbers:
                self._messages.update_many(
                    free | {"number": {"$gt": view.base, "$lte": numbers[-1]}}, GOES
                )
                self._counting.count(name)
            if len(numbers) < CHUNK:
                return
            if time.monotonic() - begun > views.LONG:
                raise StorageUnavailable("Too much is to be purged; again goes on.")


def _held(claim: str | None, now: float) -> Document:
    """Return the condition under which a message may be deleted with this claim."""
    if claim is not None:
        return {"state": CLAIMED, "claim": claim, "until": {"$gt": now}}
    free = [{"state": {"$lt": CLAIMED}}, {"until": {"$lte": now}}]
    return {"state": {"$lte": CLAIMED}, "$or": free}

# SPDX-License-Identifier: Apache-2.0
"""Takes messages of a queue: claims them, or pops them.

Message by message what is still free is taken, and whoever has lost some of what it
read looks which it got.
"""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

from pymongo.errors import BulkWriteError, DuplicateKeyError

from zaqar.errors import ClaimNotFound, QueueChanged
from zaqar.model import Claim, DeadLetter, Message, QueueKey
from zaqar.storage.mongodb import claiming
from zaqar.storage.mongodb.claiming import Terms
from zaqar.storage.mongodb.counting import GOES, Counting
from zaqar.storage.mongodb.documents import (
    CLAIMED,
    DELAYED,
    FREE,
    Document,
    Pipeline,
    message_of,
    name_of,
    queue_of,
)
from zaqar.storage.mongodb.failures import is_duplicate
from zaqar.storage.mongodb.letters import Letters
from zaqar.storage.mongodb.reading import BY_ID, Reading
from zaqar.storage.mongodb.settling import comes_free
from zaqar.storage.mongodb.viewing import Viewing

# Seconds for which a claim that is made twice at once waits for its twin.
TWINS = 1.0
TURNS = 64
# So many messages are looked at for dead letters, once one was met.
LETTERS = 500


class Taking:
    """Shared by the threads of a process."""

    def __init__(
        self,
        database: Any,
        reading: Reading,
        viewing: Viewing,
        counting: Counting,
        letters: Letters,
    ) -> None:
        self._messages = database.messages
        self._reading = reading
        self._viewing = viewing
        self._counting = counting
        self._letters = letters
        self._turns = [threading.Lock() for _ in range(TURNS)]

    def _turn(self, name: str) -> threading.Lock:
        """Let one thread at a time take messages of a queue; others would take the
        same, and begin anew."""
        return self._turns[hash(name) % TURNS]

    def pop(self, name: str, limit: int, now: float) -> list[Message]:
        with self._turn(name):
            while True:
                view = self._viewing.view_behind(name, 0, limit, now)
                found = view.visible
                if not found:
                    return []
                if popped := self._pop(name, found):
                    break
        self._counting.changed(name, len(popped))
        return [message_of(each, now) for each in popped]

    def _pop(self, name: str, found: list[Document]) -> list[Document]:
        """Remove what was found; return what nobody else took before."""
        token = uuid4().hex
        ids = {"$in": [each["_id"] for each in found]}
        its = {"queue": name, "_id": ids}
        free = {"state": {"$in": [FREE, DELAYED]}}
        done = self._messages.update_many(its | free, _popping(token), hint=BY_ID)
        if done.modified_count == len(found):
            return found
        mine = {each["_id"] for each in self._messages.find(its | {"popped": token})}
        return [each for each in found if each["_id"] in mine]

    def claim(
        self,
        key: QueueKey,
        claim: str,
        *,
        ttl: int,
        grace: int,
        limit: int,
        dead_letter: DeadLetter | None,
        revision: str,
        now: float,
    ) -> list[Message]:
        name = name_of(key)
        rule = None if dead_letter and dead_letter.queue == key.name else dead_letter
        terms = Terms(claim, ttl, grace, now, dead_letter is not None)
        size = limit
        with self._turn(name):
            while True:
                view = self._viewing.view_behind(name, 0, size, now, claim=claim)
                if view.queue["revision"] != revision:
                    raise QueueChanged(queue_of(view.queue))
                if view.is_held:
                    return self._twin(name, terms)
                found = view.visible
                dead = _dead_before(found, limit, rule)
                if rule and dead:
                    self._letters.send(name, dead, rule, now)
                    # Where one is, there are more.
                    size = max(limit, LETTERS)
                    continue
                if not found:
                    return []
                if taken := self._take(name, found[:limit], terms):
                    self._counting.changed(name, len(taken))
                    return taken

    def _take(self, name: str, found: list[Document], terms: Terms) -> list[Message]:
        """Claim what was found; return what nobody else took before."""
        try:
            done = self._messages.bulk_write(claiming.taking(name, found, terms))
        except BulkWriteError as error:
            if not is_duplicate(error):
                raise
            return self._twin(name, terms)
        if done.modified_count == len(found):
            return [claiming.taken(each, terms) for each in found]
        held = self._held(name, terms.claim, terms.now)
        if len(held) != done.modified_count:
            # Somebody makes the same claim.
            return self._twin(name, terms)
        if held and name + held[0].id != found[0]["_id"]:
            # Somebody else took the first one, which was to be the head.
            with suppress(DuplicateKeyError):
                self._messages.update_one(
                    *claiming.heading(name, held[0].id, terms.claim)
                )
        return held

    def _twin(self, name: str, terms: Terms) -> list[Message]:
        """Return what a claim holds that somebody else is making, or has made."""
        deadline = time.monotonic() + TWINS
        held: list[Message] = []
        while True:
            before, held = held, self._held(name, terms.claim, terms.now)
            if held == before or time.monotonic() > deadline:
                return held
            time.sleep(0.02)

    def _held(self, name: str, claim: str, now: float) -> list[Message]:
        return [
            message_of(each, now) for each in self._viewing.held_by(name, claim, now)
        ]

    def find(self, key: QueueKey, claim: str, now: float) -> Claim:
        name = name_of(key)
        held = self._viewing.held_by(name, claim, now)
        if not held:
            raise ClaimNotFound(key.name, claim)
        messages = tuple(message_of(each, now) for each in held)
        return Claim(claim, held[0]["claim_ttl"], held[0]["claimed_at"], messages)

    def renew(
        self, key: QueueKey, claim: str, *, ttl: int, grace: int, now: float
    ) -> None:
        name = name_of(key)
        view = self._reading.view(name)
        done = self._messages.update_many(
            {
                "queue": name,
                "claim": claim,
                "state": CLAIMED,
                "until": {"$gt": now},
                "expires": {"$gt": now},
                "number": {"$gt": view.base},
            },
            claiming.renewal(Terms(claim, ttl, grace, now)),
        )
        if not done.matched_count:
            raise ClaimNotFound(key.name, claim)

    def release(self, name: str, claim: str, now: float) -> None:
        done = self._messages.update_many(
            {"queue": name, "claim": claim, "state": CLAIMED}, comes_free(now)
        )
        self._counting.changed(name, done.modified_count)
        if not done.modified_count:
            self._reading.check(name)


def _popping(token: str) -> Pipeline:
    popped = {"popped": token, "popped_at": "$$NOW"}
    first, *rest = GOES
    return [{"$set": first["$set"] | popped}, *rest]


def _dead_before(
    found: Sequence[Document], limit: int, rule: DeadLetter | None
) -> list[Document]:
    """Return the dead letters among messages, as far as a claim of `limit` reaches."""
    dead: list[Document] = []
    living = 0
    for each in found:
        if living == limit:
            break
        if rule is not None and each.get("claims", 0) >= rule.max_claims:
            dead.append(each)
        else:
            living += 1
    return dead

# SPDX-License-Identifier: Apache-2.0
"""Claims messages of a queue, and renews and ends claims.

Message by message what is still free is taken, and whoever has lost some of what it
read looks which it got.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from secrets import randbits
from typing import Any, NamedTuple

from pymongo.errors import BulkWriteError, DuplicateKeyError

from zaqar.errors import ClaimNotFound, QueueChanged
from zaqar.model import Claim, DeadLetter, Message, QueueKey
from zaqar.storage.mongodb import claiming
from zaqar.storage.mongodb.claiming import Terms
from zaqar.storage.mongodb.counting import Counting
from zaqar.storage.mongodb.documents import (
    CLAIMED,
    Document,
    message_of,
    name_of,
    queue_of,
)
from zaqar.storage.mongodb.failures import is_duplicate
from zaqar.storage.mongodb.floors import Floors
from zaqar.storage.mongodb.gathering import Gathering
from zaqar.storage.mongodb.letters import Letters
from zaqar.storage.mongodb.reading import Reading
from zaqar.storage.mongodb.settling import comes_free
from zaqar.storage.mongodb.turns import Turns
from zaqar.storage.mongodb.viewing import Viewing

# Seconds for which a claim that is made twice at once waits for its twin.
TWINS = 1.0
# So many messages are looked at for dead letters, once one was met.
LETTERS = 500


class Wish(NamedTuple):
    limit: int
    terms: Terms


class Taking:
    """Shared by the threads of a process."""

    def __init__(
        self,
        database: Any,
        reading: Reading,
        viewing: Viewing,
        counting: Counting,
        letters: Letters,
        floors: Floors,
        turns: Turns,
    ) -> None:
        self._messages = database.messages
        self._reading = reading
        self._viewing = viewing
        self._counting = counting
        self._letters = letters
        self._floors = floors
        self._turns = turns
        self._gathering: Gathering[Wish, list[Message]] = Gathering()

    def claim(
        self,
        key: QueueKey,
        wish: Wish,
        *,
        dead_letter: DeadLetter | None,
        revision: str,
    ) -> list[Message]:
        rule = None if dead_letter and dead_letter.queue == key.name else dead_letter
        name = name_of(key)

        def send(wishes: list[Wish]) -> list[list[Message]]:
            with self._turns.turn(name):
                return self._claim_all(name, wishes, rule, revision)

        return self._gathering.join((name, revision, rule), wish, send)

    def _claim_all(
        self,
        name: str,
        wishes: Sequence[Wish],
        rule: DeadLetter | None,
        revision: str,
    ) -> list[list[Message]]:
        """Claim for each in turn; who gets nothing has found nothing."""
        answers: dict[Wish, list[Message]] = {}
        size = 0
        if len({each.terms.claim for each in wishes}) < len(wishes):
            # One claim is made twice.
            return self._claim_singly(name, wishes, rule, revision)
        while rest := [each for each in wishes if each not in answers]:
            wanted = sum(each.limit for each in rest)
            view = self._viewing.view_behind(
                name,
                0,
                max(wanted, size),
                max(each.terms.now for each in rest),
                claims=[each.terms.claim for each in rest],
            )
            if view.queue["revision"] != revision:
                raise QueueChanged(queue_of(view.queue))
            if view.is_held and len(wishes) > 1:
                return self._claim_singly(name, wishes, rule, revision)
            if view.is_held:
                return [self._twin(name, wishes[0].terms)]
            dead = _dead_before(view.visible, wanted, rule)
            if rule and dead:
                self._letters.send(name, dead, rule, rest[0].terms.now)
                # Where one is, there are more.
                size = LETTERS
                continue
            answers |= self._take(name, view.visible, rest)
        return [answers[each] for each in wishes]

    def _claim_singly(
        self,
        name: str,
        wishes: Sequence[Wish],
        rule: DeadLetter | None,
        revision: str,
    ) -> list[list[Message]]:
        return [self._claim_all(name, [each], rule, revision)[0] for each in wishes]

    def _take(
        self, name: str, found: list[Document], wishes: Sequence[Wish]
    ) -> dict[Wish, list[Message]]:
        """Claim what was found, for one after the other.

        Who is not in the answer has lost all that was for him to others.
        """
        parts = _divided(found, wishes)
        answers: dict[Wish, list[Message]] = {
            wish: [] for wish in wishes if wish not in parts
        }
        if not parts:
            return answers
        taker = randbits(62)
        updates = [
            update
            for wish, part in parts.items()
            for update in claiming.taking(name, part, wish.terms, taker)
        ]
        twins = False
        try:
            done = self._messages.bulk_write(updates)
            is_all = done.modified_count == sum(map(len, parts.values()))
        except BulkWriteError as error:
            if not is_duplicate(error):
                raise
            is_all, twins = False, True
        for wish, part in parts.items():
            if is_all:
                taken = [claiming.taken(each, wish.terms) for each in part]
            else:
                taken = self._won(name, part, wish.terms, taker, twins)
            if taken:
                answers[wish] = taken
                self._counting.changed(name, len(taken))
        return answers

    def _won(
        self,
        name: str,
        part: Sequence[Document],
        terms: Terms,
        taker: int,
        twins: bool,
    ) -> list[Message]:
        """Return what a claim holds of what it was to get."""
        held = self._viewing.held_by(name, terms.claim, terms.now)
        if any(each.get("taker") != taker for each in held) or (twins and not held):
            # Somebody makes the same claim.
            return self._twin(name, terms)
        if held and not any("head" in each for each in held):
            # Somebody else took the first one, which was to be the head.
            with suppress(DuplicateKeyError):
                self._messages.update_one(
                    *claiming.heading(name, held[0]["_id"], terms.claim)
                )
        return [message_of(each, terms.now) for each in held]

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
        if done.modified_count:
            self._floors.announce(name)
            self._counting.changed(name, done.modified_count)
        else:
            self._reading.check(name)


def _divided(
    found: Sequence[Document], wishes: Sequence[Wish]
) -> dict[Wish, Sequence[Document]]:
    """Return what each is to get, the first ones first; only of those who get any."""
    parts: dict[Wish, Sequence[Document]] = {}
    for each in wishes:
        part, found = found[: each.limit], found[each.limit :]
        if part:
            parts[each] = part
    return parts


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

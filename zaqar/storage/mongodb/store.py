# SPDX-License-Identifier: Apache-2.0
"""The MongoDB store: the operations of `storage/base.py`, in few trips.

No transactions: a service that dies in one would lock what it wrote for a minute. Each
operation is one write to one document, or writes of which each leaves the store whole:
a claim or a pop takes message by message what is still free, a post becomes visible by
one write at its end. What touches many messages (purge, deletion of several, release)
reaches them one by one; a reader may come in between.
"""

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast
from uuid import uuid4

from pymongo.errors import BulkWriteError, DuplicateKeyError

from zaqar.errors import (
    ClaimDoesNotHoldMessage,
    ClaimNotFound,
    MessageIsClaimed,
    QueueChanged,
    QueueNotFound,
    StorageUnavailable,
)
from zaqar.model import (
    Claim,
    DeadLetter,
    Message,
    Metadata,
    NewMessage,
    Page,
    Queue,
    QueueKey,
    QueueStats,
)
from zaqar.storage import places
from zaqar.storage.mongodb import claiming, indexes, opening, statistics
from zaqar.storage.mongodb.claiming import Terms
from zaqar.storage.mongodb.counting import CHUNK, GOES, Counting
from zaqar.storage.mongodb.documents import (
    CLAIMED,
    DELAYED,
    FREE,
    Document,
    Pipeline,
    ids_in,
    is_live,
    message_of,
    name_of,
    new_message,
    queue_of,
)
from zaqar.storage.mongodb.failures import Patience, answering, is_duplicate
from zaqar.storage.mongodb.letters import Letters
from zaqar.storage.mongodb.posting import Posting, number_at
from zaqar.storage.mongodb.queues import Queues
from zaqar.storage.mongodb.reading import (
    BY_ID,
    Reading,
    Stage,
    View,
    behind,
    exactly,
    held_by,
    of_messages,
    waiting,
)
from zaqar.storage.mongodb.settling import Settling, comes_free

P = ParamSpec("P")
T = TypeVar("T")

# A number of a message.
NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
# A listing that skips a client's own messages looks at so many at once.
SKIPPING = 100
# Seconds for which a claim that is made twice at once waits for its twin.
TWINS = 1.0
TURNS = 64
# So many messages are looked at for dead letters, once one was met.
LETTERS = 500
# Seconds for which a call does what must be done first, or does in steps. If that is
# not enough, it is refused, and the next one goes on.
LONG = 4.0


def step(
    method: Callable[Concatenate["MongoStore", P], T],
) -> Callable[Concatenate["MongoStore", P], T]:
    """Let a method answer in time, with StorageUnavailable if the servers cannot."""

    @wraps(method)
    def limited(self: "MongoStore", *args: P.args, **kwargs: P.kwargs) -> T:
        with self._patience.answering():
            if not self._is_ready:
                self._prepare()
            return method(self, *args, **kwargs)

    return cast(Callable[Concatenate["MongoStore", P], T], limited)


class MongoStore:
    """Queues in a MongoDB database; shared by threads, opened after a fork.

    Raises ConfigurationError if the URI or the server cannot serve; a server that does
    not answer yet is waited for by each call. `relaxed` posts in one trip less, and
    gives up that readers miss nothing.
    """

    def __init__(self, uri: str, *, ordering: str = "strict", **options: Any) -> None:
        self._database = opening.connect(uri, **options)
        self._patience = Patience()
        self._messages = self._database.messages
        self._reading = Reading(self._database)
        self._counting = Counting(self._database)
        self._queues = Queues(self._database)
        self._posting = Posting(
            self._database,
            self._reading,
            self._counting,
            relaxed=ordering == "relaxed",
        )
        self._letters = Letters(self._database, self._posting, self._create_empty)
        self._settling = Settling(self._database, self._letters.resume)
        self._delaying: set[str] = set()
        self._turns = [threading.Lock() for _ in range(TURNS)]
        self._is_ready = False
        with suppress(StorageUnavailable):
            self._prepare()

    def _prepare(self) -> None:
        """Create what is absent of the indexes, once there is a server that can."""
        with answering():
            indexes.create(self._database)
        self._is_ready = True

    # Queues ---------------------------------------------------------------------------

    @step
    def put_queue(
        self,
        key: QueueKey,
        metadata: Metadata,
        *,
        delays: bool,
        revision: str,
        expect: str | None = None,
        now: float,
    ) -> bool:
        if expect is not None:
            self._queues.replace(key, metadata, delays, revision, expect)
            return False
        return self._queues.create(key, metadata, delays, revision, now)

    def _create_empty(self, key: QueueKey, now: float) -> None:
        self._queues.create(key, {}, False, uuid4().hex, now)

    @step
    def get_queue(self, key: QueueKey) -> Queue:
        return self._queues.find(key)

    @step
    def delete_queue(self, key: QueueKey) -> None:
        self._queues.delete(key)

    @step
    def list_queues(
        self,
        project: str,
        *,
        marker: str | None = None,
        limit: int,
        name: str = "",
        match: Mapping[str, str | int] | None = None,
    ) -> Page[Queue]:
        return self._queues.page(project, marker, limit, name, match or {})

    @step
    def count_queues(self, project: str) -> int:
        return self._queues.count(project)

    @step
    def queue_stats(self, key: QueueKey, *, now: float) -> QueueStats:
        name = name_of(key)
        while True:
            view = self._view(name, now, *statistics.parts(name))
            if view is None:
                raise QueueNotFound(key.name)
            found = statistics.Found(view)
            if found.pending is not None:
                self._counting.finish(name, found.pending)
            elif found.is_of_one_count:
                break
        unseen = self._notes(name, found.unseen)
        return found.stats(name, self._outermost, unseen)

    def _notes(self, name: str, conditions: list[Document]) -> list[int]:
        """Return the notes of messages under any of the conditions."""
        if not conditions:
            return []
        wanted = statistics.noted_in(name) | {"$or": conditions}
        found = self._messages.find(wanted, {"_id": 0, "uncounted": 1})
        return [each["uncounted"] for each in found]

    def _outermost(self, wanted: Document, direction: int) -> Document | None:
        found: Document | None = self._messages.find_one(
            wanted, {"created": 1, "number": 1}, sort=[("number", direction)]
        )
        return found

    @step
    def purge_queue(
        self, key: QueueKey, *, messages: bool, subscriptions: bool, now: float
    ) -> None:
        name = name_of(key)
        view = self._view(name, now) if messages else None
        if view is None:
            return
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
            if time.monotonic() - begun > LONG:
                raise StorageUnavailable("Too much is to be purged; again goes on.")

    # Messages -------------------------------------------------------------------------

    @step
    def post_messages(
        self,
        key: QueueKey,
        messages: Sequence[NewMessage],
        *,
        client: str,
        revision: str,
        now: float,
    ) -> None:
        name = name_of(key)
        documents = [new_message(name, each, client, now) for each in messages]
        self._posting.post(name, documents, now, revision)

    @step
    def list_messages(
        self,
        key: QueueKey,
        *,
        marker: str | None = None,
        limit: int,
        skip_client: str | None = None,
        claimed: bool = False,
        delayed: bool = False,
        now: float,
    ) -> Page[Message]:
        name = name_of(key)
        after = self._place(name, marker)
        found: list[Document] = []
        delays = False
        while after is not None:
            size = limit - len(found)
            if skip_client is not None:
                size = max(size, SKIPPING)
            view = self._view_behind(
                name, after, size, now, claimed=claimed, delayed=delayed
            )
            if view is None:
                return Page()
            delays = view.queue["delays"]
            found += [each for each in view.visible if each["client"] != skip_client]
            is_more = (
                len(view.found) == size and view.found[-1]["number"] < view.horizon
            )
            after = view.found[-1]["number"] if is_more else None
            if len(found) >= limit:
                break
        found = found[:limit]
        return Page(
            tuple(message_of(each, now) for each in found),
            str(found[-1]["number"]) if found else None,
            delays,
        )

    def _place(self, name: str, marker: str | None) -> int | None:
        """Return the number to go on behind; None if there is no such place."""
        if marker is None:
            return 0
        if NUMBER.fullmatch(marker):
            return int(marker)
        found = self._messages.find_one(
            {"_id": name + marker, "queue": name}, {"number": 1}
        )
        if found is not None:
            return int(found["number"])
        instant = places.earliest(marker)
        return None if instant is None else number_at(instant) - 1

    @step
    def get_messages(
        self, key: QueueKey, ids: Sequence[str], *, now: float
    ) -> list[Message]:
        name = name_of(key)
        view = self._reading.view(name, of_messages({"$match": ids_in(name, ids)}))
        if view is None:
            return []
        found = {each["_id"]: each for each in view.visible if is_live(each, now)}
        wanted = dict.fromkeys(name + id for id in ids)
        return [message_of(found[id], now) for id in wanted if id in found]

    @step
    def delete_message(
        self, key: QueueKey, id: str, *, claim: str | None = None, now: float
    ) -> None:
        name = name_of(key)
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
        found = view.visible if view else []
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

    @step
    def delete_messages(
        self,
        key: QueueKey,
        ids: Sequence[str],
        *,
        claims: Sequence[str] | None = None,
        now: float,
    ) -> None:
        name = name_of(key)
        wanted = ids_in(name, ids)
        if claims is None:
            wanted["state"] = {"$lte": CLAIMED}
        else:
            part = of_messages({"$match": wanted}, {"$project": {"body": 0}})
            view = self._reading.view(name, part)
            for each in view.visible if view else ():
                held = each["state"] == CLAIMED and each["until"] > now
                if is_live(each, now) and not (held and each["claim"] in claims):
                    id = each["_id"].removeprefix(name)
                    raise ClaimDoesNotHoldMessage(", ".join(claims), id)
            wanted |= {"state": CLAIMED, "claim": {"$in": list(claims)}}
        done = self._messages.update_many(wanted, GOES, hint=BY_ID)
        self._counting.changed(name, done.modified_count)

    @step
    def pop_messages(self, key: QueueKey, limit: int, *, now: float) -> list[Message]:
        name = name_of(key)
        with self._turn(name):
            while True:
                view = self._view_behind(name, 0, limit, now)
                found = view.visible if view else []
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

    # Claims ---------------------------------------------------------------------------

    @step
    def create_claim(
        self,
        key: QueueKey,
        claim: str,
        *,
        ttl: int,
        grace: int,
        limit: int,
        dead_letter: DeadLetter | None = None,
        revision: str,
        now: float,
    ) -> list[Message]:
        name = name_of(key)
        rule = None if dead_letter and dead_letter.queue == key.name else dead_letter
        terms = Terms(claim, ttl, grace, now, dead_letter is not None)
        size = limit
        with self._turn(name):
            while True:
                view = self._view_behind(name, 0, size, now, claim=claim)
                if view is None:
                    raise QueueNotFound(key.name)
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
        return [message_of(each, now) for each in self._held_by(name, claim, now)]

    def _held_by(self, name: str, claim: str, now: float) -> list[Document]:
        """Return the messages of a live claim; none if there is no such claim."""
        view = self._reading.view(name, held_by(name, claim))
        return [
            each
            for each in (view.visible if view else ())
            if is_live(each, now) and each["until"] > now
        ]

    @step
    def get_claim(self, key: QueueKey, claim: str, *, now: float) -> Claim:
        name = name_of(key)
        held = self._held_by(name, claim, now)
        if not held:
            raise ClaimNotFound(key.name, claim)
        messages = tuple(message_of(each, now) for each in held)
        return Claim(claim, held[0]["claim_ttl"], held[0]["claimed_at"], messages)

    @step
    def renew_claim(
        self, key: QueueKey, claim: str, *, ttl: int, grace: int, now: float
    ) -> None:
        name = name_of(key)
        view = self._reading.view(name)
        if view is not None:
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
            if done.matched_count:
                return
        raise ClaimNotFound(key.name, claim)

    @step
    def release_claim(self, key: QueueKey, claim: str, *, now: float) -> None:
        name = name_of(key)
        done = self._messages.update_many(
            {"queue": name, "claim": claim, "state": CLAIMED}, comes_free(now)
        )
        self._counting.changed(name, done.modified_count)

    # Upkeep ---------------------------------------------------------------------------

    @step
    def ping(self) -> None:
        opening.check_health(self._database)

    @step
    def clock(self) -> float:
        local_time = self._database.command("hello")["localTime"]
        instant: float = local_time.replace(tzinfo=UTC).timestamp()
        return instant

    @step
    def sweep(self, *, now: float) -> int:
        names = self._reading.names_due(now)
        collected = sum(self._settling.settle(name, now) for name in names)
        for name in self._reading.names_uncounted():
            while self._counting.count(name) == CHUNK:
                pass
        self._queues.remove_remains()
        return collected

    def close(self) -> None:
        self._database.client.close()

    # How a queue is read --------------------------------------------------------------

    def _view(
        self, name: str, now: float, *parts: Stage, claim: str | None = None
    ) -> View | None:
        """Read the queue and what the parts find, when nothing is due any more."""
        while True:
            view = self._reading.view(name, *parts, due=now, claim=claim)
            if view is None:
                return None
            if view.is_due:
                self._settling.settle(name, now, LONG)
            elif view.is_dead:
                self._posting.bury(name, view)
            else:
                return view

    def _view_behind(
        self,
        name: str,
        after: int,
        limit: int,
        now: float,
        *,
        claimed: bool = False,
        delayed: bool = False,
        claim: str | None = None,
    ) -> View | None:
        """Read the queue and the first messages behind a number.

        With `claim`, see whether it holds a message.
        """
        while True:
            delays = name in self._delaying
            states = waiting(delays and not delayed) + [CLAIMED] * claimed
            view = self._view(
                name, now, behind(name, after, limit, states), claim=claim
            )
            if view is None:
                return None
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

    def _turn(self, name: str) -> threading.Lock:
        """Let one thread at a time take messages of a queue; others would take the
        same, and begin anew."""
        return self._turns[hash(name) % TURNS]


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


def _held(claim: str | None, now: float) -> Document:
    """Return the condition under which a message may be deleted with this claim."""
    if claim is not None:
        return {"state": CLAIMED, "claim": claim, "until": {"$gt": now}}
    free = [{"state": {"$lt": CLAIMED}}, {"until": {"$lte": now}}]
    return {"state": {"$lte": CLAIMED}, "$or": free}

# SPDX-License-Identifier: Apache-2.0
"""The Redis store: the operations of `storage/base.py`, one script each."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from os import urandom
from typing import Any
from uuid import uuid4

from zaqar.errors import (
    ClaimDoesNotHoldMessage,
    ClaimNotFound,
    MessageIsClaimed,
    QueueChanged,
    QueueNotFound,
)
from zaqar.model import (
    Claim,
    DeadLetter,
    Landmark,
    Message,
    Metadata,
    NewMessage,
    Page,
    Parcel,
    Queue,
    QueueKey,
    QueueStats,
    Usage,
)
from zaqar.storage.redis import measuring, opening, packing
from zaqar.storage.redis.address import parse
from zaqar.storage.redis.client import Client, Script
from zaqar.storage.redis.index import Index
from zaqar.storage.redis.keys import Keys
from zaqar.storage.redis.letters import Letters
from zaqar.storage.redis.outboxes import RedisOutboxes
from zaqar.storage.redis.worklist import Worklist

# How the replies of scripts begin (scripts/common.lua).
DONE, AGAIN, ABSENT, CHANGED, CLAIMED, NOT_HELD, NO_CLAIM = range(7)

# The pieces that stand before a script (scripts/*.lua).
SETTLED = ("upkeep", "open")
TELLING = (*SETTLED, "tell")
CREATE = Script("create")
REPLACE = Script("replace", *SETTLED)
REMOVE = Script("remove", "outbox")
STATS = Script("stats", *SETTLED)
# Repeated later, it would take what was posted since.
PURGE = Script("purge", *SETTLED, "outbox", repeatable=False)
POST = Script("post")
LIST = Script("list", *TELLING)
GET = Script("get", *TELLING)
DELETE = Script("delete", *SETTLED)
DELETE_MANY = Script("delete_many", *SETTLED)
# What was popped is gone: a second pop would take others.
POP = Script("pop", *SETTLED, repeatable=False)
CLAIM = Script("claim", *TELLING, "lengthen")
GET_CLAIM = Script("get_claim", *TELLING)
RENEW = Script("renew", *SETTLED, "lengthen")
RELEASE = Script("release", *SETTLED)
EXPORT = Script("export", *TELLING)
IMPORT = Script("import", *SETTLED, "append")
SETTLE = Script("settle", "upkeep")

# Of a post or an import; two that are repeated at the same time never share one.
NAME_BYTES = 12


class RedisStore(RedisOutboxes):
    """Queues in Redis or Valkey; shared by threads, safe across fork.

    All keys begin with `prefix`. Raises ConfigurationError if the URI or the server
    cannot serve; a server that does not answer yet is waited for by each call.
    """

    def __init__(
        self,
        uri: str,
        *,
        max_reconnect_attempts: int = 10,
        reconnect_sleep: float = 1.0,
        prefix: str = "zaqar",
    ) -> None:
        self._client = Client(
            parse(uri),
            max_reconnect_attempts=max_reconnect_attempts,
            reconnect_sleep=reconnect_sleep,
        )
        self._keys = Keys(prefix)
        self._index = Index(self._client, self._keys)
        self._worklist = Worklist(self._client, self._keys)
        self._letters = Letters(self._client, self._keys, self._create_empty)
        opening.check(self._client)

    # Queues ---------------------------------------------------------------------------

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
        document = packing.write_metadata(metadata)
        values = (revision, int(delays), document)
        if expect is not None:
            self._expect(key, self._run(REPLACE, key, repr(now), *values, expect))
            return False
        stored = self._client.ask(self._record(key), ("HGET", self._record(key), "v"))
        if stored is not None:
            return bool(stored == revision.encode())
        note = self._index.announce(key, creates=True)
        reply = self._run(CREATE, key, *values)
        self._index.conclude(note)
        return bool(reply[1])

    def _create_empty(self, key: QueueKey, now: float) -> None:
        self.put_queue(key, {}, delays=False, revision=uuid4().hex, now=now)

    def get_queue(self, key: QueueKey) -> Queue:
        record = self._record(key)
        found = self._client.ask(record, ("HMGET", record, "v", "y", "d"))
        if found[0] is None:
            raise QueueNotFound(key.name)
        return packing.queue(key.name, *found)

    def delete_queue(self, key: QueueKey) -> None:
        record = self._record(key)
        life = self._client.ask(record, ("HGET", record, "b"))
        if life is None:
            return
        note = self._index.announce(key, creates=False)
        with suppress(QueueNotFound):
            self._run(REMOVE, key, life)
        self._index.conclude(note)

    def list_queues(
        self,
        project: str,
        *,
        marker: str | None = None,
        limit: int,
        name: str = "",
        match: Mapping[str, str | int] | None = None,
    ) -> Page[Queue]:
        return self._index.page(project, marker, limit, name, match or {})

    def get_queues(self, project: str, names: Sequence[str]) -> list[Queue]:
        keys = [QueueKey(project, name) for name in dict.fromkeys(names)]
        return list(self._index.read(keys))

    def count_queues(self, project: str) -> int:
        return self._index.count(project)

    def queue_stats(self, key: QueueKey, *, now: float) -> QueueStats:
        reply = self._run(STATS, key, repr(now))
        _, total, claimed, *ends = reply
        if not total:
            return QueueStats()
        oldest, since, newest, latest = ends
        return QueueStats(
            total,
            claimed,
            Landmark(oldest.decode(), float(since)),
            Landmark(newest.decode(), float(latest)),
        )

    def count_subscriptions(self, project: str, *, now: float) -> int:
        return measuring.subscriptions(
            self._client, self._keys, self._index, project, now
        )

    def measure_usage(self, project: str, *, sizes: bool, now: float) -> Usage:
        return measuring.measure(
            self._client, self._keys, self._index, project, sizes=sizes, now=now
        )

    def purge_queue(
        self, key: QueueKey, *, messages: bool, subscriptions: bool, now: float
    ) -> None:
        self._run(PURGE, key, repr(now), int(messages), int(subscriptions))

    # Messages -------------------------------------------------------------------------

    def post_messages(
        self,
        key: QueueKey,
        messages: Sequence[NewMessage],
        *,
        client: str,
        revision: str,
        now: float,
    ) -> bool:
        values: list[Any] = []
        for message in messages:
            values += (
                message.id,
                packing.pack(message, client, now),
                repr(now + message.ttl),
                repr(now + message.delay) if message.delay else "",
            )
        soonest = now + min(min(m.ttl, m.delay or m.ttl) for m in messages)
        # Not made of the ids: these may be posted again on purpose.
        name = urandom(NAME_BYTES).hex()
        _, *told = self._expect(
            key, self._run(POST, key, name, revision, repr(soonest), *values)
        )
        self._announce(key, told)
        # Who holds the outbox, or has still to look at it, needs no more telling.
        return bool(told)

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
        after, id, since = packing.place(marker)
        flags = (int(claimed), int(delayed), int(skip_client is not None))
        found: list[Message] = []
        while True:
            reply = self._run(
                LIST,
                key,
                repr(now),
                after,
                id,
                since,
                limit - len(found),
                *flags,
                skip_client or "",
            )
            _, delays, last, more, ids, *stored = reply
            found += packing.messages(ids, *stored)
            if more != b"1":
                break
            after = last.decode()
        return Page(
            tuple(found), last.decode() if found else None, bool(delays == b"1")
        )

    def get_messages(
        self, key: QueueKey, ids: Sequence[str], *, now: float
    ) -> list[Message]:
        ids = list(dict.fromkeys(ids))
        reply = self._run(GET, key, repr(now), *ids)
        return packing.messages(ids, *reply[1:])

    def delete_message(
        self, key: QueueKey, id: str, *, claim: str | None = None, now: float
    ) -> None:
        given = int(claim is not None)
        status = self._run(DELETE, key, repr(now), id, given, claim or "")[0]
        if status == CLAIMED:
            raise MessageIsClaimed(id)
        if status == NOT_HELD:
            raise ClaimDoesNotHoldMessage(claim or "", id)

    def delete_messages(
        self,
        key: QueueKey,
        ids: Sequence[str],
        *,
        claims: Sequence[str] | None = None,
        now: float,
    ) -> None:
        given = ("",) if claims is None else (len(claims), *claims)
        reply = self._run(DELETE_MANY, key, repr(now), *given, *dict.fromkeys(ids))
        if reply[0] == NOT_HELD:
            raise ClaimDoesNotHoldMessage(", ".join(claims or ()), reply[1].decode())

    def pop_messages(self, key: QueueKey, limit: int, *, now: float) -> list[Message]:
        reply = self._run(POP, key, repr(now), limit)
        return packing.messages(*reply[1:])

    # Claims ---------------------------------------------------------------------------

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
        values = (repr(now), revision, claim, limit, *packing.terms(ttl, grace, now))
        while True:
            reply = self._expect(
                key,
                self._client.run(
                    CLAIM, self._record(key), *values, *packing.rule(key, dead_letter)
                ),
            )
            if len(reply) == 1:
                continue
            status, life, letters, *rest = reply
            self._letters.move(key, life, letters, now)
            if status == DONE:
                ids, values, holders, extras = rest
                return packing.messages(ids, values, holders, extras, claim)

    def get_claim(self, key: QueueKey, claim: str, *, now: float) -> Claim:
        reply = self._run(GET_CLAIM, key, repr(now), claim)
        if reply[0] == NO_CLAIM:
            raise ClaimNotFound(key.name, claim)
        ttl, _, created = reply[1].partition(b" ")
        held = packing.messages(*reply[2:])
        return Claim(claim, int(ttl), float(created), tuple(held))

    def renew_claim(
        self, key: QueueKey, claim: str, *, ttl: int, grace: int, now: float
    ) -> None:
        terms = packing.terms(ttl, grace, now)
        if self._run(RENEW, key, repr(now), claim, *terms)[0] == NO_CLAIM:
            raise ClaimNotFound(key.name, claim)

    def release_claim(self, key: QueueKey, claim: str, *, now: float) -> None:
        self._run(RELEASE, key, repr(now), claim)

    # Messages on their way to another store -------------------------------------------

    def export_messages(self, key: QueueKey, limit: int, *, now: float) -> list[Parcel]:
        return packing.parcels(*self._run(EXPORT, key, repr(now), limit)[1:])

    def import_messages(
        self, key: QueueKey, parcels: Sequence[Parcel], *, now: float
    ) -> None:
        name = urandom(NAME_BYTES).hex()
        self._run(IMPORT, key, repr(now), name, *packing.received(parcels, now))

    # Upkeep ---------------------------------------------------------------------------

    def capabilities(self) -> tuple[str, ...]:
        durability = ("DURABILITY",) * opening.is_durable(self._client)
        return ("FIFO", "CLAIMS", *durability, "AOD", "HIGH_THROUGHPUT")

    def ping(self) -> None:
        pulse = self._keys.pulse
        self._client.ask(pulse, ("SET", pulse, 1), attempts=1)

    def clock(self) -> float:
        return self._index.clock(attempts=1)

    def sweep(self, *, now: float) -> int:
        self._index.repair()
        total = 0
        for due, outboxes in self._index.due(now):
            total += sum(self._settle(key, now) for key in due)
            total += sum(self._end(outbox, now) for outbox in outboxes)
            self._worklist.mend(outboxes, now)
        return total

    def _settle(self, key: QueueKey, now: float) -> int:
        total = 0
        while True:
            reply = self._client.run(SETTLE, self._record(key), repr(now))
            if reply[0] == ABSENT:
                return total
            status, collected, life, letters = reply
            total += int(collected)
            self._letters.move(key, life, letters, now)
            if status == DONE and not letters:
                return total

    def close(self) -> None:
        self._client.close()

    # How a step is run ----------------------------------------------------------------

    def _record(self, key: QueueKey) -> str:
        return self._keys.record(key)

    def _run(self, script: Script, key: QueueKey, *values: Any) -> Any:
        """Run a script on the queue until it has done what it is for.

        Raises QueueNotFound.
        """
        record = self._record(key)
        while (reply := self._client.run(script, record, *values))[0] == AGAIN:
            pass
        if reply[0] == ABSENT:
            raise QueueNotFound(key.name)
        return reply

    def _expect(self, key: QueueKey, reply: Any) -> Any:
        """Raises QueueNotFound or QueueChanged if the reply says so."""
        if reply[0] == ABSENT:
            raise QueueNotFound(key.name)
        if reply[0] == CHANGED:
            raise QueueChanged(packing.queue(key.name, *reply[1:]))
        return reply

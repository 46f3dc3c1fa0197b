# SPDX-License-Identifier: Apache-2.0
"""A store of lists and dictionaries that is right by being simple.

The contract suite is proven on it, and the state machine compares real stores with it.
Every method first drops what has expired (`_settle`), so nothing below asks again.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from tests.model_outbox import ModelOutboxes, StoredOutbox
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
    Notice,
    Page,
    Parcel,
    Queue,
    QueueKey,
    QueueStats,
    Usage,
)


@dataclass
class StoredMessage:
    place: int
    arrived: float
    id: str
    body: bytes
    ttl: int
    created: float
    expires: float
    shown: float
    client: str
    checksum: str | None
    claim: str | None = None
    claim_count: int = 0
    origin: str | None = None
    origin_claims: int = 0

    def lengthen(self, ttl: int, grace: int, now: float) -> None:
        if self.expires < now + ttl:
            self.ttl = ttl + grace
            self.expires = now + ttl + grace

    def value(self) -> Message:
        return Message(
            id=self.id,
            body=self.body,
            ttl=self.ttl,
            created=self.created,
            claim=self.claim,
            claim_count=self.claim_count,
            checksum=self.checksum,
            origin=self.origin,
            origin_claims=self.origin_claims,
        )


@dataclass
class StoredClaim:
    ttl: int
    created: float


@dataclass
class StoredQueue:
    name: str
    metadata: Metadata
    revision: str
    delays: bool
    last_place: int = 0
    messages: list[StoredMessage] = field(default_factory=list)
    claims: dict[str, StoredClaim] = field(default_factory=dict)
    outbox: StoredOutbox = field(default_factory=StoredOutbox)

    def value(self) -> Queue:
        return Queue(self.name, dict(self.metadata), self.revision, self.delays)

    def next_place(self) -> int:
        self.last_place += 1
        return self.last_place

    def is_delayed(self, message: StoredMessage, now: float) -> bool:
        return self.delays and message.claim is None and now < message.shown

    def ready(self, now: float) -> list[StoredMessage]:
        return [
            message
            for message in self.messages
            if message.claim is None and not self.is_delayed(message, now)
        ]

    def held_by(self, claim: str) -> list[StoredMessage]:
        return [message for message in self.messages if message.claim == claim]

    def remove(self, messages: Sequence[StoredMessage]) -> None:
        """Drop messages, and claims that hold none any more."""
        ids = {message.id for message in messages}
        self.messages = [m for m in self.messages if m.id not in ids]
        self.claims = {id: c for id, c in self.claims.items() if self.held_by(id)}

    def release(self, claim: str) -> None:
        self.claims.pop(claim, None)
        for message in self.held_by(claim):
            message.claim = None

    def settle(self, now: float) -> int:
        """Drop expired messages and claims; return how many they were."""
        expired = [message for message in self.messages if message.expires <= now]
        ended = [id for id, c in self.claims.items() if c.created + c.ttl <= now]
        for claim in ended:
            self.release(claim)
        self.remove(expired)
        return len(expired) + len(ended) + self.outbox.settle(now)


class ModelData:
    """What the handles of one store share."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.queues: dict[QueueKey, StoredQueue] = {}


class ModelStore(ModelOutboxes):
    """The operations of `zaqar.storage.base.Store`, under one lock."""

    def __init__(self, data: ModelData | None = None) -> None:
        self._data = data or ModelData()
        self._lock = self._data.lock
        self._queues = self._data.queues

    # Queues

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
        with self._lock:
            queue = self._queues.get(key)
            if expect is None and queue is None:
                self._queues[key] = StoredQueue(
                    key.name, dict(metadata), revision, delays
                )
                return True
            if queue is None:
                raise QueueNotFound(key.name)
            if expect is None:
                return queue.revision == revision
            if queue.revision == revision:
                return False
            self._expect(key, expect)
            queue.metadata = dict(metadata)
            queue.delays = delays
            queue.revision = revision
            return False

    def get_queue(self, key: QueueKey) -> Queue:
        with self._lock:
            return self._named(key).value()

    def delete_queue(self, key: QueueKey) -> None:
        with self._lock:
            self._queues.pop(key, None)

    def list_queues(
        self,
        project: str,
        *,
        marker: str | None = None,
        limit: int,
        name: str = "",
        match: Mapping[str, str | int] | None = None,
    ) -> Page[Queue]:
        with self._lock:
            found = [
                queue.value()
                for key, queue in self._queues.items()
                if key.project == project
                and (marker is None or _bytes(key.name) > _bytes(marker))
                and name in key.name
                and _matches(queue.metadata, match or {})
            ]
        found.sort(key=lambda queue: _bytes(queue.name))
        items = tuple(found[:limit])
        return Page(items, items[-1].name if items else None)

    def get_queues(self, project: str, names: Sequence[str]) -> list[Queue]:
        with self._lock:
            keys = [QueueKey(project, name) for name in dict.fromkeys(names)]
            return [self._queues[key].value() for key in keys if key in self._queues]

    def count_queues(self, project: str) -> int:
        with self._lock:
            return sum(key.project == project for key in self._queues)

    def queue_stats(self, key: QueueKey, *, now: float) -> QueueStats:
        with self._lock:
            messages = self._settle(key, now).messages
            if not messages:
                return QueueStats()
            first, last = messages[0], messages[-1]
            return QueueStats(
                total=len(messages),
                claimed=sum(message.claim is not None for message in messages),
                oldest=Landmark(first.id, first.created),
                newest=Landmark(last.id, last.created),
            )

    def count_subscriptions(self, project: str, *, now: float) -> int:
        with self._lock:
            keys = [key for key in self._queues if key.project == project]
            return sum(len(self._outbox(key, now).subscriptions) for key in keys)

    def measure_usage(self, project: str, *, sizes: bool, now: float) -> Usage:
        with self._lock:
            bodies = [
                message.body
                for key, queue in self._queues.items()
                if key.project == project
                for message in queue.messages
                if message.expires > now
            ]
        return Usage(len(bodies), sum(map(len, bodies)) if sizes else 0)

    def purge_queue(
        self, key: QueueKey, *, messages: bool, subscriptions: bool, now: float
    ) -> None:
        with self._lock:
            queue = self._settle(key, now)
            if messages:
                queue.remove([m for m in queue.messages if m.claim is None])
            if subscriptions:
                for id in list(queue.outbox.subscriptions):
                    queue.outbox.remove(id)

    # Messages

    def post_messages(
        self,
        key: QueueKey,
        messages: Sequence[NewMessage],
        *,
        client: str,
        revision: str,
        now: float,
    ) -> bool:
        with self._lock:
            self._expect(key, revision)
            queue = self._settle(key, now)
            stored = {message.id for message in queue.messages}
            for new in messages:
                if new.id not in stored:
                    message = StoredMessage(
                        place=queue.next_place(),
                        arrived=now,
                        id=new.id,
                        body=new.body,
                        ttl=new.ttl,
                        created=now,
                        expires=now + new.ttl,
                        shown=now + new.delay,
                        client=client,
                        checksum=new.checksum,
                    )
                    queue.messages.append(message)
                    known = {notice.id for _, notice in queue.outbox.notices}
                    if queue.outbox.watched and new.id not in known:
                        delay = new.delay if queue.delays else 0
                        notice = Notice(new.id, new.body, new.ttl, new.delay)
                        queue.outbox.notices.append((now + delay, notice))
            is_free = queue.outbox.holder is None or queue.outbox.held_until <= now
            return queue.outbox.watched and is_free

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
        with self._lock:
            queue = self._settle(key, now)
            found = [
                message
                for message in queue.messages[_start(queue, marker) :]
                if message.client != skip_client
                and (claimed or message.claim is None)
                and (delayed or not queue.is_delayed(message, now))
            ][:limit]
            return Page(
                tuple(message.value() for message in found),
                f"after-{found[-1].place}" if found else None,
                queue.delays,
            )

    def get_messages(
        self, key: QueueKey, ids: Sequence[str], *, now: float
    ) -> list[Message]:
        with self._lock:
            messages = {m.id: m for m in self._settle(key, now).messages}
            return [messages[i].value() for i in dict.fromkeys(ids) if i in messages]

    def delete_message(
        self, key: QueueKey, id: str, *, claim: str | None = None, now: float
    ) -> None:
        with self._lock:
            queue = self._settle(key, now)
            for message in [m for m in queue.messages if m.id == id]:
                if message.claim != claim:
                    if claim is not None and claim not in queue.claims:
                        raise ClaimDoesNotHoldMessage(claim, id)
                    if message.claim is not None:
                        raise MessageIsClaimed(id)
                    raise ClaimDoesNotHoldMessage(str(claim), id)
                queue.remove([message])

    def delete_messages(
        self,
        key: QueueKey,
        ids: Sequence[str],
        *,
        claims: Sequence[str] | None = None,
        now: float,
    ) -> None:
        with self._lock:
            queue = self._settle(key, now)
            found = [message for message in queue.messages if message.id in ids]
            for message in found:
                if claims is not None and message.claim not in claims:
                    raise ClaimDoesNotHoldMessage(", ".join(claims), message.id)
            queue.remove(found)

    def pop_messages(self, key: QueueKey, limit: int, *, now: float) -> list[Message]:
        with self._lock:
            queue = self._settle(key, now)
            found = queue.ready(now)[:limit]
            queue.remove(found)
            return [message.value() for message in found]

    # Claims

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
        with self._lock:
            self._expect(key, revision)
            queue = self._settle(key, now)
            if claim in queue.claims:
                return [message.value() for message in queue.held_by(claim)]
            taken = []
            for message in queue.ready(now):
                if len(taken) == limit:
                    break
                if dead_letter is not None:
                    moves = dead_letter.queue != key.name
                    if moves and message.claim_count >= dead_letter.max_claims:
                        self._bury(key, message, dead_letter, now)
                        continue
                    message.claim_count += 1
                message.claim = claim
                message.lengthen(ttl, grace, now)
                taken.append(message)
            if taken:
                queue.claims[claim] = StoredClaim(ttl, now)
            return [message.value() for message in taken]

    def get_claim(self, key: QueueKey, claim: str, *, now: float) -> Claim:
        with self._lock:
            queue, stored = self._live_claim(key, claim, now)
            messages = tuple(message.value() for message in queue.held_by(claim))
            return Claim(claim, stored.ttl, stored.created, messages)

    def renew_claim(
        self, key: QueueKey, claim: str, *, ttl: int, grace: int, now: float
    ) -> None:
        with self._lock:
            queue, stored = self._live_claim(key, claim, now)
            stored.ttl = ttl
            stored.created = now
            for message in queue.held_by(claim):
                message.lengthen(ttl, grace, now)

    def release_claim(self, key: QueueKey, claim: str, *, now: float) -> None:
        with self._lock:
            self._settle(key, now).release(claim)

    # Messages on their way to another store

    def export_messages(self, key: QueueKey, limit: int, *, now: float) -> list[Parcel]:
        with self._lock:
            return [
                Parcel(message.value(), message.client, message.expires)
                for message in self._settle(key, now).messages[:limit]
            ]

    def import_messages(
        self, key: QueueKey, parcels: Sequence[Parcel], *, now: float
    ) -> None:
        with self._lock:
            queue = self._settle(key, now)
            for parcel in parcels:
                stored = {message.id for message in queue.messages}
                if parcel.expires > now and parcel.message.id not in stored:
                    queue.messages.append(_unpacked(parcel, queue.next_place(), now))

    # Upkeep

    def capabilities(self) -> tuple[str, ...]:
        return ("FIFO", "CLAIMS", "AOD")

    def ping(self) -> None:
        pass

    def clock(self) -> float:
        return time.time()

    def sweep(self, *, now: float) -> int:
        with self._lock:
            return sum(queue.settle(now) for queue in self._queues.values())

    def close(self) -> None:
        pass

    def ends(self, key: QueueKey) -> list[float]:
        """Return the instants at which something of the queue ends."""
        queue = self._queues.get(key) or StoredQueue(key.name, {}, "", False)
        return sorted(
            {message.expires for message in queue.messages}
            | {message.shown for message in queue.messages}
            | {claim.created + claim.ttl for claim in queue.claims.values()}
        )

    # Steps of the operations

    def _named(self, key: QueueKey) -> StoredQueue:
        if key not in self._queues:
            raise QueueNotFound(key.name)
        return self._queues[key]

    def _expect(self, key: QueueKey, revision: str) -> None:
        queue = self._named(key)
        if queue.revision != revision:
            raise QueueChanged(queue.value())

    def _settle(self, key: QueueKey, now: float) -> StoredQueue:
        """Return the queue without what has expired. Raises QueueNotFound."""
        queue = self._named(key)
        queue.settle(now)
        return queue

    def _live_claim(
        self, key: QueueKey, claim: str, now: float
    ) -> tuple[StoredQueue, StoredClaim]:
        queue = self._settle(key, now)
        if claim not in queue.claims:
            raise ClaimNotFound(key.name, claim)
        return queue, queue.claims[claim]

    def _bury(
        self, key: QueueKey, message: StoredMessage, rule: DeadLetter, now: float
    ) -> None:
        """Move a message to the end of the dead letter queue."""
        self._queues[key].remove([message])
        target = QueueKey(key.project, rule.queue)
        if target not in self._queues:
            self._queues[target] = StoredQueue(rule.queue, {}, str(uuid4()), False)
        queue = self._settle(target, now)
        if any(stored.id == message.id for stored in queue.messages):
            return
        message.place = queue.next_place()
        message.arrived = now
        message.shown = now
        message.origin = key.name
        message.origin_claims = message.claim_count
        message.claim_count = 0
        if rule.ttl is not None:
            message.ttl = rule.ttl
            message.expires = now + rule.ttl
        queue.messages.append(message)


def _unpacked(parcel: Parcel, place: int, now: float) -> StoredMessage:
    message = parcel.message
    return StoredMessage(
        place=place,
        arrived=now,
        id=message.id,
        body=message.body,
        ttl=message.ttl,
        created=message.created,
        expires=parcel.expires,
        shown=now,
        client=parcel.client,
        checksum=message.checksum,
        claim_count=message.claim_count,
        origin=message.origin,
        origin_claims=message.origin_claims,
    )


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def _matches(metadata: Metadata, match: Mapping[str, str | int]) -> bool:
    return all(
        key in metadata and _equal(metadata[key], value) for key, value in match.items()
    )


def _equal(stored: Any, wanted: str | int) -> bool:
    if isinstance(stored, bool):
        return False
    if isinstance(wanted, str):
        return isinstance(stored, str) and stored == wanted
    return isinstance(stored, int | float) and stored == wanted


def _start(queue: StoredQueue, marker: str | None) -> int:
    """Return the index of the first message behind the marker."""
    messages = queue.messages
    if marker is None:
        return 0
    if marker.startswith("after-"):
        place = int(marker.removeprefix("after-"))
        return sum(message.place <= place for message in messages)
    for index, message in enumerate(messages):
        if message.id == marker:
            return index + 1
    time = _time_of(marker)
    if time is None:
        return len(messages)
    # A clock may lag behind the one that made the id: go back a minute, and repeat.
    return sum(message.arrived < time - 60 for message in messages)


def _time_of(id: str) -> float | None:
    """Return the time in a message id; None if the text is not one."""
    try:
        uuid = UUID(id)
    except ValueError:
        return None
    return (uuid.int >> 80) / 1000 if uuid.version == 7 else None

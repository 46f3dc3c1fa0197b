# SPDX-License-Identifier: Apache-2.0
"""Puts a store into the state that a test starts from, and reads it whole.

Time begins at `T0`; tests add seconds to it and never go back.
"""

import random
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID, uuid4

from zaqar.errors import QueueNotFound
from zaqar.model import (
    DeadLetter,
    Message,
    NewMessage,
    Queue,
    QueueKey,
    QueueStats,
)
from zaqar.storage.base import Store

T0 = 1_800_000_000.0
KEY = QueueKey("project", "queue")
CLIENT = "0b1e9a6e-1111-4e4e-8a8a-000000000001"
OTHER_CLIENT = "0b1e9a6e-1111-4e4e-8a8a-000000000002"


def message_id(now: float, dice: random.Random | None = None) -> str:
    """Return a new UUID of version 7: its time is `now`, all else is random."""
    bits = dice.getrandbits(80) if dice else uuid4().int
    bits = bits & ~(0xF << 76) & ~(0b11 << 62)
    version, variant, time = 7 << 76, 0b10 << 62, int(now * 1000) << 80
    return str(UUID(int=time | version | variant | bits & (1 << 80) - 1))


def draft(
    now: float = T0,
    body: bytes = b'"body"',
    *,
    ttl: int = 300,
    delay: int = 0,
    checksum: str | None = None,
) -> NewMessage:
    return NewMessage(message_id(now), body, ttl, delay, checksum)


def create(
    store: Store,
    key: QueueKey = KEY,
    metadata: Mapping[str, Any] | None = None,
    *,
    delays: bool = False,
    now: float = T0,
) -> str:
    """Create the queue and return its revision."""
    revision = str(uuid4())
    assert store.put_queue(
        key, metadata or {}, delays=delays, revision=revision, now=now
    )
    return revision


def existing(store: Store, key: QueueKey = KEY, *, now: float = T0) -> Queue:
    """Return the queue, created if it is absent."""
    try:
        return store.get_queue(key)
    except QueueNotFound:
        create(store, key, now=now)
        return store.get_queue(key)


def set_delays(store: Store, delays: bool, key: QueueKey = KEY, *, now: float) -> None:
    queue = store.get_queue(key)
    store.put_queue(
        key,
        queue.metadata,
        delays=delays,
        revision=str(uuid4()),
        expect=queue.revision,
        now=now,
    )


def send(
    store: Store,
    drafts: Iterable[NewMessage],
    key: QueueKey = KEY,
    *,
    client: str = CLIENT,
    now: float = T0,
) -> list[str]:
    """Post the drafts together to the queue, created if absent; return their ids."""
    drafts = list(drafts)
    revision = existing(store, key, now=now).revision
    store.post_messages(key, drafts, client=client, revision=revision, now=now)
    return [message.id for message in drafts]


def post(
    store: Store,
    count: int = 1,
    key: QueueKey = KEY,
    *,
    client: str = CLIENT,
    ttl: int = 300,
    delay: int = 0,
    now: float = T0,
) -> list[str]:
    """Post `count` messages together and return their ids in this order.

    The ids of one post descend: a store that orders by ids is found out.
    """
    ids = sorted((message_id(now) for _ in range(count)), reverse=True)
    drafts = [NewMessage(id, b'"body"', ttl, delay) for id in ids]
    return send(store, drafts, key, client=client, now=now)


def claim(
    store: Store,
    key: QueueKey = KEY,
    *,
    id: str | None = None,
    ttl: int = 60,
    grace: int = 60,
    limit: int = 10,
    dead_letter: DeadLetter | None = None,
    now: float = T0,
) -> tuple[str, list[Message]]:
    """Claim with the queue's revision; return the id of the claim and its messages."""
    id = id or str(uuid4())
    messages = store.create_claim(
        key,
        id,
        ttl=ttl,
        grace=grace,
        limit=limit,
        dead_letter=dead_letter,
        revision=store.get_queue(key).revision,
        now=now,
    )
    return id, messages


def ids_of(messages: Iterable[Message]) -> list[str]:
    return [message.id for message in messages]


def read(
    store: Store,
    key: QueueKey = KEY,
    *,
    marker: str | None = None,
    limit: int = 100,
    skip_client: str | None = None,
    claimed: bool = True,
    delayed: bool = True,
    now: float = T0,
) -> list[Message]:
    """Return all messages behind the marker, page by page; hidden ones by default.

    None of an absent queue.
    """
    messages: list[Message] = []
    seen: set[str] = set()
    while True:
        try:
            page = store.list_messages(
                key,
                marker=marker,
                limit=limit,
                skip_client=skip_client,
                claimed=claimed,
                delayed=delayed,
                now=now,
            )
        except QueueNotFound:
            return messages
        assert seen.isdisjoint(ids_of(page.items)), "a page repeats another"
        seen.update(ids_of(page.items))
        messages += page.items
        marker = page.marker
        if not page.items:
            return messages


def listed(store: Store, key: QueueKey = KEY, **filters: Any) -> list[str]:
    """Return the ids of what `read` returns."""
    return ids_of(read(store, key, **filters))


def ready(store: Store, key: QueueKey = KEY, *, now: float = T0) -> list[str]:
    """Return the ids of what a claim may take."""
    return listed(store, key, claimed=False, delayed=False, now=now)


def counted(store: Store, key: QueueKey = KEY, *, now: float = T0) -> tuple[int, int]:
    """Return the totals of all and of claimed messages that the statistics tell."""
    stats = store.queue_stats(key, now=now)
    return stats.total, stats.claimed


def assert_stats_match_listing(
    store: Store, key: QueueKey = KEY, *, now: float
) -> QueueStats:
    """Check the statistics against the messages themselves."""
    stats = store.queue_stats(key, now=now)
    messages = read(store, key, now=now)
    assert stats.total == len(messages)
    assert stats.claimed == sum(message.claim is not None for message in messages)
    if messages:
        first, last = messages[0], messages[-1]
        assert stats.oldest is not None and stats.newest is not None
        assert (stats.oldest.id, stats.oldest.created) == (first.id, first.created)
        assert (stats.newest.id, stats.newest.created) == (last.id, last.created)
    else:
        assert stats == QueueStats()
    return stats

# SPDX-License-Identifier: Apache-2.0
"""Upkeep in chunks: what one transaction may hold up, and what it may read."""

import sqlite3
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from tests.contract.arrange import (
    KEY,
    T0,
    claim,
    create,
    draft,
    listed,
    post,
    send,
    set_delays,
)
from zaqar.model import DeadLetter, QueueKey
from zaqar.storage.sqlite import rows, sweeping
from zaqar.storage.sqlite.store import SqliteStore

RULE = DeadLetter("dead", 1)


@pytest.fixture
def store(path: str) -> Iterator[SqliteStore]:
    store = SqliteStore(path, synchronous="OFF")
    yield store
    store.close()


def test_moving_dead_letters_does_not_read_their_bodies(store: SqliteStore) -> None:
    count, size = 1000, 10_000
    send(store, [draft(body=b'"%s"' % (b"x" * size)) for _ in range(count)])
    claim_id, _ = claim(store, limit=count, dead_letter=RULE)
    store.release_claim(KEY, claim_id, now=T0)

    tracemalloc.start()
    try:
        _, held = claim(store, limit=20, dead_letter=RULE)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held == []
    assert len(listed(store, QueueKey("project", "dead"))) == count
    assert peak < count * size / 10


def delayed(store: SqliteStore, key: QueueKey, count: int) -> None:
    set_delays(store, True, key, now=T0)
    post(store, count, key, delay=100, ttl=10_000)


def claimed(store: SqliteStore, key: QueueKey, count: int) -> None:
    post(store, count, key, ttl=10_000)
    claim(store, key, ttl=100, limit=count)


@pytest.mark.parametrize("arrange", [delayed, claimed])
def test_step_of_the_sweep_ends_when_it_has_shown_or_freed_a_chunk(
    store: SqliteStore, path: str, arrange: Callable[[SqliteStore, QueueKey, int], None]
) -> None:
    queues, count = 5, rows.CHUNK - 100
    for number in range(queues):
        key = QueueKey("project", f"q{number}")
        create(store, key)
        arrange(store, key, count)

    with closing(sqlite3.connect(path)) as connection:
        sweeping.settle_due(connection, T0 + 100)
        waiting = "SELECT count(*) FROM messages WHERE claim <> '' OR visible > 0"
        (left,) = connection.execute(waiting).fetchone()

    assert left == (queues - 2) * count
    store.sweep(now=T0 + 100)
    for number in range(queues):
        key = QueueKey("project", f"q{number}")
        page = store.list_messages(key, limit=1000, now=T0 + 100)
        assert len(page.items) == count

# SPDX-License-Identifier: Apache-2.0
"""What an operation costs: transactions, and work that does not grow with depth."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.contract.arrange import (
    KEY,
    T0,
    claim,
    create,
    draft,
    listed,
    message_id,
    post,
    send,
    set_delays,
)
from tests.storage.sqlite.recording import RecordingConnection
from zaqar.model import DeadLetter, Message, Parcel, QueueKey
from zaqar.storage.sqlite.store import SqliteStore

Operation = Callable[[SqliteStore, float], object]
RULE = DeadLetter("dead", 1)


@pytest.fixture
def store(path: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteStore]:
    connect = partial(sqlite3.connect, factory=RecordingConnection)
    monkeypatch.setattr(sqlite3, "connect", connect)
    store = SqliteStore(path, synchronous="OFF")
    RecordingConnection.reset()
    yield store
    store.close()


def fill(store: SqliteStore, depth: int) -> None:
    """Fill the queue with claimed, ready, delayed and dead messages, and others."""
    create(store, delays=True)
    post(store, depth, ttl=10_000)
    claim(store, limit=depth, ttl=5_000)
    post(store, depth, ttl=10_000, delay=5_000)
    post(store, 200, ttl=10_000)
    claim(store, id="small", limit=10, ttl=5_000)
    post(store, depth, ttl=10_000)
    for number in range(depth // 10):
        create(store, QueueKey("project", f"other-{number:05}"))
        post(store, 1, QueueKey("other", f"queue-{number:05}"))


def exported(store: SqliteStore, limit: int = 10, now: float = T0) -> list[Parcel]:
    return store.export_messages(KEY, limit, now=now)


def do_everything(store: SqliteStore) -> None:
    """Make the store use each statement that it has."""
    fill(store, 40)
    create(store, QueueKey("project", "dead"))
    ids = listed(store)
    marker = store.list_messages(KEY, limit=3, now=T0).marker
    for claimed in (True, False):
        for delayed in (True, False):
            for skip in (None, "x"):
                for behind in (None, marker, ids[5], message_id(T0), "nonsense"):
                    store.list_messages(
                        KEY,
                        marker=behind,
                        limit=3,
                        skip_client=skip,
                        claimed=claimed,
                        delayed=delayed,
                        now=T0,
                    )
    store.get_messages(KEY, ids[:4], now=T0)
    store.get_claim(KEY, "small", now=T0)
    store.renew_claim(KEY, "small", ttl=9_999, grace=60, now=T0)
    store.release_claim(KEY, "small", now=T0)
    store.queue_stats(KEY, now=T0)
    store.count_queues("project")
    store.get_queues("project", ["queue", "none"])
    store.import_messages(QueueKey("project", "dead"), exported(store), now=T0)
    store.list_queues("project", limit=3)
    store.list_queues("project", marker="o", limit=3, name="1", match={"a": 1})
    claim_id, held = claim(store, ttl=20_000, limit=2, dead_letter=RULE)
    store.delete_message(KEY, held[0].id, claim=claim_id, now=T0)
    store.delete_messages(KEY, [held[1].id], claims=[claim_id], now=T0)
    store.delete_messages(KEY, listed(store)[:2], now=T0)
    claim_id, _ = claim(store, limit=5, dead_letter=RULE)
    store.release_claim(KEY, claim_id, now=T0)
    claim(store, ttl=60, limit=5, dead_letter=RULE)
    store.pop_messages(KEY, 2, now=T0)
    set_delays(store, False, now=T0)
    set_delays(store, True, now=T0)
    send(store, [draft(ttl=60)])
    store.queue_stats(KEY, now=T0 + 60)
    store.sweep(now=T0 + 6_000)
    post(store, 1200, now=T0 + 6_000)
    claim(store, limit=5, now=T0 + 6_000)
    store.purge_queue(KEY, messages=True, subscriptions=True, now=T0 + 6_000)
    store.sweep(now=T0 + 6_000)
    post(store, 5, now=T0 + 6_000)
    store.purge_queue(KEY, messages=True, subscriptions=True, now=T0 + 6_000)
    store.delete_queue(KEY)
    post(store, 1200, now=T0 + 6_000)
    store.delete_queue(KEY)
    store.sweep(now=T0 + 20_000)


def plans(path: str) -> Iterator[tuple[str, str]]:
    """Yield each statement that was used, and its plan."""
    used = {sql: values for sql, values in RecordingConnection.statements}
    connection = sqlite3.connect(path)
    for sql, values in list(used.items()):
        if re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", sql):
            rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
            yield sql, "; ".join(row[3] for row in rows)
    connection.close()


def test_no_statement_reads_a_table_from_end_to_end(
    store: SqliteStore, path: str
) -> None:
    do_everything(store)

    scans = [
        (plan, sql)
        for sql, plan in plans(path)
        if re.search(r"SCAN (messages|queues|claims|metadata|oldest|newest)\b", plan)
    ]

    assert scans == []


def test_nothing_unbounded_is_sorted(store: SqliteStore, path: str) -> None:
    """Only the messages of one claim, and parts that have their own limits, are."""
    do_everything(store)

    sorts = [
        (plan, sql)
        for sql, plan in plans(path)
        if "TEMP B-TREE" in plan and "claim = ?" not in sql and "UNION ALL" not in sql
    ]

    assert sorts == []


READS: dict[str, Operation] = {
    "list": lambda store, now: store.list_messages(KEY, limit=10, now=now),
    "list all": lambda store, now: store.list_messages(
        KEY, limit=10, claimed=True, delayed=True, now=now
    ),
    "list behind": lambda store, now: store.list_messages(
        KEY, marker=message_id(now + 10), limit=10, now=now
    ),
    "get": lambda store, now: store.get_messages(KEY, [message_id(now)] * 3, now=now),
    "stats": lambda store, now: store.queue_stats(KEY, now=now),
    "get claim": lambda store, now: store.get_claim(KEY, "small", now=now),
    "get queue": lambda store, now: store.get_queue(KEY),
    "get queues": lambda store, now: store.get_queues("project", ["queue", "none"]),
    "list queues": lambda store, now: store.list_queues("project", limit=10),
    "export": lambda store, now: exported(store, 10, now),
}

WRITES: dict[str, Operation] = {
    "post": lambda store, now: store.post_messages(
        KEY,
        [draft(now, ttl=10_000) for _ in range(10)],
        client="c",
        revision=store.get_queue(KEY).revision,
        now=now,
    ),
    "claim": lambda store, now: claim(store, limit=10, ttl=5_000, now=now),
    "claim counted": lambda store, now: claim(
        store, limit=10, ttl=5_000, dead_letter=DeadLetter("dead", 9), now=now
    ),
    "claim longer": lambda store, now: claim(store, limit=10, ttl=50_000, now=now),
    "renew": lambda store, now: store.renew_claim(
        KEY, "small", ttl=5_000, grace=60, now=now
    ),
    "renew longer": lambda store, now: store.renew_claim(
        KEY, "small", ttl=50_000, grace=60, now=now
    ),
    "release": lambda store, now: store.release_claim(KEY, "small", now=now),
    "pop": lambda store, now: store.pop_messages(KEY, 10, now=now),
    "delete": lambda store, now: store.delete_message(KEY, message_id(now), now=now),
    "delete many": lambda store, now: store.delete_messages(
        KEY, [message_id(now)] * 3, now=now
    ),
    "put queue": lambda store, now: store.put_queue(
        QueueKey("project", "new"), {}, delays=False, revision="r", now=now
    ),
    "import": lambda store, now: store.import_messages(
        KEY,
        [
            Parcel(Message(message_id(now), b"1", 9_000, now), "c", now + 9_000)
            for _ in range(10)
        ],
        now=now,
    ),
    "ping": lambda store, now: store.ping(),
}


@pytest.mark.parametrize("name", WRITES)
def test_writing_takes_one_transaction(store: SqliteStore, name: str) -> None:
    fill(store, 40)
    RecordingConnection.reset()

    WRITES[name](store, T0)

    assert RecordingConnection.count_of("BEGIN") == 1
    assert RecordingConnection.count_of("COMMIT") == 1


@pytest.mark.parametrize("name", READS)
def test_reading_takes_no_write_transaction(store: SqliteStore, name: str) -> None:
    fill(store, 40)
    RecordingConnection.reset()

    READS[name](store, T0)

    assert RecordingConnection.count_of("BEGIN IMMEDIATE") == 0


def test_work_does_not_grow_with_depth(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = partial(sqlite3.connect, factory=RecordingConnection)
    monkeypatch.setattr(sqlite3, "connect", connect)
    costs: dict[str, list[int]] = {name: [] for name in (*READS, *WRITES)}

    for depth in (300, 6_000):
        store = SqliteStore(f"{tmp_path}/{depth}.db", synchronous="OFF")
        fill(store, depth)
        for name, operation in (READS | WRITES).items():
            RecordingConnection.reset()
            operation(store, T0 + 1)
            costs[name].append(RecordingConnection.steps)
        store.close()

    grown = {
        name: (shallow, deep)
        for name, (shallow, deep) in costs.items()
        if deep > 1.5 * shallow + 200
    }
    assert grown == {}


def test_skipping_claimed_and_delayed_messages_costs_nothing(
    store: SqliteStore,
) -> None:
    fill(store, 3_000)
    RecordingConnection.reset()

    _, held = claim(store, limit=1, ttl=5_000)

    assert len(held) == 1
    assert RecordingConnection.steps < 1_000

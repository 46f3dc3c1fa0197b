# SPDX-License-Identifier: Apache-2.0
"""A claim's row goes with its last message: nothing is left to be settled later."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import pytest

from tests.contract.arrange import KEY, T0, claim, ids_of, listed, post
from tests.storage.sqlite.recording import RecordingConnection
from zaqar.storage.sqlite.store import SqliteStore


@pytest.fixture
def store(path: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteStore]:
    connect = partial(sqlite3.connect, factory=RecordingConnection)
    monkeypatch.setattr(sqlite3, "connect", connect)
    store = SqliteStore(path, synchronous="OFF")
    yield store
    store.close()


def claim_rows(path: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        count: int = connection.execute("SELECT count(*) FROM claims").fetchone()[0]
        return count


def test_deleting_the_last_message_of_a_claim_removes_its_row(
    store: SqliteStore, path: str
) -> None:
    post(store, 2)
    claim_id, held = claim(store)

    store.delete_message(KEY, held[0].id, claim=claim_id, now=T0)
    left = claim_rows(path)
    store.delete_message(KEY, held[1].id, claim=claim_id, now=T0)

    assert (left, claim_rows(path)) == (1, 0)


@pytest.mark.parametrize("with_claims", [False, True])
def test_bulk_delete_removes_the_rows_of_claims_that_it_empties(
    store: SqliteStore, path: str, with_claims: bool
) -> None:
    post(store, 6)
    claims = [claim(store, limit=2) for _ in range(3)]
    names = [claim_id for claim_id, _ in claims] if with_claims else None
    ids = [id for _, held in claims for id in ids_of(held)]

    store.delete_messages(KEY, ids[:-1], claims=names, now=T0)
    left = claim_rows(path)
    store.delete_messages(KEY, ids[-1:], claims=names, now=T0)

    assert (left, claim_rows(path)) == (1, 0)


def test_expiry_of_its_last_message_removes_the_row_of_a_claim(
    store: SqliteStore, path: str
) -> None:
    post(store, 3, ttl=100)
    claim(store, ttl=60, limit=3)
    # No claim outlives its messages, unless a clock is set back: this one is made to.
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE claims SET expires = expires + 1000")

    left = listed(store, now=T0 + 100)

    assert (left, claim_rows(path)) == ([], 0)


def test_reads_write_nothing_after_many_claims_were_worked_off(
    store: SqliteStore, path: str
) -> None:
    count = 30
    post(store, count, ttl=10_000)
    for number in range(count):
        claim_id, [held] = claim(store, ttl=60 + number, limit=1)
        store.delete_message(KEY, held.id, claim=claim_id, now=T0)
    rows = claim_rows(path)
    # The queue was to be looked at when the first of the claims would have ended.
    listed(store, now=T0 + 60)
    RecordingConnection.reset()

    for number in range(count):
        listed(store, now=T0 + 61 + number)

    assert rows == 0
    assert RecordingConnection.count_of("BEGIN IMMEDIATE") == 0

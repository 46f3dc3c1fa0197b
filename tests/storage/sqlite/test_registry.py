# SPDX-License-Identifier: Apache-2.0
"""The SQLite registry keeps the contract; what is special to it."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

import pytest

from tests.contract.arrange import listed, post
from tests.contract.registry import KEY, RegistryContract, bind, binding
from tests.storage.sqlite.recording import RecordingConnection
from zaqar.errors import StorageUnavailable
from zaqar.model import Binding
from zaqar.storage.sqlite import schema
from zaqar.storage.sqlite.registry import SqliteRegistry
from zaqar.storage.sqlite.store import SqliteStore


@pytest.fixture
def registry_opener(path: str) -> Callable[[], SqliteRegistry]:
    return partial(SqliteRegistry, path, synchronous="OFF")


@pytest.fixture
def registry(registry_opener: Callable[[], SqliteRegistry]) -> Iterator[SqliteRegistry]:
    registry = registry_opener()
    yield registry
    registry.close()


class TestSqliteRegistry(RegistryContract):
    pass


def test_registry_and_store_may_share_a_file(
    registry: SqliteRegistry, path: str
) -> None:
    store = SqliteStore(path, synchronous="OFF")

    ids, bound = post(store, 3), bind(registry)

    assert listed(store) == ids
    assert registry.find_queue(KEY) == bound
    store.close()


def test_foreign_lock_is_told_and_reading_goes_on(
    registry: SqliteRegistry, path: str
) -> None:
    bound = bind(registry)
    impatient = SqliteRegistry(path, busy_timeout=0.1)

    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for work in (
            impatient.ping,
            lambda: impatient.write_directory(b"one", "v1", expect=""),
            lambda: impatient.bind_queue(KEY, binding(), expect=bound),
            lambda: impatient.unbind_queue(KEY, bound),
        ):
            with pytest.raises(StorageUnavailable):
                work()
        during = impatient.find_queue(KEY)
        connection.execute("ROLLBACK")

    assert during == bound
    assert impatient.read_directory() == (b"", "")
    impatient.close()


def test_lost_tables_are_told(registry: SqliteRegistry, path: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DROP TABLE bindings")
        connection.execute("DROP TABLE directory")

    for work in (
        registry.read_directory,
        lambda: registry.find_queue(KEY),
        lambda: registry.bind_queue(KEY, binding(), expect=None),
        lambda: registry.list_queues("p", limit=1),
        lambda: registry.count_queues("p"),
    ):
        with pytest.raises(StorageUnavailable):
            work()


def test_file_without_a_registry_is_brought_forward(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        with closing(sqlite3.connect(path)) as connection:
            schema.prepare(path, connection)
            connection.execute("INSERT INTO queues VALUES (1,'p','q','r',0,1,1,0,9e15)")
            connection.execute(
                "INSERT INTO messages (queue, seq, state, id, client, ttl, created,"
                " expires, origin, body) VALUES (1,1,0,'i','c',60,0,60,'o',x'31')"
            )
            connection.commit()

    registry = SqliteRegistry(path)

    assert registry.read_directory() == (b"", "")
    assert registry.find_queue(KEY) is None
    registry.close()
    with closing(sqlite3.connect(path)) as connection:
        moved = connection.execute("SELECT moved FROM messages").fetchall()
    assert moved == [(1,)]


def test_lookups_go_by_the_key(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = partial(sqlite3.connect, factory=RecordingConnection)
    monkeypatch.setattr(sqlite3, "connect", connect)
    registry = SqliteRegistry(path, synchronous="OFF")
    RecordingConnection.reset()

    first, second = bind(registry), Binding("two", "v2")
    registry.bind_queue(KEY, second, expect=first)
    registry.find_queue(KEY)
    registry.list_queues("project", marker="a", limit=3, name="q")
    registry.count_queues("project")
    registry.unbind_queue(KEY, second)

    with closing(sqlite3.connect(path)) as connection:
        for sql, values in list(RecordingConnection.statements):
            if "bindings" in sql and not sql.startswith("EXPLAIN"):
                rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)
                plan = "; ".join(row[3] for row in rows)
                assert "SCAN" not in plan and "TEMP" not in plan, (plan, sql)
    registry.close()

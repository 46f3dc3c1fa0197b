# SPDX-License-Identifier: Apache-2.0
"""Full disks, foreign locks and killed processes: told as such, and healed."""

import fcntl
import multiprocessing
import os
import resource
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.contract.arrange import (
    KEY,
    T0,
    assert_stats_match_listing,
    claim,
    counted,
    draft,
    ids_of,
    listed,
    post,
    send,
)
from tests.contract.concurrency import together
from zaqar.errors import StorageUnavailable
from zaqar.storage.sqlite.store import SqliteStore

BUSY_TIMEOUT = 0.5
LARGE = b'"' + b"x" * 300_000 + b'"'


@pytest.fixture
def store(path: str) -> Iterator[SqliteStore]:
    store = SqliteStore(path, busy_timeout=BUSY_TIMEOUT)
    yield store
    store.close()


@contextmanager
def full_disk(path: str) -> Iterator[None]:
    """Let no file of the database grow by more than a page."""
    files = [Path(path), Path(path + "-wal")]
    largest = max(file.stat().st_size for file in files if file.exists())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def foreign_write(path: str) -> Iterator[None]:
    """Hold the write lock of the file, as a shell or a backup does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def stopped_process(path: str) -> Iterator[None]:
    """Hold the lock of the service's processes, as one of them does that is stopped."""
    descriptor = os.open(path + ".lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


def test_full_disk_is_told_and_changes_nothing(store: SqliteStore, path: str) -> None:
    ids = post(store, 3)

    with full_disk(path):
        with pytest.raises(StorageUnavailable):
            send(store, [draft(body=LARGE) for _ in range(3)])
        during = listed(store)

    assert during == ids
    assert listed(store) == ids
    assert_stats_match_listing(store, now=T0)


def test_store_heals_by_itself_when_the_disk_has_room(
    store: SqliteStore, path: str
) -> None:
    ids = post(store, 3)
    with full_disk(path), pytest.raises(StorageUnavailable):
        send(store, [draft(body=LARGE)])

    store.ping()
    ids += send(store, [draft(body=LARGE)])

    assert listed(store) == ids
    assert ids_of(claim(store)[1]) == ids


def test_every_writer_is_told_of_a_full_disk(store: SqliteStore, path: str) -> None:
    ids = post(store)

    def write(_: int) -> bool:
        try:
            send(store, [draft(body=LARGE)])
        except StorageUnavailable:
            return False
        return True

    with full_disk(path):
        written = together(8, write)
    healed = post(store)

    assert written == [False] * 8
    assert listed(store) == ids + healed


def test_ping_fails_on_a_full_disk(store: SqliteStore, path: str) -> None:
    post(store)

    with full_disk(path):
        with pytest.raises(StorageUnavailable):
            send(store, [draft(body=LARGE)])
        with pytest.raises(StorageUnavailable):
            # The log is written again from its start, so there is some room left.
            for _ in range(1000):
                store.ping()

    store.ping()


def test_foreign_write_lock_is_told(store: SqliteStore, path: str) -> None:
    ids = post(store, 2)

    with foreign_write(path):
        begin = time.monotonic()
        with pytest.raises(StorageUnavailable):
            post(store)
        with pytest.raises(StorageUnavailable):
            store.ping()
        waited = time.monotonic() - begin

    assert waited < 10 * BUSY_TIMEOUT
    assert listed(store) == ids


def test_reading_goes_on_beside_a_foreign_write_lock(
    store: SqliteStore, path: str
) -> None:
    ids = post(store, 2)

    with foreign_write(path):
        during = listed(store), counted(store), store.get_queue(KEY).name

    assert during == (ids, (2, 0), "queue")


def test_store_heals_by_itself_when_a_foreign_lock_is_gone(
    store: SqliteStore, path: str
) -> None:
    ids = post(store)
    with foreign_write(path), pytest.raises(StorageUnavailable):
        post(store)

    ids += post(store)

    assert listed(store) == ids


def test_foreign_lock_is_told_in_time_to_every_process(path: str) -> None:
    """Handles of one process contend as processes do; default times are 8 of these."""
    stores = [SqliteStore(path, busy_timeout=BUSY_TIMEOUT) for _ in range(6)]
    post(stores[0])

    def waited(number: int) -> float:
        begin = time.monotonic()
        with pytest.raises(StorageUnavailable):
            stores[number].ping()
        return time.monotonic() - begin

    with foreign_write(path):
        times = together(len(stores), waited)
    for store in stores:
        store.close()

    assert max(times) < 10 / 8


def test_process_that_is_stopped_with_the_lock_does_not_stop_the_others(
    store: SqliteStore, path: str
) -> None:
    ids = post(store)

    with ThreadPoolExecutor(1) as pool, stopped_process(path):
        attempt = pool.submit(store.ping)
        with pytest.raises(StorageUnavailable):
            attempt.result(timeout=10 * BUSY_TIMEOUT)

    assert listed(store) == ids


def test_damaged_file_is_told(path: str) -> None:
    store = SqliteStore(path)
    ids = post(store, 2000)
    store.close()
    file = Path(path)
    whole = file.read_bytes()
    # The schema is whole, and the first page of each table: who opens sees nothing.
    healthy = 64 * 4096
    file.write_bytes(whole[:healthy] + b"\xa5" * (len(whole) - healthy))
    store = SqliteStore(path)

    with pytest.raises(StorageUnavailable):
        listed(store)
    with pytest.raises(StorageUnavailable):
        store.delete_messages(KEY, ids, now=T0)
    with pytest.raises(StorageUnavailable):
        post(store)
    with pytest.raises(StorageUnavailable):
        store.sweep(now=T0 + 1000)

    store.close()


def test_constraint_that_refuses_a_post_is_raised(
    store: SqliteStore, path: str
) -> None:
    ids = post(store)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON messages WHEN new.body = x'3133'"
            " BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )

    with pytest.raises(sqlite3.IntegrityError, match="refused"):
        send(store, [draft(), draft(body=b"13")])

    assert listed(store) == ids


def test_post_with_an_id_that_is_stored_and_one_that_is_not_is_raised(
    store: SqliteStore,
) -> None:
    stored = draft()
    send(store, [stored])

    with pytest.raises(sqlite3.IntegrityError):
        send(store, [draft(), stored])

    assert listed(store) == [stored.id]


def test_repeated_post_is_silent(store: SqliteStore) -> None:
    drafts = [draft(), draft()]
    ids = send(store, drafts)

    send(store, drafts)

    assert listed(store) == ids


def post_until_killed(opener: Callable[[], SqliteStore], answers: Connection) -> None:
    store = opener()
    while True:
        answers.send(post(store, 5))


def test_killed_process_loses_nothing_that_was_acknowledged(
    opener: Callable[[], SqliteStore], store: SqliteStore
) -> None:
    post(store)
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=post_until_killed, args=(opener, sender))
    process.start()
    sender.close()
    acknowledged = [receiver.recv() for _ in range(20)]

    process.kill()
    process.join()

    with receiver:
        while receiver.poll():
            try:
                acknowledged.append(receiver.recv())
            except EOFError:
                break
    process.close()
    stored = listed(store)[1:]
    answered = [id for ids in acknowledged for id in ids]
    assert stored[: len(answered)] == answered
    assert len(stored) - len(answered) in (0, 5)
    assert_stats_match_listing(store, now=T0)
    assert len(post(store)) == 1

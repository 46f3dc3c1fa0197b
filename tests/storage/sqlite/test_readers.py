# SPDX-License-Identifier: Apache-2.0
"""Connections for reading: as many as threads read at once; threads come and go."""

import os
import threading
from collections.abc import Iterator

import pytest

from tests.contract.arrange import KEY, T0, listed, post
from tests.contract.concurrency import together
from zaqar.storage.sqlite.store import SqliteStore


@pytest.fixture
def store(path: str) -> Iterator[SqliteStore]:
    store = SqliteStore(path, synchronous="OFF")
    yield store
    store.close()


def descriptors() -> int:
    """Count the open files of this process."""
    return len(os.listdir("/proc/self/fd"))


def read_in_a_new_thread(store: SqliteStore) -> None:
    thread = threading.Thread(target=listed, args=(store,))
    thread.start()
    thread.join()


def test_threads_that_come_and_go_share_one_connection(store: SqliteStore) -> None:
    post(store)
    read_in_a_new_thread(store)
    before = descriptors()

    for _ in range(50):
        read_in_a_new_thread(store)

    assert descriptors() <= before


def test_threads_that_read_at_once_have_connections_of_their_own_and_leave_them(
    store: SqliteStore,
) -> None:
    post(store)
    readers = 4

    def read(_: int) -> None:
        for _ in range(20):
            listed(store)

    together(readers, read)
    most = descriptors()
    for _ in range(10):
        together(readers, read)

    # A connection has the database and its log open.
    assert descriptors() <= most + 2 * readers
    assert len(store._database._readers) <= readers


def test_connection_of_a_read_that_failed_is_lent_again(store: SqliteStore) -> None:
    post(store)
    listed(store)
    before = descriptors()

    for _ in range(20):
        with pytest.raises(OverflowError):
            store.list_messages(KEY, limit=2**70, now=T0)

    assert descriptors() <= before
    assert len(listed(store)) == 1

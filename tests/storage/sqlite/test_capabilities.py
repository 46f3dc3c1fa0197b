# SPDX-License-Identifier: Apache-2.0
"""What the SQLite store promises depends on how it writes."""

import pytest

from zaqar.storage.sqlite.store import SqliteStore


@pytest.mark.parametrize("synchronous", ["FULL", "full", "EXTRA"])
def test_store_that_waits_for_the_disk_is_durable(path: str, synchronous: str) -> None:
    store = SqliteStore(path, synchronous=synchronous)

    assert store.capabilities() == ("FIFO", "CLAIMS", "DURABILITY", "AOD")
    store.close()


@pytest.mark.parametrize("synchronous", ["NORMAL", "OFF"])
def test_store_that_does_not_wait_for_the_disk_is_not(
    path: str, synchronous: str
) -> None:
    store = SqliteStore(path, synchronous=synchronous)

    assert store.capabilities() == ("FIFO", "CLAIMS", "AOD")
    store.close()

# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from zaqar.storage.sqlite.store import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "zaqar.db")


@pytest.fixture
def open_store(path: str) -> Iterator[Callable[[], SqliteStore]]:
    opened: list[SqliteStore] = []

    def open_one() -> SqliteStore:
        opened.append(SqliteStore(path))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def opener(path: str) -> Callable[[], SqliteStore]:
    """What another process opens the same data with."""
    return partial(SqliteStore, path)

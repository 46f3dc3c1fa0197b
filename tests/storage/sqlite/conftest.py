# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from zaqar.storage.sqlite.store import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "zaqar.db")


@pytest.fixture
def opener(path: str) -> Callable[[], SqliteStore]:
    return partial(SqliteStore, path)


@pytest.fixture
def open_empty(tmp_path: Path) -> Callable[[], SqliteStore]:
    numbers = count()
    return lambda: SqliteStore(f"{tmp_path}/{next(numbers)}.db", synchronous="OFF")

# SPDX-License-Identifier: Apache-2.0
"""Opening a file: new, by many at once, older, newer, or none of ours."""

import multiprocessing
import sqlite3
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.contract.arrange import KEY, T0, listed, post
from tests.contract.concurrency import together
from zaqar.errors import ConfigurationError, ZaqarError
from zaqar.storage.sqlite import schema
from zaqar.storage.sqlite.store import SqliteStore


def version_of(path: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def set_version(path: str, version: int) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")


def open_and_ping_by_threads(opener: Callable[[], SqliteStore]) -> int:
    def open_and_ping(_: int) -> int:
        store = opener()
        store.ping()
        store.close()
        return 1

    return sum(together(4, open_and_ping))


def prepared(path: str) -> list[str]:
    """Make a file of the present version with some messages in it."""
    store = SqliteStore(path)
    ids = post(store, 3)
    store.close()
    return ids


def test_many_threads_may_open_a_new_file_at_once(
    opener: Callable[[], SqliteStore],
) -> None:
    stores = together(16, lambda _: opener())

    ids = post(stores[0])

    assert [listed(store) for store in stores] == [ids] * 16
    for store in stores:
        store.close()


def test_many_processes_may_open_a_new_file_at_once(
    opener: Callable[[], SqliteStore], path: str
) -> None:
    context = multiprocessing.get_context("spawn")

    with ProcessPoolExecutor(4, mp_context=context) as pool:
        jobs = [pool.submit(open_and_ping_by_threads, opener) for _ in range(4)]
        opened = [job.result(timeout=60) for job in jobs]

    assert opened == [4] * 4
    assert version_of(path) == len(schema.MIGRATIONS)


def test_file_is_in_wal_mode(path: str) -> None:
    prepared(path)

    with closing(sqlite3.connect(path)) as connection:
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()

    assert mode == "wal"


def test_folder_of_the_file_is_created(tmp_path: Path) -> None:
    path = tmp_path / "var" / "lib" / "zaqar.db"

    store = SqliteStore(str(path))
    store.close()

    assert path.exists()


def test_file_of_a_newer_release_is_refused(path: str) -> None:
    prepared(path)
    set_version(path, 99)

    with pytest.raises(ConfigurationError, match="99"):
        SqliteStore(path)

    assert version_of(path) == 99


def test_file_of_an_older_release_is_brought_forward(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = prepared(path)
    migrations = (*schema.MIGRATIONS, "CREATE TABLE later (a); CREATE TABLE last (a)")
    monkeypatch.setattr(schema, "MIGRATIONS", migrations)

    stores = together(8, lambda _: SqliteStore(path))

    assert version_of(path) == len(migrations)
    assert [listed(store) for store in stores] == [ids] * 8
    for store in stores:
        store.close()


def test_migration_that_fails_leaves_the_file_as_it_was(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = prepared(path)
    version = version_of(path)
    broken = (*schema.MIGRATIONS, "DROP TABLE messages; CREATE NONSENSE")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", broken)
        with pytest.raises((ZaqarError, sqlite3.Error)):
            SqliteStore(path)

    store = SqliteStore(path)

    assert version_of(path) == version
    assert listed(store) == ids
    store.close()


def test_file_that_is_no_database_is_refused(path: str) -> None:
    Path(path).write_bytes(b"This is no database. " * 500)

    with pytest.raises(ConfigurationError):
        SqliteStore(path)

    assert Path(path).read_bytes().startswith(b"This is no database.")


def test_path_that_cannot_be_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ConfigurationError):
        SqliteStore(str(tmp_path / "file" / "zaqar.db"))


def test_path_of_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        SqliteStore(str(tmp_path))


@pytest.mark.parametrize(
    "name", ["with space.db", "ü☃.db", "a?mode=ro#x%20.db", "'.db"]
)
def test_path_is_taken_literally(tmp_path: Path, name: str) -> None:
    store = SqliteStore(str(tmp_path / name))

    post(store)
    store.close()

    assert (tmp_path / name).exists()


def test_closed_file_is_whole_without_its_companions(path: str, tmp_path: Path) -> None:
    ids = prepared(path)
    copy = tmp_path / "copy.db"
    copy.write_bytes(Path(path).read_bytes())

    store = SqliteStore(str(copy))

    assert listed(store) == ids
    assert store.queue_stats(KEY, now=T0).total == 3
    store.close()

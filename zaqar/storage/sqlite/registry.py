# SPDX-License-Identifier: Apache-2.0
"""The SQLite registry: directory, map of queues, quotas; one transaction each."""

import sqlite3

from zaqar.errors import BindingChanged, DirectoryChanged
from zaqar.model import Binding, QueueKey
from zaqar.storage.sqlite.database import Database

FIND = "SELECT pool, version FROM bindings WHERE project = ? AND name = ?"
BIND = "REPLACE INTO bindings (project, name, pool, version) VALUES (?, ?, ?, ?)"
UNBIND_POOL = """
    DELETE FROM bindings WHERE (project, name) IN
    (SELECT project, name FROM bindings WHERE pool = ? LIMIT ?)
"""
SET_QUOTA = "REPLACE INTO quotas (project, document) VALUES (?, ?)"
UNBIND = "DELETE FROM bindings WHERE project = ? AND name = ?"


class SqliteRegistry:
    """The registry in one file, which may be that of a store; shared by threads."""

    def __init__(
        self, path: str, *, synchronous: str = "FULL", busy_timeout: float = 4.0
    ) -> None:
        self._database = Database(
            path, synchronous=synchronous, busy_timeout=busy_timeout
        )

    def read_directory(self) -> tuple[bytes, str]:
        with self._database.reading() as connection:
            found: tuple[bytes, str] = connection.execute(
                "SELECT document, version FROM directory"
            ).fetchone()
            return found

    def write_directory(self, document: bytes, version: str, *, expect: str) -> None:
        def write(connection: sqlite3.Connection) -> None:
            (stored,) = connection.execute("SELECT version FROM directory").fetchone()
            if stored == version:
                return
            if stored != expect:
                raise DirectoryChanged()
            connection.execute(
                "UPDATE directory SET document = ?, version = ?", (document, version)
            )

        self._database.write(write)

    def find_queue(self, key: QueueKey) -> Binding | None:
        with self._database.reading() as connection:
            return _find(connection, key)

    def bind_queue(
        self, key: QueueKey, binding: Binding, *, expect: Binding | None
    ) -> None:
        def bind(connection: sqlite3.Connection) -> None:
            stored = _find(connection, key)
            if stored is not None and stored.version == binding.version:
                return
            if _version(stored) != _version(expect):
                raise BindingChanged(stored)
            values = (key.project, key.name, binding.pool, binding.version)
            connection.execute(BIND, values)

        self._database.write(bind)

    def unbind_queue(self, key: QueueKey, expect: Binding) -> None:
        def unbind(connection: sqlite3.Connection) -> None:
            stored = _find(connection, key)
            if stored is None:
                return
            if stored.version != expect.version:
                raise BindingChanged(stored)
            connection.execute(UNBIND, (key.project, key.name))

        self._database.write(unbind)

    def list_queues(
        self, project: str, *, marker: str | None = None, limit: int, name: str = ""
    ) -> list[tuple[str, Binding]]:
        clauses = ["project = ?"]
        values: list[str | int] = [project]
        if marker is not None:
            clauses.append("name > ?")
            values.append(marker)
        if name:
            clauses.append("instr(name, ?) > 0")
            values.append(name)
        statement = (
            "SELECT name, pool, version FROM bindings"
            f" WHERE {' AND '.join(clauses)} ORDER BY name LIMIT ?"
        )
        with self._database.reading() as connection:
            found = connection.execute(statement, (*values, limit)).fetchall()
            return [(bound, Binding(pool, version)) for bound, pool, version in found]

    def count_queues(self, project: str) -> int:
        with self._database.reading() as connection:
            counted: tuple[int] = connection.execute(
                "SELECT count(*) FROM bindings WHERE project = ?", (project,)
            ).fetchone()
            return counted[0]

    def count_bound(self, pool: str) -> int:
        with self._database.reading() as connection:
            counted: tuple[int] = connection.execute(
                "SELECT count(*) FROM bindings WHERE pool = ?", (pool,)
            ).fetchone()
            return counted[0]

    def unbind_pool(self, pool: str, limit: int) -> int:
        return self._database.write(
            lambda connection: connection.execute(UNBIND_POOL, (pool, limit)).rowcount
        )

    def get_quota(self, project: str) -> bytes:
        with self._database.reading() as connection:
            found: tuple[bytes] | None = connection.execute(
                "SELECT document FROM quotas WHERE project = ?", (project,)
            ).fetchone()
            return b"" if found is None else found[0]

    def set_quota(self, project: str, document: bytes) -> None:
        def write(connection: sqlite3.Connection) -> None:
            if document:
                connection.execute(SET_QUOTA, (project, document))
            else:
                connection.execute("DELETE FROM quotas WHERE project = ?", (project,))

        self._database.write(write)

    def list_quotas(
        self, *, marker: str | None = None, limit: int
    ) -> list[tuple[str, bytes]]:
        with self._database.reading() as connection:
            return connection.execute(
                "SELECT project, document FROM quotas WHERE ?1 IS NULL OR project > ?1"
                " ORDER BY project LIMIT ?2",
                (marker, limit),
            ).fetchall()

    def take_request(self, project: str, *, rate: float, burst: int) -> None:
        return None

    def ping(self) -> None:
        self._database.ping()

    def clock(self) -> float:
        return self._database.clock()

    def close(self) -> None:
        self._database.close()


def _find(connection: sqlite3.Connection, key: QueueKey) -> Binding | None:
    found = connection.execute(FIND, (key.project, key.name)).fetchone()
    return None if found is None else Binding(*found)


def _version(binding: Binding | None) -> str | None:
    return None if binding is None else binding.version

# SPDX-License-Identifier: Apache-2.0
"""A file as the threads of a process use it: steps that write, connections that read.

Knows no tables but those of `schema`.
"""

import sqlite3
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TypeVar

from zaqar.errors import ConfigurationError
from zaqar.storage.sqlite import schema
from zaqar.storage.sqlite.commits import FileLock, GroupCommit, Step, unavailable

T = TypeVar("T")
# A step waits so many times the busy time-out before it gives up: 9 s by default, for
# the contract asks for an answer within 10 s.
PATIENCE = 2.25


class Database:
    """One file; open it after the fork, share it between threads.

    Writes go through the group commit; reads share a pool of connections.
    `busy_timeout` is how many seconds to wait for a lock that somebody else holds
    outside the service (a backup, a shell). Raises ConfigurationError.
    """

    def __init__(self, path: str, *, synchronous: str, busy_timeout: float) -> None:
        self._path = path
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._readers: deque[sqlite3.Connection] = deque()
        try:
            schema.make_folder(path)
            self._lock = FileLock(path + ".lock")
            with self._lock.held():
                schema.make_file(path)
                with closing(self._connect()) as connection:
                    schema.prepare(path, connection)
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(f"{path} cannot be used: {error}.") from None
        self._commits = GroupCommit(
            self._connect, self._lock, patience=PATIENCE * busy_timeout
        )

    def write(self, step: Step[T]) -> T:
        """Run a step in a transaction (see `GroupCommit.run`)."""
        return self._commits.run(step)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection for statements that only read.

        There are as many as threads have ever read at once: threads come and go.
        Raises StorageUnavailable.
        """
        try:
            try:
                connection = self._readers.pop()
            except IndexError:
                connection = self._connect()
            try:
                yield connection
            finally:
                self._readers.append(connection)
        except sqlite3.Error as error:
            raise unavailable(error) or error from None

    def is_durable(self) -> bool:
        """Say whether what was answered survives a power cut."""
        return self._synchronous.upper() in ("FULL", "EXTRA")

    def ping(self) -> None:
        """Check that writing works. Raises StorageUnavailable."""
        self.write(
            lambda connection: connection.execute("UPDATE pulse SET beats = beats + 1")
        )

    def clock(self) -> float:
        # All processes that share the file run on this machine.
        return time.time()

    def close(self) -> None:
        """Give back the file; nobody uses it any more."""
        self._commits.close()
        while self._readers:
            self._readers.pop().close()
        self._lock.close()

    def _connect(self) -> sqlite3.Connection:
        return schema.connect(
            self._path,
            synchronous=self._synchronous,
            busy_timeout=self._busy_timeout,
        )

# SPDX-License-Identifier: Apache-2.0
"""Group commit: steps of many threads and processes share transactions.

SQLite has one writer at a time and each durable commit waits for the disk. A thread
that wants to write queues its step. The first one leads: it waits for the lock of the
file, which the processes share, *then* takes all steps that have queued up meanwhile,
runs them in one transaction, and wakes their threads when the commit is on disk. The
lock queues in the kernel, so nobody polls.
"""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar, cast

from zaqar.errors import StorageUnavailable, ZaqarError

T = TypeVar("T")
Step = Callable[[sqlite3.Connection], T]


class _Job(Generic[T]):
    """One step and what became of it; its thread waits at the gate."""

    __slots__ = ("error", "gate", "leads", "result", "step")

    def __init__(self, step: Step[T]) -> None:
        self.step = step
        self.result: T | None = None
        self.error: BaseException | None = None
        self.leads = False
        self.gate = threading.Lock()
        self.gate.acquire()


class FileLock:
    """A lock between processes, held by one thread of each at most.

    Opened after the fork: an inherited descriptor would share the lock.
    """

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @contextmanager
    def held(self) -> Iterator[None]:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._descriptor)


class GroupCommit:
    """Runs steps of this process's threads in shared transactions."""

    def __init__(
        self, connect: Callable[[], sqlite3.Connection], lock: FileLock
    ) -> None:
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._lock = lock
        self._mutex = threading.Lock()
        self._waiting: list[_Job[Any]] = []
        self._has_leader = False

    def run(self, step: Step[T]) -> T:
        """Run the step in a transaction and return its result once it is on disk.

        The step may run twice (its first transaction may be rolled back for another
        step's error), so it keeps no state but in the database. What it raises undoes
        its own changes only. Raises StorageUnavailable when the commit fails.
        """
        job = _Job(step)
        with self._mutex:
            self._waiting.append(job)
            leads = not self._has_leader
            self._has_leader = True
        if not leads:
            job.gate.acquire()
            leads = job.leads
        if leads:
            self._lead()
        if job.error is not None:
            raise job.error
        return cast(T, job.result)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _lead(self) -> None:
        batch: list[_Job[Any]] = []
        failure: BaseException | None = None
        try:
            with self._lock.held():
                with self._mutex:
                    batch, self._waiting = self._waiting, []
                self._commit(batch)
        except sqlite3.Error as error:
            self._forget_connection()
            failure = StorageUnavailable(f"The database cannot be written: {error}.")
        except BaseException as error:
            self._forget_connection()
            failure = error
        finally:
            self._hand_over(batch, failure)

    def _hand_over(self, batch: list[_Job[Any]], failure: BaseException | None) -> None:
        """Wake the batch; the oldest of those that came meanwhile leads on."""
        with self._mutex:
            if failure is not None and not batch:
                # The lock itself failed: everybody who waits for it is told.
                batch, self._waiting = self._waiting, []
            if self._waiting:
                self._waiting[0].leads = True
                self._waiting[0].gate.release()
            else:
                self._has_leader = False
        for job in batch:
            job.error = failure or job.error
            job.gate.release()

    def _commit(self, batch: list[_Job[Any]]) -> None:
        connection = self._connection = self._connection or self._connect()
        connection.execute("BEGIN IMMEDIATE")
        if not _run_together(connection, batch):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
            _run_apart(connection, batch)
        connection.execute("COMMIT")

    def _forget_connection(self) -> None:
        """Open a new connection next time: this one may be in any state."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _run_together(connection: sqlite3.Connection, batch: list[_Job[Any]]) -> bool:
    """Run all steps; False if one failed after it had begun to write."""
    for job in batch:
        before = connection.total_changes
        try:
            job.result, job.error = job.step(connection), None
        except ZaqarError as error:
            if connection.total_changes != before:
                return False
            job.error = error
        except Exception:
            return False
    return True


def _run_apart(connection: sqlite3.Connection, batch: list[_Job[Any]]) -> None:
    """Run each step so that its failure undoes nothing but itself."""
    for job in batch:
        connection.execute("SAVEPOINT step")
        try:
            job.result, job.error = job.step(connection), None
        except Exception as error:
            if not connection.in_transaction:
                raise  # a full disk or a lost file takes the transaction with it
            connection.execute("ROLLBACK TO step")
            job.error = _translated(error)
        connection.execute("RELEASE step")


def _translated(error: Exception) -> Exception:
    if isinstance(error, sqlite3.OperationalError):
        return StorageUnavailable(f"The database cannot be written: {error}.")
    return error

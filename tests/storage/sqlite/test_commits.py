# SPDX-License-Identifier: Apache-2.0
"""Facts of the group commit, on a bare table: no queue, no message."""

import multiprocessing
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zaqar.errors import QueueNotFound, StorageUnavailable
from zaqar.storage.sqlite import commits
from zaqar.storage.sqlite.commits import FileLock, GroupCommit

THREADS = 8


class Table:
    """A file with one table, opened as the store opens its own.

    `statements` are those that ran on connections of this object. `broken` statements
    fail with what SQLite says when the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.statements: list[str] = []
        self.broken: set[str] = set()
        self.lock = FileLock(f"{path}.lock")
        self.commits = GroupCommit(self.connect, self.lock)
        with self.lock.held():
            connection = self.connect()
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE IF NOT EXISTS t (value INTEGER UNIQUE)")
            connection.close()
        self.statements.clear()

    def connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            isolation_level=None,
            check_same_thread=False,
            factory=connection_class(self.broken),
        )
        connection.set_trace_callback(self.statements.append)
        return connection

    def count(self, statement: str) -> int:
        return sum(ran.startswith(statement) for ran in self.statements)

    def values(self) -> list[int]:
        connection = sqlite3.connect(self.path)
        found = connection.execute("SELECT value FROM t ORDER BY value").fetchall()
        connection.close()
        return [value for (value,) in found]

    def close(self) -> None:
        self.commits.close()
        self.lock.close()


def connection_class(broken: set[str]) -> type[sqlite3.Connection]:
    class Connection(sqlite3.Connection):
        def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
            if statement in broken:
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(statement, *arguments)

    return Connection


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    table = Table(tmp_path / "t.db")
    yield table
    table.close()


def insert(value: int) -> Callable[[sqlite3.Connection], int]:
    def step(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO t VALUES (?)", (value,))
        return value

    return step


def insert_then_raise(
    value: int, error: Exception
) -> Callable[[sqlite3.Connection], int]:
    def step(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO t VALUES (?)", (value,))
        raise error

    return step


def run_in_one_batch(
    table: Table, steps: list[Callable[[sqlite3.Connection], Any]]
) -> list[Any]:
    """Run the steps in threads, all in one batch; their results or errors, in order.

    The lock of the file is held until all of them wait for it.
    """

    def run(step: Callable[[sqlite3.Connection], Any]) -> Any:
        try:
            return table.commits.run(step)
        except Exception as error:
            return error

    other = FileLock(f"{table.path}.lock")
    with ThreadPoolExecutor(len(steps)) as pool:
        with other.held():
            jobs = []
            for number, step in enumerate(steps, start=1):
                jobs.append(pool.submit(run, step))
                wait_until(lambda number=number: waiting(table) == number)
        results = [job.result(timeout=30) for job in jobs]
    other.close()
    return results


def waiting(table: Table) -> int:
    return len(table.commits._waiting)


def wait_until(reached: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(3000):
        if reached():
            return
        pause.wait(0.01)
    raise AssertionError("The steps did not queue up in 30 s.")


def test_a_step_is_on_disk_when_run_returns(table: Table) -> None:
    assert table.commits.run(insert(1)) == 1

    assert table.values() == [1]


def test_steps_that_wait_together_share_one_transaction(table: Table) -> None:
    steps = [insert(value) for value in range(THREADS)]

    results = run_in_one_batch(table, steps)

    assert results == list(range(THREADS))
    assert table.values() == list(range(THREADS))
    assert table.count("COMMIT") == 1


def test_busy_threads_need_fewer_transactions_than_steps(table: Table) -> None:
    rounds, numbers, start = 25, count(), threading.Barrier(THREADS)

    def work() -> None:
        start.wait()
        for _ in range(rounds):
            table.commits.run(insert(next(numbers)))

    with ThreadPoolExecutor(THREADS) as pool:
        for job in [pool.submit(work) for _ in range(THREADS)]:
            job.result(timeout=60)

    assert table.values() == list(range(THREADS * rounds))
    assert table.count("COMMIT") < THREADS * rounds


@pytest.mark.parametrize(
    "error",
    [QueueNotFound("q"), ValueError("a bug"), sqlite3.IntegrityError("twice")],
    ids=lambda error: type(error).__name__,
)
def test_a_failing_step_undoes_only_itself(table: Table, error: Exception) -> None:
    steps = [insert(1), insert_then_raise(2, error), insert(3)]

    results = run_in_one_batch(table, steps)

    assert results == [1, error, 3]
    assert table.values() == [1, 3]


def test_a_step_that_breaks_a_constraint_undoes_only_itself(table: Table) -> None:
    results = run_in_one_batch(table, [insert(1), insert(1), insert(2)])

    assert results[0] == 1
    assert isinstance(results[1], sqlite3.IntegrityError)
    assert results[2] == 2
    assert table.values() == [1, 2]


def test_a_refusal_before_any_write_costs_no_second_transaction(table: Table) -> None:
    def refuse(connection: sqlite3.Connection) -> None:
        raise QueueNotFound("q")

    results = run_in_one_batch(table, [insert(1), refuse, insert(2)])

    assert [results[0], results[2]] == [1, 2]
    assert isinstance(results[1], QueueNotFound)
    assert table.count("BEGIN") == 1


def test_an_operational_error_of_a_step_means_try_again_later(table: Table) -> None:
    error = sqlite3.OperationalError("database or disk is full")

    results = run_in_one_batch(table, [insert(1), insert_then_raise(2, error)])

    assert results[0] == 1
    assert isinstance(results[1], StorageUnavailable)
    assert table.values() == [1]


@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "COMMIT"])
def test_a_failure_of_the_transaction_reaches_every_waiter(
    table: Table, statement: str
) -> None:
    table.broken.add(statement)

    results = run_in_one_batch(table, [insert(value) for value in range(THREADS)])

    assert [type(result) for result in results] == [StorageUnavailable] * THREADS
    assert "disk is full" in str(results[0])
    assert table.values() == []


@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "COMMIT"])
def test_the_next_step_works_after_a_failed_transaction(
    table: Table, statement: str
) -> None:
    table.broken.add(statement)
    with pytest.raises(StorageUnavailable):
        table.commits.run(insert(1))
    table.broken.clear()

    assert table.commits.run(insert(1)) == 1

    assert table.values() == [1]


def test_a_transaction_that_sqlite_gave_up_reaches_every_waiter(table: Table) -> None:
    def give_up(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES (2)")
        connection.execute("ROLLBACK")
        raise sqlite3.OperationalError("database or disk is full")

    results = run_in_one_batch(table, [insert(1), give_up, insert(3)])

    assert [type(result) for result in results] == [StorageUnavailable] * 3
    assert table.values() == []


def test_a_lost_lock_file_reaches_every_waiter(tmp_path: Path) -> None:
    table = Table(tmp_path / "t.db")
    table.lock.close()

    with pytest.raises(OSError, match="Bad file descriptor"):
        table.commits.run(insert(1))
    with pytest.raises(OSError, match="Bad file descriptor"):
        table.commits.run(insert(2))

    assert table.values() == []
    table.commits.close()


def test_the_lock_excludes_another_descriptor(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    mine, other = FileLock(path), FileLock(path)
    entered = threading.Event()

    def enter() -> None:
        with other.held():
            entered.set()

    with mine.held():
        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.1)

    assert entered.wait(30)
    thread.join()
    mine.close()
    other.close()


# Leading late -------------------------------------------------------------------------


class Gate:
    """A gate that tells when somebody waits at it.

    If it is `late`, the first wait at it is over only when it has been opened, and is
    told that its time was up.
    """

    def __init__(self, *, late: bool) -> None:
        self.late = late
        self.reached = threading.Event()
        self._opened = threading.Event()
        self._lock = threading.Lock()
        self._lock.acquire()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if not blocking:
            return self._lock.acquire(blocking=False)
        self.reached.set()
        if self.late:
            self.late = False
            assert self._opened.wait(30)
            return False
        return self._lock.acquire(timeout=timeout)

    def release(self) -> None:
        self._lock.release()
        self._opened.set()


class Clock:
    """The clock of the group commit, set forward by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        clock = SimpleNamespace(monotonic=lambda: self.now, sleep=lambda _: None)
        monkeypatch.setattr(commits, "time", clock)


class Relay:
    """One step that holds the transaction while two others queue up behind it.

    The second leads when the first is done; its gate is `second`.
    """

    def __init__(
        self, table: Table, monkeypatch: pytest.MonkeyPatch, *, late: bool
    ) -> None:
        self.second, self.third = Gate(late=late), Gate(late=False)
        self.leaders: list[str] = []
        self._table = table
        gates = {self._follow: self.second, self._come_last: self.third}
        monkeypatch.setattr(commits, "_Job", partial(job_with_gate, gates))

    def run(self, meanwhile: Callable[[], None] = lambda: None) -> list[Any]:
        """Run all three; `meanwhile` is called when both others wait."""
        holding = threading.Event()

        def hold(connection: sqlite3.Connection) -> int:
            holding.set()
            assert self.third.reached.wait(30)
            meanwhile()
            return insert(1)(connection)

        run = self._table.commits.run
        with ThreadPoolExecutor(3) as pool:
            jobs = [pool.submit(run, hold)]
            assert holding.wait(30)
            jobs.append(pool.submit(run, self._follow))
            assert self.second.reached.wait(30)
            jobs.append(pool.submit(run, self._come_last))
            return [job.exception(30) or job.result() for job in jobs]

    def _follow(self, connection: sqlite3.Connection) -> int:
        self.leaders.append(threading.current_thread().name)
        return insert(2)(connection)

    def _come_last(self, connection: sqlite3.Connection) -> int:
        return insert(3)(connection)


def job_with_gate(gates: dict[Any, Gate], step: Any) -> Any:
    job: Any = JOB(step)
    job.gate = gates.get(step, job.gate)
    return job


JOB: Any = commits._Job


def test_leader_whose_wait_is_over_in_the_same_moment_leads_and_all_are_answered(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = Relay(table, monkeypatch, late=True)

    assert relay.run() == [1, 2, 3]

    assert table.values() == [1, 2, 3]
    assert table.commits.run(insert(4)) == 4


@pytest.mark.parametrize(
    ("seconds", "stands_in"), [(0, False), (4.4, False), (4.6, True), (8.9, True)]
)
def test_leader_late_in_its_patience_leaves_the_wait_to_the_stand_in(
    table: Table, monkeypatch: pytest.MonkeyPatch, seconds: float, stands_in: bool
) -> None:
    clock = Clock(monkeypatch)
    relay = Relay(table, monkeypatch, late=False)

    def later() -> None:
        clock.now += seconds

    assert relay.run(later) == [1, 2, 3]

    assert [name == "commits" for name in relay.leaders] == [stands_in]
    assert table.values() == [1, 2, 3]


def insert_many(path: Path, first: int, amount: int) -> None:
    table = Table(path)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(table.commits.run, map(insert, range(first, first + amount))))
    table.close()


def test_two_processes_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    Table(path).close()
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=insert_many, args=(path, first, 100))
        for first in (0, 100)
    ]

    for process in processes:
        process.start()
    for process in processes:
        process.join(120)

    assert [process.exitcode for process in processes] == [0, 0]
    table = Table(path)
    assert table.values() == list(range(200))
    table.close()

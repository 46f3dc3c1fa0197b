# SPDX-License-Identifier: Apache-2.0
"""Several worker processes as one: starts them, runs phases on all, merges."""

import multiprocessing
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from time import monotonic, monotonic_ns
from types import TracebackType
from typing import Any, Self

from zaqar.bench import worker
from zaqar.bench.cpu import Meter
from zaqar.bench.ledger import Ledger
from zaqar.bench.tally import Tally
from zaqar.bench.worker import SECOND, Phase, Plan

PATIENCE = 15.0  # seconds beyond the time-out until a process is given up
LONGEST = 600.0  # seconds of a phase without a duration
ATTENTION = 0.2  # seconds until an interruption is seen
LEAD = SECOND // 50  # between the order to begin and the beginning


def never() -> bool:
    return False


class WorkerFailed(Exception):
    """Raised when a worker process died or does not answer."""


@dataclass(frozen=True, slots=True)
class Load:
    """A phase as the coordinator sees it: how many connections run which script.

    `budget` counts messages of all connections, `rate` requests per second of all.
    """

    roles: tuple[tuple[str, int], ...]
    duration: float = 0.0
    warmup: float = 0.0
    budget: int | None = None
    rate: float = 0.0


@dataclass(slots=True)
class Outcome:
    """What a phase measured; `server_cpu` in nanoseconds when a process was watched."""

    tally: Tally
    server_cpu: int | None = None
    interrupted: bool = False

    def extend(self, other: Self) -> None:
        """Add another slice of the same measurement."""
        self.tally.extend(other.tally)
        self.interrupted = self.interrupted or other.interrupted
        if self.server_cpu is not None and other.server_cpu is not None:
            self.server_cpu += other.server_cpu


@dataclass(frozen=True, slots=True)
class Progress:
    """Counts since the beginning of the phase or of its measured part."""

    requests: Counter[str]
    messages: Counter[str]
    failures: int


Report = Callable[[Progress], None]


class Fleet:
    """Worker processes that load one target."""

    def __init__(
        self, plan: Plan, processes: int = 1, interrupted: Callable[[], bool] = never
    ) -> None:
        self.plan = plan
        self.interrupted = interrupted
        self.crew: list[tuple[BaseProcess, Pipe]] = []
        context = multiprocessing.get_context("forkserver")
        for _ in range(processes):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=worker.main, args=(plan, theirs), daemon=True
            )
            process.start()
            theirs.close()
            self.crew.append((process, ours))
        for _, pipe in self.crew:
            self.answer(pipe)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def run(self, load: Load, report: Report | None = None) -> Outcome:
        """Run one phase on all processes; when interrupted, return what there is."""
        watch = Watch(self, load, report)
        if not load.warmup:
            watch.start_meter()
        start = monotonic_ns() + LEAD
        for index, (_, pipe) in enumerate(self.crew):
            pipe.send(self.share(load, index, start))
        watch.follow(start + int(load.warmup * SECOND))
        return watch.outcome()

    def share(self, load: Load, index: int, start: int) -> Phase:
        """Return the part of one process: every n-th connection."""
        size = len(self.crew)
        names = [name for name, count in load.roles for _ in range(count)]
        seats = [(name, number) for number, name in enumerate(names)]
        mine = tuple(seats[index::size])
        part = len(mine) / (len(names) or 1)
        begin = start + int(load.warmup * SECOND)
        return Phase(
            seats=mine,
            measure_from=begin if load.warmup else 0,
            until=begin + int(load.duration * SECOND) if load.duration else 0,
            budget=None if load.budget is None else round(load.budget * part),
            rate=load.rate * part,
        )

    def disconnect(self) -> None:
        """Make the processes open new connections in their next phase."""
        for _, pipe in self.crew:
            pipe.send("disconnect")

    def stop(self) -> None:
        """Make the processes end their phase at once."""
        for _, pipe in self.crew:
            pipe.send("stop")

    def ledger(self) -> Ledger:
        """Return the merged book of all processes."""
        merged = Ledger()
        for _, pipe in self.crew:
            pipe.send("ledger")
        for _, pipe in self.crew:
            merged.merge(self.answer(pipe))
        return merged

    def answer(self, pipe: Pipe) -> Any:
        """Return what a process says next; close everything if that is nothing."""
        try:
            if not pipe.poll(PATIENCE):
                raise WorkerFailed("a load process does not answer")
            return receive(pipe)[1]
        except WorkerFailed:
            self.close()
            raise

    def close(self) -> None:
        """Hang up; what does not end by itself is ended."""
        for _, pipe in self.crew:
            pipe.close()
        for process, _ in self.crew:
            process.join(2)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()
        self.crew = []


class Watch:
    """Follows one phase: reads the processor time, passes progress on, collects."""

    def __init__(self, fleet: Fleet, load: Load, report: Report | None) -> None:
        self.fleet = fleet
        self.pipes = [pipe for _, pipe in fleet.crew]
        self.report = report
        watched = fleet.plan.target.pids
        self.meter = Meter(watched) if watched else None
        self.metering = False
        self.server_cpu: int | None = None
        self.ticks: dict[Pipe, Progress] = {}
        self.tallies: list[Tally] = []
        self.patience = PATIENCE + fleet.plan.timeout
        self.length = load.warmup + load.duration if load.duration else LONGEST
        self.interrupted = False

    def follow(self, measure_from: int) -> None:
        """Serve the processes until all have handed in their tally."""
        deadline = monotonic() + self.length + self.patience
        while self.pipes:
            now = monotonic()
            if now > deadline:
                raise WorkerFailed("a load process does not come to its end")
            if self.fleet.interrupted() and not self.interrupted:
                self.interrupted = True
                self.fleet.stop()
                deadline = now + self.patience
            pause = measure_from / SECOND - now
            if self.meter and not self.metering and pause <= 0:
                self.start_meter()
            self.listen(min(pause, ATTENTION) if pause > 0 else ATTENTION)

    def start_meter(self) -> None:
        """Begin to measure the processor time of the server."""
        if self.meter:
            self.meter.start()
            self.metering = True

    def listen(self, timeout: float) -> None:
        """Take what the processes have to say."""
        for pipe in wait(self.pipes, timeout):
            self.take(pipe)

    def take(self, pipe: Any) -> None:
        """Handle one word of one process."""
        kind, value = receive(pipe)
        if kind == "tick":
            self.ticks[pipe] = Progress(*value)
            if self.report and len(self.ticks) == len(self.pipes):
                self.report(merged(self.ticks.values()))
                self.ticks.clear()
            return
        if self.metering and self.meter and self.server_cpu is None:
            self.server_cpu = self.meter.stop()
        if kind == "tally":
            self.tallies.append(value)
            self.pipes.remove(pipe)

    def outcome(self) -> Outcome:
        """Return the sum of all tallies."""
        total = self.tallies[0]
        for tally in self.tallies[1:]:
            total.merge(tally)
        return Outcome(total, self.server_cpu, self.interrupted)


def receive(pipe: Pipe) -> tuple[str, Any]:
    """Return the next word of a process."""
    try:
        word: tuple[str, Any] = pipe.recv()
    except (EOFError, ConnectionResetError):
        raise WorkerFailed("a load process died") from None
    return word


def merged(parts: Any) -> Progress:
    """Add the progress of all processes."""
    total = Progress(Counter(), Counter(), 0)
    for part in parts:
        total.requests.update(part.requests)
        total.messages.update(part.messages)
        total = Progress(total.requests, total.messages, total.failures + part.failures)
    return total

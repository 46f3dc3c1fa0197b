# SPDX-License-Identifier: Apache-2.0
"""One process of the load: an epoll loop that drives its connections through a phase.

Talks with the coordinator through a pipe; knows nothing of other processes.
"""

import contextlib
import gc
import heapq
import select
import signal
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from time import monotonic_ns, process_time_ns
from typing import Any

from zaqar.bench.connections import BUSY, CLOSED, CONNECTING, IDLE, Connection, resolve
from zaqar.bench.ledger import Ledger
from zaqar.bench.replies import LOST, Reply
from zaqar.bench.requests import Caller, Target
from zaqar.bench.scripts import SCRIPTS, Desk, Seat, Wish, Work
from zaqar.bench.tally import Tally, Window

SECOND = 1_000_000_000
EVENTS = 64  # of one call of epoll
PATROL = SECOND // 4  # how often the loop looks for requests that take too long


@dataclass(frozen=True, slots=True)
class Plan:
    """What a process is told once: where it calls, as whom, and how patiently."""

    target: Target
    work: Work
    project: str = "bench"
    headers: tuple[str, ...] = ()
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a run in one process; instants are those of the monotonic clock.

    `seats` holds a script name and a seat number for each connection. A phase with
    `measure_from` 0 is measured whole, one with `until` 0 ends when its scripts do.
    `rate` is in requests per second, 0: no limit.
    """

    seats: tuple[tuple[str, int], ...]
    measure_from: int = 0
    until: int = 0
    budget: int | None = None
    rate: float = 0.0


class Worker:
    """Owns the connections of one process."""

    def __init__(self, plan: Plan, pipe: Pipe) -> None:
        self.plan = plan
        self.pipe = pipe
        self.epoll = select.epoll()
        self.epoll.register(pipe.fileno(), select.EPOLLIN)
        self.address = resolve(plan.target)
        self.ledger = Ledger()
        self.desk = Desk(plan.work, self.ledger)
        self.lines: dict[int, Connection] = {}
        self.by_fd: dict[int, Connection] = {}
        self.seats: dict[int, Seat] = {}
        self.timeout = int(plan.timeout * SECOND)
        self.timers: list[tuple[int, int, Connection, Wish]] = []
        self.waiting: deque[Connection] = deque()
        self.gap = 0  # nanoseconds between two requests, 0: no limit
        self.active = 0
        self.abandoned = False

    # Phases

    def run(self, phase: Phase) -> Tally:
        """Run one phase to its end and return what it measured."""
        self.desk.open_phase(phase.budget)
        self.abandoned = False
        self.timers = []
        self.waiting.clear()
        self.gap = int(SECOND / phase.rate) if phase.rate else 0
        now = self.slot = monotonic_ns()
        self.window_from = self.cpu_from = 0
        self.boundary = phase.measure_from
        self.until = phase.until
        if not phase.measure_from:
            self.cross(now)
        self.next_patrol = now + PATROL
        self.next_tick = now + SECOND
        self.active = len(phase.seats)
        for script, number in phase.seats:
            self.seat(script, number)
        self.loop()
        return self.desk.tally

    def seat(self, script: str, number: int) -> None:
        """Give a connection its script and its first request."""
        if number not in self.lines:
            self.lines[number] = Connection(self.address, self.epoll)
            caller = Caller(self.plan.target, self.plan.project, self.plan.headers)
            self.seats[number] = Seat(number, caller)
        line = self.lines[number]
        if line.state is IDLE and line.receive() is not None:
            # The server closed it meanwhile.
            self.forget(line)
            line.close()
        line.script = SCRIPTS[script](self.desk, self.seats[number])
        self.step(line, None)

    def loop(self) -> None:
        """Serve events until every script has ended."""
        poll = self.epoll.poll
        by_fd = self.by_fd
        while self.active and not self.abandoned:
            events = poll(self.patience(), EVENTS)
            now = monotonic_ns()
            for fd, mask in events:
                line = by_fd.get(fd)
                if line is not None:
                    self.serve(line, mask)
                elif fd == self.pipe.fileno():
                    self.hear()
            self.keep_time(now)
        self.end_window(monotonic_ns())
        for line in self.lines.values():
            if line.script is not None:
                self.leave(line)

    def hear(self) -> None:
        """Take a word from the coordinator: during a phase that can only be `stop`."""
        with contextlib.suppress(EOFError):
            self.pipe.recv()
        self.abandoned = True

    def leave(self, line: Connection) -> None:
        """End a script whether it wants or not."""
        assert line.script is not None
        line.script.close()
        line.script = None
        if line.state is not IDLE:
            line.close()

    def disconnect(self) -> None:
        """Close all connections; this counts as no reconnection."""
        for line in self.lines.values():
            self.forget(line)
            line.close()
            line.opened = 0

    # Time

    def patience(self) -> float:
        """Return how many seconds the loop may wait for events."""
        wake = self.next_patrol
        if self.boundary and self.boundary < wake:
            wake = self.boundary
        if self.timers and self.timers[0][0] < wake:
            wake = self.timers[0][0]
        if self.waiting and self.slot < wake:
            wake = self.slot
        return max(wake - monotonic_ns(), 0) / SECOND

    def keep_time(self, now: int) -> None:
        """Do what is due."""
        while self.timers and self.timers[0][0] <= now:
            _, _, line, wish = heapq.heappop(self.timers)
            self.wake(line, wish)
        while self.waiting and self.slot <= now:
            line = self.waiting.popleft()
            # A late request counts from the time at which it was due.
            line.started = self.slot
            self.slot += self.gap
            self.submit(line, now)
        if self.boundary and now >= self.boundary:
            self.cross(now)
        if self.desk.stopping:
            self.end_window(now)
            self.release_waiting(now)
        if now >= self.next_patrol:
            self.patrol(now)

    def cross(self, now: int) -> None:
        """Begin or end the measuring."""
        if self.window_from:
            self.boundary = 0
            self.desk.stopping = True
            return
        self.desk.tally = Tally()
        self.window_from = now
        self.cpu_from = process_time_ns()
        self.boundary = self.until

    def end_window(self, now: int) -> None:
        """Note what was reached; latencies of late answers are still collected."""
        if not self.window_from or self.desk.tally.window.seconds:
            return
        cpu = process_time_ns() - self.cpu_from
        elapsed = max(now - self.window_from, 1)
        tally = self.desk.tally
        tally.window = Window(
            seconds=elapsed / SECOND,
            requests=tally.requests(),
            messages=tally.messages.copy(),
            client_cpu=cpu,
            busiest=cpu / elapsed,
        )
        self.boundary = 0
        self.pipe.send(("window", None))

    def release_waiting(self, now: int) -> None:
        """Send at once what waits for its turn, so that the scripts can end."""
        self.gap = 0
        while self.waiting:
            line = self.waiting.popleft()
            line.started = now
            self.submit(line, now)

    def patrol(self, now: int) -> None:
        """Drop requests that take too long; every second tell how far we are."""
        self.next_patrol = now + PATROL
        for line in list(self.by_fd.values()):
            busy = line.state is BUSY or line.state is CONNECTING
            if busy and now - line.sent > self.timeout:
                self.lose(line, "timed out")
        if now >= self.next_tick:
            self.next_tick += SECOND
            tally = self.desk.tally
            counts = (tally.requests(), tally.messages.copy(), tally.failures())
            self.pipe.send(("tick", counts))

    # Connections

    def serve(self, line: Connection, mask: int) -> None:
        """Handle what epoll says about one connection."""
        if mask & select.EPOLLIN:
            reply = line.receive()
            if reply is not None:
                self.answered(line, reply)
        elif not line.writable():
            self.lose(line)

    def answered(self, line: Connection, reply: Reply) -> None:
        """Record a reply and let the script go on."""
        if line.state is IDLE:
            # Nothing was asked: the server closed the connection, as it may.
            self.forget(line)
            line.close()
            return
        if not reply.status or line.state is CONNECTING:
            self.lose(line)
            return
        took = monotonic_ns() - line.started
        self.desk.tally.record(line.op, reply.status, took, reply.body)
        line.state = IDLE
        if reply.closes or line.half_sent:
            self.forget(line)
            line.close()
        self.step(line, reply)

    def lose(self, line: Connection, why: str = "dropped") -> None:
        """Count a request whose connection failed; the script goes on without."""
        self.forget(line)
        if line.state is CONNECTING:
            why = "no connection"
            line.fail()
        else:
            line.close()
        self.desk.tally.troubles[line.op, why] += 1
        self.step(line, LOST)

    def forget(self, line: Connection) -> None:
        if self.by_fd.get(line.fd) is line:
            del self.by_fd[line.fd]

    def step(self, line: Connection, reply: Reply | None) -> None:
        """Ask the script what it wants next, and do it."""
        script = line.script
        assert script is not None
        try:
            wish = next(script) if reply is None else script.send(reply)
        except StopIteration:
            line.script = None
            self.active -= 1
            return
        if line.backoff:
            self.later(line, line.backoff, wish)
        else:
            self.obey(line, wish)

    def obey(self, line: Connection, wish: Wish) -> None:
        """Send a request, now or when its turn comes, or begin a pause."""
        if isinstance(wish, float):
            self.later(line, wish, 0.0)
            return
        line.op, line.request = wish
        if self.gap:
            self.waiting.append(line)
            return
        line.started = now = monotonic_ns()
        self.submit(line, now)

    def later(self, line: Connection, seconds: float, wish: Wish) -> None:
        """Come back to a connection after a pause; a wish of 0.0 asks the script."""
        due = monotonic_ns() + int(seconds * SECOND)
        heapq.heappush(self.timers, (due, id(line), line, wish))

    def wake(self, line: Connection, wish: Wish) -> None:
        if wish == 0.0:
            self.step(line, LOST)
        else:
            self.obey(line, wish)

    def submit(self, line: Connection, now: int) -> None:
        """Hand the request to the connection."""
        fresh = line.state is CLOSED
        if fresh and line.opened:
            self.desk.tally.reconnects += 1
        sent = line.send(now)
        if fresh:
            self.by_fd[line.fd] = line
        if not sent:
            self.lose(line)


def main(plan: Plan, pipe: Pipe) -> None:
    """Serve the coordinator until it hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.freeze()
    worker = Worker(plan, pipe)
    pipe.send(("ready", None))
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            order: Any = pipe.recv()
            if isinstance(order, Phase):
                pipe.send(("tally", worker.run(order)))
            elif order == "disconnect":
                worker.disconnect()
            elif order == "ledger":
                pipe.send(("ledger", worker.ledger))

# SPDX-License-Identifier: Apache-2.0
"""Delivers what one queue owes its subscribers, as long as it holds the outbox.

It works in rounds: read what is due, send it, settle what became of it. Each subscriber
has a line of its own, in which one thing is sent after another. A line that is not
through after a while holds up nobody: what stands in it goes back to the outbox, and
only what is being sent at the moment is waited for.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

import msgspec
from oslo_log import log

from zaqar.errors import LeaseLost, StorageUnavailable
from zaqar.model import Attempt, Delivery, Notice, QueueKey, Settled, Subscription, Work
from zaqar.notification.senders import Outcome

LOG = log.getLogger(__name__)

# How long a round waits for lines that are not through.
PATIENCE = 0.5
# How long to wait for something to happen where all that is left is being sent: at
# least, and for each queue that is held, so that thousands that hang cost little.
PAUSE = 0.1
PAUSE_EACH = 0.001
# How often a queue is read at most, unless it has more than a round takes.
# PERF: each round costs the store two transactions, which posts wait for.
PACE = 0.2
# How long an outbox is held, and how often that is renewed at least.
LEASE_SECONDS = 20.0
RENEWAL_SECONDS = 5.0
# How long it is held at least where others want to be.
STAY_SECONDS = 2.0
# What a round takes at most of notices and of deliveries of each subscriber, and both
# times subscribers, of whom each gets one.
ROUND = 2000
NOTICES = 100
DELIVERIES = 50
# Where they were not counted yet.
GUESSED_SUBSCRIBERS = 100
# How late it is tried again where the fault was ours.
BROKEN_SECONDS = 30.0
# While the store does not answer.
UNAVAILABLE_SECONDS = 1.0


class Job(msgspec.Struct):
    """Something to send; `stored`: a delivery of it is in the outbox."""

    notice: Notice
    failures: int
    stored: bool


class Line:
    """What is sent to one subscriber, one after the other."""

    def __init__(self, subscription: Subscription, jobs: Iterable[Job]) -> None:
        self.subscription = subscription
        self.waiting = deque(jobs)
        self.current: Job | None = None
        self.task: asyncio.Task[None] | None = None

    def recall(self) -> list[Job]:
        """Take out what is not being sent yet."""
        left, self.waiting = list(self.waiting), deque()
        return left


class Fate(msgspec.Struct, frozen=True):
    """What shall become of a delivery that failed: the instant of its next attempt.

    None: there is none; `buried`: it lies in a dead letter queue.
    """

    due: float | None
    buried: bool = False


class Office(msgspec.Struct, frozen=True):
    """What a courier needs of the service; calls of the store run in threads.

    `read` is given how many notices, how many deliveries of each subscription, and the
    subscriptions whose deliveries are not wanted; it knows how much memory there is.
    `choose` says of which notices each subscription is to be told; `send` makes one
    attempt; `judge` decides on one that failed, given how often it has by now. `place`
    is where rounds are done, `is_crowded` says that others want to be held, and `held`
    how many are.
    """

    read: Callable[[QueueKey, int, int, frozenset[str]], Awaitable[Work]]
    settle: Callable[[QueueKey, Settled], Awaitable[None]]
    release: Callable[[QueueKey], Awaitable[None]]
    choose: Callable[[QueueKey, Work], dict[str, list[Notice]]]
    send: Callable[[QueueKey, Subscription, Notice, int], Awaitable[Outcome]]
    judge: Callable[[QueueKey, Subscription, Notice, int, Outcome], Awaitable[Fate]]
    place: Callable[[QueueKey], AbstractAsyncContextManager[None]]
    is_crowded: Callable[[QueueKey], bool]
    held: Callable[[], int]
    now: Callable[[], float]


class Courier:
    """Serves the outbox of one queue."""

    def __init__(self, key: QueueKey, office: Office) -> None:
        self._key = key
        self._office = office
        self._lines: dict[str, Line] = {}
        self._notices: list[str] = []
        self._waiting: dict[tuple[str, str], Delivery] = {}
        self._finished: dict[tuple[str, str], None] = {}
        self._attempts: dict[str, list[Attempt]] = {}
        self._changed = asyncio.Event()
        self._began = self._renewed = time.monotonic()
        # Not known yet: the first round takes one delivery of each.
        self._subscribers: int | None = None
        self._most = self._deliveries = 0
        # Less where bodies are large: what does not fit is read for nothing.
        self._fitting = NOTICES
        self._busy: frozenset[str] = frozenset()

    async def serve(self, stopping: asyncio.Event) -> None:
        """Deliver until nothing is left to do, or somebody else does it, or the end.

        It ends too where others want to be held; what is left is leased again then.
        """
        try:
            while await self._round(stopping):
                pass
            with suppress(StorageUnavailable):
                await self._office.release(self._key)
        except LeaseLost:
            LOG.warning("Somebody else delivers for queue %s now.", self._key.name)
        finally:
            for line in self._lines.values():
                if line.task is not None:
                    line.task.cancel()

    def _has_to_go(self) -> bool:
        has_read = self._subscribers is not None
        stayed = time.monotonic() - self._began
        is_over = has_read and stayed > STAY_SECONDS
        return is_over and self._office.is_crowded(self._key)

    async def _round(self, stopping: asyncio.Event) -> bool:
        """Do one round; False if nothing is left."""
        try:
            # Who only waits, for those who hang or for time to pass, takes no place.
            async with self._office.place(self._key):
                # What is not settled yet would be read, and sent, again.
                await self._settle()
                read_at = time.monotonic()
                ends = stopping.is_set() or self._has_to_go()
                self._busy = frozenset() if ends else frozenset(self._lines)
                work = Work() if ends else await self._read()
                began = self._begin(work)
                await self._wait(began)
                for line in began:
                    self._give_back(line)
                await self._settle()
        except StorageUnavailable as error:
            LOG.warning("Deliveries of queue %s wait: %s", self._key.name, error)
            await asyncio.sleep(UNAVAILABLE_SECONDS)
            return not stopping.is_set()
        if not began and self._lines:
            await self._something_happens()
        elif (began or work.notices) and not self._is_full(work, began):
            await asyncio.sleep(PACE - (time.monotonic() - read_at))
        # What those are owed who were busy was not read.
        is_owed = began or self._lines or work.notices or self._busy
        return bool(is_owed or self._unsettled())

    async def _read(self) -> Work:
        share = max(1, ROUND // (self._subscribers or GUESSED_SUBSCRIBERS))
        share = min(share, self._fitting)
        self._most = min(NOTICES, share)
        self._deliveries = min(DELIVERIES, share) if self._subscribers else 1
        work = await self._office.read(
            self._key, self._most, self._deliveries, self._busy
        )
        self._subscribers = max(1, len(work.subscriptions))
        more, less = min(NOTICES, 2 * self._fitting), max(1, self._fitting // 2)
        self._fitting = less if work.cut else more
        return work

    def _is_full(self, work: Work, began: Iterable[Line]) -> bool:
        """Say whether there may be more than was read, for those who were free."""
        read = Counter(delivery.subscription for delivery in work.deliveries)
        most = max((read[line.subscription.id] for line in began), default=0)
        return work.cut or len(work.notices) >= self._most or most >= self._deliveries

    def _begin(self, work: Work) -> list[Line]:
        """Let lines begin for all who are free; what others are owed waits."""
        owed: dict[str, list[Delivery]] = {}
        for delivery in work.deliveries:
            owed.setdefault(delivery.subscription, []).append(delivery)
        chosen = self._office.choose(self._key, work)
        began = []
        for subscription in work.subscriptions:
            due = owed.get(subscription.id, [])
            told = chosen[subscription.id]
            is_all = len(due) < self._deliveries and not work.cut
            is_behind = subscription.id in work.behind and not is_all
            # Who was busy when it was read may be through by now.
            is_busy = subscription.id in self._lines or subscription.id in self._busy
            if is_busy or is_behind:
                # Told later, they would be told before what they came after.
                for notice in told:
                    self._wait_for_turn(subscription, notice)
                told = []
            if is_busy:
                continue
            jobs = [
                Job(delivery.notice, delivery.failures, True)
                for delivery in due
                if not self._is_newer((subscription.id, delivery.notice.id))
            ]
            jobs += [Job(notice, 0, False) for notice in told]
            if jobs:
                began.append(self._start(Line(subscription, jobs)))
        self._notices += [notice.id for notice in work.notices]
        return began

    def _is_newer(self, pair: tuple[str, str]) -> bool:
        """Say whether a delivery changed while it was read."""
        return pair in self._waiting or pair in self._finished

    def _start(self, line: Line) -> Line:
        self._lines[line.subscription.id] = line
        line.task = asyncio.create_task(self._walk(line))
        return line

    async def _walk(self, line: Line) -> None:
        """Send what stands in the line."""
        try:
            while line.waiting:
                line.current = line.waiting.popleft()
                await self._attempt(line.subscription, line.current)
                line.current = None
        finally:
            del self._lines[line.subscription.id]
            self._changed.set()

    async def _attempt(self, subscription: Subscription, job: Job) -> None:
        """Send it, whatever is wrong with us: what is told of is never lost."""
        try:
            await self._deliver(subscription, job)
        except Exception:
            LOG.exception("A delivery of queue %s failed; it waits.", self._key.name)
            self._waiting[subscription.id, job.notice.id] = Delivery(
                subscription.id,
                job.notice,
                job.failures,
                self._office.now() + BROKEN_SECONDS,
            )

    async def _deliver(self, subscription: Subscription, job: Job) -> None:
        began, notice = self._office.now(), job.notice
        outcome = await self._office.send(
            self._key, subscription, notice, job.failures + 1
        )
        self._attempts.setdefault(subscription.id, []).append(
            Attempt(
                notice.id,
                began,
                outcome.seconds,
                outcome.delivered,
                outcome.status,
                outcome.error or None,
            )
        )
        fate = Fate(None, buried=True)
        if not outcome.delivered:
            fate = await self._office.judge(
                self._key, subscription, notice, job.failures + 1, outcome
            )
        pair = (subscription.id, notice.id)
        if outcome.delivered or fate.buried:
            self._waiting.pop(pair, None)
            if job.stored:
                self._finished[pair] = None
        else:
            self._waiting[pair] = Delivery(
                subscription.id, notice, job.failures + 1, fate.due
            )

    async def _wait(self, began: list[Line]) -> None:
        tasks = [line.task for line in began if line.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=PATIENCE)

    def _give_back(self, line: Line) -> None:
        """Let the outbox keep what a line that is not through did not send yet."""
        left = line.recall()
        if line.current is not None:
            left.insert(0, line.current)
        for job in left:
            if not job.stored:
                self._wait_for_turn(line.subscription, job.notice)
                job.stored = True

    def _wait_for_turn(self, subscription: Subscription, notice: Notice) -> None:
        pair = (subscription.id, notice.id)
        self._waiting[pair] = Delivery(subscription.id, notice, 0, self._office.now())

    async def _settle(self) -> None:
        """Store what became of deliveries; at least so that the lease goes on."""
        is_due = time.monotonic() - self._renewed > RENEWAL_SECONDS
        if not self._unsettled() and not is_due:
            return
        taken: Any = (self._notices, self._waiting, self._finished, self._attempts)
        self._notices, self._waiting, self._finished, self._attempts = [], {}, {}, {}
        notices, waiting, finished, attempts = taken
        settled = Settled(
            tuple(notices),
            tuple(waiting.values()),
            tuple(finished),
            {id: tuple(each) for id, each in attempts.items()},
        )
        try:
            await self._office.settle(self._key, settled)
        except StorageUnavailable:
            self._take_back(notices, waiting, finished, attempts)
            raise
        self._renewed = time.monotonic()

    def _take_back(
        self,
        notices: list[str],
        waiting: dict[tuple[str, str], Delivery],
        finished: dict[tuple[str, str], None],
        attempts: dict[str, list[Attempt]],
    ) -> None:
        """Keep for later what could not be stored; what came meanwhile is newer."""
        self._notices = notices + self._notices
        waiting = {p: d for p, d in waiting.items() if p not in self._finished}
        finished = {p: None for p in finished if p not in self._waiting}
        self._waiting = {**waiting, **self._waiting}
        self._finished = {**finished, **self._finished}
        for id, later in self._attempts.items():
            attempts.setdefault(id, []).extend(later)
        self._attempts = attempts

    def _unsettled(self) -> bool:
        return bool(self._notices or self._waiting or self._finished or self._attempts)

    async def _something_happens(self) -> None:
        """Wait until a line is through, but not long: there may be news."""
        self._changed.clear()
        pause = max(PAUSE, self._office.held() * PAUSE_EACH)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), pause)

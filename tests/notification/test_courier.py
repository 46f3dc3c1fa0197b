# SPDX-License-Identifier: Apache-2.0
"""Couriers on the model of a store, with subscribers that do as they are told."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.contract.arrange import KEY, post
from tests.contract.subscriptions import subscribe
from tests.model_store import ModelStore
from zaqar.errors import LeaseLost, StorageUnavailable
from zaqar.model import Notice, QueueKey, Settled, Subscription, Work
from zaqar.notification import courier
from zaqar.notification.courier import LEASE_SECONDS, Courier, Fate, Office
from zaqar.notification.senders import Outcome
from zaqar.notification.shares import Shares
from zaqar.storage.delivering import EVERYTHING

NEVER_LONG = 20.0
DELIVERED = Outcome(True, 0.0, 200)
FAILED = Outcome(False, 0.0, 500, error="It said 500.")

Answer = Callable[[str, int], Awaitable[Outcome]]


class Subscribers:
    """Answers as told, by subscriber, and knows who was told of what in which order."""

    def __init__(self) -> None:
        self.told: dict[str, list[str]] = {}
        self.tried: list[tuple[str, str, int]] = []
        self.answers: dict[str, Answer] = {}

    async def send(
        self, key: QueueKey, subscription: Subscription, notice: Notice, attempt: int
    ) -> Outcome:
        name = subscription.subscriber
        self.tried.append((name, notice.id, attempt))
        outcome = DELIVERED
        if name in self.answers:
            outcome = await self.answers[name](notice.id, attempt)
        if outcome.delivered:
            self.told.setdefault(name, []).append(notice.id)
        return outcome


class Desk:
    """A store, its subscribers, and the couriers that one holder sends out."""

    def __init__(self) -> None:
        self.store: Any = ModelStore()
        self.subscribers = Subscribers()
        self.holder = "holder"
        self.delays = [0.0, 0.0]
        self.fails_to_settle = 0
        self.stopping = asyncio.Event()
        self.shares, self.is_crowded = Shares(2), False
        # How many deliveries each reading brought.
        self.rounds: list[int] = []
        # How many bytes each takes, and how many bytes of notices it had.
        self.size, self.bytes = EVERYTHING, list[int]()
        self.while_reading: Callable[[], Awaitable[None]] | None = None

    def subscribe(self, *names: str) -> None:
        for name in names:
            subscribe(self.store, name, ttl=10**6, now=time.time())

    def post(self, count: int) -> list[str]:
        ids: list[str] = []
        for _ in range(count):
            ids += post(self.store, now=time.time())
        return ids

    def lease(self) -> list[QueueKey]:
        leased: list[QueueKey] = self.store.lease_outboxes(
            self.holder, seconds=LEASE_SECONDS, limit=10, now=time.time()
        )
        return leased

    def courier(self) -> Courier:
        return Courier(KEY, self.office())

    async def deliver(self) -> None:
        """Serve all that is due."""
        while self.lease():
            await asyncio.wait_for(self.courier().serve(self.stopping), NEVER_LONG)

    def office(self) -> Office:
        return Office(
            read=self._read,
            settle=self._settle,
            release=self._release,
            choose=lambda key, work: {
                subscription.id: list(work.notices)
                for subscription in work.subscriptions
            },
            send=self.subscribers.send,
            judge=self._judge,
            place=lambda key: self.shares.place(key.project),
            is_crowded=lambda key: self.is_crowded,
            held=lambda: 1,
            now=time.time,
        )

    async def _read(
        self, key: QueueKey, notices: int, deliveries: int, busy: frozenset[str]
    ) -> Work:
        work: Work = self.store.read_outbox(
            key,
            notices=notices,
            deliveries=deliveries,
            size=self.size,
            busy=busy,
            now=time.time(),
        )
        self.rounds.append(len(work.deliveries))
        self.bytes.append(sum(len(notice.body) for notice in work.notices))
        if self.while_reading is not None:
            await self.while_reading()
        await asyncio.sleep(0)
        return work

    async def _settle(self, key: QueueKey, settled: Settled) -> None:
        await asyncio.sleep(0)
        if self.fails_to_settle:
            self.fails_to_settle -= 1
            raise StorageUnavailable("It does not answer.")
        self.store.settle_outbox(
            key, self.holder, settled, seconds=LEASE_SECONDS, now=time.time()
        )

    async def _release(self, key: QueueKey) -> None:
        self.store.release_outbox(key, self.holder, now=time.time())

    async def _judge(
        self,
        key: QueueKey,
        subscription: Subscription,
        notice: Notice,
        failures: int,
        outcome: Outcome,
    ) -> Fate:
        if outcome.final or failures > len(self.delays):
            return Fate(None)
        return Fate(time.time() + self.delays[failures - 1])


@pytest.fixture
def run() -> Iterator[Callable[[Callable[[Desk], Awaitable[None]]], None]]:
    def in_loop(test: Callable[[Desk], Awaitable[None]]) -> None:
        async def whole() -> None:
            await test(Desk())

        asyncio.run(whole())

    yield in_loop


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "PATIENCE", 0.02)
    monkeypatch.setattr(courier, "PAUSE", 0.01)
    monkeypatch.setattr(courier, "UNAVAILABLE_SECONDS", 0.01)
    monkeypatch.setattr(courier, "PACE", 0.01)


Run = Callable[[Callable[[Desk], Awaitable[None]]], None]


def test_everybody_is_told_of_everything_in_order(run: Run) -> None:
    async def test(desk: Desk) -> None:
        desk.subscribe("http://a", "http://b", "http://c")
        ids = desk.post(250)

        await desk.deliver()

        assert desk.subscribers.told == dict.fromkeys(
            ("http://a", "http://b", "http://c"), ids
        )
        assert len(desk.subscribers.tried) == 750
        assert desk.lease() == []

    run(test)


def test_queue_is_read_again_at_its_pace_unless_a_round_was_full(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "PACE", 10**6)
    # What a round gave back would wait for the next one, so long.
    monkeypatch.setattr(courier, "PATIENCE", NEVER_LONG)

    async def test(desk: Desk) -> None:
        desk.subscribe("http://a")
        ids = desk.post(courier.NOTICES + 1)
        desk.lease()

        serving = asyncio.create_task(desk.courier().serve(desk.stopping))
        deadline = time.monotonic() + NEVER_LONG
        while len(told := desk.subscribers.told.get("http://a", [])) < len(ids):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        desk.post(1)
        # It has had every occasion: a round takes a few turns of the loop.
        for _ in range(1000):
            await asyncio.sleep(0)

        assert told == ids
        assert not serving.done()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    run(test)


def test_who_hangs_with_much_before_it_does_not_hasten_the_pace(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    paces: list[float] = []
    sleep = asyncio.sleep

    async def slept(seconds: float) -> None:
        # By its length: nothing else waits nearly as long.
        if seconds > NEVER_LONG:
            paces.append(seconds)
            seconds = 0.0
        await sleep(seconds)

    monkeypatch.setattr(courier, "PACE", 10**6)
    monkeypatch.setattr(courier.asyncio, "sleep", slept)

    async def hastened(desk: Desk) -> None:
        desk.subscribe("http://a", "http://hangs")
        gate = asyncio.Event()

        async def hang(id: str, attempt: int) -> Outcome:
            await gate.wait()
            return DELIVERED

        desk.subscribers.answers["http://hangs"] = hang
        ids = desk.post(2 * courier.DELIVERIES)
        desk.lease()
        serving = asyncio.create_task(desk.courier().serve(desk.stopping))
        while len(desk.subscribers.told.get("http://a", ())) < len(ids):
            await sleep(0.01)
        before = len(paces)

        for n in range(1, 4):
            desk.post(1)
            while len(desk.subscribers.told["http://a"]) < len(ids) + n:
                await sleep(0.01)
            # What it owes to the other one is more than a round takes.
            while len(paces) < before + n:
                await sleep(0.01)

        gate.set()
        await asyncio.wait_for(serving, NEVER_LONG)

    async def test(desk: Desk) -> None:
        await asyncio.wait_for(hastened(desk), NEVER_LONG)

    run(test)


def test_who_hangs_delays_nobody_and_gets_all_in_order(run: Run) -> None:
    async def test(desk: Desk) -> None:
        desk.subscribe("http://a", "http://hangs")
        gate = asyncio.Event()

        async def hang(id: str, attempt: int) -> Outcome:
            await gate.wait()
            return DELIVERED

        desk.subscribers.answers["http://hangs"] = hang
        ids = desk.post(120)
        desk.lease()
        serving = asyncio.create_task(desk.courier().serve(desk.stopping))

        while len(desk.subscribers.told.get("http://a", ())) < 120:
            await asyncio.sleep(0.01)
        later = desk.post(30)
        while len(desk.subscribers.told["http://a"]) < 150:
            await asyncio.sleep(0.01)
        assert "http://hangs" not in desk.subscribers.told
        gate.set()
        await asyncio.wait_for(serving, NEVER_LONG)
        await desk.deliver()

        assert desk.subscribers.told["http://a"] == ids + later
        assert desk.subscribers.told["http://hangs"] == ids + later
        assert len(desk.subscribers.tried) == 300

    run(test)


def test_what_fails_is_tried_again_until_it_is_given_up(run: Run) -> None:
    async def test(desk: Desk) -> None:
        desk.subscribe("http://fails", "http://a")

        async def fail(id: str, attempt: int) -> Outcome:
            return FAILED

        desk.subscribers.answers["http://fails"] = fail
        ids = desk.post(3)

        await desk.deliver()

        assert desk.subscribers.told == {"http://a": ids}
        tried = [t[1:] for t in desk.subscribers.tried if t[0] == "http://fails"]
        assert sorted(tried) == sorted((id, n) for id in ids for n in (1, 2, 3))
        now = time.time()
        both = desk.store.list_subscriptions(KEY, limit=2, now=now).items
        failing = next(each for each in both if each.subscriber == "http://fails")
        kept = desk.store.list_deliveries(KEY, failing.id, limit=10, now=now).items
        assert [(d.notice.id, d.failures, d.due) for d in kept] == [
            (id, 3, None) for id in sorted(ids)
        ]
        log = desk.store.list_attempts(KEY, failing.id, now=now)
        assert len(log) == 9
        assert {(a.delivered, a.status, a.error) for a in log} == {
            (False, 500, "It said 500.")
        }

    run(test)


def test_what_succeeds_at_last_is_told_once(run: Run) -> None:
    async def test(desk: Desk) -> None:
        desk.subscribe("http://moody")

        async def answer(id: str, attempt: int) -> Outcome:
            return DELIVERED if attempt == 3 else FAILED

        desk.subscribers.answers["http://moody"] = answer
        ids = desk.post(20)

        await desk.deliver()

        assert sorted(desk.subscribers.told["http://moody"]) == sorted(ids)
        assert len(desk.subscribers.tried) == 60

    run(test)


def test_round_of_many_subscribers_is_no_larger_than_of_few(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "ROUND", 20)

    async def test(desk: Desk) -> None:
        names = [f"http://{n}" for n in range(10)]
        desk.subscribe(*names)

        async def fail_once(id: str, attempt: int) -> Outcome:
            return FAILED if attempt == 1 else DELIVERED

        desk.subscribers.answers = dict.fromkeys(names, fail_once)
        ids = desk.post(15)

        await desk.deliver()

        assert desk.subscribers.told == dict.fromkeys(names, ids)
        assert max(desk.rounds) <= 20

    run(test)


@pytest.mark.parametrize("size", [1, 7, 60])
def test_round_takes_no_more_bytes_than_it_may_and_order_is_kept(
    run: Run, size: int
) -> None:
    """Two bodies have 12 bytes; each round has at least one of them."""

    async def test(desk: Desk) -> None:
        names = ["http://a", "http://slow"]
        desk.subscribe(*names)
        desk.size = size

        async def slow(id: str, attempt: int) -> Outcome:
            # Behind others at first, so that what waits is read by size too.
            await asyncio.sleep(2 * courier.PATIENCE if id == ids[0] else 0)
            return DELIVERED

        desk.subscribers.answers["http://slow"] = slow
        ids = desk.post(40)

        await desk.deliver()

        assert desk.subscribers.told == dict.fromkeys(names, ids)
        assert len(desk.subscribers.tried) == 80
        assert max(desk.bytes) <= max(size, len(b'"body"'))

    run(test)


def test_who_is_through_while_the_outbox_is_read_is_told_in_order(run: Run) -> None:
    async def test(desk: Desk) -> None:
        desk.subscribe("http://slow", "http://b")
        gate = asyncio.Event()

        async def wait(id: str, attempt: int) -> Outcome:
            await gate.wait()
            return DELIVERED

        desk.subscribers.answers["http://slow"] = wait
        ids = desk.post(3)
        desk.lease()
        serving = asyncio.create_task(desk.courier().serve(desk.stopping))
        while len(desk.subscribers.told.get("http://b", ())) < 3:
            await asyncio.sleep(0.01)
        later: list[str] = []

        async def come_through() -> None:
            # What it was owed was not read, for it was busy; there is news, too.
            if later and not gate.is_set():
                gate.set()
                while not desk.subscribers.told.get("http://slow"):
                    await asyncio.sleep(0)
                for _ in range(5):
                    await asyncio.sleep(0)

        desk.while_reading = come_through
        later += desk.post(2)
        await asyncio.wait_for(serving, NEVER_LONG)
        await desk.deliver()

        assert desk.subscribers.told["http://slow"] == ids + later

    run(test)


def test_final_failure_is_not_tried_again(run: Run) -> None:
    async def test(desk: Desk) -> None:
        desk.subscribe("http://gone")

        async def answer(id: str, attempt: int) -> Outcome:
            return Outcome(False, 0.0, 404, final=True, error="It said 404.")

        desk.subscribers.answers["http://gone"] = answer
        desk.post(2)

        await desk.deliver()

        assert len(desk.subscribers.tried) == 2

    run(test)


def test_store_that_does_not_answer_makes_nobody_hear_twice(run: Run) -> None:
    async def test(desk: Desk) -> None:
        desk.subscribe("http://a")
        ids = desk.post(10)
        desk.fails_to_settle = 3

        await desk.deliver()

        assert desk.subscribers.told["http://a"] == ids

    run(test)


def test_who_lost_the_lease_stops(run: Run) -> None:
    async def test(desk: Desk) -> None:
        desk.subscribe("http://a")
        desk.post(1)
        desk.lease()
        lost = desk.courier()
        desk.store.release_outbox(KEY, desk.holder, now=time.time())

        await asyncio.wait_for(lost.serve(desk.stopping), NEVER_LONG)

        with pytest.raises(LeaseLost):
            await desk.office().settle(KEY, Settled())
        assert desk.lease() == [KEY]

    run(test)


def test_killed_courier_leaves_all_that_it_did_not_tell(run: Run) -> None:
    async def test(desk: Desk) -> None:
        desk.subscribe("http://a", "http://hangs")

        async def hang(id: str, attempt: int) -> Outcome:
            await asyncio.sleep(3600)
            return DELIVERED

        desk.subscribers.answers["http://hangs"] = hang
        ids = desk.post(150)
        desk.lease()
        serving = asyncio.create_task(desk.courier().serve(desk.stopping))
        while len(desk.subscribers.told.get("http://a", ())) < 130:
            await asyncio.sleep(0)
        serving.cancel()
        await asyncio.wait([serving])
        desk.holder = "another"
        desk.store._queues[KEY].outbox.held_until = 0
        desk.subscribers.answers.clear()

        await desk.deliver()

        assert set(desk.subscribers.told["http://a"]) == set(ids)
        assert desk.subscribers.told["http://hangs"] == ids

    run(test)


def test_server_that_stops_finishes_what_it_sends(run: Run) -> None:
    async def test(desk: Desk) -> None:
        desk.subscribe("http://slow")
        gate = asyncio.Event()

        async def wait(id: str, attempt: int) -> Outcome:
            await gate.wait()
            return DELIVERED

        desk.subscribers.answers["http://slow"] = wait
        ids = desk.post(5)
        desk.lease()
        serving = asyncio.create_task(desk.courier().serve(desk.stopping))
        while not desk.subscribers.tried:
            await asyncio.sleep(0.01)
        desk.stopping.set()
        await asyncio.sleep(0.05)
        gate.set()
        await asyncio.wait_for(serving, NEVER_LONG)

        assert desk.subscribers.told["http://slow"] == ids[:1]
        desk.stopping.clear()
        await desk.deliver()
        assert desk.subscribers.told["http://slow"] == ids

    run(test)


def test_where_others_want_to_be_it_goes_when_what_it_sends_is_through(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "STAY_SECONDS", 0.0)

    async def test(desk: Desk) -> None:
        desk.subscribe("http://slow")
        gate = asyncio.Event()

        async def wait(id: str, attempt: int) -> Outcome:
            await gate.wait()
            return DELIVERED

        desk.subscribers.answers["http://slow"] = wait
        ids = desk.post(5)
        desk.lease()
        serving = asyncio.create_task(desk.courier().serve(desk.stopping))
        while not desk.subscribers.tried:
            await asyncio.sleep(0.01)
        desk.is_crowded = True
        # Even if the store does not answer meanwhile: then it would be told again.
        desk.fails_to_settle = 2
        while desk.fails_to_settle:
            await asyncio.sleep(0.01)
        assert not serving.done()

        gate.set()
        await asyncio.wait_for(serving, NEVER_LONG)

        assert desk.subscribers.told["http://slow"] == ids[:1]
        desk.is_crowded = False
        await desk.deliver()
        assert desk.subscribers.told["http://slow"] == ids

    run(test)


def test_who_only_waits_for_those_who_hang_takes_no_place(run: Run) -> None:
    async def test(desk: Desk) -> None:
        desk.subscribe("http://hangs")
        gate = asyncio.Event()

        async def hang(id: str, attempt: int) -> Outcome:
            await gate.wait()
            return DELIVERED

        desk.subscribers.answers["http://hangs"] = hang
        ids = desk.post(3)
        desk.lease()
        serving = asyncio.create_task(desk.courier().serve(desk.stopping))
        while not desk.subscribers.tried:
            await asyncio.sleep(0.01)

        # Of two places its project has one at most: now it is free, again and again.
        for _ in range(3):
            async with asyncio.timeout(NEVER_LONG), desk.shares.place(KEY.project):
                assert not serving.done()

        gate.set()
        await asyncio.wait_for(serving, NEVER_LONG)
        assert desk.subscribers.told["http://hangs"] == ids

    run(test)


def test_fault_of_ours_loses_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "BROKEN_SECONDS", 0.0)

    async def test(desk: Desk) -> None:
        desk.subscribe("http://a")
        ids = desk.post(3)
        faults = [True, True]

        async def break_down(id: str, attempt: int) -> Outcome:
            if faults:
                faults.pop()
                raise RuntimeError("A bug.")
            return DELIVERED

        desk.subscribers.answers["http://a"] = break_down

        await desk.deliver()

        assert sorted(desk.subscribers.told["http://a"]) == sorted(ids)

    run(test)

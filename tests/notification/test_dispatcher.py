# SPDX-License-Identifier: Apache-2.0
"""A dispatcher on the model of a store, with real sockets that never answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.contract.arrange import post
from tests.contract.subscriptions import subscribe, subscription
from tests.model_store import ModelStore
from tests.notification.arrange import OPEN, PATIENT, with_senders
from tests.notification.sinks import Sink, answer, hang, served
from zaqar import conf
from zaqar.model import Notice, QueueKey, Work
from zaqar.notification import courier, dispatcher
from zaqar.notification.dispatcher import Dispatcher
from zaqar.notification.senders import Outcome, Senders, Target
from zaqar.policy import Policy
from zaqar.service import Service

# Within these others are told; one attempt may take PATIENT.
SECONDS = PATIENT / 2
PLACES = 8


class Deployment:
    """A store with a dispatcher, and what all subscribers are sent."""

    def __init__(self, service: Service, silent: Sink, good: Sink) -> None:
        self.service, self.silent, self.good = service, silent, good

    def post(self, project: str, sink: Sink, *, queues: int, each: int) -> None:
        """Let queues that have so many subscribers each get a message."""
        for queue in range(queues):
            key = QueueKey(project, f"q{queue}")
            for n in range(each):
                url = f"{sink.url}/{n}"
                subscribe(self.service.store, url, key, ttl=10**6, now=time.time())
            post(self.service.store, key=key, now=time.time())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = tmp_path / "zaqar.conf"
    config.write_text("")
    settings = conf.load(["--config-file", str(config)])
    return Service(settings, ModelStore(), Policy(settings.config))


class Callee:
    """Stands for all subscribers: each delivery waits until its queue is let go on."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self._hang: dict[tuple[str, str], asyncio.Semaphore] = {}

    def hang(self, project: str, queue: str) -> None:
        self._hang[project, queue] = asyncio.Semaphore(0)

    def go_on(self, project: str, queue: str) -> None:
        """Let one delivery of the queue come to its end."""
        self._hang[project, queue].release()

    async def send(self, target: Target) -> Outcome:
        place = target.project, target.queue
        self.asked.append(place)
        if place in self._hang:
            await self._hang[place].acquire()
        return Outcome(True, 0.0, 200)


def call(
    service: Service, test: Callable[[Callee, Dispatcher], Awaitable[None]]
) -> None:
    async def run() -> None:
        callee: Any = Callee()
        delivering = Dispatcher(service, callee, "holder")
        task = asyncio.create_task(delivering.run(asyncio.Event()))
        await test(callee, delivering)
        assert not task.done()

    asyncio.run(run())


def owe(service: Service, project: str, queue: str, messages: int) -> None:
    key = QueueKey(project, queue)
    subscribe(service.store, "http://a", key, ttl=10**6, now=time.time())
    post(service.store, messages, key, now=time.time())


def deliver(service: Service, test: Callable[[Deployment], Awaitable[None]]) -> None:
    async def run(senders: Senders) -> None:
        async with served(Sink(hang)) as silent, served(Sink(answer())) as good:
            delivering = Dispatcher(service, senders, "holder").run(asyncio.Event())
            # Left to the end of the loop: it would wait for those who hang.
            task = asyncio.create_task(delivering)
            await test(Deployment(service, silent, good))
            assert not task.done()

    asyncio.run(with_senders(run, OPEN))


def test_who_hangs_with_many_subscribers_leaves_room_for_other_projects(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "ATTEMPTS", PLACES)

    async def test(all: Deployment) -> None:
        all.post("bad", all.silent, queues=1, each=3 * PLACES)
        await until(lambda: all.silent.connections == PLACES // 2)

        all.post("good", all.good, queues=1, each=3 * PLACES)

        await until(lambda: len(all.good.requests) == 3 * PLACES)
        assert all.silent.connections == PLACES // 2

    deliver(service, test)


@pytest.mark.parametrize("look", [2, 1000])
def test_who_hangs_with_many_queues_leaves_room_for_other_projects(
    service: Service, monkeypatch: pytest.MonkeyPatch, look: int
) -> None:
    monkeypatch.setattr(dispatcher, "HELD", PLACES)
    monkeypatch.setattr(dispatcher, "LOOK", look)

    async def test(all: Deployment) -> None:
        all.post("bad", all.silent, queues=3 * PLACES, each=1)
        await until(lambda: all.silent.connections >= PLACES // 2)
        hanging = all.silent.connections

        all.post("good", all.good, queues=3 * PLACES, each=1)

        if look < PLACES:
            # Not even in the first look did it get more.
            assert hanging == PLACES // 2
            await until(lambda: len(all.good.requests) == 3 * PLACES)
        assert all.silent.connections == hanging

    deliver(service, test)


@pytest.mark.parametrize("places", ["HELD", "QUEUES"])
def test_newcomer_comes_in_when_one_attempt_of_those_who_hold_all_is_over(
    service: Service, monkeypatch: pytest.MonkeyPatch, places: str
) -> None:
    """However many projects hang with however many queues, and have more to tell."""
    monkeypatch.setattr(dispatcher, places, PLACES)
    monkeypatch.setattr(dispatcher, "LOOK", 1)
    monkeypatch.setattr(courier, "STAY_SECONDS", 0.0)
    # What stands behind a first attempt that hangs goes back at once.
    monkeypatch.setattr(courier, "PATIENCE", 0.0)
    # Four projects hold 4, 2, 1 and 1.
    bad = [(f"bad{n}", f"q{m}") for n in range(4) for m in range(PLACES)]

    async def test(callee: Callee, delivering: Dispatcher) -> None:
        for place in bad:
            callee.hang(*place)
            owe(service, *place, messages=3)
        # With places for rounds alone nobody is kept out, for who hangs does none.
        most = PLACES if places == "HELD" else len(bad)
        await until(lambda: len(callee.asked) == most)
        owe(service, "good", "q", messages=1)

        if places == "HELD":
            callee.go_on(*callee.asked[0])

        await until(lambda: ("good", "q") in callee.asked)
        # Nobody else has been told of anything more before.
        assert callee.asked.index(("good", "q")) == most

    call(service, test)


def test_hanging_queues_of_a_project_make_room_for_its_others(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "HELD", PLACES)
    monkeypatch.setattr(courier, "STAY_SECONDS", 0.0)
    # What stands behind a first attempt that hangs goes back at once.
    monkeypatch.setattr(courier, "PATIENCE", 0.0)

    async def test(callee: Callee, _: Dispatcher) -> None:
        for n in range(2 * PLACES):
            callee.hang("p", f"q{n}")
            owe(service, "p", f"q{n}", messages=3)
        await until(lambda: len(callee.asked) >= PLACES // 2)
        owe(service, "p", "good", messages=1)

        # One that gives nothing back before all of its messages are told would come
        # before the last one, and so would each of the others.
        seen = 0
        while ("p", "good") not in callee.asked:
            for place in callee.asked[seen:]:
                callee.go_on(*place)
            seen = len(callee.asked)
            await until(lambda seen=seen: len(callee.asked) > seen)  # type: ignore[misc]
        assert len(callee.asked) < 3 * 2 * PLACES

    call(service, test)


def test_queue_that_is_released_while_the_store_answers_is_asked_for_again(
    service: Service,
) -> None:
    """Its courier knows no more whether it is ours: nobody may send by that answer."""
    key = QueueKey("p", "q")

    async def run(senders: Senders) -> None:
        delivering = Dispatcher(service, senders, "holder")
        await delivering._look_for_work(asyncio.Event())
        subscribe(service.store, "http://a", key, now=time.time())
        post(service.store, key=key, now=time.time())
        delivering._held.add(key, asyncio.create_task(asyncio.sleep(0)))
        lease = service.store.lease_outboxes

        def answered_late(*given: Any, **named: Any) -> list[QueueKey]:
            found = lease(*given, **named)
            delivering._held.remove(key)
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(service.store, "lease_outboxes", answered_late)
            await delivering._look_for_work(asyncio.Event())

        assert key not in delivering._held
        # It was given back, so anybody may have it at once.
        other = service.store.lease_outboxes(
            "another", seconds=20, limit=1, now=time.time()
        )
        assert other == [key]

    asyncio.run(with_senders(run, OPEN))


def test_those_who_are_told_at_once_share_one_document(service: Service) -> None:
    documents: list[Any] = []

    class Listener(Callee):
        async def send(self, target: Target) -> Outcome:
            documents.append(target.notification)
            return await super().send(target)

    async def run() -> None:
        callee: Any = Listener()
        key = QueueKey("p", "q")
        for n in range(5):
            subscribe(service.store, f"http://{n}", key, ttl=10**6, now=time.time())
        callee.hang("p", "q")
        ids = post(service.store, 2, key, now=time.time())
        delivering = Dispatcher(service, callee, "holder")
        task = asyncio.create_task(delivering.run(asyncio.Event()))
        await until(lambda: len(documents) == 5)
        assert len(set(map(id, documents))) == 1
        assert list(delivering._shared) == [(key, ids[0])]

        for _ in range(10):
            callee.go_on("p", "q")
        await until(lambda: len(documents) == 10)
        documents.clear()

        # Nobody remembers what was sent.
        await until(lambda: not delivering._shared)
        assert not task.done()

    asyncio.run(run())


def test_rounds_share_memory_fairly(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    read_outbox = service.store.read_outbox

    def read(*given: Any, size: int, **named: Any) -> Work:
        sizes.append(size)
        return read_outbox(*given, size=size, **named)

    monkeypatch.setattr(service.store, "read_outbox", read)

    async def run() -> None:
        delivering = Dispatcher(service, Callee(), "holder")  # type: ignore[arg-type]
        key = QueueKey("p", "q")
        async with AsyncExitStack() as rounds:
            for n in range(64):
                await rounds.enter_async_context(delivering._queues.place(f"p{n}"))
                await delivering._read(key, 1, 1, frozenset())

    asyncio.run(run())

    assert sizes[:16] == [dispatcher.ROUND_BYTES] * 16
    assert sizes[63] == dispatcher.ROUNDS_BYTES // 64
    assert sum(sizes) < 4 * dispatcher.ROUNDS_BYTES


def test_each_subscription_is_told_of_what_passes_its_filter(
    service: Service,
) -> None:
    key = QueueKey("p", "q")
    notices = tuple(
        Notice(str(n), body, 60)
        for n, body in enumerate((b'{"level": "high"}', b'{"level": "low"}', b"1"))
    )
    wanted = {"filter": {"level": ["high"]}}
    high = replace(subscription("http://1"), options=wanted)
    every = subscription("http://2")

    async def run(senders: Senders) -> dict[str, list[Notice]]:
        work = Work(notices, subscriptions=(high, every))
        return Dispatcher(service, senders, "holder")._choose(key, work)

    chosen = asyncio.run(with_senders(run))

    assert chosen == {high.id: [notices[0]], every.id: list(notices)}

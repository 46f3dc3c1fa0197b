# SPDX-License-Identifier: Apache-2.0
"""A dispatcher on the model of a store, with real sockets that never answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable
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
from zaqar.notification import dispatcher
from zaqar.notification.dispatcher import Dispatcher
from zaqar.notification.senders import Senders
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


def test_who_hangs_with_many_queues_leaves_room_for_other_projects(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "QUEUES", PLACES)

    async def test(all: Deployment) -> None:
        all.post("bad", all.silent, queues=3 * PLACES, each=1)
        await until(lambda: all.silent.connections == PLACES // 2)

        all.post("good", all.good, queues=3 * PLACES, each=1)

        await until(lambda: len(all.good.requests) == 3 * PLACES)
        assert all.silent.connections == PLACES // 2

    deliver(service, test)


def test_queue_that_is_released_while_the_store_answers_is_asked_for_again(
    service: Service,
) -> None:
    """Its courier knows no more whether it is ours: nobody may send by that answer."""
    key = QueueKey("p", "q")
    subscribe(service.store, "http://a", key, now=time.time())
    post(service.store, key=key, now=time.time())

    async def run(senders: Senders) -> None:
        delivering = Dispatcher(service, senders, "holder")
        delivering._held[key] = asyncio.create_task(asyncio.sleep(0))
        lease = service.store.lease_outboxes

        def answered_late(*given: Any, **named: Any) -> list[QueueKey]:
            found = lease(*given, **named)
            del delivering._held[key]
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(service.store, "lease_outboxes", answered_late)
            await delivering._look_for_work(asyncio.Event())

        assert delivering._held == {}
        # It was given back, so anybody may have it at once.
        other = service.store.lease_outboxes(
            "another", seconds=20, limit=1, now=time.time()
        )
        assert other == [key]

    asyncio.run(with_senders(run, OPEN))


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

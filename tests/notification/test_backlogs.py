# SPDX-License-Identifier: Apache-2.0
"""Dispatchers with a real store and real subscribers, while the clock is moved.

Nothing happens that is not due, so what was tried is known at each instant.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.notification.sinks import Sink, answer, served
from tests.servers import free_port, render
from zaqar import conf
from zaqar.model import Context, Delivery
from zaqar.notification import dispatcher, senders
from zaqar.notification.dispatcher import Dispatcher
from zaqar.operations import messages, queues, subscriptions
from zaqar.policy import Policy
from zaqar.service import Service
from zaqar.stores import open_store

CONTEXT = Context("p", "9f5b8f64-6f0b-4c9f-8a53-2d1f1a0c6a11")
NAME = "told"
KEY = CONTEXT.key(NAME)
HOUR, STEP, NEVER_LONG = 3600, 5, 60.0
CONFIG = {
    "notification": {"allow_private_targets": True},
    "transport": {"message_encryption_key": "5e" * 32},
}


class Office:
    """Services with one store; time passes when it is told to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.began = self.now = float(int(time.time()))
        self._opened: list[Service] = []
        self.service = self.open()

    def open(self, **options: Any) -> Service:
        """Open one with the options of `CONFIG`, but for groups named here."""
        path = self._folder / f"{len(self._opened)}.conf"
        store = {"uri": f"sqlite:///{self._folder / 'messages.db'}"}
        stored = {"drivers:message_store:sqlite": store}
        path.write_text(render({**CONFIG, **stored, **options}))
        settings = conf.load(["--config-file", str(path)])
        service = Service(
            settings, open_store(settings.store), Policy(settings.config), self._time
        )
        self._opened.append(service)
        return service

    def _time(self) -> float:
        return self.now

    def close(self) -> None:
        for each in self._opened:
            each.close()

    def subscribe(self, url: str, **options: Any) -> str:
        wish = subscriptions.Wish(url, ttl=2 * HOUR, options=options)
        return subscriptions.create(CONTEXT, self.service, NAME, wish).id

    def post(self, *bodies: Any) -> list[str]:
        drafts = [
            messages.Draft(json.dumps(body).encode(), 2 * HOUR) for body in bodies
        ]
        return messages.post(CONTEXT, self.service, NAME, drafts, size=1)

    def kept(self, id: str) -> list[Delivery]:
        """Return what waits or has failed."""
        items = self.service.store.list_deliveries(KEY, id, limit=100, now=self.now)
        return list(items.items)

    def attempts(self, id: str) -> dict[str, list[float]]:
        """Return by message when it was tried, in seconds since the beginning."""
        tried: dict[str, list[float]] = {}
        for each in reversed(self.service.store.list_attempts(KEY, id, now=self.now)):
            tried.setdefault(each.message, []).append(each.at - self.began)
        return tried

    @asynccontextmanager
    async def delivering(self, service: Service | None = None) -> AsyncIterator[None]:
        served = service or self.service
        stopping = asyncio.Event()
        settings = served.settings
        async with senders.opened(settings.notification, settings.config) as tools:
            running = asyncio.create_task(
                Dispatcher(served, tools, "holder").run(stopping)
            )
            try:
                yield
            finally:
                stopping.set()
                await running

    async def settle(self) -> None:
        """Wait until all that is due was tried."""
        async with asyncio.timeout(NEVER_LONG):
            while self._owes():
                await asyncio.sleep(0)

    def _owes(self) -> bool:
        work = self.service.store.read_outbox(
            KEY, notices=1, deliveries=1, now=self.now
        )
        return bool(work.notices or work.deliveries)

    async def let_pass(self, seconds: int) -> None:
        """Move the clock in small steps, and wait after each."""
        for _ in range(0, seconds, STEP):
            self.now += STEP
            await self.settle()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "POLL_SECONDS", 0.01)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path)
    yield office
    office.close()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def bodies(sink: Sink) -> list[Any]:
    return [json.loads(request.body)["body"] for request in sink.requests]


@pytest.mark.parametrize("place", ["subscription", "queue"])
def test_who_was_down_for_an_hour_gets_its_backlog_by_policy(
    office: Office, place: str
) -> None:
    policy = {
        "retries_with_no_delay": 1,
        "minimum_delay_retries": 2,
        "minimum_delay": 600,
        "maximum_delay": 610,
        "maximum_delay_retries": 3,
        "retry_backoff_function": "linear",
    }
    # At once, twice after the least delay, along the curve, after the greatest delay.
    expected = [0, 0, 600, 1200, 1800, 2405, 3015, 3625]

    async def test() -> None:
        port, sink = free_port(), Sink(answer())
        retries = {"_retry_policy": policy}
        queues.put(CONTEXT, office.service, NAME, retries if place == "queue" else {})
        id = office.subscribe(
            f"http://127.0.0.1:{port}/", **(retries if place == "subscription" else {})
        )
        ids = office.post(0, 1, 2, 3, 4, 5)
        async with office.delivering():
            await office.settle()
            await office.let_pass(HOUR)
            assert office.attempts(id) == dict.fromkeys(ids, expected[:-1])

            async with served(sink, port=port):
                await office.let_pass(20)
                assert not sink.requests
                await office.let_pass(20)

                assert office.attempts(id) == dict.fromkeys(ids, expected)
                assert bodies(sink) == [0, 1, 2, 3, 4, 5]
                assert office.kept(id) == []

    run(test)


def test_who_was_down_for_longer_than_its_policy_gets_its_backlog_by_replay(
    office: Office,
) -> None:
    # The default policy: three at once, three after 5 seconds, along the curve from 5
    # to 30, three after 30.
    expected = [0, 0, 0, 0, 5, 10, 15, 20, 30, 45, 65, 90, 120, 150, 180]

    async def test() -> None:
        port, sink = free_port(), Sink(answer())
        id = office.subscribe(f"http://127.0.0.1:{port}/")
        ids = office.post(0, 1, 2)
        async with office.delivering(), served(sink) as other:
            await office.settle()
            await office.let_pass(HOUR)
            assert office.attempts(id) == dict.fromkeys(ids, expected)
            assert [each.due for each in office.kept(id)] == [None] * 3
            assert not other.requests

            async with served(sink, port=port):
                assert subscriptions.replay(
                    CONTEXT, office.service, NAME, id, None
                ) == len(ids)
                await office.settle()

            assert bodies(sink) == [0, 1, 2]
            assert office.kept(id) == []

    run(test)


def test_encrypted_queue_tells_the_plain_body_and_keeps_none(
    office: Office, tmp_path: Path
) -> None:
    async def test() -> None:
        async with served(Sink(answer())) as sink:
            queues.put(
                CONTEXT, office.service, NAME, {"_enable_encrypt_messages": True}
            )
            office.subscribe(sink.url)
            behind = office.subscribe(f"http://127.0.0.1:{free_port()}/")
            office.post({"secret": "plain text"})
            async with office.delivering():
                await office.settle()

            assert bodies(sink) == [{"secret": "plain text"}]
            # What waits for the other one is as secret as the message.
            assert len(office.kept(behind)) == 1

    run(test)
    stored = b"".join(p.read_bytes() for p in tmp_path.glob("messages.db*"))
    assert NAME.encode() in stored
    assert b"plain text" not in stored


@pytest.mark.parametrize("dead_letters", [False, True])
def test_without_its_key_a_message_is_kept_until_it_can_be_read(
    office: Office, dead_letters: bool
) -> None:
    async def test() -> None:
        async with served(Sink(answer())) as sink:
            queues.put(
                CONTEXT, office.service, NAME, {"_enable_encrypt_messages": True}
            )
            options = {"dead_letter_queue": "dead"} if dead_letters else {}
            id = office.subscribe(sink.url, **options)
            office.post("secret")
            async with office.delivering(office.open(transport={})):
                await office.settle()
                await office.let_pass(300)

            assert not sink.requests
            [kept] = office.kept(id)
            # The policy held: it is not tried for ever.
            assert (kept.due, kept.failures) == (None, 15)
            [last, *_] = office.service.store.list_attempts(KEY, id, now=office.now)
            assert "encrypted" in (last.error or "")
            async with office.delivering():
                subscriptions.replay(CONTEXT, office.service, NAME, id, None)
                await office.settle()
            assert bodies(sink) == ["secret"]

    run(test)

# SPDX-License-Identifier: Apache-2.0
"""What operations cost: commands on the wire, and work that grows with nothing."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from tests.contract.arrange import (
    CLIENT,
    KEY,
    T0,
    claim,
    create,
    draft,
    message_id,
    post,
)
from tests.redis_servers import RedisServer
from zaqar.model import DeadLetter, Message, Parcel, QueueKey
from zaqar.storage.base import Store
from zaqar.storage.redis import pool
from zaqar.storage.redis.store import RedisStore

Operation = Callable[[Store, str, list[str], str], Any]

OPERATIONS: dict[str, Operation] = {
    "post": lambda store, revision, ids, held: store.post_messages(
        KEY, [draft()], client=CLIENT, revision=revision, now=T0
    ),
    "post many": lambda store, revision, ids, held: store.post_messages(
        KEY, [draft() for _ in range(20)], client=CLIENT, revision=revision, now=T0
    ),
    "list": lambda store, revision, ids, held: store.list_messages(
        KEY, limit=20, claimed=True, now=T0
    ),
    "list behind an id": lambda store, revision, ids, held: store.list_messages(
        KEY, marker=ids[2], limit=20, now=T0
    ),
    "get": lambda store, revision, ids, held: store.get_messages(KEY, ids, now=T0),
    "delete": lambda store, revision, ids, held: store.delete_message(
        KEY, ids[5], now=T0
    ),
    "delete claimed": lambda store, revision, ids, held: store.delete_message(
        KEY, ids[0], claim=held, now=T0
    ),
    "delete many": lambda store, revision, ids, held: store.delete_messages(
        KEY, ids[:2], claims=[held], now=T0
    ),
    "pop": lambda store, revision, ids, held: store.pop_messages(KEY, 10, now=T0),
    "claim": lambda store, revision, ids, held: store.create_claim(
        KEY, "c", ttl=60, grace=60, limit=10, revision=revision, now=T0
    ),
    "claim counted": lambda store, revision, ids, held: store.create_claim(
        KEY,
        "c",
        ttl=60,
        grace=60,
        limit=10,
        dead_letter=DeadLetter("dead", 5),
        revision=revision,
        now=T0,
    ),
    "get claim": lambda store, revision, ids, held: store.get_claim(KEY, held, now=T0),
    "renew": lambda store, revision, ids, held: store.renew_claim(
        KEY, held, ttl=60, grace=60, now=T0
    ),
    "release": lambda store, revision, ids, held: store.release_claim(
        KEY, held, now=T0
    ),
    "export": lambda store, revision, ids, held: store.export_messages(KEY, 10, now=T0),
    "import": lambda store, revision, ids, held: store.import_messages(
        KEY,
        [
            Parcel(Message(message_id(T0), b"1", 300, T0), CLIENT, T0 + 300)
            for _ in range(10)
        ],
        now=T0,
    ),
    "stats": lambda store, revision, ids, held: store.queue_stats(KEY, now=T0),
    "get queue": lambda store, revision, ids, held: store.get_queue(KEY),
    "get queues": lambda store, revision, ids, held: store.get_queues(
        KEY.project, [KEY.name]
    ),
}


class Wire:
    """Counts the commands of this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commands: list[tuple[Any, ...]] = []
        self.trips = 0
        ask_all = pool.Pool.ask_all

        def counted(own: pool.Pool, commands: list[tuple[Any, ...]]) -> list[Any]:
            self.commands += commands
            self.trips += 1
            return ask_all(own, commands)

        monkeypatch.setattr(pool.Pool, "ask_all", counted)


@pytest.fixture
def store(opener: Callable[[], RedisStore]) -> Iterator[RedisStore]:
    store = opener()
    yield store
    store.close()


class Arranged:
    """A new queue of so many messages; the oldest are claimed, some by `held`."""

    def __init__(self, store: RedisStore, depth: int, claims: int) -> None:
        store.delete_queue(KEY)
        self.store = store
        self.revision = create(store)
        ids = post(store, depth)
        for _ in range(claims):
            self.held, messages = claim(store, limit=5)
        self.ids = [message.id for message in messages] + ids[-20:]

    def do(self, name: str) -> None:
        OPERATIONS[name](self.store, self.revision, self.ids, self.held)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_is_one_command(
    store: RedisStore, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Arranged(store, 40, 1).do(name)
    arranged = Arranged(store, 40, 1)
    wire = Wire(monkeypatch)

    arranged.do(name)

    assert len(wire.commands) == 1, wire.commands


def test_many_queues_are_got_in_one_trip(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"q{number}" for number in range(20)]
    for name in names:
        create(store, QueueKey("p", name))
    wire = Wire(monkeypatch)

    found = store.get_queues("p", names)

    assert len(found) == 20
    assert wire.trips == 1


def effort(server: RedisServer, work: Callable[[], object]) -> dict[str, int]:
    """Return how often the server ran each command for the work, in scripts too."""
    server.ask("CONFIG", "RESETSTAT")
    work()
    lines = server.ask("INFO", "commandstats").splitlines()
    counts = {}
    for line in lines:
        if line.startswith("cmdstat_"):
            name, _, facts = line.removeprefix("cmdstat_").partition(":")
            counts[name] = int(facts.split(",")[0].removeprefix("calls="))
    return {n: c for n, c in counts.items() if not n.startswith(("config", "info"))}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_costs_the_same_in_a_deep_queue(
    own_redis: RedisServer, name: str
) -> None:
    """The server runs the same commands with 20 messages and with 10,000."""
    store = RedisStore(own_redis.uri)
    Arranged(store, 40, 1).do(name)

    few, many = (
        effort(own_redis, partial(Arranged(store, depth, claims).do, name))
        for depth, claims in ((40, 1), (10_000, 200))
    )

    store.close()
    assert many == few


def test_other_queues_cost_nothing(own_redis: RedisServer) -> None:
    store = RedisStore(own_redis.uri)
    post(store, 40)
    store.queue_stats(KEY, now=T0)
    alone = effort(own_redis, lambda: store.queue_stats(KEY, now=T0))
    for number in range(200):
        post(store, 1, QueueKey("other", f"q{number}"))

    among = effort(own_redis, lambda: store.queue_stats(KEY, now=T0))

    store.close()
    assert among == alone

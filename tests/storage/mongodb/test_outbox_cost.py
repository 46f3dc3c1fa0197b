# SPDX-License-Identifier: Apache-2.0
"""What serving subscribers costs: commands, and work that grows with no backlog."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace
from pymongo import MongoClient

from tests.contract.arrange import CLIENT, KEY, T0, create, draft, message_id, post
from tests.contract.outboxes import ME, lease, settle, some_notices, work
from tests.contract.subscriptions import subscribe
from tests.storage.mongodb.test_cost import Explained, Wire, insert, wire
from zaqar.model import (
    Attempt,
    Delivery,
    Notice,
    QueueKey,
    Settled,
    Subscription,
)
from zaqar.storage.delivering import KEPT_FAILURES
from zaqar.storage.mongodb import opening
from zaqar.storage.mongodb.deliveries import new_delivery
from zaqar.storage.mongodb.documents import Document, name_of, new_message, number_at
from zaqar.storage.mongodb.notices import Watch, new_notice
from zaqar.storage.mongodb.store import MongoStore

__all__ = ["wire"]

NAME = name_of(KEY)
DEEP = "deep-outbox"
DEPTH, OTHERS = 20_000, 40
NEW = "http://new/"


class Arranged:
    """A watched queue whose outbox is leased; `one` and `two` are subscriptions."""

    def __init__(self, store: MongoStore) -> None:
        store.delete_queue(KEY)
        self.store = store
        self.revision = create(store)
        self.one, self.two = subscribe(store, "http://1/"), subscribe(store, "http://2")
        self.told = tuple(post(store, 40))
        lease(store)
        notices = some_notices(self.told)
        failed = [Notice(f"f{number}", b"1", 60) for number in range(4)]
        waiting = [
            Delivery(id, notice, failures, due)
            for id in (self.one.id, self.two.id)
            for failures, due, these in ((0, T0, notices), (14, None, failed))
            for notice in these
        ]
        settle(store, Settled(waiting=tuple(waiting)))

    def post(self, count: int, delay: int = 0) -> None:
        drafts = [draft(delay=delay) for _ in range(count)]
        self.store.post_messages(
            KEY, drafts, client=CLIENT, revision=self.revision, now=T0
        )

    def again(self) -> Subscription:
        new = Subscription(message_id(T0), self.one.subscriber, 60, T0)
        return self.store.add_subscription(KEY, new, now=T0)

    def settled(self) -> Settled:
        first, second, *_ = some_notices(self.told)
        attempt = Attempt(first.id, T0, 0.5, True, 200)
        return Settled(
            self.told[:5],
            (
                Delivery(self.one.id, first, 1, T0 + 5),
                Delivery(self.one.id, second, 14, None),
            ),
            ((self.two.id, first.id),),
            {self.one.id: (attempt,), self.two.id: (attempt,)},
        )


Operation = Callable[[MongoStore, Arranged], Any]

# What each operation does, and how many commands it may send.
OPERATIONS: dict[str, tuple[int, Operation]] = {
    "post": (3, lambda store, its: its.post(1)),
    "post many": (3, lambda store, its: its.post(100)),
    "post delayed": (3, lambda store, its: its.post(5, delay=100)),
    "subscribe": (
        3,
        lambda store, its: store.add_subscription(
            KEY, Subscription(message_id(T0), NEW, 60, T0), now=T0
        ),
    ),
    "subscribe again": (4, lambda store, its: its.again()),
    "get": (2, lambda store, its: store.get_subscription(KEY, its.one.id, now=T0)),
    "list": (2, lambda store, its: store.list_subscriptions(KEY, limit=10, now=T0)),
    "change": (
        3,
        lambda store, its: store.set_subscription(
            KEY, replace(its.one, confirmed=True), expect=its.one, now=T0
        ),
    ),
    "lease": (3, lambda store, its: lease(store, limit=3, now=T0 + 14)),
    "read": (3, lambda store, its: work(store)),
    "settle what was sent": (
        2,
        lambda store, its: settle(store, Settled(notices=its.told)),
    ),
    "settle": (8, lambda store, its: settle(store, its.settled())),
    "release": (5, lambda store, its: store.release_outbox(KEY, ME, now=T0)),
    "list deliveries": (
        3,
        lambda store, its: store.list_deliveries(KEY, its.one.id, limit=10, now=T0),
    ),
    "list attempts": (
        2,
        lambda store, its: store.list_attempts(KEY, its.one.id, now=T0),
    ),
    "add a delivery": (
        4,
        lambda store, its: store.add_delivery(
            KEY, Delivery(its.one.id, Notice("new", b"1", 60), 0, T0), now=T0
        ),
    ),
    "replay some": (
        4,
        lambda store, its: store.replay_deliveries(
            KEY, its.one.id, ["f1", "f2"], now=T0
        ),
    ),
    "replay": (
        4,
        lambda store, its: store.replay_deliveries(KEY, its.one.id, None, now=T0),
    ),
    "remove": (8, lambda store, its: store.remove_subscription(KEY, its.one.id)),
}


@pytest.fixture(params=["strict", "relaxed"])
def store(
    opener: Callable[..., MongoStore], wire: Wire, request: pytest.FixtureRequest
) -> Iterator[MongoStore]:
    store = opener(ordering=request.param)
    yield store
    store.close()


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_sends_few_commands(store: MongoStore, wire: Wire, name: str) -> None:
    ceiling, operation = OPERATIONS[name]
    its = Arranged(store)
    wire.commands.clear()

    operation(store, its)

    assert 0 < len(wire.commands) <= ceiling, wire.names


@pytest.mark.parametrize(("ordering", "more"), [("strict", 0), ("relaxed", 1)])
def test_post_to_a_watched_queue_costs_hardly_more(
    opener: Callable[..., MongoStore], wire: Wire, ordering: str, more: int
) -> None:
    store = opener(ordering=ordering)
    create(store)
    wire.commands.clear()
    post(store, 10)
    cost = len(wire.commands)
    subscribe(store)
    wire.commands.clear()
    post(store, 10)

    assert len(wire.commands) == cost + more
    store.close()


def test_who_finds_nothing_to_lease_asks_once(store: MongoStore, wire: Wire) -> None:
    subscribe(store)
    wire.commands.clear()

    assert lease(store) == []
    assert wire.names == ["find"]


def test_dispatcher_that_serves_many_queues_asks_once(
    store: MongoStore, wire: Wire
) -> None:
    for number in range(5):
        key = QueueKey("p", f"q{number}")
        subscribe(store, key=key)
        post(store, key=key)
    assert len(lease(store)) == 5
    wire.commands.clear()

    assert lease(store, now=T0 + 1) == []

    assert wire.names == ["find"]
    # Those that it has lost sight of come again.
    assert len(lease(store, now=T0 + 14)) == 5


# Work of the server


def fill(store: MongoStore, its: Arranged) -> None:
    """Let the outbox owe much to both subscriptions, and others something, too."""
    database = store._database
    for number in range(OTHERS):
        key = QueueKey(f"{KEY.project}{number % 3 or ''}", f"other{number}")
        subscribe(store, key=key)
        post(store, 5, key)
    queue = database.queues.find_one({"_id": NAME})
    assert queue is not None
    outbox, watch = queue["watched"], Watch(queue["watched"], False, 0.0)
    first = number_at(T0) + 1000
    notices: list[Document] = []
    for place in range(DEPTH):
        message = new_message(NAME, draft(), CLIENT, T0) | {"number": first + place}
        notices.append(new_notice(NAME, watch, message))
    insert(database.messages, notices)
    last = {"last": first + DEPTH}
    database.queues.update_one({"_id": NAME}, {"$set": last})
    for id in (its.one.id, its.two.id):
        for failures, due in ((0, T0), (3, T0 + 10), (14, None)):
            some = [
                Delivery(id, Notice(f"{failures} {number:05}", b"1", 60), failures, due)
                for number in range(DEPTH if due else KEPT_FAILURES)
            ]
            documents = [
                new_delivery(NAME, outbox, order, each)
                for order, each in enumerate(some)
            ]
            insert(database.deliveries, documents)


class Depth:
    def __init__(self, uri: str, patch: pytest.MonkeyPatch) -> None:
        self.explained = Explained(uri, DEEP)
        client = partial(MongoClient, event_listeners=[self.explained])
        patch.setattr(opening, "MongoClient", client)
        self.explained.database.client.drop_database(DEEP)
        self.store = MongoStore(uri, database=DEEP)
        self.its = Arranged(self.store)
        fill(self.store, self.its)

    def close(self) -> None:
        self.store.close()
        self.explained.database.client.drop_database(DEEP)
        self.explained.database.client.close()


@pytest.fixture(scope="module")
def deep(mongo_uri: str) -> Iterator[Depth]:
    with pytest.MonkeyPatch.context() as patch:
        depth = Depth(mongo_uri, patch)
        yield depth
        depth.close()


# NOTE: they go on from what the one before has left; the last ones remove much.
@pytest.mark.parametrize(
    "name", [*OPERATIONS, "mend", "sweep", "sweep of the ended", "purge", "remains"]
)
def test_each_query_is_covered_by_an_index(deep: Depth, name: str) -> None:
    store, its = deep.store, deep.its
    upkeep: dict[str, Callable[[], object]] = {
        "mend": lambda: store._outboxes.mend(T0 - 1),
        "sweep": lambda: store.sweep(now=T0 + 1),
        "sweep of the ended": lambda: store.sweep(now=T0 + 61),
        "purge": lambda: store.purge_queue(
            KEY, messages=False, subscriptions=True, now=T0
        ),
        "remains": lambda: store.sweep(now=T0 + 1),
    }

    if name in OPERATIONS:
        queries = deep.explained.of(lambda: OPERATIONS[name][1](store, its))
    else:
        queries = deep.explained.of(upkeep[name])

    assert [query for query in queries if not query.is_covered] == []
    assert queries != []

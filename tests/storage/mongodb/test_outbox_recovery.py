# SPDX-License-Identifier: Apache-2.0
"""What subscribers are owed is told, whoever dies or comes in between.

Who dies raises `Died` where it stops: nothing in the store handles that.
"""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.arrange import (
    KEY,
    T0,
    create,
    draft,
    listed,
    post,
    send,
)
from tests.contract.concurrency import together
from tests.contract.outboxes import (
    ANOTHER,
    ME,
    lease,
    settle,
    some_notices,
    told,
    waiting,
    work,
)
from tests.contract.subscriptions import subscribe, subscribers, subscription
from tests.mongo_servers import MongoServer
from tests.storage.mongodb.conftest import NAME as DATABASE
from tests.storage.mongodb.test_recovery import NAME, Died, die, later
from zaqar.errors import QueueNotFound, StorageUnavailable
from zaqar.model import Attempt, Delivery, Notice, Settled, Subscription
from zaqar.storage.delivering import Outbox, Subscriptions
from zaqar.storage.mongodb import posting, watching
from zaqar.storage.mongodb.deliveries import Deliveries
from zaqar.storage.mongodb.notices import Notices
from zaqar.storage.mongodb.outboxes import Outboxes
from zaqar.storage.mongodb.posting import Posting
from zaqar.storage.mongodb.store import MongoStore
from zaqar.storage.mongodb.subscribing import Subscribing

__all__ = ["later"]

Interrupt = Callable[[object, str, Callable[[], object]], None]


@pytest.fixture
def before(monkeypatch: pytest.MonkeyPatch) -> Interrupt:
    """Let others do something, once, when an object is about to take a step."""

    def interrupt(owner: object, method: str, others: Callable[[], object]) -> None:
        real = getattr(owner, method)

        def slow(*args: Any, **options: Any) -> Any:
            monkeypatch.setattr(owner, method, real)
            others()
            return real(*args, **options)

        monkeypatch.setattr(owner, method, slow)

    return interrupt


def die_at(owner: type, method: str, work: Callable[[], object]) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Died):
        patch.setattr(owner, method, die)
        work()


def owed(store: MongoStore) -> dict[str, int]:
    """Return how much there is of all that subscribers have, by collection."""
    database = store._database
    return {
        "notices": database.messages.count_documents({"outbox": {"$exists": True}}),
        "subscriptions": database.subscriptions.count_documents({}),
        "deliveries": database.deliveries.count_documents({}),
    }


NOTHING = {"notices": 0, "subscriptions": 0, "deliveries": 0}


# Posts


def insert_notices(own: Posting, *args: Any) -> None:
    own._messages.insert_many(args[-1])
    raise Died


def insert_some(
    own: Posting, name: str, first: int, messages: Any, notices: Any
) -> Any:
    own._messages.insert_many([*notices, *messages[:2]])
    raise Died


DEATHS: dict[str, tuple[str, Callable[..., Any], bool]] = {
    "after reserving": ("_insert", die, False),
    "after the notices": ("_insert", insert_notices, False),
    "after some messages": ("_insert", insert_some, False),
    "before releasing": ("_release", die, True),
}


@pytest.mark.parametrize("death", DEATHS)
def test_notices_of_a_dead_post_share_the_fate_of_its_messages(
    store: MongoStore, other: MongoStore, later: Callable[[], None], death: str
) -> None:
    subscribe(store)
    before = post(store)
    method, dies, is_kept = DEATHS[death]
    drafts = [draft() for _ in range(3)]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Died):
        patch.setattr(Posting, method, dies)
        send(store, drafts)
    after = post(other)

    assert lease(other) == [KEY]
    assert told(work(other)) == before
    later()
    kept = [message.id for message in drafts] if is_kept else []
    assert told(work(other)) == before + kept + after
    assert listed(other) == before + kept + after
    assert owed(other)["notices"] == len(before + kept + after)


def test_post_that_is_finished_by_others_is_leased(
    store: MongoStore, other: MongoStore, later: Callable[[], None]
) -> None:
    subscribe(store)
    die_at(Posting, "_release", lambda: post(store, 3))
    assert lease(other) == []

    later()
    ids = listed(other)

    assert len(ids) == 3
    assert lease(other) == [KEY]
    assert told(work(other)) == ids


def test_notices_that_come_after_their_post_was_dropped_are_not_told(
    store: MongoStore, other: MongoStore, later: Callable[[], None], before: Interrupt
) -> None:
    subscribe(store)
    later()
    before(store._posting, "_insert", lambda: listed(other))
    die_at(Posting, "_release", lambda: post(store, 3))

    ids = post(other)

    assert owed(other)["notices"] == 4
    assert told(work(other, notices=2)) == ids
    assert owed(other)["notices"] == 1


def test_slow_writer_whose_queue_is_deleted_leaves_no_notices(
    store: MongoStore, other: MongoStore, before: Interrupt
) -> None:
    subscribe(store)

    def renew_queue() -> None:
        other.delete_queue(KEY)
        subscribe(other)

    before(store._posting, "_insert", renew_queue)
    with pytest.raises(QueueNotFound):
        post(store, 3)

    assert work(other).notices == ()
    assert owed(other)["notices"] == 0


def test_messages_that_were_there_are_not_told_again_though_they_were_settled(
    store: MongoStore,
) -> None:
    subscribe(store)
    old, new = draft(), draft()
    send(store, [old])
    lease(store)
    settle(store, Settled(notices=(old.id,)))

    send(store, [old, new])

    assert told(work(store)) == [new.id]


def test_message_that_comes_again_is_told_at_its_first_place(
    store: MongoStore,
) -> None:
    subscribe(store)
    first, second = draft(), draft()
    send(store, [first, second])
    store.delete_message(KEY, first.id, now=T0)
    send(store, [first])
    lease(store)

    assert told(work(store)) == [first.id, second.id]
    settle(store, Settled(notices=(first.id,)))
    assert told(work(store)) == [second.id]


def test_twin_posts_are_told_once(opener: Callable[..., MongoStore]) -> None:
    stores = [opener() for _ in range(4)]
    subscribe(stores[0])
    drafts = [draft() for _ in range(20)]

    together(4, lambda number: send(stores[number], drafts))

    assert sorted(told(work(stores[0]))) == sorted(each.id for each in drafts)
    for each in stores:
        each.close()


def test_notices_are_told_in_the_order_of_messages_whatever_clocks_say(
    store: MongoStore,
) -> None:
    subscribe(store)
    ids = [*post(store, now=T0 + 3), *post(store, now=T0), *post(store, now=T0 + 1)]

    assert listed(store, now=T0) == ids
    assert told(work(store, now=T0)) == ids


def test_slow_post_is_not_overtaken(
    store: MongoStore, other: MongoStore, before: Interrupt
) -> None:
    subscribe(store)
    seen: list[list[str]] = []

    def overtake() -> None:
        quick.extend(post(other))
        seen.append(told(work(other)))

    quick: list[str] = []
    before(store._posting, "_release", overtake)

    slow = post(store)

    assert seen == [[]]
    assert told(work(other)) == slow + quick


@pytest.mark.parametrize("ordering", ["strict", "relaxed"])
def test_each_post_after_a_subscription_is_told(
    opener: Callable[..., MongoStore], ordering: str
) -> None:
    stores = [opener(ordering=ordering) for _ in range(3)]
    create(stores[0])
    posted: list[list[str]] = [[], []]
    since: list[int] = []

    def act(number: int) -> None:
        if number == 2:
            subscribe(stores[2])
            since.extend(len(ids) for ids in posted)
            return
        for _ in range(30):
            posted[number] += post(stores[number])

    together(3, act)

    have = set(told(work(stores[0], notices=1000)))
    for ids, first in zip(posted, since, strict=True):
        # One may have been under way.
        assert have >= set(ids[first + 1 :])
    for each in stores:
        each.close()


def test_relaxed_post_whose_writer_died_is_told_after_a_sweep(
    opener: Callable[..., MongoStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opener(ordering="relaxed")
    subscribe(store)
    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(posting, "owing", die)
        post(store)
    assert lease(store) == []

    store.sweep(now=T0)

    assert lease(store) == [KEY]
    assert len(work(store).notices) == 1
    store.close()


# Who watches


def test_queue_is_not_watched_after_its_last_subscription(store: MongoStore) -> None:
    one, two = subscribe(store, "http://1"), subscribe(store, "http://2")
    store.remove_subscription(KEY, one.id)
    assert store._watching.find(NAME) is not None

    store.remove_subscription(KEY, two.id)
    post(store)

    assert store._watching.find(NAME) is None
    assert owed(store) == NOTHING


def test_queue_is_not_watched_after_the_sweep_of_its_last_subscription(
    store: MongoStore,
) -> None:
    subscribe(store, ttl=60)

    store.sweep(now=T0 + 59.75)
    assert store._watching.find(NAME) is not None
    store.sweep(now=T0 + 60)

    assert store._watching.find(NAME) is None


@pytest.mark.parametrize(
    ("part", "step"),
    [
        (lambda store: store._subscribing._subscriptions, "insert_one"),
        (lambda store: store._subscribing, "_other"),
        (lambda store: store._watching, "confirm"),
    ],
)
def test_subscription_that_is_added_while_the_last_one_goes_is_watched(
    store: MongoStore,
    other: MongoStore,
    before: Interrupt,
    part: Callable[[MongoStore], object],
    step: str,
) -> None:
    last = subscribe(store, "http://last")
    before(part(store), step, lambda: other.remove_subscription(KEY, last.id))

    is_same = step == "_other"
    new = subscription(last.subscriber if is_same else "http://new")
    added = store.add_subscription(KEY, new, now=T0)

    assert subscribers(store) == [added.subscriber]
    ids = post(other)
    assert told(work(store)) == ids


def test_outbox_is_not_ended_while_somebody_subscribes(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = subscribe(store, "http://last")
    collection = store._watching._subscriptions
    real = collection.find_one

    def find_one(*args: Any) -> Any:
        found = real(*args)
        subscribe(other, "http://new")
        return found

    monkeypatch.setattr(collection, "find_one", find_one)
    store.remove_subscription(KEY, last.id)

    assert subscribers(store) == ["http://new"]
    ids = post(other)
    assert told(work(store)) == ids


def test_racing_subscribers_get_one_subscription(
    opener: Callable[..., MongoStore],
) -> None:
    stores = [opener() for _ in range(4)]
    create(stores[0])

    got = together(
        4, lambda number: stores[number].add_subscription(KEY, subscription(), now=T0)
    )

    assert len({each.id for each in got}) == 1
    assert len(subscribers(stores[0])) == 1
    for each in stores:
        each.close()


def test_sweep_spares_what_is_renewed_meanwhile(
    store: MongoStore, other: MongoStore, before: Interrupt
) -> None:
    old = subscribe(store, ttl=60)
    new = Subscription(old.id, old.subscriber, 300, T0 + 59)
    before(
        store._subscribing,
        "_collect",
        lambda: other.set_subscription(KEY, new, expect=old, now=T0 + 59),
    )

    store.sweep(now=T0 + 60)

    assert store.get_subscription(KEY, old.id, now=T0 + 61) == new


def test_removal_that_was_interrupted_is_finished_by_the_sweep(
    store: MongoStore,
) -> None:
    one, two = subscribe(store, "http://1"), subscribe(store, "http://2")
    ids = post(store)
    lease(store)
    notice = some_notices(ids)[0]
    both = tuple(Delivery(each.id, notice, 1, T0) for each in (one, two))
    settle(store, Settled(waiting=both))

    die_at(Subscribing, "_collect", lambda: store.remove_subscription(KEY, one.id))

    assert subscribers(store) == ["http://2"]
    assert owed(store)["deliveries"] == 2
    store.sweep(now=T0)
    assert waiting(work(store)) == [(two.id, notice.id, 1)]
    assert owed(store) == {"notices": 1, "subscriptions": 1, "deliveries": 1}


# Leases


def test_outbox_is_leased_once_though_many_ask(
    opener: Callable[..., MongoStore],
) -> None:
    stores = [opener() for _ in range(4)]
    subscribe(stores[0])
    post(stores[0])

    got = together(4, lambda number: lease(stores[number], f"holder-{number}"))

    assert sorted(map(len, got)) == [0, 0, 0, 1]
    for each in stores:
        each.close()


def test_what_is_posted_while_the_outbox_is_released_is_leased(
    store: MongoStore, other: MongoStore, before: Interrupt
) -> None:
    subscribe(store)
    first = post(store)
    lease(store)
    settle(store, Settled(notices=tuple(first)))
    real = Outboxes._next_due

    def late(own: Outboxes, *args: Any) -> float:
        due = real(own, *args)
        post(other)
        return due

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Outboxes, "_next_due", late)
        store.release_outbox(KEY, ME, now=T0)

    assert lease(other, ANOTHER) == [KEY]


def test_released_outbox_waits_for_what_is_due_next(store: MongoStore) -> None:
    id = subscribe(store).id
    ids = post(store)
    lease(store)
    later = Delivery(id, some_notices(ids)[0], 1, T0 + 500)
    settle(store, Settled(tuple(ids), (later,)))
    store.release_outbox(KEY, ME, now=T0)
    post(store, now=T0 + 20)
    assert lease(store, now=T0 + 20) == [KEY]

    new = tuple(told(work(store, now=T0 + 20)))
    settle(store, Settled(notices=new), now=T0 + 20)
    store.release_outbox(KEY, ME, now=T0)

    assert lease(store, now=T0 + 499.75) == []


def test_deliveries_of_who_is_gone_do_not_make_an_outbox_due(
    store: MongoStore, other: MongoStore, before: Interrupt
) -> None:
    one, two = subscribe(store, "http://1"), subscribe(store, "http://2", ttl=60)
    ids = post(store)
    lease(store)
    notice = some_notices(ids)[0]
    both = tuple(Delivery(each.id, notice, 1, T0) for each in (one, two))

    # One goes while its delivery is put, and who puts it dies.
    before(
        store._outboxes._deliveries,
        "settle",
        lambda: other.remove_subscription(KEY, one.id),
    )
    die_at(Deliveries, "drop", lambda: settle(store, Settled(tuple(ids), both)))
    assert owed(store)["deliveries"] == 2
    settle(store, Settled(tuple(ids)))

    found = work(store, now=T0 + 61)

    assert (found.deliveries, found.subscriptions) == ((), ())
    assert owed(store)["deliveries"] == 0
    store.release_outbox(KEY, ME, now=T0)
    assert lease(store, now=T0 + 61) == []


def test_settling_that_was_interrupted_is_repeated(store: MongoStore) -> None:
    id = subscribe(store).id
    ids = post(store, 2)
    lease(store)
    first, second = some_notices(ids)
    attempt = Attempt(first.id, T0, 0.5, False, 500)
    settled = Settled(
        tuple(ids), (Delivery(id, first, 1, T0),), ((id, second.id),), {id: (attempt,)}
    )

    die_at(Notices, "settle", lambda: settle(store, settled))
    assert told(work(store)) == ids
    settle(store, settled)

    found = work(store)
    assert (told(found), waiting(found)) == ([], [(id, first.id, 1)])


# What is left of outboxes


@pytest.mark.parametrize("end", ["purge", "deletion"])
def test_sweep_removes_what_an_outbox_has_left(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    id = subscribe(store).id
    ids = post(store, 3)
    lease(store)
    one, two, _ = some_notices(ids)
    settle(
        store, Settled(waiting=(Delivery(id, one, 0, T0), Delivery(id, two, 9, None)))
    )
    if end == "purge":
        store.purge_queue(KEY, messages=True, subscriptions=True, now=T0)
    else:
        store.delete_queue(KEY)
    assert owed(store) == {"notices": 3, "subscriptions": 1, "deliveries": 2}
    mine = subscribe(store)
    new = post(store)

    store.sweep(now=T0)

    assert owed(store) == {"notices": 1, "subscriptions": 1, "deliveries": 0}
    assert told(work(store)) == new
    assert store.get_subscription(KEY, mine.id, now=T0) == mine
    queue = store._database.queues.find_one({"_id": NAME})
    assert queue is not None and "abandoned" in queue
    monkeypatch.setattr(watching, "FORGIVEN", -60_000)
    store.sweep(now=T0)
    queue = store._database.queues.find_one({"_id": NAME})
    assert queue is not None and "abandoned" not in queue


def test_grave_of_a_queue_stays_until_its_outbox_is_forgotten(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe(store)
    post(store)
    store.delete_queue(KEY)
    monkeypatch.setattr("zaqar.storage.mongodb.queues.FORGIVEN", -60_000)

    store.sweep(now=T0)
    assert store._database.queues.count_documents({}) == 1
    monkeypatch.setattr(watching, "FORGIVEN", -60_000)
    store.sweep(now=T0)

    assert store._database.queues.count_documents({}) == 0
    assert owed(store) == NOTHING


# Without a server

ARGUMENTS: dict[str, Any] = {
    "key": KEY,
    "id": "id",
    "subscription": "id",
    "delivery": Delivery("id", Notice("m", b"1", 60), 0, T0),
    "holder": ME,
    "settled": Settled(),
    "messages": None,
    "seconds": 15.0,
    "limit": 5,
    "notices": 5,
    "deliveries": 5,
    "now": T0,
}
METHODS = [
    (protocol, name)
    for protocol in (Subscriptions, Outbox)
    for name in vars(protocol)
    if not name.startswith("_")
]


def test_every_method_is_refused_without_its_server(own_mongo: MongoServer) -> None:
    store = MongoStore(own_mongo.uri, database=DATABASE, max_reconnect_attempts=1)
    subscribe(store)
    own_mongo.kill()

    for protocol, name in METHODS:
        wanted = inspect.signature(getattr(protocol, name)).parameters
        arguments = {each: ARGUMENTS[each] for each in wanted if each in ARGUMENTS}
        if name in ("add_subscription", "set_subscription"):
            arguments["subscription"] = subscription()
            if "expect" in wanted:
                arguments["expect"] = arguments["subscription"]
        with pytest.raises(StorageUnavailable):
            getattr(store, name)(**arguments)

    assert len(METHODS) == 13
    store.close()

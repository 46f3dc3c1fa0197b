# SPDX-License-Identifier: Apache-2.0
"""What subscribers cost on Redis, and what becomes of what somebody left half done."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from tests.contract.arrange import (
    CLIENT,
    KEY,
    T0,
    counted,
    create,
    draft,
    post,
)
from tests.contract.outboxes import ANOTHER, ME, lease, settle, told, work
from tests.contract.subscriptions import OTHER, subscribe, subscription
from tests.cutting import Cutter
from tests.redis_servers import RedisCluster, RedisServer
from tests.storage.redis.test_cost import Wire, effort
from zaqar.errors import StorageUnavailable
from zaqar.model import Attempt, Delivery, Notice, QueueKey, Settled
from zaqar.storage.redis.store import RedisStore

# What a post of one message ran on the server before queues could be watched; the ping
# is of whoever counts.
UNWATCHED = {"evalsha": 1, "hmget": 1, "set": 1, "zscore": 1, "hset": 2, "zadd": 2}
UNWATCHED |= {"ping": 1}


@pytest.fixture
def store(opener: Callable[[], RedisStore]) -> Iterator[RedisStore]:
    store = opener()
    yield store
    store.close()


def post_one(store: RedisStore, revision: str, now: float = T0) -> None:
    store.post_messages(KEY, [draft(now)], client=CLIENT, revision=revision, now=now)


class Watched:
    """A queue that owes so much to one subscription; its outbox is held by `ME`.

    Half of `waiting` deliveries were not tried yet.
    """

    def __init__(
        self, store: RedisStore, notices: int, waiting: int, failed: int
    ) -> None:
        store.delete_queue(KEY)
        self.store = store
        self.revision = create(store)
        self.subscription = subscribe(store, ttl=10**6)
        self.notices = []
        for _ in range(0, notices, 500):
            self.notices += post(store, min(notices, 500))
        self.waiting = [f"w{number:06}" for number in range(waiting)]
        self.failed = [f"f{number:06}" for number in range(failed)]
        lease(store)
        attempts = [Attempt(f"m{n}", T0, 0.5, False, 500) for n in range(60)]
        settle(
            store,
            Settled(
                waiting=(
                    *(self.delivery(id, n % 2) for n, id in enumerate(self.waiting)),
                    *(self.delivery(id, 3, None) for id in self.failed),
                ),
                attempts={self.subscription.id: tuple(attempts)},
            ),
        )

    def delivery(self, id: str, failures: int = 0, due: float | None = T0) -> Delivery:
        return Delivery(self.subscription.id, Notice(id, b"1", 60), failures, due)


def settled(at: Watched) -> Settled:
    id = at.subscription.id
    attempt = Attempt("m", T0, 0.5, True, 200)
    return Settled(
        notices=tuple(at.notices[:5]),
        waiting=(at.delivery(at.waiting[0], 1, T0 + 60), at.delivery("new", 9, None)),
        finished=((id, at.waiting[1]), (id, at.waiting[2])),
        attempts={id: (attempt, attempt)},
    )


OPERATIONS: dict[str, Callable[[RedisStore, Watched], Any]] = {
    "add": lambda store, at: store.add_subscription(
        KEY, subscription("http://new"), now=T0
    ),
    "get": lambda store, at: store.get_subscription(KEY, at.subscription.id, now=T0),
    "list": lambda store, at: store.list_subscriptions(KEY, limit=5, now=T0),
    "set": lambda store, at: store.set_subscription(
        KEY,
        replace(at.subscription, confirmed=True),
        expect=at.subscription,
        now=T0,
    ),
    "remove": lambda store, at: store.remove_subscription(KEY, at.subscription.id),
    "post": lambda store, at: post_one(store, at.revision),
    "read": lambda store, at: work(store, notices=10),
    "settle": lambda store, at: settle(store, settled(at)),
    "list deliveries": lambda store, at: store.list_deliveries(
        KEY, at.subscription.id, limit=5, now=T0
    ),
    "list attempts": lambda store, at: store.list_attempts(
        KEY, at.subscription.id, now=T0
    ),
    "replay some": lambda store, at: store.replay_deliveries(
        KEY, at.subscription.id, at.failed[:3], now=T0
    ),
    "add a delivery": lambda store, at: store.add_delivery(
        KEY, at.delivery("question"), now=T0
    ),
    # These also tell the list of outboxes, or ask it.
    "lease": lambda store, at: lease(store, now=T0 + 14),
    "release": lambda store, at: store.release_outbox(KEY, ME, now=T0),
}
TWO_STEPS = ("lease", "release")


# What it costs


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_is_one_command_and_what_the_list_is_told(
    store: RedisStore, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    OPERATIONS[name](store, Watched(store, 20, 20, 20))
    watched = Watched(store, 20, 20, 20)
    wire = Wire(monkeypatch)

    OPERATIONS[name](store, watched)

    assert len(wire.commands) == 1 + (name in TWO_STEPS), wire.commands


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_costs_the_same_in_a_deep_outbox(
    own_redis: RedisServer, name: str
) -> None:
    """The server runs the same commands with 10 notices and with thousands."""
    store = RedisStore(own_redis.uri)
    OPERATIONS[name](store, Watched(store, 20, 20, 20))

    few, many = (
        effort(own_redis, partial(OPERATIONS[name], store, Watched(store, *depths)))
        for depths in ((20, 20, 20), (5000, 2000, 900))
    )

    store.close()
    assert many == few


def test_queue_that_nobody_watches_pays_nothing(own_redis: RedisServer) -> None:
    store = RedisStore(own_redis.uri)
    revision = create(store)
    post_one(store, revision)

    assert effort(own_redis, lambda: post_one(store, revision)) == UNWATCHED
    id = subscribe(store).id
    post_one(store, revision)
    assert effort(own_redis, lambda: post_one(store, revision)) != UNWATCHED
    store.remove_subscription(KEY, id)
    assert effort(own_redis, lambda: post_one(store, revision)) == UNWATCHED
    store.close()


def test_list_is_told_only_of_what_is_due_earlier(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another queue brings the server to know the scripts.
    subscribe(store, key=OTHER)
    post(store, key=OTHER)
    revision = create(store, delays=True)
    subscribe(store)
    wire = Wire(monkeypatch)

    def commands(now: float, delay: int = 0) -> int:
        wire.commands.clear()
        new = [draft(now, delay=delay)]
        store.post_messages(KEY, new, client=CLIENT, revision=revision, now=now)
        return len(wire.commands)

    assert [commands(T0, 60), commands(T0, 90), commands(T0), commands(T0 + 1)] == [
        2,
        1,
        2,
        1,
    ]
    lease(store, now=T0 + 1)
    assert commands(T0 + 2) == 1


def test_dispatcher_that_finds_nothing_asks_once(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        key = QueueKey("p", f"q{number}")
        subscribe(store, key=key)
        post(store, 1, key, delay=60)
        post(store, 1, key)
    while leased := lease(store):
        for key in leased:
            settle(store, Settled(tuple(told(work(store, key)))), key)
            store.release_outbox(key, ME, now=T0)
    wire = Wire(monkeypatch)

    assert lease(store) == []

    assert len(wire.commands) == 1


def test_dispatcher_that_serves_many_queues_asks_once(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [QueueKey("p", f"q{number}") for number in range(30)]
    for key in keys:
        subscribe(store, key=key)
        post(store, key=key)
    assert len(lease(store, limit=99)) == 30
    wire = Wire(monkeypatch)

    assert lease(store, limit=99, now=T0 + 1) == []

    assert len(wire.commands) == 1
    # Those that it has lost sight of come again.
    assert len(lease(store, limit=99, now=T0 + 14)) == 30


def test_large_results_are_stored_in_parts(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(store, 20, 0, 0)
    wire = Wire(monkeypatch)
    many = tuple(watched.delivery(f"{number:05}") for number in range(1200))

    settle(store, Settled(notices=tuple(watched.notices), waiting=many))

    assert len(wire.commands) == 3
    # Notices go last, so a repetition finds them.
    assert watched.notices[0] not in map(str, wire.commands[0])
    assert watched.notices[0] in map(str, wire.commands[-1])
    listed = store.list_deliveries(KEY, watched.subscription.id, limit=2000, now=T0)
    assert len(listed.items) == 1200


# What somebody left half done


class Crash(Exception):
    pass


def crash(*_: object, **__: object) -> None:
    raise Crash


def test_outbox_that_the_list_was_not_told_of_is_found_by_the_sweep(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe(store)
    with monkeypatch.context() as patch:
        patch.setattr(store._worklist, "announce", crash)
        with pytest.raises(Crash):
            post(store)
    post(store)
    assert lease(store) == []

    store.sweep(now=T0)

    assert lease(store) == [KEY]
    assert len(told(work(store))) == 2


def test_post_is_done_though_the_list_cannot_be_told(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StorageUnavailable("The list is away.")

    subscribe(store)
    with monkeypatch.context() as patch:
        patch.setattr(store._worklist, "announce", refuse)
        post(store, 2)

    assert counted(store) == (2, 0)
    store.sweep(now=T0)
    assert lease(store) == [KEY]


@pytest.mark.parametrize("leased", [False, True])
def test_list_that_is_lost_is_made_again_by_the_sweep(
    store: RedisStore, leased: bool
) -> None:
    subscribe(store)
    post(store)
    subscribe(store, key=OTHER)
    if leased:
        lease(store)
    name = store._keys.outboxes
    store._client.ask(name, ("DEL", name, f"{name}:v", f"{name}:h:{ME}"))
    assert lease(store, ANOTHER, now=T0 + 60) == []

    store.sweep(now=T0 + 1)

    assert lease(store, ANOTHER, now=T0 + 1) == ([] if leased else [KEY])
    assert lease(store, ANOTHER, now=T0 + 60) == [KEY]


def test_sweep_tells_nothing_that_the_list_knows(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in (KEY, OTHER):
        subscribe(store, key=key)
        post(store, key=key)
    lease(store, limit=1)

    monkeypatch.setattr(store._client, "run", crash)
    store.sweep(now=T0 + 1)


def test_dispatcher_that_dies_while_it_leases_delays_only(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe(store)
    ids = post(store)
    with monkeypatch.context() as patch:
        patch.setattr(store, "_lease", crash)
        with pytest.raises(Crash):
            lease(store)

    assert lease(store, ANOTHER, now=T0 + 14) == []
    assert lease(store, ANOTHER, now=T0 + 15) == [KEY]
    assert told(work(store)) == ids


def test_dispatcher_that_dies_while_it_releases_delays_only(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe(store)
    post(store)
    lease(store)
    with monkeypatch.context() as patch:
        patch.setattr(store._worklist, "announce", crash)
        with pytest.raises(Crash):
            store.release_outbox(KEY, ME, now=T0)

    assert lease(store, ANOTHER, now=T0 + 15) == [KEY]


def test_what_is_told_late_does_not_override_what_was_said_since(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe(store)
    ids = post(store)
    lease(store)
    settle(store, Settled(tuple(ids)))
    late: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(store._worklist, "announce", lambda *said: late.append(said))
        store.release_outbox(KEY, ME, now=T0)
    # It is said that nothing is due any more, and told after this post.
    post(store)

    store._worklist.announce(*late[0])

    assert lease(store, ANOTHER) == [KEY]


def test_outboxes_of_a_server_that_is_away_do_not_keep_others_waiting(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in (KEY, OTHER):
        subscribe(store, key=key)
        post(store, key=key)
    whole = store._lease

    def without(key: QueueKey, *values: Any) -> bool:
        if key == KEY:
            raise StorageUnavailable("Its server is away.")
        return whole(key, *values)

    monkeypatch.setattr(store, "_lease", without)

    assert lease(store) == [OTHER]
    settle(store, Settled(tuple(told(work(store, OTHER)))), OTHER)
    store.release_outbox(OTHER, ME, now=T0)
    # Only the one is left that fails.
    with pytest.raises(StorageUnavailable):
        lease(store, now=T0 + 15)


@pytest.mark.parametrize("cuts", range(1, 5))
@pytest.mark.parametrize("halves", [False, True])
def test_lost_answers_lose_no_notice(
    own_redis: RedisServer, cuts: int, halves: bool
) -> None:
    cutter = Cutter(own_redis.port)
    cutter.halves = halves
    store = RedisStore(cutter.uri, reconnect_sleep=0.01)
    revision = create(store)
    subscribe(store)
    cutter.cuts = cuts

    post_one(store, revision)

    assert cutter.lost == cuts
    cutter.cuts = cuts
    lease(store)
    # What was leased by an answer that was lost comes again.
    assert lease(store, now=T0 + 8) == [KEY]
    (notice,) = work(store).notices
    cutter.cuts = cuts
    settle(store, Settled((notice.id,)))
    assert work(store).notices == ()
    store.close()
    cutter.close()


# Nothing is left behind


@pytest.mark.parametrize("way", ["delete", "purge", "remove", "end"])
def test_queue_that_is_watched_no_more_leaves_nothing(
    own_redis: RedisServer, way: str
) -> None:
    store = RedisStore(own_redis.uri)
    watched = Watched(store, 20, 20, 20)
    lease(store)
    ways: dict[str, Callable[[], object]] = {
        "delete": lambda: store.delete_queue(KEY),
        "purge": lambda: store.purge_queue(
            KEY, messages=True, subscriptions=True, now=T0
        ),
        "remove": lambda: store.remove_subscription(KEY, watched.subscription.id),
        "end": lambda: store.sweep(now=watched.subscription.expires),
    }

    ways[way]()
    assert lease(store, now=T0 + 10**7) == []
    if way == "remove":
        store.purge_queue(KEY, messages=True, subscriptions=False, now=T0)

    keys = [key for key in own_redis.ask("KEYS", "*").split() if "zaqar" in key]
    left = [] if way == "delete" else ["zaqar:{index}:queues", store._keys.record(KEY)]
    assert sorted(key for key in keys if ":p:" not in key) == left
    if left:
        assert store._client.ask(left[1], ("HMGET", left[1], "u", "z")) == [None, None]
    store.close()


# Where the servers are


def test_outboxes_of_all_nodes_of_a_cluster_are_leased(
    redis_cluster: RedisCluster, prefix: str
) -> None:
    store = RedisStore(redis_cluster.uri, prefix=prefix)
    keys = [QueueKey("p", f"q{number}") for number in range(20)]
    for key in keys:
        subscribe(store, key=key)
        post(store, key=key)
    slots = [redis_cluster.slot_of(store._keys.record(key)) for key in keys]

    assert len({redis_cluster.owner_of(slot).port for slot in slots}) == 3
    assert {key.name for key in lease(store, limit=99)} == {key.name for key in keys}
    store.close()


def test_each_method_tells_that_there_is_no_server(own_redis: RedisServer) -> None:
    store = RedisStore(own_redis.uri, max_reconnect_attempts=0)
    watched = Watched(store, 20, 20, 20)
    own_redis.kill()

    for name, operation in OPERATIONS.items():
        with pytest.raises(StorageUnavailable):
            operation(store, watched)
            pytest.fail(name)
    with pytest.raises(StorageUnavailable):
        store.purge_queue(KEY, messages=False, subscriptions=True, now=T0)
    store.close()

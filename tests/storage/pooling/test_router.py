# SPDX-License-Identifier: Apache-2.0
"""Facts of routing: where queues are born, stay, and are found by all processes."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any
from uuid import uuid4

import pytest

from tests.contract.arrange import KEY, T0, claim, create, listed, post
from tests.contract.queues import ON_A_QUEUE
from tests.storage.pooling.conftest import Deployment, pool, routed
from tests.storage.pooling.faulty import Faulty
from zaqar.errors import InvalidRequest, QueueNotFound, StorageUnavailable
from zaqar.model import Page, Queue, QueueKey
from zaqar.storage.base import Store
from zaqar.storage.pooling import listing, places, pools
from zaqar.storage.pooling.router import Router


def homes(deployment: Deployment, key: QueueKey = KEY) -> list[str]:
    """Return the stores that hold the queue."""
    return [uri for uri, data in deployment.stores.items() if key in data.queues]


def patch(router: Store, metadata: dict[str, Any], key: QueueKey = KEY) -> None:
    router.put_queue(
        key,
        metadata,
        delays=False,
        revision=uuid4().hex,
        expect=router.get_queue(key).revision,
        now=T0,
    )


# Birth ------------------------------------------------------------------------------


def test_queue_lives_in_one_pool_and_all_processes_find_it(
    deployment: Deployment,
) -> None:
    deployment.register(pool("a"), pool("b"))
    ids = post(deployment.router(), 3)

    assert len(homes(deployment)) == 1
    assert listed(deployment.router()) == ids


def test_new_queues_follow_the_weights(deployment: Deployment) -> None:
    deployment.register(pool("a", weight=9), pool("b"), pool("c", weight=0))
    router = deployment.router()

    for number in range(300):
        create(router, QueueKey("p", f"q{number}"))

    counts = {uri: len(data.queues) for uri, data in deployment.stores.items()}
    assert counts.get("model:c", 0) == 0
    assert counts["model:a"] > 4 * counts["model:b"] > 0


def test_flavor_names_the_pools(deployment: Deployment) -> None:
    deployment.register(
        pool("a"), pool("b", flavor="gold"), flavors={"project": "gold"}
    )
    router = deployment.router()

    create(router, metadata={"_flavor": "gold"})

    assert homes(deployment) == ["model:b"]


@pytest.mark.parametrize(
    ("metadata", "error"),
    [({"_flavor": "nosuch"}, InvalidRequest), ({}, StorageUnavailable)],
)
def test_queue_that_no_pool_may_have_is_stored_nowhere(
    deployment: Deployment, metadata: dict[str, Any], error: type[Exception]
) -> None:
    deployment.register(pool("a", weight=0), pool("b", flavor="gold"))
    router = deployment.router()

    with pytest.raises(error):
        create(router, metadata=metadata)

    assert homes(deployment) == []
    assert not deployment.registry.bindings


def test_without_pools_queues_are_absent_and_cannot_be_made(
    deployment: Deployment,
) -> None:
    router = deployment.router()

    for step in ON_A_QUEUE.values():
        with pytest.raises(QueueNotFound):
            step(router, KEY)
    assert router.list_queues("project", limit=10) == Page()
    router.delete_queue(KEY)
    with pytest.raises(StorageUnavailable):
        create(router)


def test_virtual_pool_takes_what_no_pool_without_flavor_can(
    deployment: Deployment,
) -> None:
    deployment.register(pool("a", flavor="gold"), flavors={"project": "gold"})
    router = deployment.router(virtual="model:default")

    create(router)
    create(router, QueueKey("project", "golden"), {"_flavor": "gold"})
    deployment.register(pool("a"))
    create(deployment.router(virtual="model:default"), QueueKey("project", "later"))

    assert homes(deployment) == ["model:default"]
    assert set(deployment.stores["model:default"].queues) == {KEY}


@pytest.mark.parametrize("becomes", ["removed", "filled"])
def test_put_succeeds_where_what_it_found_is_changed_meanwhile(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, becomes: str
) -> None:
    deployment.register(pool("a"))
    here, there = (deployment.open_store("model:a", {}) for _ in range(2))
    create(there)
    monkeypatch.setattr(deployment, "open_store", lambda uri, options: here)
    find = here.get_queue

    def found(key: QueueKey) -> Queue:
        queue = find(key)
        monkeypatch.setattr(here, "get_queue", find)
        if becomes == "removed":
            there.delete_queue(key)
            return find(key)
        there.put_queue(
            key, {"a": 1}, delays=False, revision="r", expect=queue.revision, now=T0
        )
        return queue

    monkeypatch.setattr(here, "get_queue", found)
    router = deployment.router()

    is_new = router.put_queue(KEY, {}, delays=False, revision="new", now=T0)

    assert is_new == (becomes == "removed")
    assert router.get_queue(KEY).metadata == ({} if is_new else {"a": 1})


def test_queue_that_exists_is_not_moved_by_put(deployment: Deployment) -> None:
    deployment.register(pool("a"))
    router = deployment.router()
    create(router)
    deployment.register(
        pool("a", weight=0), pool("b", flavor="gold"), flavors={"project": "gold"}
    )

    for process in (router, deployment.router()):
        is_new = process.put_queue(
            KEY, {"_flavor": "gold"}, delays=False, revision="r", now=T0
        )

        assert not is_new
    assert homes(deployment) == ["model:a"]


# Outdated knowledge -----------------------------------------------------------------


@pytest.fixture
def moved(deployment: Deployment) -> tuple[Router, list[str]]:
    """A process that knows a queue where it was, and the ids in it where it is."""
    deployment.register(pool("a"))
    late, quick = deployment.router(), deployment.router()
    post(late, 2)
    quick.delete_queue(KEY)
    deployment.register(pool("a", weight=0), pool("b"))
    ids = post(deployment.router(), 3)
    assert homes(deployment) == ["model:b"]
    return late, ids


STEPS: dict[str, Callable[[Store, str], object]] = {
    "list": lambda store, id: len(store.list_messages(KEY, limit=9, now=T0).items) == 3,
    "get": lambda store, id: len(store.get_messages(KEY, [id], now=T0)) == 1,
    "stats": lambda store, id: store.queue_stats(KEY, now=T0).total == 3,
    "pop": lambda store, id: len(store.pop_messages(KEY, 1, now=T0)) == 1,
    "claim": lambda store, id: len(claim(store, limit=2)[1]) == 2,
    "delete": lambda store, id: (
        store.delete_message(KEY, id, now=T0) is None and len(listed(store)) == 2
    ),
    "purge": lambda store, id: (
        store.purge_queue(KEY, messages=True, subscriptions=True, now=T0) is None
        and listed(store) == []
    ),
    "put": lambda store, id: (
        not store.put_queue(KEY, {}, delays=False, revision="r", now=T0)
        and len(listed(store)) == 3
    ),
}


@pytest.mark.parametrize("step", STEPS)
def test_outdated_process_finds_the_queue_where_it_is(
    moved: tuple[Router, list[str]], step: str
) -> None:
    late, ids = moved

    assert STEPS[step](late, ids[0])


def test_outdated_process_deletes_the_queue_where_it_is(
    moved: tuple[Router, list[str]], deployment: Deployment
) -> None:
    late, _ = moved

    late.delete_queue(KEY)

    assert homes(deployment) == []
    assert not deployment.registry.bindings


def test_known_place_costs_no_trip_to_the_registry(deployment: Deployment) -> None:
    deployment.register(pool("a"))
    known = deployment.pools()
    registry = known.registry = Faulty(known.registry)
    router = routed(known)
    post(router, 2)
    registry.calls.clear()

    post(router, 2)
    claim(router)
    router.pop_messages(KEY, 1, now=T0)
    router.pop_messages(KEY, 1, now=T0)

    assert registry.calls == []


# Pools that come, change, and go ----------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let time pass for what is known."""
    passed = [0.0]
    monkeypatch.setattr(pools.time, "monotonic", lambda: 1000.0 + passed[0])

    def wait(seconds: float) -> None:
        passed[0] += seconds

    return wait


def test_changes_hold_within_ten_seconds(
    deployment: Deployment, clock: Callable[[float], None]
) -> None:
    deployment.register(pool("a"))
    router = deployment.router()
    ids = post(router, 2)
    changed = pool("a")
    deployment.stores["model:elsewhere"] = deployment.stores["model:a"]
    del deployment.stores["model:a"]
    deployment.register(
        type(changed)(changed.name, changed.id, "model:elsewhere", 1), pool("b")
    )
    deployment.opened.clear()

    clock(10)

    assert listed(router) == ids
    assert deployment.opened == ["model:elsewhere"]


def test_queues_of_a_removed_pool_are_absent_and_may_be_made_anew(
    deployment: Deployment, clock: Callable[[float], None]
) -> None:
    deployment.register(pool("a"))
    router = deployment.router()
    post(router, 2)
    deployment.register(pool("b"))

    clock(10)

    with pytest.raises(QueueNotFound):
        router.get_queue(KEY)
    assert router.list_queues("project", limit=10) == Page()
    ids = post(router, 1)
    assert listed(router) == ids
    assert listed(deployment.router()) == ids


def test_queues_of_a_removed_pool_leave_the_map(deployment: Deployment) -> None:
    deployment.register(pool("a"), pool("b", flavor="x"), flavors={"project": "x"})
    router, known = deployment.router(), deployment.pools()
    create(router, QueueKey("p", "gone"))
    create(router, metadata={"_flavor": "x"})

    known.change(lambda stored: stored.without_pool("a"))
    deployment.router().sweep(now=T0)

    assert set(deployment.registry.bindings) == {KEY}
    assert known.fresh().gone == ()


def test_pool_of_the_same_name_is_another_pool(
    deployment: Deployment, clock: Callable[[float], None]
) -> None:
    deployment.register(pool("a"))
    router = deployment.router()
    create(router)
    again = pool("a")
    deployment.register(type(again)("a", "another", again.uri, 1))

    clock(10)

    with pytest.raises(QueueNotFound):
        router.get_queue(KEY)


# Flavors that change ----------------------------------------------------------------


def test_patch_of_the_flavor_moves_the_name_and_leaves_the_messages(
    deployment: Deployment,
) -> None:
    deployment.register(
        pool("a"), pool("b", flavor="gold"), flavors={"project": "gold"}
    )
    router, late = deployment.router(), deployment.router()
    post(router, 2)
    assert len(listed(late)) == 2

    patch(router, {"_flavor": "gold", "a": 1})

    assert homes(deployment) == ["model:b"]
    for process in (router, late):
        assert process.get_queue(KEY).metadata == {"_flavor": "gold", "a": 1}
        assert listed(process) == []
    patch(router, {"a": 2})
    assert homes(deployment) == ["model:a"]
    assert late.get_queue(KEY).metadata == {"a": 2}


def test_patch_that_keeps_the_flavor_keeps_the_pool(deployment: Deployment) -> None:
    deployment.register(pool("a"), pool("b"))
    router = deployment.router()
    ids = post(router, 2)
    before = homes(deployment)
    deployment.register(pool("a", flavor="x"), pool("b", flavor="x"), pool("c"))

    patch(router, {"a": 1})

    assert homes(deployment) == before
    assert listed(router) == ids


def test_patch_to_an_unknown_flavor_changes_nothing(deployment: Deployment) -> None:
    deployment.register(pool("a"))
    router = deployment.router()
    create(router, metadata={"a": 1})

    with pytest.raises(InvalidRequest):
        patch(router, {"_flavor": "nosuch"})

    assert router.get_queue(KEY).metadata == {"a": 1}


# Pools and registries that are down -------------------------------------------------


class Fragile(Deployment):
    """A deployment whose stores and registry can be let down."""

    def __init__(self) -> None:
        super().__init__()
        self.faulty: dict[str, Faulty] = {}

    def open_store(self, uri: str, options: Any) -> Any:
        if uri not in self.faulty:
            self.faulty[uri] = Faulty(super().open_store(uri, options))
        return self.faulty[uri]


@pytest.fixture
def fragile() -> Fragile:
    return Fragile()


@pytest.mark.usefixtures("in_turn")
def test_pool_that_is_down_takes_only_its_own_queues_along(fragile: Fragile) -> None:
    fragile.register(pool("a"), pool("b"))
    router = fragile.router()
    one, two = QueueKey("p", "one"), QueueKey("p", "two")
    ids = {key: post(router, 1, key) for key in (one, two)}
    down = homes(fragile, one)[0]

    fragile.faulty[down].is_down = True

    with pytest.raises(StorageUnavailable):
        router.pop_messages(one, 1, now=T0)
    with pytest.raises(StorageUnavailable):
        router.ping()
    with pytest.raises(StorageUnavailable, match="a: It is down"):
        router.sweep(now=T0)
    assert listed(router, two) == ids[two]
    page = router.list_queues("p", limit=10)
    assert [queue.name for queue in page.items] == ["one", "two"]
    assert page.items[0].metadata == {listing.UNAVAILABLE: True}
    assert page.items[1].metadata == {}
    assert router.count_queues("p") == 2

    fragile.faulty[down].is_down = False
    assert listed(router, one) == ids[one]


@pytest.mark.usefixtures("in_turn")
def test_new_queue_is_not_tied_to_a_pool_that_is_down(fragile: Fragile) -> None:
    fragile.register(pool("a"), pool("b"))
    router = fragile.router()
    fragile.open_store("model:a", {}).is_down = True

    with pytest.raises(StorageUnavailable):
        create(router)
    create(router)

    assert homes(fragile) == ["model:b"]


def test_known_queues_work_while_the_registry_is_down(
    deployment: Deployment, clock: Callable[[float], None]
) -> None:
    deployment.register(pool("a"))
    known = deployment.pools()
    registry = known.registry = Faulty(known.registry)
    router = routed(known)
    ids = post(router, 2)

    registry.is_down = True
    for _ in range(3):
        clock(places.KNOWN + pools.KNOWN)
        registry.calls.clear()

        assert listed(router) == ids
        assert listed(router) == ids
        assert registry.calls == ["find_queue", "read_directory"]
    with pytest.raises(StorageUnavailable):
        create(router, QueueKey("p", "new"))


# Listing ----------------------------------------------------------------------------


@pytest.mark.usefixtures("in_turn")
def test_page_of_queues_takes_one_trip_to_each_place(fragile: Fragile) -> None:
    fragile.register(pool("a"), pool("b"))
    known = fragile.pools()
    registry = known.registry = Faulty(known.registry)
    router = routed(known)
    for number in range(10):
        create(router, QueueKey("p", f"q{number}"), {"n": number})
    for faulty in (registry, *fragile.faulty.values()):
        faulty.calls.clear()

    page = router.list_queues("p", limit=6)

    assert [queue.metadata["n"] for queue in page.items] == list(range(6))
    assert registry.calls == ["list_queues"]
    assert [each.calls for each in fragile.faulty.values()] == [["get_queues"]] * 2


@pytest.mark.usefixtures("in_turn")
def test_pools_of_a_page_are_asked_at_once(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment.register(pool("a"), pool("b"))
    both = threading.Barrier(2)

    def open_store(uri: str, options: Any) -> Store:
        store = Deployment.open_store(deployment, uri, options)
        read = store.get_queues

        def get_queues(project: str, names: Sequence[str]) -> list[Queue]:
            both.wait(10)
            return read(project, names)

        monkeypatch.setattr(store, "get_queues", get_queues)
        return store

    monkeypatch.setattr(deployment, "open_store", open_store)
    router = deployment.router()
    names = ["q0", "q1", "q2"]
    for name in names:
        create(router, QueueKey("p", name))

    page = router.list_queues("p", limit=3)

    assert [queue.name for queue in page.items] == names


def test_pool_that_takes_long_to_open_keeps_no_other_waiting(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment.register(pool("a"), pool("b"))
    begun, done = threading.Event(), threading.Event()

    def open_store(uri: str, options: Any) -> Store:
        if uri == "model:a":
            begun.set()
            assert done.wait(10)
        return Deployment.open_store(deployment, uri, options)

    monkeypatch.setattr(deployment, "open_store", open_store)
    known = deployment.pools()

    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(known.store, "id-a")
        assert begun.wait(10)
        known.store("id-b").ping()
        is_open = slow.done()
        done.set()

    assert not is_open
    slow.result().ping()


def test_binding_without_a_queue_is_not_listed(deployment: Deployment) -> None:
    deployment.register(pool("a"))
    router = deployment.router()
    for name in "abc":
        create(router, QueueKey("p", name))
    del deployment.stores["model:a"].queues[QueueKey("p", "a")]

    names = []
    page = router.list_queues("p", limit=1)
    while page.items:
        names += [queue.name for queue in page.items]
        page = router.list_queues("p", limit=1, marker=page.marker)

    assert names == ["b", "c"]


def test_thousand_queues_follow_the_weights_by_chi_square(
    deployment: Deployment,
) -> None:
    weights = {"a": 4, "b": 3, "c": 2, "d": 1}
    deployment.register(*(pool(name, weight=n) for name, n in weights.items()))
    router, numbers = deployment.router(), count()

    for _ in range(1000):
        create(router, QueueKey("p", f"q{next(numbers)}"))

    counts = {n: len(deployment.stores[f"model:{n}"].queues) for n in weights}
    expected = {name: 1000 * weight / 10 for name, weight in weights.items()}
    square = sum((counts[n] - expected[n]) ** 2 / expected[n] for n in weights)
    # Three degrees of freedom: more than 27 comes once in 200,000 runs.
    assert square < 27

# SPDX-License-Identifier: Apache-2.0
"""What somebody left half done is finished by others, and nothing is left behind."""

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from tests.contract.arrange import (
    KEY,
    T0,
    claim,
    counted,
    create,
    draft,
    ids_of,
    listed,
    post,
    send,
)
from tests.redis_servers import RedisCluster, RedisServer
from zaqar.errors import StorageUnavailable
from zaqar.model import DeadLetter, QueueKey
from zaqar.storage.redis import index
from zaqar.storage.redis.letters import Letters
from zaqar.storage.redis.store import RedisStore

DEAD = QueueKey(KEY.project, "dead")
RULE = DeadLetter("dead", 1, ttl=100)


@pytest.fixture
def store(opener: Callable[[], RedisStore]) -> Iterator[RedisStore]:
    store = opener()
    yield store
    store.close()


@pytest.fixture
def cluster_store(redis_cluster: RedisCluster, prefix: str) -> Iterator[RedisStore]:
    store = RedisStore(redis_cluster.uri, prefix=prefix, reconnect_sleep=0.05)
    yield store
    store.close()


class Crash(Exception):
    pass


def crash(*_: object, **__: object) -> None:
    raise Crash


def tired(store: RedisStore, count: int = 3) -> list[str]:
    """Post messages that the next claim moves away."""
    ids = post(store, count)
    claim_id, _ = claim(store, limit=count, dead_letter=RULE)
    store.release_claim(KEY, claim_id, now=T0)
    return ids


# Dead letters on their way


@pytest.fixture
def interrupted(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Dead letters whose mover died before the target had them."""
    ids = tired(store)
    with monkeypatch.context() as patch:
        patch.setattr(Letters, "_post", crash)
        with pytest.raises(Crash):
            claim(store, dead_letter=RULE)
    return ids


def test_interrupted_move_is_finished_by_the_next_claim(
    store: RedisStore, interrupted: list[str]
) -> None:
    assert (listed(store), counted(store)) == ([], (0, 0))

    _, held = claim(store, dead_letter=RULE, now=T0 + 1)

    assert held == []
    assert listed(store, DEAD, now=T0 + 1) == interrupted


def test_interrupted_move_is_finished_by_the_sweep(
    store: RedisStore, interrupted: list[str]
) -> None:
    store.sweep(now=T0 + 1)

    assert listed(store, DEAD, now=T0 + 1) == interrupted
    assert store.sweep(now=T0 + 1) == 0


def test_move_that_is_done_twice_does_not_bring_back_what_was_taken(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = tired(store)
    with monkeypatch.context() as patch:
        patch.setattr("zaqar.storage.redis.letters.SENT", None)
        with pytest.raises(AttributeError):
            claim(store, dead_letter=RULE)
    popped = store.pop_messages(DEAD, 10, now=T0)

    store.sweep(now=T0)

    assert ids_of(popped) == ids
    assert listed(store, DEAD) == []


def test_letters_of_a_deleted_queue_do_not_stop_those_of_its_next_life(
    store: RedisStore,
) -> None:
    first = tired(store)
    claim(store, dead_letter=RULE)
    store.delete_queue(KEY)
    second = tired(store)

    claim(store, dead_letter=RULE)

    assert listed(store, DEAD) == first + second


def test_target_may_change_while_letters_are_leaving(
    store: RedisStore, interrupted: list[str]
) -> None:
    more = tired(store)

    claim(store, dead_letter=DeadLetter("other", 1))

    assert listed(store, DEAD) == interrupted
    assert listed(store, QueueKey(KEY.project, "other")) == more


# The index of queues


def names(store: RedisStore) -> list[str]:
    return [queue.name for queue in store.list_queues(KEY.project, limit=10).items]


@pytest.fixture
def abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep takes over what was begun just now."""
    monkeypatch.setattr(index, "ABANDONED", -1.0)


@pytest.mark.usefixtures("abandoned")
@pytest.mark.parametrize("step", ["_run", "_index.conclude"])
def test_interrupted_creation_is_finished_or_forgotten(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with monkeypatch.context() as patch:
        owner, name = (store, step) if "." not in step else (store._index, "conclude")
        patch.setattr(owner, name, crash)
        with pytest.raises(Crash):
            create(store)

    store.sweep(now=T0)

    there = step != "_run"
    assert store.count_queues(KEY.project) == there
    assert names(store) == [KEY.name] * there


@pytest.mark.usefixtures("abandoned")
@pytest.mark.parametrize("step", ["_run", "_index.conclude"])
def test_interrupted_deletion_is_finished_or_forgotten(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    create(store)
    with monkeypatch.context() as patch:
        owner, name = (store, step) if "." not in step else (store._index, "conclude")
        patch.setattr(owner, name, crash)
        with pytest.raises(Crash):
            store.delete_queue(KEY)

    store.sweep(now=T0)

    there = step == "_run"
    assert store.count_queues(KEY.project) == there
    assert names(store) == [KEY.name] * there


def test_repeated_deletion_spares_the_next_life(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(store)
    run = store._client.run
    again: list[tuple[object, ...]] = []

    def remember(*command: object) -> object:
        again.append(command)
        return run(*command)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(store._client, "run", remember)
        store.delete_queue(KEY)
    create(store)

    run(*again[0])  # type: ignore[arg-type]

    assert store.count_queues(KEY.project) == 1
    assert store.get_queue(KEY).name == KEY.name


# Nothing is left behind


def test_deleted_queue_leaves_no_key(own_redis: RedisServer) -> None:
    store = RedisStore(own_redis.uri)
    create(store, delays=True)
    post(store, 5, delay=100)
    tired(store)
    claim(store, dead_letter=RULE)
    post(store, 30)
    for _ in range(3):
        claim(store, limit=3, dead_letter=DeadLetter("dead", 9))

    store.delete_queue(KEY)
    store.delete_queue(DEAD)

    keys = [key for key in own_redis.ask("KEYS", "*").split() if "zaqar" in key]
    # What tells repeated posts ends by itself within half a minute.
    assert [key for key in keys if ":p:" not in key] == []
    store.close()


def test_emptied_queue_leaves_its_record_only(own_redis: RedisServer) -> None:
    store = RedisStore(own_redis.uri)
    create(store, delays=True)
    post(store, 5, delay=10, ttl=60)
    post(store, 20, ttl=70)
    claim(store, limit=3, ttl=60, dead_letter=DeadLetter("dead", 9))
    claim(store, limit=3, ttl=600, grace=0)
    claim(store, limit=3, ttl=60)

    store.sweep(now=T0 + 1000)

    keys = [key for key in own_redis.ask("KEYS", "*").split() if "zaqar" in key]
    assert sorted(key for key in keys if ":p:" not in key) == [
        "zaqar:{index}:queues",
        store._keys.record(KEY),
    ]
    store.close()


# Where the servers are


def test_unix_socket_is_used(own_redis: RedisServer) -> None:
    store = RedisStore(f"redis://{own_redis.socket}?socket_timeout=4")
    ids = post(store, 2)

    other = RedisStore(own_redis.uri)
    assert listed(other) == ids
    other.close()
    store.close()


def test_database_of_the_uri_is_used(own_redis: RedisServer) -> None:
    store = RedisStore(f"{own_redis.uri}&dbid=3")
    post(store, 2)

    assert "db3:keys=" in own_redis.ask("INFO", "keyspace")
    assert "db0:keys=" not in own_redis.ask("INFO", "keyspace")
    store.close()


def test_slot_that_moves_takes_its_queue_along_whole(
    redis_cluster: RedisCluster, cluster_store: RedisStore
) -> None:
    store = cluster_store
    # All other tests share a slot, for its name is the queue.
    key = QueueKey(KEY.project, uuid4().hex)
    ids = post(store, 5, key)
    claim_id, _ = claim(store, key, limit=2)
    record = store._keys.record(key)
    slot = redis_cluster.slot_of(record)
    source = redis_cluster.owner_of(slot)
    target = next(node for node in redis_cluster.nodes if node is not source)

    redis_cluster.begin_to_move(slot, source, target)
    keys = redis_cluster.keys_in(slot, source)
    assert record in keys
    redis_cluster.move(keys[::2], source, target)
    hasty = RedisStore(
        redis_cluster.uri, prefix=record.split(":")[0], max_reconnect_attempts=0
    )
    with pytest.raises(StorageUnavailable):
        hasty.pop_messages(key, 5, now=T0)
    with pytest.raises(StorageUnavailable):
        send(hasty, [draft()], key)
    redis_cluster.move(keys[1::2], source, target)
    redis_cluster.end_move(slot, target)

    assert listed(store, key) == ids
    assert ids_of(store.get_claim(key, claim_id, now=T0).messages) == ids[:2]
    assert counted(store, key) == (5, 2)
    hasty.close()


def test_queues_of_a_cluster_lie_on_all_nodes(
    redis_cluster: RedisCluster, cluster_store: RedisStore
) -> None:
    owners = set()
    for number in range(40):
        key = QueueKey("p", f"q{number}")
        post(cluster_store, 1, key)
        record = cluster_store._keys.record(key)
        owners.add(redis_cluster.owner_of(redis_cluster.slot_of(record)).port)

    assert len(owners) == 3
    assert len(cluster_store.list_queues("p", limit=100).items) == 40


def test_master_is_found_by_sentinels_and_found_again(
    sentinel_of: Callable[[RedisServer], RedisServer], own_redis: RedisServer
) -> None:
    sentinel = sentinel_of(own_redis)
    store = RedisStore(f"redis://127.0.0.1:{sentinel.port}?master=m&socket_timeout=2")
    ids = post(store, 2)

    own_redis.kill()
    own_redis.start()

    assert listed(store) == ids
    store.close()


def test_unknown_master_is_unavailable(
    sentinel_of: Callable[[RedisServer], RedisServer], own_redis: RedisServer
) -> None:
    sentinel = sentinel_of(own_redis)
    uri = f"redis://127.0.0.1:{sentinel.port}?master=other&socket_timeout=2"
    store = RedisStore(uri, max_reconnect_attempts=0)

    with pytest.raises(StorageUnavailable):
        store.ping()
    store.close()

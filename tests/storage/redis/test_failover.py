# SPDX-License-Identifier: Apache-2.0
"""A replica takes over from a master, and the store goes on with it by itself."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from tests.contract.arrange import KEY, T0, claim, counted, ids_of, listed, post
from tests.redis_servers import RedisCluster, RedisServer, wait_until
from zaqar.errors import StorageUnavailable
from zaqar.model import QueueKey
from zaqar.storage.redis.store import RedisStore

T = TypeVar("T")

# What a failover may take here: noticing, voting, and a busy machine.
FAILOVER_SECONDS = 40
PATIENCE = 10.0


def soon(work: Callable[[], T]) -> T:
    """Do the work as soon as it is not refused any more; each refusal is in time."""
    deadline = time.monotonic() + FAILOVER_SECONDS
    while True:
        begin = time.monotonic()
        try:
            return work()
        except StorageUnavailable:
            assert time.monotonic() - begin < PATIENCE
            assert time.monotonic() < deadline
            time.sleep(0.05)


def kill(server: RedisServer) -> None:
    server.kill()


def hang(server: RedisServer) -> None:
    server.stop_for_a_while()


# Sentinel


@pytest.fixture
def replica(own_redis: RedisServer, tmp_path: Path) -> Iterator[RedisServer]:
    folder = tmp_path / "replica"
    folder.mkdir()
    replica = RedisServer(folder, "--replicaof", "127.0.0.1", str(own_redis.port))
    wait_until(lambda: replica.has_all_of(own_redis))
    yield replica
    replica.kill()


@pytest.fixture
def sentinel(
    sentinel_of: Callable[[RedisServer], RedisServer],
    own_redis: RedisServer,
    replica: RedisServer,
) -> RedisServer:
    """A Sentinel that knows both servers."""
    sentinel = sentinel_of(own_redis)
    known = f"127.0.0.1:{replica.port}"
    wait_until(lambda: known in sentinel.ask("SENTINEL", "REPLICAS", "m"))
    return sentinel


@pytest.fixture
def watched_store(sentinel: RedisServer) -> Iterator[RedisStore]:
    store = RedisStore(f"redis://127.0.0.1:{sentinel.port}?master=m&socket_timeout=1")
    yield store
    store.close()


@pytest.mark.parametrize("fail", [kill, hang])
def test_store_goes_on_with_the_replica_that_sentinels_promote(
    watched_store: RedisStore,
    own_redis: RedisServer,
    replica: RedisServer,
    fail: Callable[[RedisServer], None],
) -> None:
    store = watched_store
    ids = post(store, 5)
    claim_id, _ = claim(store, limit=2)
    wait_until(lambda: replica.has_all_of(own_redis))

    fail(own_redis)
    more = soon(lambda: post(store, 2))

    assert replica.is_master()
    store.ping()
    # A post that had to be asked for again is one more; that is the caller's choice.
    assert listed(store)[:5] == ids
    assert listed(store)[-2:] == more
    assert ids_of(store.get_claim(KEY, claim_id, now=T0).messages) == ids[:2]


def test_master_that_steps_down_is_left_for_the_new_one(
    watched_store: RedisStore,
    sentinel: RedisServer,
    own_redis: RedisServer,
    replica: RedisServer,
) -> None:
    store = watched_store
    ids = post(store, 5)
    wait_until(lambda: replica.has_all_of(own_redis))

    # It refuses until it knows the replica well.
    wait_until(lambda: sentinel.ask("SENTINEL", "FAILOVER", "m") == "+OK")
    wait_until(lambda: not own_redis.is_master(), FAILOVER_SECONDS)

    assert ids_of(soon(lambda: store.pop_messages(KEY, 9, now=T0))) == ids
    assert replica.is_master()


def test_master_that_comes_back_as_a_replica_is_not_written_to(
    watched_store: RedisStore, own_redis: RedisServer, replica: RedisServer
) -> None:
    store = watched_store
    post(store, 5)
    wait_until(lambda: replica.has_all_of(own_redis))
    own_redis.kill()
    soon(lambda: post(store, 2))

    own_redis.start()
    wait_until(lambda: not own_redis.is_master(), FAILOVER_SECONDS)

    before = counted(store)[0]
    post(store, 3)
    assert counted(store) == (before + 3, 0)


def test_sentinel_that_hangs_keeps_many_threads_from_their_answers_not_for_long(
    sentinel_of: Callable[[RedisServer], RedisServer],
    sentinel: RedisServer,
    own_redis: RedisServer,
) -> None:
    """Many threads look for the master at once: each is answered in time."""
    other = sentinel_of(own_redis)
    hosts = f"127.0.0.1:{other.port},127.0.0.1:{sentinel.port}"
    store = RedisStore(f"redis://{hosts}?master=m&socket_timeout=4")
    ids = post(store, 2)
    store.close()
    other.stop_for_a_while()

    begin = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        seen = list(threads.map(lambda _: listed(store), range(8)))
    seconds = time.monotonic() - begin
    other.go_on()

    assert seen == [ids] * 8
    assert seconds < PATIENCE
    store.close()


# Cluster


@pytest.mark.parametrize("fail", [kill, hang])
def test_store_goes_on_with_the_replica_that_a_cluster_promotes(
    own_cluster: RedisCluster, fail: Callable[[RedisServer], None]
) -> None:
    uri = own_cluster.uri.replace("=4", "=1")
    store = RedisStore(uri)
    ids = post(store, 5)
    claim_id, _ = claim(store, limit=2)
    slot = own_cluster.slot_of(store._keys.record(KEY))
    master = own_cluster.owner_of(slot)
    replica = own_cluster.add_replica(master)

    fail(master)
    more = soon(lambda: post(store, 2))

    assert replica.is_master()
    soon(store.ping)
    assert listed(store)[:5] == ids
    assert listed(store)[-2:] == more
    assert ids_of(store.get_claim(KEY, claim_id, now=T0).messages) == ids[:2]
    assert len(store.list_queues(KEY.project, limit=10).items) == 1
    store.close()


def test_queues_on_other_nodes_feel_nothing_of_one_that_hangs(
    own_cluster: RedisCluster,
) -> None:
    store = RedisStore(own_cluster.uri.replace("=4", "=1"), max_reconnect_attempts=1)
    keys = [QueueKey("p", f"q{number}") for number in range(30)]
    for key in keys:
        post(store, 1, key)
    slots = {key: own_cluster.slot_of(store._keys.record(key)) for key in keys}
    lost = own_cluster.owner_of(slots[keys[0]])
    others = [key for key in keys if own_cluster.owner_of(slots[key]) is not lost]
    # Without a majority of votes nobody tells the cluster to stop working.
    for node in own_cluster.nodes:
        node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
    lost.stop_for_a_while()

    with ThreadPoolExecutor(4) as threads:
        hanging = [threads.submit(store.queue_stats, keys[0], now=T0) for _ in range(8)]
        for key in others * 5:
            assert store.queue_stats(key, now=T0).total == 1

    assert all(isinstance(one.exception(), StorageUnavailable) for one in hanging)
    store.close()

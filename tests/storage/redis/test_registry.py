# SPDX-License-Identifier: Apache-2.0
"""The Redis registry keeps the contract, on one server and on a cluster of three."""

from collections.abc import Callable, Iterator
from functools import partial
from uuid import uuid4

import pytest

from tests.contract.arrange import listed, post
from tests.contract.registry import (
    KEY,
    RegistryContract,
    assert_nobody_answers,
    bind,
    binding,
)
from tests.cutting import Cutter
from tests.redis_servers import RedisCluster, RedisServer
from tests.storage.redis.test_cost import Wire
from zaqar.errors import ConfigurationError, DirectoryChanged
from zaqar.model import QueueKey
from zaqar.storage.redis.registry import RedisRegistry
from zaqar.storage.redis.store import RedisStore


class TestRedisRegistry(RegistryContract):
    @pytest.fixture
    def registry_opener(
        self, redis_uri: str, prefix: str
    ) -> Callable[[], RedisRegistry]:
        return partial(RedisRegistry, redis_uri, prefix=prefix)


class TestRedisRegistryOnACluster(RegistryContract):
    @pytest.fixture
    def registry_opener(
        self, redis_cluster: RedisCluster, prefix: str
    ) -> Callable[[], RedisRegistry]:
        return partial(RedisRegistry, redis_cluster.uri, prefix=prefix)


@pytest.fixture
def registry(redis_uri: str, prefix: str) -> Iterator[RedisRegistry]:
    registry = RedisRegistry(redis_uri, prefix=prefix)
    yield registry
    registry.close()


def test_registry_and_store_may_share_a_prefix(
    registry: RedisRegistry, redis_uri: str, prefix: str
) -> None:
    store = RedisStore(redis_uri, prefix=prefix)
    odd = QueueKey("registry", "bindings")

    ids, others = post(store, 3, KEY), post(store, 2, odd)
    bound, second = bind(registry, KEY), bind(registry, odd)

    assert listed(store, KEY) == ids
    assert listed(store, odd) == others
    assert (registry.find_queue(KEY), registry.find_queue(odd)) == (bound, second)
    assert store.count_queues(KEY.project) == registry.count_queues(KEY.project) == 1
    store.close()


def test_prefixes_do_not_mix(registry: RedisRegistry, redis_uri: str) -> None:
    other = RedisRegistry(redis_uri, prefix=f"test-{uuid4().hex}")
    bind(registry)
    registry.write_directory(b"one", "v1", expect="")

    assert other.find_queue(KEY) is None
    assert other.read_directory() == (b"", "")
    other.close()


def test_each_step_is_one_command(
    registry: RedisRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.write_directory(b"one", "v1", expect="")
    first, second = bind(registry), binding()
    registry.list_queues("project", limit=9)
    registry.unbind_queue(QueueKey("project", "none"), first)
    registry.unbind_pool("none", 9)
    registry.set_quota("project", b"")
    registry.list_quotas(limit=9)
    registry.take_request("project", rate=1.0, burst=2)
    wire = Wire(monkeypatch)

    steps: list[Callable[[], object]] = [
        registry.read_directory,
        lambda: registry.write_directory(b"two", "v2", expect="v1"),
        lambda: registry.find_queue(KEY),
        lambda: registry.bind_queue(KEY, second, expect=first),
        lambda: registry.list_queues("project", limit=9),
        lambda: registry.list_queues("project", limit=9, name="q"),
        lambda: registry.count_queues("project"),
        lambda: registry.unbind_queue(KEY, second),
        lambda: registry.count_bound("pool"),
        lambda: registry.unbind_pool("pool", 9),
        lambda: registry.set_quota("project", b"{}"),
        lambda: registry.get_quota("project"),
        lambda: registry.list_quotas(limit=9),
        lambda: registry.take_request("project", rate=1.0, burst=2),
        registry.ping,
    ]
    for number, step in enumerate(steps, start=1):
        step()
        assert len(wire.commands) == number, wire.commands


def test_server_that_is_gone_is_told_and_comes_back(own_redis: RedisServer) -> None:
    registry = RedisRegistry(
        own_redis.uri.replace("=4", "=0.5"),
        max_reconnect_attempts=1,
        reconnect_sleep=0.05,
    )
    bound = bind(registry)
    registry.write_directory(b"one", "v1", expect="")
    own_redis.kill()

    assert_nobody_answers(registry, bound)
    own_redis.start()

    registry.ping()
    assert registry.find_queue(KEY) == bound
    assert registry.read_directory() == (b"one", "v1")
    registry.close()


def test_write_whose_answer_is_lost_is_repeated(own_redis: RedisServer) -> None:
    cutter = Cutter(own_redis.port)
    registry = RedisRegistry(cutter.uri, reconnect_sleep=0.01)
    registry.ping()
    first, second = bind(registry), binding()
    registry.write_directory(b"zero", "v0", expect="")

    cutter.cuts = 1
    registry.write_directory(b"one", "v1", expect="v0")
    cutter.cuts = 1
    registry.bind_queue(KEY, second, expect=first)
    bound = registry.find_queue(KEY)
    cutter.cuts = 1
    registry.unbind_queue(KEY, second)

    assert cutter.lost == 3
    assert bound == second
    assert registry.find_queue(KEY) is None
    assert registry.read_directory() == (b"one", "v1")
    with pytest.raises(DirectoryChanged):
        registry.write_directory(b"two", "v2", expect="v0")
    registry.close()
    cutter.close()


def test_address_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        RedisRegistry("http://nowhere")

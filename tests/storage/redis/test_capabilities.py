# SPDX-License-Identifier: Apache-2.0
"""What the Redis store promises depends on how its servers write."""

import pytest

from tests.redis_servers import RedisCluster, RedisServer
from zaqar.errors import StorageUnavailable
from zaqar.storage.redis.store import RedisStore

VOLATILE = ("FIFO", "CLAIMS", "AOD", "HIGH_THROUGHPUT")
DURABLE = ("FIFO", "CLAIMS", "DURABILITY", "AOD", "HIGH_THROUGHPUT")


def test_server_that_writes_always_is_durable(own_redis: RedisServer) -> None:
    store = RedisStore(own_redis.uri)

    assert store.capabilities() == DURABLE
    store.close()


@pytest.mark.parametrize(
    ("option", "value"),
    [("appendfsync", "everysec"), ("appendfsync", "no"), ("appendonly", "no")],
)
def test_server_that_writes_later_or_never_is_not(
    own_redis: RedisServer, option: str, value: str
) -> None:
    store = RedisStore(own_redis.uri)
    own_redis.ask("CONFIG", "SET", option, value)

    assert store.capabilities() == VOLATILE
    store.close()


def test_server_that_does_not_tell_promises_nothing(own_redis: RedisServer) -> None:
    own_redis.ask(
        *("ACL", "SETUSER", "modest", "on", ">secret", "~*", "&*", "+@all", "-config")
    )
    store = RedisStore(own_redis.uri.replace("127", "modest:secret@127"))

    assert store.capabilities() == VOLATILE
    store.close()


def test_every_node_of_a_cluster_has_to_write_always(
    own_cluster: RedisCluster,
) -> None:
    store = RedisStore(own_cluster.uri)
    first, *others = own_cluster.nodes

    for node in others:
        node.ask("CONFIG", "SET", "appendfsync", "always")
    but_one = store.capabilities()
    first.ask("CONFIG", "SET", "appendfsync", "always")

    assert (but_one, store.capabilities()) == (VOLATILE, DURABLE)
    store.close()


def test_server_that_is_gone_cannot_be_asked(own_redis: RedisServer) -> None:
    store = RedisStore(own_redis.uri, reconnect_sleep=0.05)
    own_redis.kill()

    with pytest.raises(StorageUnavailable):
        store.capabilities()
    own_redis.start()

    assert store.capabilities() == DURABLE
    store.close()

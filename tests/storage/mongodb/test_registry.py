# SPDX-License-Identifier: Apache-2.0
"""The MongoDB registry keeps the contract; what is special to it."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from pymongo import MongoClient

from tests.contract.arrange import listed, post
from tests.contract.registry import (
    KEY,
    RegistryContract,
    assert_nobody_answers,
    bind,
    binding,
)
from tests.mongo_servers import MongoReplicaSet, MongoServer
from tests.storage.mongodb.conftest import NAME, emptied
from tests.storage.mongodb.test_cost import Wire
from zaqar.errors import ConfigurationError
from zaqar.model import QueueKey
from zaqar.storage.mongodb import opening
from zaqar.storage.mongodb.registry import MongoRegistry
from zaqar.storage.mongodb.store import MongoStore


def cleared(uri: str) -> str:
    """Return the name of a database whose registry is empty; its indexes stay."""
    with MongoClient[dict[str, Any]](uri) as client:
        for collection in ("directory", "bindings", "quotas"):
            client[NAME][collection].delete_many({})
    return NAME


@pytest.fixture
def registry_opener(mongo_uri: str) -> Callable[[], MongoRegistry]:
    return partial(MongoRegistry, mongo_uri, database=cleared(mongo_uri))


@pytest.fixture
def registry(registry_opener: Callable[[], MongoRegistry]) -> Iterator[MongoRegistry]:
    registry = registry_opener()
    yield registry
    registry.close()


class TestMongoRegistry(RegistryContract):
    pass


def test_registry_and_store_may_share_a_database(
    registry: MongoRegistry, mongo_uri: str
) -> None:
    store = MongoStore(mongo_uri, database=emptied(mongo_uri))

    ids, bound = post(store, 3), bind(registry)

    assert listed(store) == ids
    assert registry.find_queue(KEY) == bound
    store.close()


def test_registry_takes_the_options_of_a_store(mongo_uri: str) -> None:
    registry = MongoRegistry(
        mongo_uri,
        database=cleared(mongo_uri),
        ordering="relaxed",
        unreliable=True,
        max_reconnect_attempts=3,
        reconnect_sleep=0.01,
    )

    bound = bind(registry)

    assert registry.find_queue(KEY) == bound
    registry.close()


def test_address_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        MongoRegistry("redis://nowhere", database=NAME)


def test_each_step_is_one_command(
    registry_opener: Callable[[], MongoRegistry], monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire()
    client = partial(MongoClient, event_listeners=[wire])
    monkeypatch.setattr(opening, "MongoClient", client)
    registry = registry_opener()
    registry.ping()
    second = binding()
    wire.commands.clear()

    registry.write_directory(b"one", "v1", expect="")
    registry.write_directory(b"two", "v2", expect="v1")
    registry.read_directory()
    first = bind(registry)
    registry.find_queue(KEY)
    registry.bind_queue(KEY, second, expect=first)
    registry.list_queues("project", limit=9)
    registry.list_queues("project", limit=9, name="q")
    registry.count_queues("project")
    registry.count_bound("pool")
    registry.unbind_queue(KEY, second)

    assert len(wire.commands) == 11, wire.names
    registry.close()


def test_lookups_go_by_an_index(registry: MongoRegistry, mongo_uri: str) -> None:
    for number in range(50):
        bind(registry, QueueKey("p", f"{number:02}"), f"pool {number}")
    wanted: list[tuple[dict[str, Any], list[tuple[str, int]]]] = [
        ({"project": "p", "name": {"$gt": "20"}}, [("name", 1)]),
        ({"project": "p"}, []),
        ({"pool": "pool 7"}, []),
    ]

    with MongoClient[dict[str, Any]](mongo_uri) as client:
        for query, order in wanted:
            found = client[NAME].bindings.find(query, limit=3, sort=order or None)
            plan = str(found.explain()["queryPlanner"]["winningPlan"])
            assert "IXSCAN" in plan and "SORT" not in plan, plan


def test_server_that_is_gone_is_told_and_comes_back(own_mongo: MongoServer) -> None:
    registry = MongoRegistry(own_mongo.uri, database=NAME, max_reconnect_attempts=1)
    bound = bind(registry)
    registry.write_directory(b"one", "v1", expect="")
    own_mongo.kill()

    assert_nobody_answers(registry, bound)
    own_mongo.start()

    registry.ping()
    assert registry.find_queue(KEY) == bound
    assert registry.read_directory() == (b"one", "v1")
    registry.close()


def test_what_was_written_survives_its_primary(
    mongo_replica_set: MongoReplicaSet,
) -> None:
    registry = MongoRegistry(mongo_replica_set.uri, database=NAME)
    bound = [bind(registry, QueueKey("p", str(number))) for number in range(5)]
    registry.write_directory(b"one", "v1", expect="")

    mongo_replica_set.kill_primary()
    found = [registry.find_queue(QueueKey("p", str(number))) for number in range(5)]
    registry.write_directory(b"two", "v2", expect="v1")

    assert found == bound
    assert registry.read_directory() == (b"two", "v2")
    registry.close()


def test_server_alone_serves_where_messages_may_be_lost(tmp_path: Any) -> None:
    server = MongoServer(tmp_path, alone=True)
    registry = MongoRegistry(server.uri, database=NAME, unreliable=True)

    bound = bind(registry)

    assert registry.find_queue(KEY) == bound
    registry.close()
    server.kill()

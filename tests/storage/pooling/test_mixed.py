# SPDX-License-Identifier: Apache-2.0
"""Pools of three databases at once keep the contract of one store.

New queues go to the pools in turn, so that a queue and its dead letter queue live in
different databases.
"""

from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.contract.state_machine import StateMachineContract
from tests.contract.store import StoreContract
from tests.mongo_servers import mongo_uri
from tests.redis_servers import redis_uri
from tests.storage.mongodb.conftest import emptied
from tests.storage.pooling.conftest import PROMISED, routed
from tests.storage.pooling.outboxes import OutboxesOfPools
from zaqar import directory
from zaqar.directory import Directory
from zaqar.model import Pool
from zaqar.storage.base import Store
from zaqar.storage.mongodb.store import MongoStore
from zaqar.storage.pooling.pools import Pools
from zaqar.storage.pooling.router import Router
from zaqar.storage.redis.store import RedisStore
from zaqar.storage.sqlite.registry import SqliteRegistry
from zaqar.storage.sqlite.store import SqliteStore

__all__ = ["mongo_uri", "redis_uri"]

KINDS = ("sqlite", "redis", "mongodb")


def mixed(folder: Path, redis: str, mongo: str) -> Callable[[], Router]:
    """Return a function that opens one more handle on new pools, one of each kind."""
    folder.mkdir(exist_ok=True)
    prefix, database = f"test-{uuid4().hex}", emptied(mongo)

    def open_store(uri: str, options: Mapping[str, Any]) -> Store:
        match uri:
            case "sqlite":
                return SqliteStore(str(folder / "pool.db"), synchronous="OFF")
            case "redis":
                return RedisStore(redis, prefix=prefix)
            case _:
                return MongoStore(mongo, database=database)

    def open_router() -> Router:
        registry = SqliteRegistry(str(folder / "registry.db"), synchronous="OFF")
        return routed(Pools(registry, open_store))

    registry = SqliteRegistry(str(folder / "registry.db"), synchronous="OFF")
    pools = tuple(
        Pool(kind, f"id-{kind}", kind, 1, None, {}, PROMISED) for kind in KINDS
    )
    registry.write_directory(directory.write(Directory(pools)), "first", expect="")
    registry.close()
    return open_router


# Without coverage where the same code runs a second time: it is a quarter of the time.
@pytest.mark.no_cover
@pytest.mark.usefixtures("in_turn")
class TestMixedPools(OutboxesOfPools, StoreContract, StateMachineContract):
    examples = 20

    @pytest.fixture
    def opener(
        self, tmp_path: Path, redis_uri: str, mongo_uri: str
    ) -> Callable[[], Router]:
        return mixed(tmp_path / "one", redis_uri, mongo_uri)

    @pytest.fixture
    def open_empty(
        self, tmp_path: Path, redis_uri: str, mongo_uri: str
    ) -> Callable[[], Router]:
        numbers = count()
        return lambda: mixed(tmp_path / f"{next(numbers)}", redis_uri, mongo_uri)()

# SPDX-License-Identifier: Apache-2.0
"""What the MongoDB store promises depends on its options and its server."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mongo_servers import MongoServer
from tests.storage.mongodb.conftest import NAME
from zaqar.errors import StorageUnavailable
from zaqar.storage.base import CAPABILITIES
from zaqar.storage.mongodb.store import MongoStore


def test_strict_store_on_a_replica_set_promises_all(
    opener: Callable[..., MongoStore],
) -> None:
    store = opener()

    assert store.capabilities() == CAPABILITIES
    store.close()


def test_relaxed_store_promises_no_order(opener: Callable[..., MongoStore]) -> None:
    store = opener(ordering="relaxed")

    assert store.capabilities() == ("CLAIMS", "DURABILITY", "AOD", "HIGH_THROUGHPUT")
    store.close()


@pytest.mark.parametrize("option", ["w=1", "journal=false"])
def test_store_that_waits_for_less_is_not_durable(mongo_uri: str, option: str) -> None:
    store = MongoStore(f"{mongo_uri}&{option}", database=NAME, unreliable=True)

    assert store.capabilities() == ("FIFO", "CLAIMS", "AOD", "HIGH_THROUGHPUT")
    store.close()


def test_server_alone_is_not_durable(tmp_path: Path) -> None:
    server = MongoServer(tmp_path, alone=True)
    store = MongoStore(server.uri, database=NAME, unreliable=True)

    assert store.capabilities() == ("FIFO", "CLAIMS", "AOD", "HIGH_THROUGHPUT")
    store.close()
    server.kill()


def test_server_that_is_gone_promises_nothing(own_mongo: MongoServer) -> None:
    store = MongoStore(own_mongo.uri, database=NAME, max_reconnect_attempts=1)
    own_mongo.kill()

    with pytest.raises(StorageUnavailable):
        store.capabilities()

    store.close()

# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.mongo_servers import (
    mongo_replica_set,
    mongo_uri,
    own_mongo,
    shared_client,
)
from zaqar.storage.mongodb import indexes
from zaqar.storage.mongodb.store import MongoStore

__all__ = ["mongo_replica_set", "mongo_uri", "own_mongo"]

NAME = "contract"


def emptied(uri: str) -> str:
    """Return the name of a database that holds nothing; its indexes stay."""
    for collection in indexes.STORE:
        shared_client(uri)[NAME][collection].delete_many({})
    return NAME


@pytest.fixture
def opener(mongo_uri: str) -> Callable[[], MongoStore]:
    return partial(MongoStore, mongo_uri, database=emptied(mongo_uri))


@pytest.fixture
def open_empty(mongo_uri: str) -> Callable[[], MongoStore]:
    return lambda: MongoStore(mongo_uri, database=emptied(mongo_uri))


@pytest.fixture
def store(opener: Callable[[], MongoStore]) -> Iterator[MongoStore]:
    store = opener()
    yield store
    store.close()


@pytest.fixture
def other(opener: Callable[[], MongoStore], store: MongoStore) -> Iterator[MongoStore]:
    """The handle of another process."""
    other = opener()
    yield other
    other.close()

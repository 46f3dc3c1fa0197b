# SPDX-License-Identifier: Apache-2.0
"""Facts of what is told of the indexes of a MongoDB store and of its replica set."""

from collections.abc import Iterator
from uuid import uuid4

import pymongo
import pytest

from zaqar.findings import ERROR, WARNING, Finding
from zaqar.storage.mongodb import examining, indexes


@pytest.fixture
def name(mongo_uri: str) -> Iterator[str]:
    """A database with the indexes of a store."""
    name = f"zaqar-{uuid4().hex[:8]}"
    with pymongo.MongoClient(mongo_uri) as client:
        indexes.create(client[name])
        yield name
        client.drop_database(name)


def look(uri: str, name: str) -> dict[str, Finding]:
    found = examining.examine("pool m", uri, database=name)
    return {each.level: each for each in found}


def test_a_replica_set_of_one_is_told(mongo_uri: str, name: str) -> None:
    found = look(mongo_uri, name)

    assert list(found) == [WARNING]
    assert "one member" in found[WARNING].problem


def test_an_index_that_is_missing_is_an_error(mongo_uri: str, name: str) -> None:
    with pymongo.MongoClient(mongo_uri) as client:
        client[name].messages.drop_index("claims")

    found = look(mongo_uri, name)

    assert "messages lacks the indexes claims" in found[ERROR].problem
    with pymongo.MongoClient(mongo_uri) as client:
        assert "claims" not in client[name].messages.index_information()


def test_a_store_that_was_never_opened_lacks_nothing(mongo_uri: str) -> None:
    name = f"zaqar-{uuid4().hex[:8]}"

    assert ERROR not in look(mongo_uri, name)

    with pymongo.MongoClient(mongo_uri) as client:
        client.drop_database(name)


def test_nothing_is_told_of_a_server_that_does_not_answer() -> None:
    uri = "mongodb://127.0.0.1:1/?replicaSet=x"

    found = examining.examine("pool m", uri, database="z", max_reconnect_attempts=0)

    assert found == []

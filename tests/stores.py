# SPDX-License-Identifier: Apache-2.0
"""The stores that the whole service is tested on, and the options of a server on each.

A new store is one function and one entry here; the fixture that starts its database is
imported by `tests/conftest.py`, and skips or fails where there is none.

Tests marked `on_each_store` run on all of them. All others use `sqlite`, or the store
that `ZAQAR_TEST_STORE` names.
"""

import os
from collections.abc import Callable

import pytest

from tests.servers import Options


def sqlite(request: pytest.FixtureRequest) -> Options:
    # Each server has a file of its own.
    return {"drivers": {"message_store": "sqlite"}}


def redis(request: pytest.FixtureRequest) -> Options:
    return {
        "drivers": {"message_store": "redis"},
        "drivers:message_store:redis": {"uri": request.getfixturevalue("redis_uri")},
    }


def mongodb(request: pytest.FixtureRequest) -> Options:
    # Servers share the database, as those of one deployment do.
    return {
        "drivers": {"message_store": "mongodb"},
        "drivers:message_store:mongodb": {"uri": request.getfixturevalue("mongo_uri")},
    }


def pooled(request: pytest.FixtureRequest) -> Options:
    # No pool is registered: all queues go through the router to the store of the file.
    return {
        "DEFAULT": {"pooling": True},
        "pooling:catalog": {"enable_virtual_pool": True},
    }


STORES: dict[str, Callable[[pytest.FixtureRequest], Options]] = {
    "sqlite": sqlite,
    "redis": redis,
    "mongodb": mongodb,
    "pooled": pooled,
}

USUAL = os.environ.get("ZAQAR_TEST_STORE", "sqlite")

on_each_store = pytest.mark.parametrize("store_options", STORES, indirect=True)
# For facts of that store.
on_sqlite = pytest.mark.parametrize("store_options", ["sqlite"], indirect=True)

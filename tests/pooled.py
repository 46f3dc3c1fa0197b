# SPDX-License-Identifier: Apache-2.0
"""Deployments with pools for tests: registry and pools on one kind of database.

A new driver is one function and one entry here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from tests.api.conformance import CheckedApi
from tests.api.wire import Headers, quoted
from tests.mongo_servers import MongoServer
from tests.redis_servers import RedisServer
from tests.servers import Options

ALL = ("FIFO", "CLAIMS", "DURABILITY", "AOD", "HIGH_THROUGHPUT")


@dataclass(frozen=True)
class Place:
    """Where the registry is, and stores that may become pools.

    `settings` are options that such a pool may have, `capabilities` those of all.
    """

    options: Options
    uris: Sequence[str]
    settings: dict[str, Any]
    capabilities: Sequence[str]


def sqlite(request: pytest.FixtureRequest) -> Place:
    # The registry of a test server is a file in the folder of the server.
    return Place(
        {"drivers:message_store:sqlite": {"synchronous": "FULL"}},
        [f"sqlite:///pools/{number}.db" for number in range(4)],
        {"synchronous": "FULL"},
        [name for name in ALL if name != "HIGH_THROUGHPUT"],
    )


def redis(request: pytest.FixtureRequest) -> Place:
    server: RedisServer = request.getfixturevalue("own_redis")
    uris = [f"{server.uri}&dbid={number}" for number in range(5)]
    return Place(
        {
            "drivers": {"management_store": "redis"},
            "drivers:management_store:redis": {"uri": uris[4]},
        },
        uris[:4],
        {"reconnect_sleep": 0.5},
        ALL,
    )


def mongodb(request: pytest.FixtureRequest) -> Place:
    # NOTE: a pool is a database of a server; two pools of one test are two servers.
    own: MongoServer = request.getfixturevalue("own_mongo")
    shared: str = request.getfixturevalue("mongo_uri")
    name = f"test-{uuid4().hex}"
    return Place(
        {
            "drivers": {"management_store": "mongodb"},
            "drivers:management_store:mongodb": {"uri": shared, "database": name},
            "drivers:message_store:mongodb": {"database": f"{name}-pool"},
        },
        [own.uri, shared],
        {"max_retry_sleep": 1},
        ALL,
    )


PLACES: dict[str, Callable[[pytest.FixtureRequest], Place]] = {
    "sqlite": sqlite,
    "redis": redis,
    "mongodb": mongodb,
}


class Admin(CheckedApi):
    """A client with the role that the default policy asks for."""

    def headers(self, changes: Headers) -> dict[str, str]:
        return {"X-Roles": "admin"} | super().headers(changes)

    def register(self, pool: str, **more: Any) -> None:
        """Make a pool with a file of its own, or as is said."""
        form = {"uri": f"sqlite:///pools/{uuid4().hex}.db", "weight": 1} | more
        answer = self.put(f"/v2/pools/{quoted(pool)}", form)
        assert answer.status == 201, answer

    def pools(self) -> list[dict[str, Any]]:
        """Return all pools, with their options."""
        return self._all("pools")

    def flavors(self) -> list[dict[str, Any]]:
        return self._all("flavors")

    def _all(self, noun: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        path = f"/v2/{noun}?limit=20&detailed=true"
        while (page := self.get(path).json)[noun]:
            found += page[noun]
            path = page["links"][0]["href"]
        return found

    def clear(self) -> None:
        """Remove all pools; flavors of projects that are done with stay."""
        for pool in self.pools():
            # Then it is nobody's last one.
            self.patch(pool["href"], {"flavor": f"gone-{uuid4().hex}"})
            answer = self.delete(pool["href"])
            assert answer.status == 204, answer

# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests on the wire: each test gets a project of its own."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.api.conformance import CheckedApi
from tests.api.wire import Api
from tests.mongo_servers import own_mongo
from tests.pooled import Admin
from tests.redis_servers import own_redis
from tests.servers import Server

__all__ = ["own_mongo", "own_redis"]


@pytest.fixture
def api(server: Server) -> Api:
    """A client of the default server, in a new project; answers are checked."""
    return CheckedApi(server.address)


@pytest.fixture
def api_of(servers: Callable[..., Server]) -> Callable[..., Api]:
    """Return a function that gives a client of a server with other options."""

    def make(options: dict[str, dict[str, Any]] | None = None, **more: Any) -> Api:
        return CheckedApi(servers(options, **more).address)

    return make


@pytest.fixture
def admin(servers: Callable[..., Server]) -> Iterator[Admin]:
    """An administrator of a server of two workers without any pool."""
    options = {"DEFAULT": {"pooling": True}, "server": {"workers": 2, "threads": 4}}
    admin = Admin(servers(options).address)
    yield admin
    admin.clear()

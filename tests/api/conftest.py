# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests on the wire: each test gets a project of its own."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.api.conformance import CheckedApi
from tests.api.wire import Api
from tests.servers import Server


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

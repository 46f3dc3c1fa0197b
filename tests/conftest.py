# SPDX-License-Identifier: Apache-2.0
"""Fixtures that start servers, and the profile of the property tests."""

import importlib.util
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hypothesis
import pytest

from tests.keystone_servers import keystone
from tests.mongo_servers import mongo_uri
from tests.redis_servers import redis_uri
from tests.servers import Options, Server, merge
from tests.stores import STORES, USUAL

__all__ = ["keystone", "mongo_uri", "redis_uri"]

# Before anything imports it: its failures are to tell what was compared.
pytest.register_assert_rewrite("tests.contract")

# The machine that runs the tests may be slow or shared: a deadline per example would
# measure it and not the code.
hypothesis.settings.register_profile(
    "zaqar",
    deadline=None,
    print_blob=True,
    suppress_health_check=[
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.function_scoped_fixture,
    ],
)
hypothesis.settings.load_profile("zaqar")

ServerFactory = Callable[..., Server]


class Running:
    """Servers that live as long as the tests; who asks for the same gets the same."""

    def __init__(self, make_folder: Callable[[], Path]) -> None:
        self._make_folder = make_folder
        self._servers: dict[str, Server] = {}

    def start(self, options: Options, policy: dict[str, str]) -> Server:
        name = json.dumps([options, policy], sort_keys=True)
        if name not in self._servers:
            folder = self._make_folder()
            # JSON is YAML.
            (folder / "policy.yaml").write_text(json.dumps(policy))
            server = Server(folder, options)
            server.wait_until_ready()
            self._servers[name] = server
        return self._servers[name]

    def stop(self) -> None:
        """Stop all servers together; fail if one does not stop in peace."""
        with ThreadPoolExecutor() as threads:
            failures = [*filter(None, threads.map(_failure, self._servers.values()))]
        assert not failures, "\n".join(failures)


def _failure(server: Server) -> str:
    """Stop the server; return what was wrong with that."""
    try:
        server.stop()
    except AssertionError as error:
        return str(error)
    return ""


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(lambda: tmp_path_factory.mktemp("server"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def store_options(request: pytest.FixtureRequest) -> Options:
    """What names the store of a server; tests marked `on_each_store` see all."""
    return STORES[getattr(request, "param", USUAL)](request)


@pytest.fixture(scope="session")
def servers(store_options: Options, running: Running) -> ServerFactory:
    """Return a function that starts a server with these options, or shares one.

    `policy` are rules that override the defaults. Servers live as long as the tests,
    so tests keep apart by project.
    """

    def start(
        options: Options | None = None, *, policy: dict[str, str] | None = None
    ) -> Server:
        return running.start(merge(store_options, options or {}), policy or {})

    return start


@pytest.fixture(scope="session")
def server(servers: ServerFactory) -> Server:
    """The default server: admin mode, two worker processes, no authentication."""
    return servers({"server": {"workers": 2, "threads": 4}})


@pytest.fixture(
    params=[
        "gunicorn",
        pytest.param(
            "granian",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("granian") is None,
                reason="granian is not installed",
            ),
        ),
    ]
)
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine that can serve the application."""
    name: str = request.param
    return name

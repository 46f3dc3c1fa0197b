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


# How many servers live on when the tests of a file are done: one that idles costs too.
KEPT_SERVERS = 3


class Running:
    """Servers that tests share; who asks for the same gets the same."""

    def __init__(self, make_folder: Callable[[], Path]) -> None:
        self._make_folder = make_folder
        # The last is the one that was asked for last.
        self._servers: dict[str, Server] = {}

    def start(self, options: Options, policy: dict[str, str]) -> Server:
        name = json.dumps([options, policy], sort_keys=True)
        server = self._servers.pop(name, None) or self._started(options, policy)
        self._servers[name] = server
        return server

    def _started(self, options: Options, policy: dict[str, str]) -> Server:
        folder = self._make_folder()
        # JSON is YAML.
        (folder / "policy.yaml").write_text(json.dumps(policy))
        server = Server(folder, options)
        server.wait_until_ready()
        return server

    def stop(self, keep: int = 0) -> None:
        """Stop all servers together but so many that were asked for last; fail if one
        does not stop in peace."""
        ended = list(self._servers)[: max(len(self._servers) - keep, 0)]
        with ThreadPoolExecutor() as threads:
            failures = [*threads.map(_failure, map(self._servers.pop, ended))]
        assert not any(failures), "\n".join(filter(None, failures))


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


@pytest.fixture(scope="module", autouse=True)
def few_servers(running: Running) -> Iterator[None]:
    """Stop most of the servers that the tests of a file have started."""
    yield
    running.stop(keep=KEPT_SERVERS)


@pytest.fixture(scope="session")
def store_options(request: pytest.FixtureRequest) -> Options:
    """What names the store of a server; tests marked `on_each_store` see all."""
    return STORES[getattr(request, "param", USUAL)](request)


@pytest.fixture(scope="session")
def servers(store_options: Options, running: Running) -> ServerFactory:
    """Return a function that starts a server with these options, or shares one.

    `policy` are rules that override the defaults. Servers live at least as long as the
    tests of a file, so tests keep apart by project.
    """

    def start(
        options: Options | None = None, *, policy: dict[str, str] | None = None
    ) -> Server:
        return running.start(merge(store_options, options or {}), policy or {})

    return start


@pytest.fixture(scope="module")
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

# SPDX-License-Identifier: Apache-2.0
"""Fixtures that start servers, and the profile of the property tests."""

import importlib.util
import json
from collections.abc import Callable, Iterator

import hypothesis
import pytest

from tests.servers import Options, Server

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


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFactory]:
    """Return a function that starts a server with these options, or shares one.

    `policy` are rules that override the defaults. Servers live as long as the tests,
    so tests keep apart by project.
    """
    running: dict[str, Server] = {}

    def start(
        options: Options | None = None, *, policy: dict[str, str] | None = None
    ) -> Server:
        name = json.dumps([options, policy], sort_keys=True)
        if name not in running:
            folder = tmp_path_factory.mktemp("server")
            # JSON is YAML.
            (folder / "policy.yaml").write_text(json.dumps(policy or {}))
            server = Server(folder, options)
            server.wait_until_ready()
            running[name] = server
        return running[name]

    yield start

    failures = []
    for server in running.values():
        try:
            server.stop()
        except AssertionError as error:
            failures.append(str(error))
    assert not failures, "\n".join(failures)


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

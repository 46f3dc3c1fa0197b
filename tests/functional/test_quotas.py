# SPDX-License-Identifier: Apache-2.0
"""Facts of quotas on running servers: shared by workers and nodes, and by nobody else.

What is let through is compared with what the rate allows in the time that has passed,
however long the machine takes.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.api.conformance import CheckedApi
from tests.api.signed import Guest, shared
from tests.api.wire import Answer, Api
from tests.functional.test_faults import wait_until, workers
from tests.redis_servers import RedisServer, own_redis
from tests.servers import Options, Server, merge

__all__ = ["own_redis"]

Start = Callable[..., Server]

# So slow that a test hardly sees a second request come due.
RATE, BURST = 0.2, 30
RATED: Options = {"quota": {"requests_per_second": RATE, "burst": BURST}}
PLAIN = ("gunicorn", "--workers", "2", "--threads", "4", "--bind", "{address}")
APPLICATION = "zaqar.transport.wsgi.app:application"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a server of two workers in a folder of its own."""
    started: list[Server] = []

    def begin(options: Options, **more: Any) -> Server:
        folder = tmp_path / f"server-{len(started)}"
        folder.mkdir()
        two: Options = {"server": {"workers": 2, "threads": 4}}
        started.append(Server(folder, merge(two, options), **more))
        started[-1].wait_until_ready()
        return started[-1]

    yield begin
    for server in started:
        if server.process.poll() is None:
            server.kill()


class Flood:
    """Requests of a project, many at once, and how long they took."""

    def __init__(self, *servers: Server, project: str, count: int = 3 * BURST) -> None:
        apis = [Api(server.address, project=project) for server in servers]
        self._began = time.monotonic()
        with ThreadPoolExecutor(8) as threads:
            self.answers: list[Answer] = [
                *threads.map(
                    lambda number: apis[number % len(apis)].get("/v2/queues"),
                    range(count),
                )
            ]
        self.took = time.monotonic() - self._began

    def statuses(self) -> set[int]:
        return {answer.status for answer in self.answers}

    @property
    def served(self) -> int:
        return sum(answer.status == 200 for answer in self.answers)


def assert_held(*floods: Flood, since: float) -> None:
    """Check that floods that followed each other were let through at the one rate."""
    passed = time.monotonic() - since
    served = sum(flood.served for flood in floods)
    assert BURST <= served <= BURST + RATE * passed + 1
    for flood in floods:
        assert flood.statuses() <= {200, 429}


def name() -> str:
    return uuid4().hex


# Rates --------------------------------------------------------------------------------


def test_workers_share_a_rate(start: Start, engine: str) -> None:
    server = start(merge(RATED, {"server": {"engine": engine}}))
    project, since = name(), time.monotonic()

    flood = Flood(server, project=project)

    assert_held(flood, since=since)
    refused = next(each for each in flood.answers if each.status == 429)
    assert 1 <= int(refused.headers["Retry-After"]) <= 1 / RATE
    assert refused.title == "Quota exceeded"
    assert "requests_per_second" in refused.description
    assert f"{RATE}" in refused.description
    assert refused.headers["x-openstack-request-id"]
    server.stop()


def test_workers_of_another_server_share_a_rate(start: Start) -> None:
    server = start(RATED, command=(*PLAIN, APPLICATION))
    project, since = name(), time.monotonic()

    assert_held(Flood(server, project=project), since=since)


def test_one_project_at_its_limit_is_no_other(start: Start) -> None:
    server = start(RATED)
    greedy, quiet = name(), Api(server.address)
    Flood(server, project=greedy)

    with ThreadPoolExecutor(1) as threads:
        flooding = threads.submit(Flood, server, project=greedy)
        statuses = [quiet.put(f"/v2/queues/q{n}").status for n in range(BURST)]
        flooding.result()

    assert statuses == [201] * BURST


def test_a_killed_worker_leaves_the_rate(start: Start) -> None:
    server = start(RATED)
    project, since = name(), time.monotonic()
    first = Flood(server, project=project)

    wait_until(lambda: len(workers(server)) == 2)
    victim = workers(server)[0]
    os.kill(victim, 9)
    # What it had accepted and not yet answered is cut off.
    wait_until(lambda: victim not in workers(server) and len(workers(server)) == 2)
    server.wait_until_ready()
    second = Flood(server, project=project)

    assert_held(first, second, since=since)
    assert Api(server.address).get("/v2/queues").status == 200


def test_probes_and_discovery_are_served_however_many_come(start: Start) -> None:
    server = start(RATED)
    api = Api(server.address, project=name())
    Flood(server, project=api.project)

    admin = {"X-Roles": "admin"}
    for path in ("/", "/v2", "/v2/", "/v2/ping", "/healthz", "/readyz", "/v2/health"):
        for _ in range(3):
            assert api.request("GET", path, headers=admin).status in (200, 204, 300)


def test_signed_requests_count_for_the_project_that_signed(start: Start) -> None:
    server = start(RATED)
    owner = Api(server.address, project=name())
    guest = Guest.of(owner, shared(owner, "q", methods=["GET"]))
    Flood(server, project=owner.project)

    answer = guest.request("GET", "/v2/queues/q/messages")

    assert answer.status == 429


def test_clients_that_do_not_know_429_are_answered_503(start: Start) -> None:
    server = start(merge(RATED, {"quota": {"exceeded_status": 503, "queues": 1}}))
    flood = Flood(server, project=name())

    assert flood.statuses() == {200, 503}
    refused = next(each for each in flood.answers if each.status == 503)
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.title == "Quota exceeded"
    # It is no trouble that an operator has to hear of.
    assert "ERROR" not in server.output()


def redis_registry(redis: RedisServer) -> Options:
    return {
        "drivers": {"management_store": "redis"},
        "drivers:management_store:redis": {"uri": redis.uri},
        "quota": {"per_project": True},
    }


def test_nodes_share_a_rate_over_redis(start: Start, own_redis: RedisServer) -> None:
    options = merge(RATED, redis_registry(own_redis))
    nodes = start(options), start(options)
    project, since = name(), time.monotonic()

    flood = Flood(*nodes, project=project)

    assert_held(flood, since=since)
    passed = time.monotonic() - since
    again = Flood(nodes[1], project=project, count=10)
    assert again.served <= RATE * (passed + again.took) + 1


def test_without_redis_each_node_goes_on_by_itself(
    start: Start, own_redis: RedisServer
) -> None:
    server = start(merge(RATED, redis_registry(own_redis)))
    project = name()
    Flood(server, project=project)
    own_redis.kill()

    since = time.monotonic()
    flood = Flood(server, project=project)

    # The node has not seen any of the earlier ones.
    assert_held(flood, since=since)
    own_redis.start()
    assert Flood(server, project=name(), count=5).served == 5


# What is stored -----------------------------------------------------------------------


def test_a_quota_of_messages_is_shared_by_workers(start: Start, engine: str) -> None:
    quota = {"quota": {"messages": 40}, "server": {"engine": engine}}
    api = Api(start(quota).address)
    other = api.as_project(name())
    document = {"messages": [{"body": 1}]}

    with ThreadPoolExecutor(8) as threads:
        statuses = [
            answer.status
            for answer in threads.map(
                lambda _: api.post("/v2/queues/q/messages", document), range(120)
            )
        ]

    total = api.get("/v2/queues/q/stats").json["messages"]["total"]
    assert set(statuses) == {201, 429}
    # What was on its way while it was measured may not be in that: a post a thread.
    assert 40 <= statuses.count(201) == total <= 40 + 8
    assert other.post("/v2/queues/q/messages", document).status == 201


def test_answers_are_as_the_documents_say(start: Start) -> None:
    server = start({"quota": {"queues": 1, "bytes": 50}})
    api = CheckedApi(server.address)
    large = {"messages": [{"body": "x" * 49}]}

    assert api.put("/v2/queues/one").status == 201
    answers = [
        api.put("/v2/queues/two"),
        api.post("/v2/queues/two/messages", {"messages": [{"body": 1}]}),
        api.post("/v2/queues/one/messages", large),
        api.in_version("/v1.1").put("/v1.1/queues/two", {}),
    ]

    assert [answer.status for answer in answers] == [429] * 4
    assert [answer.description.split()[2] for answer in answers] == [
        "queues",
        "queues",
        "bytes",
        "queues",
    ]
    assert api.put("/v2/queues/one").status == 204
    assert [queue["name"] for queue in api.get("/v2/queues").json["queues"]] == ["one"]


# Quotas of projects -------------------------------------------------------------------


def manage(server: Server, *words: str) -> Any:
    script = Path(sys.executable).with_name("zaqar-manage")
    done = subprocess.run(
        [script, "--config-file", server.config, "--format=json", "quota", *words],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_project_gets_a_quota_of_its_own_while_the_server_runs(start: Start) -> None:
    server = start({"quota": {"per_project": True, "queues": 1}})
    api = Api(server.address, project=name())
    assert [api.put(f"/v2/queues/{n}").status for n in range(3)] == [201, 429, 429]

    manage(server, "set", "--project", api.project, "--queues", "2")

    wait_until(lambda: api.put("/v2/queues/1").status == 201)
    assert api.put("/v2/queues/2").status == 429
    assert "zaqar-manage quota list" in server.output()

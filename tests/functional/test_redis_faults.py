# SPDX-License-Identifier: Apache-2.0
"""Facts of a service whose Redis is killed, hangs, cuts it off, or is a replica.

The short version of what tools/faults does in many rounds.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.functional.test_faults import (
    HEADERS,
    PAGE,
    assert_refused_to_start,
    assert_unavailable,
    bodies,
    post,
    run_server,
    wait_until,
    workers,
)
from tests.redis_servers import RedisServer
from tests.servers import Options, Server, free_port

FAULTS = Path(__file__).parents[2] / "tools" / "faults"
PATIENCE = 10.0
# The same, and what a busy machine adds.
LIMIT = 12.0
THREADS = 8
# At most these look after a worker: the engine's, the sweeper, the clock.
OWN_THREADS = 10
# More than the threads that serve: some requests wait for one. And more than all
# threads that two workers may have.
CROWD = 40


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that acknowledges what is on the disk."""
    folder = tmp_path / "redis"
    folder.mkdir()
    redis = RedisServer(folder, "--appendfsync", "always")
    yield redis
    redis.go_on()
    redis.kill()


@contextmanager
def serving(folder: Path, redis: RedisServer, engine: str) -> Iterator[Server]:
    """A service on this store; stopped in peace at the end."""
    options: Options = options_of(redis) | {
        "server": {"engine": engine, "workers": 2, "threads": THREADS},
        "transport": {"max_messages_per_page": PAGE},
    }
    server = Server(folder, options)
    try:
        server.wait_until_ready("/healthz")
        wait_until(lambda: len(workers(server)) == 2 and answers_all(server))
        yield server
        server.stop()
    finally:
        if server.process.poll() is None:
            server.kill()


def answers_all(server: Server) -> bool:
    """Say whether many connections in a row are served: as a worker joins the others,
    some may be cut."""
    return all(server.answers("/healthz") for _ in range(20))


def options_of(redis: RedisServer) -> dict[str, dict[str, object]]:
    uri = f"redis://127.0.0.1:{redis.port}?socket_timeout=1"
    return {
        "drivers": {"message_store": "redis"},
        "drivers:message_store:redis": {"uri": uri},
    }


def status_of(server: Server, path: str) -> int:
    return requests.get(server.url + path, headers=HEADERS, timeout=60).status_code


def crowd(work: Callable[[], Any]) -> list[tuple[Any, float]]:
    """Do the work many times at once; each result, and how many seconds it took."""
    results: list[tuple[Any, float]] = []

    def measured() -> None:
        began = time.monotonic()
        result = work()
        results.append((result, time.monotonic() - began))

    threads = [threading.Thread(target=measured) for _ in range(CROWD)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def assert_heals(server: Server, pids: list[int]) -> None:
    """Fail unless posts soon work again, many in a row, in the same processes."""

    def is_well() -> bool:
        return all(post(server, "healed").status_code == 201 for _ in range(10))

    wait_until(is_well, seconds=PATIENCE)
    assert workers(server) == pids


def threads_of(pids: list[int]) -> int:
    return sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in pids)


def test_faults_under_load_break_no_promise() -> None:
    """Killed, stopped, cut off: the tool knows all promises and finds none broken."""
    done = subprocess.run(
        [sys.executable, FAULTS, "--store", "redis", "--rounds", "1"],
        capture_output=True,
        text=True,
        timeout=150,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    for kind in ("kill", "stop", "cut"):
        assert f"1 of {kind}" in done.stdout
    assert "VIOLATED" not in done.stdout


def test_killed_store_is_answered_503_in_time_and_served_again(
    tmp_path: Path, redis: RedisServer
) -> None:
    with serving(tmp_path, redis, "gunicorn") as server:
        post(server, "first")
        pids = workers(server)
        redis.kill()

        refused = crowd(lambda: post(server, "refused"))
        ready, ping = status_of(server, "/readyz"), status_of(server, "/v2/ping")
        alive = status_of(server, "/healthz")
        redis.start()

        for answer, _ in refused:
            assert_unavailable(answer)
        assert max(seconds for _, seconds in refused) < LIMIT
        assert (ready, ping, alive) == (503, 503, 204)
        assert_heals(server, pids)
        assert bodies(server)[0] == "first"


def test_hanging_store_is_answered_503_in_time_and_served_again(
    tmp_path: Path, redis: RedisServer
) -> None:
    pytest.importorskip("granian")
    with serving(tmp_path, redis, "granian") as server:
        post(server, "first")
        pids = workers(server)
        redis.stop_for_a_while()

        refused = crowd(lambda: post(server, "refused"))
        redis.go_on()

        for answer, _ in refused:
            assert_unavailable(answer)
        assert max(seconds for _, seconds in refused) < LIMIT
        assert_heals(server, pids)
        # Those that serve, and those that each worker keeps for itself: none stays
        # for a request that hung.
        assert threads_of(pids) <= len(pids) * (THREADS + OWN_THREADS)
        assert bodies(server)[0] == "first"


def test_store_that_becomes_a_replica_is_unavailable_until_it_is_none(
    tmp_path: Path, redis: RedisServer
) -> None:
    with serving(tmp_path, redis, "gunicorn") as server:
        post(server, "first")
        pids = workers(server)
        redis.ask("REPLICAOF", "127.0.0.1", "1")

        refused = post(server, "refused")
        ready, ping = status_of(server, "/readyz"), status_of(server, "/v2/ping")
        redis.ask("REPLICAOF", "NO", "ONE")

        assert_unavailable(refused)
        assert (ready, ping) == (503, 503)
        assert_heals(server, pids)
        assert "refused" not in bodies(server)


def test_replica_stops_the_start(tmp_path: Path, redis: RedisServer) -> None:
    redis.ask("REPLICAOF", "127.0.0.1", "1")

    done = run_server(
        tmp_path,
        options_of(redis) | {"drivers:transport:wsgi": {"port": free_port()}},
    )

    assert_refused_to_start(done, "replica")


def test_service_that_starts_before_its_store_serves_once_it_is_there(
    tmp_path: Path, redis: RedisServer
) -> None:
    redis.kill()
    with serving(tmp_path, redis, "gunicorn") as server:
        before = status_of(server, "/readyz")

        redis.start()

        assert before == 503
        assert_heals(server, workers(server))
        assert "The store is waited for." in server.output()

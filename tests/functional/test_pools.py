# SPDX-License-Identifier: Apache-2.0
"""Facts of a service with pools that are real servers: one dies, all workers agree."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.api.wire import Api
from tests.functional.test_faults import wait_until
from tests.redis_servers import RedisServer
from tests.servers import Server
from zaqar import directory
from zaqar.model import QueueKey
from zaqar.storage.sqlite.registry import SqliteRegistry

ADMIN = {"X-Roles": "admin"}
QUEUES = [f"q{number}" for number in range(12)]


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[dict[str, RedisServer]]:
    """Two servers that acknowledge what is on the disk, by the names of their pools."""
    started = {}
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        started[name] = RedisServer(folder, "--appendfsync", "always")
    yield started
    for store in started.values():
        store.kill()


@pytest.fixture
def server(tmp_path: Path, engine: str) -> Iterator[Server]:
    server = Server(
        tmp_path,
        {
            "DEFAULT": {"pooling": True},
            "server": {"workers": 2, "threads": 8, "engine": engine},
        },
    )
    try:
        server.wait_until_ready()
        yield server
        server.stop()
    finally:
        if server.process.poll() is None:
            server.kill()


@pytest.fixture
def api(server: Server) -> Api:
    return Api(server.address)


def register(api: Api, name: str, uri: str, **fields: Any) -> None:
    document = {"uri": uri, "weight": 100, **fields}
    answer = api.request("PUT", f"/v2/pools/{name}", document, headers=ADMIN)
    assert answer.status == 201, answer


def post(api: Api, queue: str, body: Any) -> int:
    document = {"messages": [{"body": body, "ttl": 3600}]}
    path = f"/v2/queues/{queue}/messages"
    return api.request("POST", path, document, patience=60).status


def homes(server: Server, api: Api) -> dict[str, str]:
    """Return the name of each queue's pool."""
    with closing(SqliteRegistry(str(server.folder / "registry.db"))) as registry:
        names = {pool.id: pool.name for pool in stored(registry).pools}
        found = {q: registry.find_queue(QueueKey(api.project, q)) for q in QUEUES}
        return {queue: names[place.pool] for queue, place in found.items() if place}


def stored(registry: SqliteRegistry) -> directory.Directory:
    return directory.read(registry.read_directory()[0])


class Producers:
    """A thread for each queue that posts numbers; knows how each was answered."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._stop = threading.Event()
        self.answers: dict[str, list[tuple[int, int]]] = {name: [] for name in QUEUES}
        self._threads = [
            threading.Thread(target=self._post_on, args=(name,)) for name in QUEUES
        ]

    def __enter__(self) -> "Producers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _post_on(self, queue: str) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            self.answers[queue].append((number, post(self._api, queue, number)))
            self._stop.wait(0.02)

    def statuses(self, queues: list[str]) -> Counter[int]:
        return Counter(status for queue in queues for _, status in self.answers[queue])


def drained(api: Api, queue: str) -> list[int]:
    """Return the bodies of all messages, which are removed."""
    bodies: list[int] = []
    while True:
        answer = api.request("DELETE", f"/v2/queues/{queue}/messages", pop=20)
        if not answer.bodies:
            return bodies
        bodies += answer.bodies


def test_pool_that_is_killed_takes_only_its_own_queues_along(
    server: Server, api: Api, stores: dict[str, RedisServer]
) -> None:
    for name, store in stores.items():
        register(api, name, f"redis://127.0.0.1:{store.port}?socket_timeout=1")
    assert {post(api, queue, 0) for queue in QUEUES} == {201}
    placed = homes(server, api)
    dead = [queue for queue in QUEUES if placed[queue] == "one"]
    well = [queue for queue in QUEUES if placed[queue] == "two"]
    assert dead and well, "the dice favoured one pool; run it again"

    with Producers(api) as producers:
        time.sleep(1.0)
        stores["one"].kill()
        wait_until(lambda: producers.statuses(dead)[503], seconds=15)
        listed = api.request("GET", "/v2/queues", detailed="true").json["queues"]
        ping = api.request("GET", "/v2/ping").status
        ready = server.answers("/readyz")
        stores["one"].start()
        wait_until(lambda: {post(api, queue, -1) for queue in dead} == {201})

    assert producers.statuses(dead).keys() == {201, 503}
    assert producers.statuses(well).keys() == {201}
    assert (ping, ready) == (503, True)
    assert [queue["name"] for queue in listed] == sorted(QUEUES)[:10]
    assert {queue["name"] for queue in listed if queue["metadata"].get("_unavailable")}
    for queue in QUEUES:
        kept = drained(api, queue)
        answered = [n for n, status in producers.answers[queue] if status == 201]
        assert set(answered) <= set(kept), queue
        if queue in well:
            assert kept == [0, *answered]


def test_pools_that_come_and_go_are_known_to_all_workers(
    server: Server, api: Api, stores: dict[str, RedisServer]
) -> None:
    def put(name: str, metadata: dict[str, Any]) -> int:
        return api.request("PUT", f"/v2/queues/{name}", metadata).status

    assert {put("early", {}) for _ in range(10)} == {503}
    register(api, "one", stores["one"].uri)
    register(api, "two", stores["two"].uri, flavor="gold")
    flavor = api.request(
        "PUT", "/v2/flavors/gold", {"pool_list": ["two"]}, headers=ADMIN
    )
    assert flavor.status == 201, flavor

    assert {put(f"gold{n}", {"_flavor": "gold"}) for n in range(20)} == {201}
    assert {put(f"plain{n}", {}) for n in range(20)} == {201}
    assert {post(api, "gold1", n) for n in range(20)} == {201}

    api.request("DELETE", "/v2/pools/one", headers=ADMIN)

    def is_gone() -> bool:
        statuses = {api.request("HEAD", "/v2/queues/plain1").status for _ in range(10)}
        return statuses == {404}

    wait_until(is_gone, seconds=10)
    assert {put(f"late{n}", {}) for n in range(10)} == {503}
    assert sorted(drained(api, "gold1")) == list(range(20))


def test_nobody_but_administrators_sees_pools(
    api: Api, stores: dict[str, RedisServer]
) -> None:
    register(api, "one", stores["one"].uri)

    for path in ("/v2/pools", "/v2/pools/one"):
        assert api.request("GET", path).status == 403

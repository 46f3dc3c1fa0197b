# SPDX-License-Identifier: Apache-2.0
"""A client of v1.1 as the Cloud Queues SDKs were written, against a running server.

It knows one URL, and else goes where the paths in the answers lead.
"""

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.servers import Server
from tests.stores import on_each_store

pytestmark = on_each_store

SECONDS = 60


class CloudQueues:
    """One consumer or producer: an id of its own, a project, a connection."""

    def __init__(self, url: str, project: str, version: str = "/v1.1") -> None:
        self.url, self.version = url, version
        self.session = requests.Session()
        self.session.headers.update(
            {"Client-ID": str(uuid.uuid4()), "X-Project-Id": project}
        )

    def call(
        self, method: str, path: str, expected: tuple[int, ...], document: Any = None
    ) -> requests.Response:
        answer = self.session.request(
            method, self.url + path, json=document, timeout=SECONDS
        )
        assert answer.status_code in expected, (method, path, answer.text)
        return answer

    def create(self, queue: str) -> "Queue":
        path = f"{self.version}/queues/{queue}"
        answer = self.call("PUT", path, (201, 204))
        return Queue(self, answer.headers["Location"])

    def queues(self) -> Iterator[dict[str, Any]]:
        """Yield the queues of the project, page by page, with their metadata."""
        path = f"{self.version}/queues?detailed=true&limit=2"
        while page := self.call("GET", path, (200,)).json()["queues"]:
            yield from page
            path = self.call("GET", path, (200,)).json()["links"][0]["href"]


class Queue:
    """A queue as one client sees it, below the path that it was told."""

    def __init__(self, client: CloudQueues, path: str) -> None:
        self.call, self.path = client.call, path

    def post(self, *bodies: Any, ttl: int = 3600) -> list[str]:
        """Post messages and return their paths."""
        messages = [{"body": body, "ttl": ttl} for body in bodies]
        answer = self.call(
            "POST", f"{self.path}/messages", (201,), {"messages": messages}
        )
        resources: list[str] = answer.json()["resources"]
        return resources

    def pop(self, count: int) -> list[Any]:
        answer = self.call("DELETE", f"{self.path}/messages?pop={count}", (200,))
        return [message["body"] for message in answer.json()["messages"]]

    def claim(self, limit: int, ttl: int = 300) -> requests.Response | None:
        answer = self.call(
            "POST",
            f"{self.path}/claims?limit={limit}",
            (201, 204),
            {"ttl": ttl, "grace": 60},
        )
        return answer if answer.status_code == 201 else None

    def messages(self) -> Iterator[dict[str, Any]]:
        """Yield the messages that others posted and nobody claimed, page by page."""
        path = f"{self.path}/messages?limit=4"
        while True:
            page = self.call("GET", path, (200,)).json()
            yield from page["messages"]
            if not page["links"]:
                return
            path = page["links"][0]["href"]

    def stats(self) -> dict[str, Any]:
        answer = self.call("GET", f"{self.path}/stats", (200,)).json()
        stats: dict[str, Any] = answer["messages"]
        return stats


@pytest.fixture
def connect(server: Server) -> Iterator[Callable[..., CloudQueues]]:
    """Return a function that makes one more client of the same project."""
    project, clients = uuid.uuid4().hex, []

    def make(version: str = "/v1.1") -> CloudQueues:
        clients.append(CloudQueues(server.url, project, version))
        return clients[-1]

    yield make
    for client in clients:
        client.session.close()


def test_service_is_found_by_its_version(connect: Callable[..., CloudQueues]) -> None:
    client = connect()

    versions = client.call("GET", "/", (300,)).json()["versions"]
    [path] = [v["links"][0]["href"] for v in versions if v["id"] == "1.1"]
    home = client.call("GET", path, (200,)).json()["resources"]

    assert home["rel/post_claim"]["href-template"].startswith(f"{path}queues/")
    client.call("GET", home["rel/ping"]["href-template"], (204,))


def test_queues_are_listed_with_what_was_stored(
    connect: Callable[..., CloudQueues],
) -> None:
    client = connect()
    for name in ("a", "b.c", "d"):
        client.create(name)

    listed = list(client.queues())

    assert [queue["name"] for queue in listed] == ["a", "b.c", "d"]
    assert [queue["metadata"] for queue in listed] == [{}, {}, {}]
    for queue in listed:
        client.call("DELETE", queue["href"], (204,))
    assert list(client.queues()) == []


def test_producer_and_consumer_go_through_pop(
    connect: Callable[..., CloudQueues],
) -> None:
    producer, consumer = connect().create("q"), connect().create("q")
    bodies = [{"n": n, "text": "ü☃"} for n in range(25)]
    for start in range(0, 25, 10):
        producer.post(*bodies[start : start + 10])

    seen = [message["body"] for message in consumer.messages()]
    taken = []
    while batch := consumer.pop(10):
        taken += batch

    assert list(producer.messages()) == []
    assert seen == taken == bodies
    assert consumer.stats() == {"claimed": 0, "free": 0, "total": 0}


def test_producer_and_consumer_go_through_claims(
    connect: Callable[..., CloudQueues],
) -> None:
    producer, consumer = connect().create("q"), connect().create("q")
    paths = producer.post(*range(15))

    worked: list[Any] = []
    while claim := consumer.claim(limit=4):
        held = claim.headers["Location"]
        consumer.call("PATCH", held, (204,), {"ttl": 600, "grace": 60})
        shown = consumer.call("GET", held, (200,)).json()
        assert shown["ttl"] == 600
        assert shown["messages"] == claim.json()["messages"]
        # One of each of the first claims is set free again.
        for message in shown["messages"][0 if len(worked) > 9 else 1 :]:
            consumer.call("DELETE", message["href"].partition("?")[0], (403,))
            consumer.call("DELETE", message["href"], (204,))
            worked.append(message["body"])
        consumer.call("DELETE", held, (204,))
        consumer.call("GET", held, (404,))

    assert sorted(worked) == [*range(15)]
    for path in paths:
        consumer.call("GET", path, (404,))
    assert consumer.stats()["total"] == 0


BACKLOG, LATER, BATCH = 200, 100, 10


def test_backlog_of_v1_1_is_drained_through_v2_while_producers_go_on(
    connect: Callable[..., CloudQueues],
) -> None:
    first = connect().create("q")
    for start in range(0, BACKLOG, BATCH):
        first.post(*(f"0-{n}" for n in range(start, start + BATCH)))
    finished = threading.Event()

    def produce(name: int) -> None:
        queue = connect().create("q")
        for start in range(0, LATER, BATCH):
            queue.post(*(f"{name}-{n}" for n in range(start, start + BATCH)))

    def consume(_: int) -> list[str]:
        """Claim and pop by turns until there is nothing and nothing will come."""
        queue, taken, last = connect("/v2").create("q"), [], False
        while not last:
            last = finished.is_set()
            batch: list[str] = []
            if len(taken) % 2:
                batch = queue.pop(7)
            elif claim := queue.claim(limit=7):
                for message in claim.json()["messages"]:
                    queue.call("DELETE", message["href"], (204,))
                    batch.append(message["body"])
            taken += batch
            last = last and not batch
        return taken

    with ThreadPoolExecutor(5) as threads:
        consumers = [threads.submit(consume, number) for number in range(3)]
        producers = [threads.submit(produce, name) for name in (1, 2)]
        try:
            for producer in producers:
                producer.result()
        finally:
            finished.set()
        taken = Counter(body for each in consumers for body in each.result())

    posted = [f"0-{n}" for n in range(BACKLOG)]
    posted += [f"{name}-{n}" for name in (1, 2) for n in range(LATER)]
    assert taken == Counter(posted)
    assert first.stats() == {"claimed": 0, "free": 0, "total": 0}

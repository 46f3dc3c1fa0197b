# SPDX-License-Identifier: Apache-2.0
"""Subscribers are told: real servers, the process that delivers, real HTTP sinks."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.functional.subscribers import SECONDS, Rogue, Sink, until
from tests.servers import Options, Server, merge
from tests.stores import on_each_store

PROJECT = "notifications"
HEADERS = {
    "Client-ID": "9f5b8f64-6f0b-4c9f-8a53-2d1f1a0c6a11",
    "X-Project-ID": PROJECT,
}


@pytest.fixture
def rogue() -> Iterator[Rogue]:
    rogue = Rogue()
    yield rogue
    rogue.close()


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()
    yield sink
    sink.close()


Start = Callable[..., Server]

NEVER_POLLS = """
import sys
from zaqar import cli
from zaqar.notification import dispatcher

dispatcher.POLL_SECONDS = 10**6
sys.exit(cli.notifier(sys.argv[1:]))
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Server] = []

    def start(options: Options | None = None) -> Server:
        known: Options = {
            "notification": {"deliver": True, "allow_private_targets": True}
        }
        server = Server(tmp_path, merge(known, options or {}))
        started.append(server)
        server.wait_until_ready()
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            server.kill()


class Queue:
    def __init__(
        self, server: Server, name: str = "told", kind: str = "queues"
    ) -> None:
        self.url = f"{server.url}/v2/{kind}/{name}"

    def __call__(self, method: str, path: str = "", json: Any = None) -> Any:
        return requests.request(
            method, self.url + path, json=json, headers=HEADERS, timeout=60
        )

    def subscribe(self, url: str, **fields: Any) -> str:
        answer = self("POST", "/subscriptions", {"subscriber": url, **fields})
        assert answer.status_code == 201, answer.text
        id: str = answer.json()["subscription_id"]
        return id

    def post(self, *bodies: Any, ttl: int = 300) -> list[str]:
        messages = [{"body": body, "ttl": ttl} for body in bodies]
        answer = self("POST", "/messages", {"messages": messages})
        assert answer.status_code == 201, answer.text
        return [path.rpartition("/")[2] for path in answer.json()["resources"]]


def notifiers(server: Server) -> list[int]:
    """List the processes of this server that deliver."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"zaqar.server.notifier" in line and str(server.config).encode() in line:
                found.append(int(entry.name))
    return found


@on_each_store
def test_all_subscribers_are_told_of_each_message_in_order(
    start: Start, sink: Sink, store_options: Options
) -> None:
    queue = Queue(start(store_options))
    for path in ("/a", "/b"):
        queue.subscribe(sink.url(path), ttl=3600)
    bodies = [{"n": n, "é": [1.50, None]} for n in range(50)]

    for start_at in range(0, 50, 10):
        queue.post(*bodies[start_at : start_at + 10])

    until(lambda: all(len(sink.bodies(path)) >= 50 for path in ("/a", "/b")))
    assert sink.bodies("/a") == sink.bodies("/b") == bodies
    assert sink.taken["/a"][0] == {
        "ttl": 300,
        "body": bodies[0],
        "Message_Type": "Notification",
        "queue_name": "told",
    }


@on_each_store
def test_topics_tell_too(start: Start, sink: Sink, store_options: Options) -> None:
    server = start(store_options)
    topic, queue = Queue(server, kind="topics"), Queue(server)
    topic.subscribe(sink.url("/topic"))
    queue.subscribe(sink.url("/queue"))

    topic.post("for the topic")
    queue.post("for the queue")

    until(lambda: len(sink.taken) == 2)
    assert sink.bodies("/topic") == ["for the topic"]
    assert sink.bodies("/queue") == ["for the queue"]


def test_posts_through_v1_1_are_told_too(start: Start, sink: Sink) -> None:
    server = start()
    Queue(server).subscribe(sink.url("/a"))

    answer = requests.post(
        f"{server.url}/v1.1/queues/told/messages",
        json={"messages": [{"ttl": 300, "body": "by an older client"}]},
        headers=HEADERS,
        timeout=60,
    )

    assert answer.status_code == 201
    until(lambda: sink.bodies("/a") == ["by an older client"])


def test_engine_delivers(start: Start, sink: Sink, engine: str) -> None:
    queue = Queue(start({"server": {"engine": engine, "workers": 2}}))
    queue.subscribe(sink.url("/a"))

    queue.post(1)

    until(lambda: sink.bodies("/a") == [1])


@pytest.mark.parametrize(
    ("store_options", "engine"),
    [
        ("sqlite", "gunicorn"),
        ("redis", "gunicorn"),
        ("mongodb", "granian"),
        ("pooled", "granian"),
    ],
    indirect=True,
)
def test_post_wakes_a_notifier_that_looks_for_nothing(
    start: Start, sink: Sink, store_options: Options, engine: str
) -> None:
    """It looks for work when it begins and, after that, only when it is woken."""
    pytest.importorskip(engine)
    options: Options = {
        "server": {"engine": engine, "workers": 2},
        "notification": {"deliver": False, "allow_private_targets": True},
    }
    server = start(merge(store_options, options))
    queues = [Queue(server, f"q{n}") for n in range(4)]
    for n, queue in enumerate(queues):
        queue.subscribe(sink.url(f"/{n}"))
    command = [sys.executable, "-c", NEVER_POLLS, "--config-file", str(server.config)]
    home = {**os.environ, "HOME": str(server.folder)}
    with subprocess.Popen(command, env=home) as notifier:
        try:
            for n, queue in enumerate(queues):
                # One that it holds nothing of yet.
                queue.post(n)
                until(lambda n=n: sink.bodies(f"/{n}") == [n])
        finally:
            notifier.terminate()
    assert notifier.returncode == 0


def test_failed_delivery_is_tried_again_and_then_kept_and_replayed(
    start: Start, sink: Sink
) -> None:
    queue = Queue(start())
    policy = {
        "retries_with_no_delay": 2,
        "minimum_delay_retries": 0,
        "minimum_delay": 0,
        "maximum_delay": 10,
        "maximum_delay_retries": 0,
        "retry_backoff_function": "linear",
    }
    sink.statuses["/a"] = lambda: 404
    id = queue.subscribe(sink.url("/a"), options={"_retry_policy": policy})
    [message] = queue.post("lost?")
    path = f"/subscriptions/{id}/deliveries"

    until(lambda: queue("GET", path).json()["deliveries"] != [])
    shown = queue("GET", path).json()
    assert shown["deliveries"] == [
        {"message_id": message, "state": "failed", "failures": 1}
    ]
    assert [a["status"] for a in shown["attempts"]] == [404]
    answers = iter([500, 503, 200])
    sink.statuses["/a"] = lambda: next(answers)
    assert queue("POST", path).json() == {"replayed": 1}

    until(lambda: sink.bodies("/a") == ["lost?"])
    until(lambda: queue("GET", path).json()["deliveries"] == [])
    assert [a["status"] for a in queue("GET", path).json()["attempts"]] == [
        200,
        503,
        500,
        404,
    ]


def test_dead_letter_queue_of_a_subscription_gets_what_was_not_taken(
    start: Start, sink: Sink
) -> None:
    server = start()
    queue, dead = Queue(server), Queue(server, "dead")
    sink.statuses["/a"] = lambda: 410
    queue.subscribe(sink.url("/a"), options={"dead_letter_queue": "dead"})

    queue.post({"n": 1})

    def letters() -> Any:
        return dead("GET", "/messages?echo=true").json()["messages"]

    until(letters)
    assert [letter["body"] for letter in letters()] == [{"n": 1}]


def test_only_what_passes_the_filter_is_told(start: Start, sink: Sink) -> None:
    queue = Queue(start())
    queue.subscribe(sink.url("/a"), options={"filter": {"level": ["high"]}})
    queue.subscribe(sink.url("/all"))

    queue.post({"level": "low"}, {"level": "high"}, "none")

    until(lambda: len(sink.bodies("/all")) == 3)
    until(lambda: sink.bodies("/a") == [{"level": "high"}])


def test_delayed_message_is_told_when_it_is_visible(start: Start, sink: Sink) -> None:
    queue = Queue(start())
    queue("PUT", json={"_default_message_delay": 2})
    queue.subscribe(sink.url("/a"))
    posted = time.monotonic()

    queue.post("late")

    until(lambda: sink.bodies("/a"))
    assert time.monotonic() - posted > 1.9
    assert sink.taken["/a"][0]["delay"] == 2


def test_subscriber_confirms_by_what_it_was_sent(start: Start, sink: Sink) -> None:
    server = start({"notification": {"deliver": True, "allow_private_targets": True,
                                     "require_confirmation": True}})  # fmt: skip
    queue = Queue(server)
    asked: list[Any] = []
    id = queue.subscribe(sink.url("/a"))
    queue.post("before")
    until(lambda: "/a" in sink.taken)
    asked = sink.taken["/a"]
    assert asked[0]["Message_Type"] == "SubscriptionConfirmation"

    def answer(document: Any, body: Any) -> int:
        headers = {
            name: document[name]
            for name in (
                "URL-Signature", "URL-Methods", "URL-Paths", "URL-Expires",
                "X-Project-ID",
            )
        }  # fmt: skip
        return requests.put(
            server.url + document["URL-Paths"],
            json=body,
            headers={**headers, "Client-ID": HEADERS["Client-ID"]},
            timeout=60,
        ).status_code

    assert answer(asked[0], asked[0]["SubscribeBody"]) == 204
    assert queue("GET", f"/subscriptions/{id}").json()["confirmed"] is True
    queue.post("after")
    until(lambda: len(sink.taken["/a"]) == 2)
    assert sink.taken["/a"][1]["body"] == "after"
    assert answer(asked[0], asked[0]["UnsubscribeBody"]) == 204
    until(lambda: len(sink.taken["/a"]) == 3)
    assert sink.taken["/a"][2]["Message_Type"] == "UnsubscribeConfirmation"


def test_private_targets_are_refused(start: Start) -> None:
    queue = Queue(start({"notification": {"allow_private_targets": False}}))

    answer = queue("POST", "/subscriptions", {"subscriber": "http://127.0.0.1:9/"})

    assert answer.status_code == 400
    assert "subscriber" in answer.json()["description"]
    assert queue("GET", "/subscriptions").json()["subscriptions"] == []


def test_killed_processes_lose_nothing(start: Start, sink: Sink, engine: str) -> None:
    server = start({"server": {"engine": engine, "workers": 2}})
    queue = Queue(server)
    for path in ("/a", "/b", "/c"):
        queue.subscribe(sink.url(path))
    sent = 0

    def post(body: int) -> None:
        # Who is served by a worker that is killed learns nothing of the post's fate.
        while True:
            with suppress(requests.ConnectionError):
                queue.post(body)
                return

    def killed(pids: list[int]) -> None:
        for pid in pids[:1]:
            os.kill(pid, signal.SIGKILL)

    for victim in range(4):
        for _ in range(25):
            post(sent)
            sent += 1
        until(lambda: notifiers(server))
        killed(notifiers(server))
        if victim == 1 and engine == "gunicorn":
            children = Path(
                f"/proc/{server.process.pid}/task/{server.process.pid}/children"
            )
            killed([int(pid) for pid in children.read_text().split()])
            until(lambda: server.answers("/readyz"))

    for path in ("/a", "/b", "/c"):
        until(lambda path=path: set(sink.bodies(path)) == set(range(sent)))
    server.stop()


def test_stopped_server_leaves_nobody_behind(start: Start, sink: Sink) -> None:
    server = start()
    until(lambda: notifiers(server))

    server.stop()

    until(lambda: not notifiers(server))


def waits_long(**fields: Any) -> Options:
    """Options by which one that does not answer would hold up others for too long."""
    known = {"deliver": True, "allow_private_targets": True}
    return {"notification": {**known, "delivery_timeout": 2 * SECONDS, **fields}}


def test_nobody_waits_for_one_that_does_not_answer(
    start: Start, sink: Sink, rogue: Rogue
) -> None:
    queue = Queue(start(waits_long()))
    sink.statuses["/500"] = lambda: 500
    for url in (
        *(rogue.url("/silent"), rogue.url("/dripping"), rogue.url("/endless")),
        *(sink.url("/500"), sink.url("/a"), sink.url("/b")),
    ):
        queue.subscribe(url)

    for n in range(20):
        queue.post(n)

    until(lambda: all(len(sink.bodies(path)) >= 20 for path in ("/a", "/b")))
    assert sink.bodies("/a") == sink.bodies("/b") == list(range(20))
    # They are still at their first message.
    assert rogue.calls.count("/silent") == rogue.calls.count("/dripping") == 1
    # It is told with its status, and what follows is not read.
    until(lambda: rogue.calls.count("/endless") == 20)


def test_three_hundred_that_do_not_answer_hold_up_nobody(
    start: Start, sink: Sink, rogue: Rogue
) -> None:
    queue = Queue(start(waits_long()))
    for n in range(300):
        queue.subscribe(rogue.url(f"/silent/{n}"))
    queue.subscribe(sink.url("/a"))

    for n in range(10):
        queue.post(n)

    until(lambda: len(sink.bodies("/a")) >= 10)
    assert sink.bodies("/a") == list(range(10))
    until(lambda: len(rogue.calls) == 300)


def test_attempts_end_in_time_and_redirects_are_not_followed(
    start: Start, sink: Sink, rogue: Rogue
) -> None:
    queue = Queue(start(waits_long(delivery_timeout=0.5)))
    sink.statuses["/302"] = lambda: 302
    urls = rogue.url("/silent"), rogue.url("/dripping"), sink.url("/302")
    ids = [queue.subscribe(url) for url in urls]

    queue.post(1)

    def first(id: str) -> Any:
        attempts = queue("GET", f"/subscriptions/{id}/deliveries").json()["attempts"]
        return attempts[-1:] and (attempts[-1]["status"], attempts[-1]["error"])

    until(lambda: all(map(first, ids)))
    late = (None, "There was no answer within 0.5 seconds.")
    assert [first(id) for id in ids] == [
        late,
        late,
        (302, "The answer has the status 302."),
    ]


def test_what_is_gone_while_it_is_delivered_to_is_told_no_more(
    start: Start, sink: Sink, rogue: Rogue
) -> None:
    server = start(waits_long(delivery_timeout=0.5))
    queue, other = Queue(server), Queue(server, "other")
    id = queue.subscribe(rogue.url("/silent/removed"))
    queue.subscribe(sink.url("/a"))
    other.subscribe(rogue.url("/silent/deleted"))
    for each in (queue, other):
        each.post(1, 2, 3)
    until(lambda: {"/silent/removed", "/silent/deleted"} <= set(rogue.calls))

    assert queue("DELETE", f"/subscriptions/{id}").status_code == 204
    assert other("DELETE").status_code == 204

    queue.post(4)
    until(lambda: len(sink.bodies("/a")) == 4)
    other.subscribe(sink.url("/b"))
    other.post(5)
    # The queue of that name is another one; it owes nothing of before.
    until(lambda: sink.bodies("/b") == [5])


def test_notifier_that_is_told_to_end_ends_well(start: Start, sink: Sink) -> None:
    server = start()
    until(lambda: notifiers(server))
    [first] = notifiers(server)
    queue = Queue(server)
    queue.subscribe(sink.url("/a"))
    queue.post(1)
    until(lambda: sink.bodies("/a") == [1])

    os.kill(first, signal.SIGTERM)

    # Whoever comes next does not wait for its leases.
    queue.post(2)
    until(lambda: notifiers(server) not in ([], [first]))
    until(lambda: sink.bodies("/a") == [1, 2])
    assert "Fatal Python error" not in server.log.read_text()
    lines = server.log.read_text().splitlines()
    [told] = [line for line in lines if "another one starts" in line]
    assert " WARNING " in told


def test_queues_of_a_killed_notifier_are_its_successors(
    start: Start, rogue: Rogue
) -> None:
    server = start(waits_long())
    queue = Queue(server)
    queue.subscribe(rogue.url("/silent"))
    queue.post(1)
    until(lambda: rogue.calls == ["/silent"])

    def holders() -> list[Any]:
        with closing(sqlite3.connect(server.folder / "messages.db")) as store:
            return store.execute("SELECT holder FROM outboxes").fetchall()

    first = holders()
    os.kill(notifiers(server)[0], signal.SIGKILL)

    until(lambda: rogue.calls == ["/silent"] * 2)
    # It did not wait for the end of a lease: this one still is.
    assert holders() == first


def test_template_takes_a_large_message_up_to_its_limit(
    start: Start, sink: Sink
) -> None:
    queue = Queue(start())
    one = '{"params": {"env": {"notification": "$zaqar_message$"}}}'
    queue.subscribe(sink.url("/one"), options={"post_data": one})
    five = '["$zaqar_message$"' + ', "$zaqar_message$"' * 4 + "]"
    id = queue.subscribe(sink.url("/five"), options={"post_data": five})
    large = {"text": "x" * 250_000}

    queue.post("small", large)

    until(lambda: len(sink.taken.get("/one", [])) == 2)
    [_, taken] = sink.taken["/one"]
    assert taken["params"]["env"]["notification"]["body"] == large
    # Five of them come to more than max_post_data_size; it is kept with its reason.
    path = f"/subscriptions/{id}/deliveries"
    until(lambda: queue("GET", path).json()["deliveries"])
    shown = queue("GET", path).json()
    assert [each["state"] for each in shown["deliveries"]] == ["failed"]
    assert "1048576" in shown["attempts"][0]["error"]
    assert [[each["body"] for each in t] for t in sink.taken["/five"]] == [
        ["small"] * 5
    ]

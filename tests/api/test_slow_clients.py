# SPDX-License-Identifier: Apache-2.0
"""Clients that send slowly, or do not read, and those beside them, on real servers."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.api.wire import CLIENT, Api, Connection, request_bytes
from tests.servers import ENGINE, Server

POST = "/v2/queues/q/messages"
BODY = b'{"messages": [{"body": 1}]}'

DRIPPING = 200
REQUESTS = 400
AT_ONCE = 4
SERVED = 0.99
P99_SECONDS = 3.0

# Lets the worker of a test wait for less long, or hold less.
CHANGED = """
import json, sys
from zaqar import conf
from zaqar.server import buffering, connections, gunicorn

seconds, limits = map(json.loads, sys.argv[2:])
for name, value in seconds.items():
    connections.SECONDS[connections.Phase[name]] = value
for name, value in limits.items():
    setattr(buffering, name, value)
gunicorn.serve(conf.load(["--config-file", sys.argv[1]]))
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Api]]:
    """Starts a server; on gunicorn with other seconds or limits than usual."""
    (tmp_path / "policy.yaml").write_text("{}")
    running = []

    def started(
        server: dict[str, object] | None = None,
        seconds: dict[str, float] | None = None,
        **limits: int,
    ) -> Api:
        more: dict[str, Any] = {}
        if seconds or limits:
            script = tmp_path / "changed.py"
            script.write_text(CHANGED)
            changes = [in_words(each) for each in (seconds or {}, limits)]
            more["command"] = ("python", str(script), "{config}", *changes)
        running.append(Server(tmp_path, {"server": server or {}}, **more))
        running[-1].wait_until_ready()
        return Api(running[-1].address)

    yield started
    for server in running:
        server.stop()


def in_words(values: dict[str, Any]) -> str:
    """Return JSON for a command in which {config} is filled in."""
    return json.dumps(values).replace("{", "{{").replace("}", "}}")


gunicorn_only = pytest.mark.skipif(
    ENGINE != "gunicorn", reason="granian has its own deadlines, which are long"
)


def beginning(api: Api, sent: bytes, length: int = 100, **headers: str) -> bytes:
    """Return a post whose body begins with what is sent."""
    given = api.headers({"Content-Length": str(length), **headers})
    return request_bytes("POST", POST, given, sent)


class Drip:
    """Sends a byte to each of many connections again and again.

    Half of them, if `bodies` is true, have sent their headers already.
    """

    def __init__(self, api: Api, *, bodies: bool) -> None:
        self._api, self._bodies = api, bodies
        self._stopped = threading.Event()
        self._sockets: list[socket.socket] = []
        self.sent = 0

    def __enter__(self) -> "Drip":
        for number in range(DRIPPING):
            self._sockets.append(socket.create_connection(self._api.address, 20))
            head = b"GET /v2/queues HTTP/1.1\r\nHost: x\r\nX-Slow: "
            body = beginning(self._api, b'{"messages": [{"body": "', 10_000)
            self._sockets[-1].sendall(body if self._bodies and number % 2 else head)
        self._thread = threading.Thread(target=self._go_on)
        self._thread.start()
        return self

    def _go_on(self) -> None:
        while not self._stopped.wait(0.2):
            for each in self._sockets:
                with suppress(OSError):
                    each.sendall(b"x")
                    self.sent += 1

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        for each in self._sockets:
            each.close()


def timed(api: Api, number: int) -> float | None:
    """Return how long a request took; None: it was not served."""
    begun = time.monotonic()
    try:
        answer = api.post(POST, raw=BODY) if number % 2 else api.get("/v2/queues")
    except OSError:
        return None
    return time.monotonic() - begun if answer.status in (200, 201) else None


@pytest.mark.parametrize("engine", ["gunicorn", "granian"])
def test_dripping_clients_leave_others_served(
    start: Callable[..., Api], engine: str
) -> None:
    if engine == "granian":
        pytest.importorskip("granian")
    api = start({"engine": engine, "workers": 2, "threads": 8})

    # What granian does about bodies is told in the documentation, and at its start.
    dripping = Drip(api, bodies=engine == "gunicorn")
    with dripping as drip, ThreadPoolExecutor(AT_ONCE) as threads:
        taken = [*threads.map(lambda number: timed(api, number), range(REQUESTS))]

    served = sorted(seconds for seconds in taken if seconds is not None)
    assert drip.sent >= DRIPPING
    assert len(served) >= SERVED * REQUESTS
    assert served[int(SERVED * len(served)) - 1] < P99_SECONDS


def test_many_who_do_not_read_leave_others_served(start: Callable[..., Api]) -> None:
    api = start({"workers": 1, "threads": 2})
    for _ in range(10):
        api.send("q", "x" * 250_000)

    with ExitStack() as stack:
        for _ in range(20):
            slow = stack.enter_context(Connection(api.address))
            slow.send(request_bytes("GET", f"{POST}?echo=true", api.headers({})))
            slow.stream.peek(1)  # It has been served, and cannot be sent as a whole.

        assert api.get("/v2/queues").status == 200


def test_who_reads_late_gets_a_whole_answer_and_may_go_on(
    start: Callable[..., Api],
) -> None:
    api = start({"workers": 1, "threads": 2})
    for _ in range(10):
        api.send("q", "x" * 250_000)
    listing = request_bytes("GET", f"{POST}?echo=true", api.headers({}))

    with Connection(api.address) as slow:
        slow.send(listing * 3)
        slow.stream.peek(1)
        assert api.get("/v2/queues").status == 200
        answers = [slow.answer() for _ in range(3)]

    assert [len(answer.bodies) for answer in answers] == [10] * 3


@gunicorn_only
@pytest.mark.parametrize("half", ["head", "body", "chunks"])
def test_who_does_not_come_to_an_end_is_told_so(
    start: Callable[..., Api], half: str
) -> None:
    api = start(seconds={"RECEIVING": 0.3})
    chunked = api.headers({"Transfer-Encoding": "chunked"})
    data = {
        "head": b"GET /v2/queues HTTP/1.1\r\nHost: x\r\n",
        "body": beginning(api, BODY[:10]),
        "chunks": request_bytes("POST", POST, chunked, b"5\r\nabcde\r\n"),
    }[half]

    with Connection(api.address) as connection:
        connection.send(data)
        answer = connection.answer()
        assert connection.ended()

    assert answer.status == 408
    assert answer.title == "Request timeout"
    assert answer.headers["Connection"] == "close"


@gunicorn_only
def test_drops_do_not_prolong_the_time(start: Callable[..., Api]) -> None:
    api = start(seconds={"RECEIVING": 0.3})

    with Connection(api.address) as connection, suppress(OSError):
        connection.send(b"GET / HTTP/1.1\r\n")
        connection.socket.settimeout(0.01)
        for _ in range(2000):
            connection.send(b"X: y\r\n")
            with suppress(TimeoutError):
                assert connection.socket.recv(12) == b"HTTP/1.1 408"
                return

    raise AssertionError("Nobody ended it.")


@gunicorn_only
@pytest.mark.parametrize("first", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_idle_connections_end_without_a_word(
    start: Callable[..., Api], first: bytes
) -> None:
    api = start(seconds={"IDLE": 0.3})

    with Connection(api.address) as connection:
        connection.send(first)
        if first:
            assert connection.answer().status == 204
        assert connection.ended()


@gunicorn_only
def test_who_never_reads_an_answer_is_left(start: Callable[..., Api]) -> None:
    api = start(seconds={"SENDING": 0.3})
    for _ in range(10):
        api.send("q", "x" * 250_000)

    with Connection(api.address) as slow:
        slow.send(request_bytes("GET", f"{POST}?echo=true", api.headers({})))
        slow.stream.peek(1)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with suppress(OSError):
                slow.send(b"\r\n")
                time.sleep(0.05)
                continue
            return

    raise AssertionError("Nobody ended it.")


@gunicorn_only
def test_idle_and_slow_clients_make_room_for_others(start: Callable[..., Api]) -> None:
    api = start({"workers": 1}, MAX_CONNECTIONS=10)

    with ExitStack() as stack:
        idle, *others = [
            stack.enter_context(Connection(api.address)) for _ in range(30)
        ]
        assert api.get("/v2/queues").status == 200
        others[-1].send(beginning(api, b"", len(BODY)))
        assert api.get("/v2/queues").status == 200
        others[-1].send(BODY)

        assert others[-1].answer().status == 201
        assert idle.ended()


@gunicorn_only
def test_slow_clients_hold_only_so_much_memory(start: Callable[..., Api]) -> None:
    api = start({"workers": 1}, MAX_HELD=300_000)

    with ExitStack() as stack:
        first, *others = [
            stack.enter_context(Connection(api.address)) for _ in range(4)
        ]
        for each in (first, *others):
            each.send(beginning(api, b" " * 90_000, 90_000 + len(BODY)))
            # The worker has read what came before it answers this.
            assert api.get("/v2/queues").status == 200
        assert first.ended()
        for each in others:
            each.send(BODY)
            assert each.answer().status == 201


def test_a_client_that_asks_is_told_once_to_send_its_body(
    start: Callable[..., Api],
) -> None:
    api = start()

    with Connection(api.address) as connection:
        for _ in range(2):
            connection.send(beginning(api, b"", len(BODY), Expect="100-continue"))
            assert connection.stream.readline() == b"HTTP/1.1 100 Continue\r\n"
            while connection.stream.readline() != b"\r\n":
                pass
            connection.send(BODY)
            assert connection.stream.peek(12)[:12] == b"HTTP/1.1 201"
            assert connection.answer().status == 201


def test_requests_may_arrive_byte_by_byte(start: Callable[..., Api]) -> None:
    api = start()
    chunks = api.headers({"Transfer-Encoding": "chunked"})
    pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"
    data = beginning(api, BODY, len(BODY)) + request_bytes("POST", POST, chunks, pieces)

    with Connection(api.address) as connection:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in data:
            connection.send(bytes([byte]))

        assert [connection.answer().status for _ in range(2)] == [201, 201]

    assert api.stats("q")["total"] == 2


def test_old_clients_get_an_answer_and_the_end(start: Callable[..., Api]) -> None:
    api = start()
    head = f"GET /v2/queues HTTP/1.0\r\nClient-ID: {CLIENT}\r\nX-Project-ID: p\r\n\r\n"

    with Connection(api.address) as connection:
        connection.send(head.encode())
        assert connection.answer().status == 200
        assert connection.ended()


def test_a_stopping_server_serves_what_has_begun_to_arrive(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("{}")
    server = Server(tmp_path, {"server": {"engine": "gunicorn"}})
    server.wait_until_ready()
    api = Api(server.address)

    with Connection(api.address) as idle, Connection(api.address) as connection:
        connection.send(beginning(api, BODY[:5], len(BODY)))
        assert api.get("/v2/queues").status == 200
        server.process.terminate()
        assert idle.ended()
        connection.send(BODY[5:])
        answer = connection.answer()

    server.stop()
    assert answer.status == 201
    assert answer.headers["Connection"] == "close"

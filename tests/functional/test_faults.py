# SPDX-License-Identifier: Apache-2.0
"""Facts of real servers that are killed, stopped, locked out or out of space.

Short versions of what tools/faults does with many more kills.
"""

import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.servers import Options, Server, free_port, render
from zaqar.model import NewMessage, QueueKey
from zaqar.storage.sqlite.store import SqliteStore

HEADERS = {
    "Client-ID": "9f5b8f64-6f0b-4c9f-8a53-2d1f1a0c6a11",
    "X-Project-ID": "faults",
}
MESSAGES = "/v2/queues/faults/messages"
BIN = Path(sys.executable).parent
PAGE = 1000
# A client whose request was cut off learns nothing of its fate.
CUT_OFF = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)


class Faulty:
    """Starts servers on one folder, one after the other, and ends them all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[Server] = []

    def start(self, engine: str = "gunicorn", **options: Any) -> Server:
        server_options = {"engine": engine, "workers": 2, "threads": 8, **options}
        settings: Options = {
            "server": server_options,
            "drivers:message_store:sqlite": {"synchronous": "FULL"},
            "transport": {"max_messages_per_page": PAGE},
        }
        server = Server(self.folder, settings)
        self._started.append(server)
        server.wait_until_ready()
        # The first worker is ready before the last one has been forked.
        wait_until(lambda: len(workers(server)) == server_options["workers"])
        return server

    def end(self) -> None:
        for server in self._started:
            if server.process.poll() is None:
                server.kill()


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[Faulty]:
    faulty = Faulty(tmp_path)
    yield faulty
    faulty.end()


class Producers:
    """Threads that post until told to stop; knows what was acknowledged."""

    def __init__(self, server: Server, count: int = 4) -> None:
        self._url = server.url + MESSAGES
        self._stop = threading.Event()
        self.acknowledged: list[str] = []
        self.cut_off: list[str] = []
        self.answers: list[requests.Response] = []
        self._threads = [
            threading.Thread(target=self._post_on, args=(f"p{number}",))
            for number in range(count)
        ]

    def __enter__(self) -> "Producers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _post_on(self, name: str) -> None:
        session, number = requests.Session(), 0
        with session:
            while not self._stop.is_set():
                number += 1
                self._post_one(session, f"{name}-{number}")

    def _post_one(self, session: requests.Session, body: str) -> None:
        document = {"messages": [{"body": body, "ttl": 3600}]}
        try:
            answer = session.post(self._url, json=document, headers=HEADERS, timeout=60)
        except CUT_OFF:
            self.cut_off.append(body)
            self._stop.wait(0.01)
            return
        self.answers.append(answer)
        if answer.status_code == 201:
            self.acknowledged.append(body)

    def wait_for(self, more: int) -> None:
        """Return once so many more messages are acknowledged."""
        wanted = len(self.acknowledged) + more
        wait_until(lambda: len(self.acknowledged) >= wanted)

    def statuses(self) -> set[int]:
        return {answer.status_code for answer in self.answers}


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "It did not come to pass."
        time.sleep(0.01)


def post(server: Server, body: Any = "one", timeout: float = 60) -> requests.Response:
    document = {"messages": [{"body": body, "ttl": 3600}]}
    return requests.post(
        server.url + MESSAGES, json=document, headers=HEADERS, timeout=timeout
    )


def bodies(server: Server) -> list[Any]:
    """Return the bodies of all messages of the queue, page by page."""
    found: list[Any] = []
    path = MESSAGES + "?echo=true&include_claimed=true"
    path += f"&limit={PAGE}"
    while True:
        answer = requests.get(server.url + path, headers=HEADERS, timeout=60)
        page = answer.json()["messages"]
        if not page:
            return found
        found += [message["body"] for message in page]
        path = answer.json()["links"][0]["href"]


def workers(server: Server) -> list[int]:
    """List the processes that serve."""
    path = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    return [int(pid) for pid in path.read_text().split()]


def assert_all_there(server: Server, producers: Producers) -> None:
    left = bodies(server)
    assert len(left) == len(set(left))
    assert set(producers.acknowledged) <= set(left)
    assert set(left) <= {*producers.acknowledged, *producers.cut_off}


# Kills --------------------------------------------------------------------------------


def test_killed_workers_lose_nothing_and_others_go_on(
    faulty: Faulty, engine: str
) -> None:
    server = faulty.start(engine)

    with Producers(server) as producers:
        # granian ends when one worker dies twice within seconds: each dies once there.
        for victim in range(5 if engine == "gunicorn" else 2):
            producers.wait_for(20)
            wait_until(lambda: len(workers(server)) == 2)
            os.kill(workers(server)[0 if victim == 0 else -1 - victim % 2], 9)
            producers.wait_for(20)

    assert producers.statuses() == {201}
    assert_all_there(server, producers)
    server.stop()


def test_killed_server_has_all_that_it_acknowledged(
    faulty: Faulty, engine: str
) -> None:
    server = faulty.start(engine)
    with Producers(server) as producers:
        producers.wait_for(50)
        server.kill()

    again = faulty.start(engine)

    assert_all_there(again, producers)
    assert post(again, "and on").status_code == 201
    again.stop()


# Stopping -----------------------------------------------------------------------------


@contextmanager
def locked(server: Server) -> Iterator[None]:
    """Hold the writer's lock of the store from outside the service."""
    path = server.folder / "messages.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as outsider:
        outsider.execute("BEGIN EXCLUSIVE")
        yield
        outsider.execute("COMMIT")


def test_stopped_server_finishes_the_requests_that_it_runs(
    faulty: Faulty, engine: str
) -> None:
    server = faulty.start(engine)
    post(server, "first")
    statuses: list[int] = []
    threads = [
        threading.Thread(
            target=lambda n=n: statuses.append(post(server, n).status_code)
        )
        for n in range(6)
    ]

    with locked(server):
        for thread in threads:
            thread.start()
        time.sleep(0.7)  # all six wait for the lock now
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.7)
    for thread in threads:
        thread.join()

    assert statuses == [201] * 6
    assert server.process.wait(10) == 0
    assert sorted(bodies(faulty.start(engine))[1:]) == list(range(6))


def test_server_stopped_under_load_loses_nothing(faulty: Faulty, engine: str) -> None:
    server = faulty.start(engine)
    with Producers(server) as producers:
        producers.wait_for(50)
        server.stop()

    assert producers.statuses() == {201}
    assert_all_there(faulty.start(engine), producers)


def test_idle_server_stops_at_once(faulty: Faulty, engine: str) -> None:
    server = faulty.start(engine)
    with requests.Session() as kept_alive:
        kept_alive.get(server.url + "/healthz", timeout=10)

        server.stop()  # fails before graceful_timeout is over


# A store that cannot be written -------------------------------------------------------


def assert_unavailable(answer: requests.Response) -> None:
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["Content-Type"].startswith("application/json")
    assert {"title", "description"} <= answer.json().keys()


def assert_heals(server: Server, pids: list[int]) -> None:
    """Fail unless posts work again, several in a row, in the same processes."""
    wait_until(lambda: post(server, "healing").status_code == 201, seconds=10)
    for _ in range(10):
        assert post(server, "healed").status_code == 201
    assert workers(server) == pids


def fill(server: Server) -> requests.Response:
    """Post large messages until one is refused."""
    for _ in range(400):
        answer = post(server, "x" * 100_000)
        if answer.status_code != 201:
            return answer
    raise AssertionError("The disk was never full.")


def test_files_that_may_not_grow_are_answered_503_until_they_may(
    faulty: Faulty, engine: str
) -> None:
    server = faulty.start(engine, request_log=False)
    post(server, "first")
    pids = workers(server)
    limit = (server.folder / "messages.db-wal").stat().st_size + 400_000
    unlimited = resource.RLIM_INFINITY
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, unlimited))

    refused = fill(server)
    stored = bodies(server)

    assert_unavailable(refused)
    assert stored[0] == "first"
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
    assert_heals(server, pids)
    assert bodies(server)[: len(stored)] == stored
    server.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB; only the superuser can make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"No file system can be mounted here: {error}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_full_disk_is_answered_503_until_there_is_room(
    small_disk: Path, tmp_path: Path
) -> None:
    faulty = Faulty(small_disk)
    ballast = small_disk / "ballast"
    try:
        server = faulty.start(request_log=False)
        post(server, "first")
        pids = workers(server)
        ballast.write_bytes(bytes(1_000_000))

        refused = fill(server)

        assert_unavailable(refused)
        assert bodies(server)[0] == "first"
        ballast.unlink()
        assert_heals(server, pids)
        server.stop()
    finally:
        faulty.end()


def test_health_of_a_store_that_refuses_writes_is_told_and_no_error(
    faulty: Faulty, engine: str
) -> None:
    server = faulty.start(engine, request_log=False, workers=1)
    post(server, "first")
    limit = (server.folder / "messages.db-wal").stat().st_size
    for pid in workers(server):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    answer = requests.get(
        server.url + "/v2/health", headers=HEADERS | {"X-Roles": "admin"}, timeout=60
    )

    assert answer.status_code == 200
    steps = answer.json()["operation_status"]
    for name in ("create_queue", "post_messages"):
        assert steps[name]["succeeded"] is False
        assert steps[name]["ref"] in server.output()


def test_locked_store_is_answered_503_and_goes_on_to_be_read(faulty: Faulty) -> None:
    server = faulty.start()
    post(server, "first")
    pids = workers(server)
    answers: list[requests.Response] = []
    threads = [
        threading.Thread(target=lambda: answers.append(post(server, "late")))
        for _ in range(6)
    ]

    with locked(server):
        for thread in threads:
            thread.start()
            time.sleep(0.1)
        read = bodies(server)
        for thread in threads:
            thread.join()

    assert read == ["first"]
    for answer in answers:
        assert_unavailable(answer)
    assert max(answer.elapsed.total_seconds() for answer in answers) < 10
    assert_heals(server, pids)
    server.stop()


# Starting -----------------------------------------------------------------------------


def run_server(folder: Path, options: Options) -> subprocess.CompletedProcess[str]:
    path = folder / "zaqar.conf"
    path.write_text(render(options))
    return subprocess.run(
        [BIN / "zaqar-server", "--config-file", path],
        capture_output=True,
        text=True,
        timeout=20,
    )


def assert_refused_to_start(done: subprocess.CompletedProcess[str], told: str) -> None:
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert len(done.stderr.splitlines()) < 5


def test_port_of_another_program_stops_the_start(tmp_path: Path, engine: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        done = run_server(
            tmp_path,
            {
                "drivers:transport:wsgi": {"port": port},
                "drivers:message_store:sqlite": {"uri": f"sqlite:///{tmp_path}/a.db"},
                "server": {"engine": engine},
            },
        )

    assert_refused_to_start(done, str(port))


def test_folder_that_cannot_be_written_stops_the_start(
    tmp_path: Path, engine: str
) -> None:
    done = run_server(
        tmp_path,
        {
            "drivers:transport:wsgi": {"port": free_port()},
            # Nobody can make files there, whoever runs the tests.
            "drivers:message_store:sqlite": {"uri": "sqlite:////proc/zaqar/a.db"},
            "server": {"engine": engine},
        },
    )

    assert_refused_to_start(done, "/proc/zaqar/a.db")


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ('"queue:create": "role:creator"\n', "queue:create"),
        (' \udcff\n', "policy"),
        ('"queues:create": "role:creator\n', "policy"),
        ("queues:create: [\n", "policy"),
        ("\t", "policy"),
        ("- queues:create\n", "policy"),
        ("queues:create: 5\n", "policy"),
    ],
    ids=["unknown rule", "no UTF-8", "open quote", "open bracket", "tab", "list",
         "number"],
)  # fmt: skip
def test_policy_that_cannot_hold_stops_the_start_with_one_line(
    tmp_path: Path, engine: str, policy: str, told: str
) -> None:
    (tmp_path / "policy.yaml").write_bytes(policy.encode(errors="surrogateescape"))

    done = run_server(
        tmp_path,
        {
            "drivers:transport:wsgi": {"port": free_port()},
            "drivers:message_store:sqlite": {"uri": f"sqlite:///{tmp_path}/a.db"},
            "server": {"engine": engine},
            "oslo_policy": {"policy_file": f"{tmp_path}/policy.yaml"},
        },
    )

    assert_refused_to_start(done, told)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


def test_policy_holds_until_the_next_start(faulty: Faulty) -> None:
    policy = faulty.folder / "policy.yaml"
    policy.write_text('{"queues:get_all": "role:reader"}')
    server = faulty.start(workers=1)  # Another one may still read the file.

    policy.write_text('{"queues:get_all": "", "messages:create": "!"}')
    later = time.time() + 100
    os.utime(policy, (later, later))
    during = [statuses_of(server) for _ in range(10)]
    server.stop()
    after = statuses_of(faulty.start())

    assert during == [(403, 201)] * 10
    assert after == (200, 403)


def statuses_of(server: Server) -> tuple[int, int]:
    """Return how listing queues and posting are answered."""
    queues = requests.get(server.url + "/v2/queues", headers=HEADERS, timeout=60)
    return queues.status_code, post(server).status_code


# Logs ---------------------------------------------------------------------------------


@pytest.fixture
def piped(tmp_path: Path, engine: str) -> Iterator[tuple[Server, FileIO, FileIO]]:
    """A server whose standard output is a pipe, and the ends of the pipe."""
    options: Options = {
        "server": {"engine": engine, "workers": 2, "threads": 4},
        "transport": {"max_messages_per_page": PAGE},
    }
    reading, writing = os.pipe()
    with FileIO(reading) as reader, FileIO(writing, "wb") as writer:
        server = Server(tmp_path, options, stdout=writing)
        try:
            server.wait_until_ready()
            yield server, reader, writer
        finally:
            server.kill()


def test_reader_of_the_log_that_goes_away_changes_no_answer(
    piped: tuple[Server, FileIO, FileIO],
) -> None:
    server, reader, writer = piped
    writer.close()
    reader.close()

    answers = [post(server, number) for number in range(10)]

    assert [answer.status_code for answer in answers] == [201] * 10
    assert bodies(server) == [*range(10)]


def test_log_that_takes_no_more_changes_no_answer(
    piped: tuple[Server, FileIO, FileIO],
) -> None:
    server, _, writer = piped
    os.set_blocking(writer.fileno(), False)
    while writer.write(b"x"):
        pass

    answers = [post(server, number) for number in range(10)]

    assert [answer.status_code for answer in answers] == [201] * 10
    assert bodies(server) == [*range(10)]


def test_path_with_a_line_feed_forges_no_line_of_the_log(faulty: Faulty) -> None:
    server = faulty.start()
    post(server)
    path = MESSAGES + "/x%0A2026-01-01%20CRITICAL%20forged"

    with locked(server):
        answer = requests.delete(server.url + path, headers=HEADERS, timeout=60)

    assert_unavailable(answer)
    told = [line for line in server.output().splitlines() if "forged" in line]
    assert any("ERROR" in line and r"x\n2026-01-01 CRITICAL forged" in line
               for line in told)  # fmt: skip
    assert not any(line.startswith("2026-01-01") for line in told)


# Collecting beside a server -----------------------------------------------------------


def test_expired_messages_are_collected_beside_a_running_server(
    faulty: Faulty,
) -> None:
    path = faulty.folder / "messages.db"
    store = SqliteStore(str(path))
    past, key = time.time() - 1000, QueueKey("faults", "old")
    store.put_queue(key, {}, delays=False, revision="r1", now=past)
    expired = [NewMessage(f"id-{n}", b"{}", 60) for n in range(3000)]
    store.post_messages(key, expired, client="c", revision="r1", now=past)
    store.close()
    server = faulty.start(sweep_interval=3600)

    with Producers(server) as producers:
        producers.wait_for(20)
        done = subprocess.run(
            [BIN / "zaqar-gc", "--config-file", server.config],
            capture_output=True,
            text=True,
            timeout=30,
        )
        producers.wait_for(20)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert producers.statuses() == {201}
    assert_all_there(server, producers)
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT count(*) FROM messages WHERE id LIKE 'id-%'"
        assert connection.execute(query).fetchone() == (0,)
    server.stop()

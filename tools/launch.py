# SPDX-License-Identifier: Apache-2.0
"""What the fault and soak tools share: a real server to strike, and a plain client.

Knows how `zaqar-server` is started, found in /proc and ended, and how one HTTP request
of the API is sent; judges nothing.
"""

import contextlib
import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from zaqar.bench import cpu

# Sections of a configuration file.
Options = Mapping[str, Mapping[str, object]]

HOST = "127.0.0.1"
START_SECONDS = 30.0
STOP_SECONDS = 40.0
# What an HTTP exchange may end in when its server is killed.
BROKEN = (OSError, http.client.HTTPException)


class CannotRun(Exception):
    """Raised when the tool lacks what it needs; the message says what."""


def program(name: str) -> str:
    """Return the path of a console script of this installation, or one on PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise CannotRun(f"{name} is neither beside {sys.executable} nor on PATH.")
    return found


# By which one asks a tool to stop.
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def end_by_signals() -> None:
    """Let a signal end this process as an error does: what it started is ended too.

    Both are set, for a shell has what it starts in the background ignore SIGINT.
    """
    for each in SIGNALS:
        signal.signal(each, lambda number, _: sys.exit(128 + number))


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Let signals wait for the end of this: what is half made cannot be ended.

    Not by a mask, which the programs that are started meanwhile would have too.
    """
    held: list[int] = []
    known = {
        each: signal.signal(each, lambda number, _: held.append(number))
        for each in SIGNALS
    }
    try:
        yield
    finally:
        for each, handler in known.items():
            signal.signal(each, handler)
        for number in held[:1]:
            signal.raise_signal(number)


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A `zaqar-server` on a port and a store that stay the same over restarts.

    `store` are the options that name the store, if it is not a file in `folder`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        engine: str,
        workers: int = 2,
        threads: int = 8,
        synchronous: str = "FULL",
        prefix: Sequence[str] = (),
        store: Options | None = None,
    ) -> None:
        self.port = free_port()
        self.log = folder / "server.log"
        config = folder / "zaqar.conf"
        options: Options = {
            "drivers:transport:wsgi": {"bind": HOST, "port": self.port},
            "server": {
                "engine": engine,
                "workers": workers,
                "threads": threads,
                "request_log": "false",
            },
            **(store or sqlite_file(folder, synchronous)),
        }
        config.write_text(render(options))
        self._command = [
            *prefix,
            program("zaqar-server"),
            "--config-file",
            str(config),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that was started; its group is the whole server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it is ready. Raises CannotRun."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start the server's process."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.log.parent,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Wait until the server answers. Raises CannotRun."""
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if self.has_ended() or time.monotonic() > deadline:
                self.kill()
                tail = self.log.read_text(errors="replace")[-2000:]
                raise CannotRun(f"The server did not become ready:\n{tail}")
            time.sleep(0.02)

    def has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def is_ready(self) -> bool:
        try:
            return Caller(self.port, timeout=5).call("GET", "/readyz").status == 204
        except BROKEN:
            return False

    def workers(self) -> list[int]:
        """List the processes that serve: the children that are not interpreters'
        helpers."""
        return [pid for pid in children(self.pid) if b"tracker" not in command(pid)]

    def notifiers(self) -> list[int]:
        """List the processes that deliver: a thread of a worker starts one."""
        return [
            pid
            for worker in self.workers()
            for pid in cpu.children(worker)
            if b"zaqar.server.notifier" in command(pid)
        ]

    def kill(self) -> None:
        """End all processes of the server at once, without a word."""
        if self._process is None:
            return
        # It may have ended by itself, with all of its group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        """Ask the server to stop and return its exit code; kill it if it does not."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return -int(signal.SIGKILL)
        finally:
            self.kill()


def sqlite_file(folder: Path, synchronous: str) -> Options:
    """Return the options of a store that is a file in the folder."""
    file = f"sqlite:///{folder / 'messages.db'}"
    return {"drivers:message_store:sqlite": {"uri": file, "synchronous": synchronous}}


def render(options: Options) -> str:
    """Return the options as the text of a configuration file."""
    lines = []
    for section, values in options.items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {value}" for name, value in values.items()]
    return "\n".join(lines) + "\n"


class Weight(NamedTuple):
    """What a process weighs: its threads, its open files, and the memory that it has,
    in KiB."""

    threads: int
    files: int
    kib: int


def weigh(pid: int) -> Weight:
    """Weigh a process. Raises OSError if it is gone."""
    threads = len(os.listdir(f"/proc/{pid}/task"))
    files = len(os.listdir(f"/proc/{pid}/fd"))
    # NOTE: not its share (Pss), for that rises when others end, and when the collector
    # of garbage has touched what was shared since the fork.
    return Weight(threads, files, memory(pid)["Rss"])


def memory(pid: int) -> dict[str, int]:
    """Return the memory of a process by kind (Rss, Pss, ..), in KiB."""
    lines = _proc(pid, "smaps_rollup").decode().splitlines()[1:]
    pairs = (line.partition(":") for line in lines)
    return {name: int(value.split()[0]) for name, _, value in pairs}


def children(pid: int) -> list[int]:
    """List the living children of a process."""
    try:
        return [int(n) for n in _proc(pid, f"task/{pid}/children").split()]
    except OSError:
        return []


def command(pid: int) -> bytes:
    """Return the command line of a process; empty if it is gone."""
    try:
        return _proc(pid, "cmdline")
    except OSError:
        return b""


def _proc(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


class Answer(NamedTuple):
    """A complete HTTP answer; `document` is None where there is no body."""

    status: int
    headers: http.client.HTTPMessage
    document: Any

    @property
    def location(self) -> str:
        return self.headers.get("Location") or ""


class Caller:
    """One kept-alive connection of a client; any failure makes it connect anew."""

    def __init__(
        self, port: int, *, project: str = "faults", timeout: float = 15.0
    ) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
        self._headers = {
            "Client-ID": "5b0bc0d8-5f3e-4f1c-9d2c-6a3c1f6c0f11",
            "X-Project-ID": project,
            "Content-Type": "application/json",
        }

    def connect(self) -> int:
        """Connect unless connected; the connection's own port.

        Done apart from a request, so that a refusal is known not to have been one.
        """
        idle = self._connection.sock
        if idle is not None and select.select([idle], [], [], 0)[0]:
            self._connection.close()  # the server has hung up
        if self._connection.sock is None:
            self._connection.connect()
            self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        port: int = self._connection.sock.getsockname()[1]
        return port

    def call(self, method: str, path: str, document: Any = None) -> Answer:
        """Send a request and read the whole answer. Raises BROKEN."""
        body = None if document is None else json.dumps(document)
        try:
            self.connect()
            self._connection.request(method, path, body, self._headers)
            response = self._connection.getresponse()
            data = response.read()
            return Answer(
                response.status, response.headers, json.loads(data) if data else None
            )
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        self._connection.close()

# SPDX-License-Identifier: Apache-2.0
"""Starts servers to measure on free ports of this machine, and ends them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from zaqar.bench.limit import MESSAGE_SIZE
from zaqar.bench.requests import Target

LOOPBACK = "127.0.0.1"
START = 20.0  # seconds until a server must listen
SPREAD = 3.0  # seconds until all of its workers must
LISTENING = "0A"
CONFIGURATION = """\
[DEFAULT]
pooling = {pooling}
admin_mode = {pooling}
[drivers]
message_store = {driver}
[drivers:management_store:sqlite]
uri = sqlite:///{folder}/registry.db
[drivers:transport:wsgi]
bind = {host}
port = {port}
[drivers:message_store:{driver}]
{section}
[notification]
deliver = false
[server]
engine = {engine}
workers = {workers}
threads = {threads}
request_log = {request_log}
{more}
"""


class ServerFailed(Exception):
    """Raised when a server did not start; carries the end of its log."""


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def listeners(port: int) -> int:
    """Count the IPv4 sockets that listen on a port."""
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    wanted = f":{port:04X}"
    words = [row.split() for row in rows]
    return sum(1 for row in words if row[1].endswith(wanted) and row[3] == LISTENING)


class Server:
    """A child process that listens on a port; a context manager."""

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        log: Path,
        *,
        label: str,
        sockets: int = 1,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.command = list(command)
        self.port = port
        self.log = log
        self.label = label
        self.sockets = sockets
        self.environment = {**os.environ, **(environment or {})}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def target(self) -> Target:
        """Return how the running server is reached and watched."""
        pids = (self.process.pid,) if self.process else ()
        return Target(LOOPBACK, self.port, label=self.label, pids=pids)

    def __enter__(self) -> Self:
        with self.log.open("ab") as output:
            # Out of the terminal's process group: a Ctrl-C is for the tool.
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environment,
                start_new_session=True,
            )
        try:
            self._await(1, START)
        except ServerFailed:
            self.stop()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server, in the end by force."""
        process = self.process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.process = None

    def _await(self, count: int, patience: float) -> None:
        """Wait until the server listens, a little longer until all its workers do."""
        assert self.process is not None
        deadline = time.monotonic() + patience
        while listeners(self.port) < count:
            if self.process.poll() is not None or time.monotonic() > deadline:
                if count > 1:
                    return
                end = self.log.read_text(errors="replace")[-2000:]
                raise ServerFailed(f"{self.label} does not listen:\n{end}")
            time.sleep(0.05)
        if count < self.sockets:
            self._await(self.sockets, SPREAD)


def bare_server(
    folder: Path, *, size: int, workers: int = 2, threads: int = 8
) -> Server:
    """Return the bare application under gunicorn, not started yet."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--worker-class", "gthread"]
    command += ["--bind", f"{LOOPBACK}:{port}", "--reuse-port", "--keep-alive", "75"]
    command += ["--workers", str(workers), "--threads", str(threads)]
    command += ["--log-level", "warning", *without_control_socket()]
    return Server(
        [*command, "zaqar.bench.limit:application"],
        port,
        folder / "bare.log",
        label="bare",
        sockets=workers,
        environment={MESSAGE_SIZE: str(size)},
    )


def real_server(
    folder: Path,
    *,
    driver: str,
    section: str,
    label: str,
    engine: str,
    workers: int,
    threads: int,
    request_log: bool,
    pooling: bool = False,
    more: str = "",
) -> Server:
    """Return the service itself, not started yet; the section is that of its store.

    `more` are other sections.
    """
    port = free_port()
    text = CONFIGURATION.format(
        host=LOOPBACK,
        port=port,
        driver=driver,
        section=section,
        engine=engine,
        workers=workers,
        threads=threads,
        request_log=request_log,
        pooling=pooling,
        folder=folder,
        more=more,
    )
    configuration = folder / "zaqar.conf"
    configuration.write_text(text)
    return Server(
        [program("zaqar-server"), "--config-file", str(configuration)],
        port,
        folder / "server.log",
        label=label,
        sockets=workers,
    )


def program(name: str) -> str:
    """Return a console script: that beside this Python, or that on the PATH."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name) or name


def without_control_socket() -> list[str]:
    """Return the option that keeps a newer gunicorn from making its control socket."""
    from gunicorn.config import KNOWN_SETTINGS

    names = {setting.name for setting in KNOWN_SETTINGS}
    return ["--no-control-socket"] if "control_socket_disable" in names else []

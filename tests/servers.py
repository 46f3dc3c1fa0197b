# SPDX-License-Identifier: Apache-2.0
"""Starts and stops real server processes for tests.

Knows how a server is configured and told to stop; knows nothing of what it answers
beyond `/readyz`.
"""

import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

Options = Mapping[str, Mapping[str, object]]

# Signs the URLs of every test server that is told no other.
SECRET_KEY = "2f9a0c4e" * 8

START_SECONDS = 60
STOP_SECONDS = 20

# Below those that Linux gives to clients, as is the bus of a cluster, 10,000 above.
PORTS = (12000, 22000)
HELD: deque[socket.socket] = deque()
MOST_HELD = 100

# The same tests on another engine: set this when you run them.
ENGINE = os.environ.get("ZAQAR_TEST_ENGINE", "gunicorn")


class Server:
    """A running `zaqar-server`, or other command, with a store of its own in `folder`.

    What it prints stands in `log`, its standard output only if no other is given.
    The words {address} and {config} of a command are filled in. A command that takes
    no configuration file finds it in its home folder.
    """

    def __init__(
        self,
        folder: Path,
        options: Options | None = None,
        *,
        command: Sequence[str] = ("zaqar-server", "--config-file", "{config}"),
        environment: Mapping[str, str] | None = None,
        stdout: int | None = None,
    ) -> None:
        self.folder = folder
        self.host, self.port = "127.0.0.1", free_port()
        self.log = folder / "server.log"
        self.config = folder / ".zaqar" / "zaqar.conf"
        self.config.parent.mkdir(exist_ok=True)
        self.config.write_text(render(self.merged(options or {})))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.filled(command),
                stdin=subprocess.DEVNULL,
                stdout=log if stdout is None else stdout,
                stderr=log,
                cwd=folder,
                env={**os.environ, "HOME": str(folder), **(environment or {})},
                start_new_session=True,
            )

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    def filled(self, command: Sequence[str]) -> list[str]:
        program, *arguments = command
        words = {"address": f"{self.host}:{self.port}", "config": str(self.config)}
        script = Path(sys.executable).with_name(program)
        return [str(script), *(word.format(**words) for word in arguments)]

    def merged(self, options: Options) -> Options:
        """Return the options with everything that a test server needs filled in."""
        store = f"sqlite:///{self.folder / 'messages.db'}"
        registry = f"sqlite:///{self.folder / 'registry.db'}"
        needed: Options = {
            "DEFAULT": {"admin_mode": True},
            "drivers:transport:wsgi": {"bind": self.host, "port": self.port},
            "drivers:message_store:sqlite": {"uri": store, "synchronous": "NORMAL"},
            "drivers:management_store:sqlite": {"uri": registry},
            "server": {"workers": 1, "threads": 4, "engine": ENGINE},
            # It takes half a second of a processor, and most tests tell nobody.
            "notification": {"deliver": False},
            "signed_url": {"secret_key": SECRET_KEY},
            "oslo_policy": {"policy_file": str(self.folder / "policy.yaml")},
        }
        return merge(needed, options)

    def wait_until_ready(self, path: str = "/readyz") -> None:
        """Return once this path answers; fail if the process ends or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"The server ended at once:\n{self.output()}")
            if self.answers(path):
                return
            time.sleep(0.02)
        self.kill()
        raise AssertionError(f"Not ready in {START_SECONDS} s:\n{self.output()}")

    def answers(self, path: str) -> bool:
        connection = http.client.HTTPConnection(*self.address, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status in (200, 204)
        except OSError:
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        """Ask the server to stop; fail unless it does so in time and in peace."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(
                f"Still running {STOP_SECONDS} s after SIGTERM:\n{self.output()}"
            ) from None
        assert code == 0, f"Exit code {code} after SIGTERM:\n{self.output()}"
        assert "Traceback" not in self.output(), self.output()

    def kill(self) -> None:
        """End the server and its workers at once; they are one process group."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def output(self) -> str:
        return self.log.read_text(errors="replace")


def merge(options: Options, others: Options) -> Options:
    """Return the options of both; the others rule."""
    groups = [*options, *(group for group in others if group not in options)]
    return {
        group: {**options.get(group, {}), **others.get(group, {})} for group in groups
    }


def render(options: Options) -> str:
    """Return the options as the text of a configuration file."""
    lines = []
    for group, values in options.items():
        lines.append(f"[{group}]")
        lines += [f"{name} = {value}" for name, value in values.items()]
    return "\n".join(lines) + "\n"


def free_port() -> int:
    """Return a port of this machine that nobody else who asks here gets meanwhile.

    A server that shares its port with its own workers does not notice another one that
    has the same port: two of parallel tests would serve each other's clients. So what
    was given is held for a while, by a socket of the other protocol; and it is none
    that the system gives to the connections of clients.
    """
    while True:
        port = random.SystemRandom().randrange(*PORTS)
        held = socket.socket(type=socket.SOCK_DGRAM)
        try:
            held.bind(("127.0.0.1", port))
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", port))
        except OSError:
            held.close()
            continue
        HELD.append(held)
        if len(HELD) > MOST_HELD:
            HELD.popleft().close()
        return port

# SPDX-License-Identifier: Apache-2.0
"""Starts real memcached servers for tests.

The program is `memcached` on PATH. Where there is none tests are skipped, unless
`ZAQAR_TEST_REQUIRE` names `memcached`.
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from urllib.parse import unquote

import pytest

from tests.servers import free_port

START_SECONDS = 20


def program() -> str:
    """Return the path of a server; skip the test or fail if there is none."""
    if found := shutil.which("memcached"):
        return found
    absent = "There is no memcached on PATH."
    if "memcached" in os.environ.get("ZAQAR_TEST_REQUIRE", ""):
        pytest.fail(absent)
    pytest.skip(absent)


class MemcachedServer:
    """A server that has nothing yet; it can be hung and killed."""

    def __init__(self) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [
                *(program(), "-l", "127.0.0.1", "-p", str(self.port)),
                # It wants to be told who to be where it would be root.
                *("-m", "16", "-u", getpass.getuser()),
            ],
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.kill()
                raise AssertionError("memcached did not start.")
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            return self.ask("version").startswith("VERSION")
        except OSError:
            return False

    def ask(self, command: str) -> str:
        """Send one command and return all that is answered."""
        told = b""
        with socket.create_connection(("127.0.0.1", self.port), 20) as connection:
            connection.sendall(f"{command}\r\n".encode())
            # The connection stays open; each of these is the end of some answers.
            for line in connection.makefile("rb"):
                told += line
                if line in (b"END\r\n", b"OK\r\n") or line.startswith(b"VERSION "):
                    break
        return told.decode(errors="replace")

    def contents(self) -> str:
        """Return all keys with all values."""
        shown = []
        for line in self.ask("lru_crawler metadump all").splitlines():
            if line.startswith("key="):
                key = unquote(line.split()[0].removeprefix("key="))
                shown.append(self.ask(f"get {key}"))
        return "\n".join(shown)

    def hang(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def memcached() -> Iterator[MemcachedServer]:
    """A server of the test's own."""
    server = MemcachedServer()
    yield server
    server.kill()

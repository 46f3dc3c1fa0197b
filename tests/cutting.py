# SPDX-License-Identifier: Apache-2.0
"""A proxy before a server that can swallow answers, cut connections and refuse them."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress


def is_answer_of_a_script(data: bytes) -> bool:
    """Tell what Redis answers to scripts from what it says in the handshake."""
    return data[:1] in b"*$:"


class Cutter:
    """Forwards what clients send. While `cuts` is above 0, each connection that gets an
    answer that `counts` is cut instead, and the answer is lost: the whole of it, or
    with `halves` all but its first half."""

    def __init__(
        self, port: int, counts: Callable[[bytes], bool] = is_answer_of_a_script
    ) -> None:
        self._server = ("127.0.0.1", port)
        self._counts = counts
        self.port = 0
        self.cuts = 0
        self.lost = 0
        self.halves = False
        self._lines: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.open()

    @property
    def uri(self) -> str:
        return f"redis://127.0.0.1:{self.port}?socket_timeout=4"

    def open(self) -> None:
        """Accept connections, on the same port as before."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        self._run(self._accept, self._listener)

    def close(self) -> None:
        """Refuse connections, and end those that there are."""
        close(self._listener)
        for line in list(self._lines):
            close(line)
        for thread in self._threads:
            thread.join(timeout=5)
        self._threads.clear()

    def _run(self, work: Callable[..., None], *lines: socket.socket) -> None:
        thread = threading.Thread(target=work, args=lines, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._server)
            except OSError:
                close(client)
                continue
            for line in (client, server):
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._lines.add(line)
            self._threads = [one for one in self._threads if one.is_alive()]
            self._run(self._send, client, server)
            self._run(self._answer, client, server)

    def _send(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while data := client.recv(65536):
                server.sendall(data)
        except OSError:
            pass
        finally:
            close(server)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while data := server.recv(65536):
                if self.cuts > 0 and self._counts(data):
                    self.cuts -= 1
                    self.lost += 1
                    client.sendall(data[: len(data) // 2] if self.halves else b"")
                    break
                client.sendall(data)
        except OSError:
            pass
        finally:
            for line in (client, server):
                close(line)
                self._lines.discard(line)


def close(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
    line.close()

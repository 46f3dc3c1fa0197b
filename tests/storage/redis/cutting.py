# SPDX-License-Identifier: Apache-2.0
"""A proxy before a server that can swallow answers and cut connections."""

import socket
import threading
from contextlib import suppress


class Cutter:
    """Forwards what clients send. While `cuts` is above 0, each connection that gets an
    answer is cut instead, and the answer is lost."""

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cuts = 0
        self.lost = 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def uri(self) -> str:
        return f"redis://127.0.0.1:{self.port}?socket_timeout=4"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            for work in (self._send, self._answer):
                thread = threading.Thread(
                    target=work, args=(client, server), daemon=True
                )
                thread.start()
                self._threads.append(thread)

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
                # Only the answers of scripts: those of the handshake get through.
                if self.cuts > 0 and data[:1] in b"*$:":
                    self.cuts -= 1
                    self.lost += 1
                    break
                client.sendall(data)
        except OSError:
            pass
        finally:
            close(client)
            close(server)

    def close(self) -> None:
        close(self._listener)
        for thread in self._threads:
            thread.join(timeout=5)


def close(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
    line.close()

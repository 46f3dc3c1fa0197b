# SPDX-License-Identifier: Apache-2.0
"""Subscribers of functional tests: HTTP servers in threads, good and bad ones."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any, ClassVar

SECONDS = 60.0


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "It did not come to pass."
        time.sleep(0.02)


class Sink:
    """Takes what is posted to any path, and answers as told for that path."""

    def __init__(self) -> None:
        self.taken: dict[str, list[Any]] = {}
        self.headers: dict[str, list[Mapping[str, str]]] = {}
        self.statuses: dict[str, Callable[[], int]] = {}
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = sink.statuses.get(self.path, lambda: 200)()
                sink.headers.setdefault(self.path, []).append(dict(self.headers))
                if status < 300:
                    sink.taken.setdefault(self.path, []).append(json.loads(body))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def bodies(self, path: str) -> list[Any]:
        return [taken["body"] for taken in self.taken.get(path, [])]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Rogue:
    """Never ends its answers: how they begin depends on the path that is called.

    `calls` are the paths, once for each connection.
    """

    BEGINNINGS: ClassVar = {
        "/silent": b"",
        "/dripping": b"HTTP/1.1 200 OK\r\nX-Drip: ",
        "/endless": b"HTTP/1.1 200 OK\r\n\r\n",
    }

    def __init__(self) -> None:
        self.calls: list[str] = []
        rogue = self

        class Handler(StreamRequestHandler):
            def handle(self) -> None:
                path = self.rfile.readline().split()[1].decode()
                rogue.calls.append(path)
                with suppress(OSError):
                    self.wfile.write(rogue.BEGINNINGS["/" + path.split("/")[1]])
                    while not path.startswith("/silent"):
                        is_endless = path.startswith("/endless")
                        self.wfile.write(b"x" * (65536 if is_endless else 1))
                        time.sleep(0 if is_endless else 0.1)
                    # Until the other side hangs up.
                    while self.rfile.read(65536):
                        pass

        class Server(ThreadingTCPServer):
            request_queue_size = 1024
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

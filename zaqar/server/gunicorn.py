# SPDX-License-Identifier: Apache-2.0
"""The default engine: gunicorn with threads."""

import json
import os
import signal
from typing import Any

from gunicorn import util
from gunicorn.app.base import BaseApplication
from gunicorn.http.errors import (
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
)
from gunicorn.workers.gthread import ThreadWorker

from zaqar.conf import Settings
from zaqar.server.processes import PerProcessApplication

KEEPALIVE = 75
MAX_HEADER = 16384
MAX_LINE = 8190  # gunicorn allows no more
MAX_HEADERS = 100
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class Worker(ThreadWorker):  # type: ignore[misc]
    """A threaded worker that answers what it cannot parse in JSON."""

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        if not isinstance(exc, ParseException):
            super().handle_error(req, client, addr, exc)
            return
        status, reason, title, limit = _explained(exc)
        self.log.warning("Request refused from %s: %s", addr, exc)
        body = json.dumps({"title": title, "description": f"{exc}. {limit}".strip()})
        util.write_nonblock(
            client,
            (
                f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\n"
                "Content-Type: application/json\r\n"
                f"Content-Length: {len(body.encode())}\r\n\r\n{body}"
            ).encode(),
        )


def _explained(exc: Exception) -> tuple[int, str, str, str]:
    """Return status, reason, title, and the limit where one was passed."""
    if isinstance(exc, LimitRequestLine):
        limit = f"The request line may have at most {MAX_LINE} bytes."
        return 414, "URI Too Long", "Invalid API request", limit
    if isinstance(exc, LimitRequestHeaders):
        limit = (
            f"A request may have at most {MAX_HEADERS} headers of "
            f"{MAX_HEADER} bytes each."
        )
        return 431, "Request Header Fields Too Large", "Invalid API request", limit
    return 400, "Bad Request", "Bad request", ""


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, configured by our options instead of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        settings = self._settings
        host = f"[{settings.bind}]" if ":" in settings.bind else settings.bind
        for name, value in {
            "bind": f"{host}:{settings.port}",
            "workers": settings.workers,
            "threads": settings.threads,
            "worker_class": Worker,
            # Without it, all kept-alive connections may land on one worker.
            "reuse_port": True,
            "keepalive": KEEPALIVE,
            "graceful_timeout": settings.graceful_timeout,
            "timeout": 60,
            # SECURITY: nobody but a proxy of ours may say where the service is mounted.
            "forwarded_allow_ips": ",".join(settings.trusted_proxies),
            "forwarder_headers": "SCRIPT_NAME" if settings.trusted_proxies else "",
            "limit_request_line": MAX_LINE,
            "limit_request_field_size": MAX_HEADER,
            "limit_request_fields": MAX_HEADERS,
            "post_worker_init": lambda worker: worker.wsgi.start(),
            "proc_name": "zaqar-server",
            # Nobody asks for it, and it would be a file in the home folder.
            "control_socket_disable": True,
        }.items():
            self.cfg.set(name, value)

    def load(self) -> PerProcessApplication:
        return PerProcessApplication(self._settings)


def serve(settings: Settings) -> None:
    """Serve until a signal stops it."""
    _let_new_workers_hear_signals()
    Server(settings).run()


def _let_new_workers_hear_signals() -> None:
    """Let a signal that stops the server end a worker that has just been forked.

    Until a worker has handlers of its own it has those of the parent, which only note
    the signal for a loop that never runs there: the worker would serve on, and the
    parent wait for it as long as `graceful_timeout`.
    """

    def hold() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)

    def go_on() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)

    def begin() -> None:
        for number in STOPPING:
            signal.signal(number, signal.SIG_DFL)
        go_on()

    os.register_at_fork(before=hold, after_in_parent=go_on, after_in_child=begin)

# SPDX-License-Identifier: Apache-2.0
"""The fast engine: granian, whose HTTP part is not Python."""

import json
import os
import signal
import threading
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server import Server

from zaqar.conf import Settings
from zaqar.server.notifier import Notifier
from zaqar.server.processes import PerProcessApplication, StartResponse

MAX_BUFFER = 65536
MAX_HEADER = 16384
PARENT_CHECK_SECONDS = 1.0


def serve(settings: Settings) -> None:
    """Serve until a signal stops it."""

    notifier = Notifier(settings)

    def load() -> Limited:
        application = PerProcessApplication(settings, notifier.start)
        application.start()
        threading.Thread(
            target=_stop_with, args=(os.getppid(),), name="parent", daemon=True
        ).start()
        return Limited(application)

    os.register_at_fork(after_in_child=_forget_handlers)
    Server(
        "zaqar",
        address=settings.bind,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=settings.workers,
        blocking_threads=settings.threads,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(max_buffer_size=MAX_BUFFER),
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=settings.graceful_timeout,
    ).serve(target_loader=load, wrap_loader=False)


class Limited:
    """Refuses what gunicorn refuses before the application is asked."""

    def __init__(self, application: PerProcessApplication) -> None:
        self._application = application

    def __call__(
        self, environ: dict[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        for name, value in environ.items():
            if name.startswith("HTTP_") and len(value) > MAX_HEADER:
                text = f"A header may have at most {MAX_HEADER} bytes."
                return _refuse(start_response, 431, text)
        return self._application(environ, start_response)


def _refuse(start_response: StartResponse, status: int, text: str) -> list[bytes]:
    body = json.dumps({"title": "Bad request", "description": text}).encode()
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
    ]
    start_response(f"{status} {HTTPStatus(status).phrase}", headers)
    return [body]


def _forget_handlers() -> None:
    """Let a signal stop a worker that has no handlers of its own yet.

    Those of its parent would swallow it.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def _stop_with(parent: int) -> None:
    """Stop this worker when the parent is gone: nobody else would."""
    pause = threading.Event()
    while os.getppid() == parent:
        pause.wait(PARENT_CHECK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)

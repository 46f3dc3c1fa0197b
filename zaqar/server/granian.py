# SPDX-License-Identifier: Apache-2.0
"""The fast engine: granian, whose HTTP part is not Python."""

import os
import signal
import threading

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server import Server

from zaqar.conf import Settings
from zaqar.server.processes import PerProcessApplication

MAX_BUFFER = 65536
PARENT_CHECK_SECONDS = 1.0


def serve(settings: Settings) -> None:
    """Serve until a signal stops it."""

    def load() -> PerProcessApplication:
        application = PerProcessApplication(settings)
        application.start()
        threading.Thread(
            target=_stop_with, args=(os.getppid(),), name="parent", daemon=True
        ).start()
        return application

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

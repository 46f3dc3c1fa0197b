# SPDX-License-Identifier: Apache-2.0
"""The fast engine: granian, whose HTTP part is not Python."""

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server import Server

from zaqar.conf import Settings
from zaqar.server.processes import PerProcessApplication

MAX_BUFFER = 65536


def serve(settings: Settings) -> None:
    """Serve until a signal stops it."""

    def load() -> PerProcessApplication:
        application = PerProcessApplication(settings)
        application.start()
        return application

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

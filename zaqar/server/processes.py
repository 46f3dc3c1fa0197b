# SPDX-License-Identifier: Apache-2.0
"""What each serving process holds: a service, its WSGI application, its sweep."""

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

from oslo_log import log

from zaqar import service
from zaqar.conf import Settings
from zaqar.errors import StorageUnavailable
from zaqar.service import Service
from zaqar.transport.wsgi.build import build_app

LOG = log.getLogger(__name__)

StartResponse = Callable[..., Any]


class PerProcessApplication:
    """A WSGI application that builds its service in the process that serves.

    Files, locks and threads must not come from a parent process.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._building = threading.Lock()
        self._process = 0
        self._app: Any = None

    def __call__(
        self, environ: dict[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        if self._process != os.getpid():
            self.start()
        answer: Iterable[bytes] = self._app(environ, start_response)
        return answer

    def start(self) -> None:
        """Open the store and begin to sweep, once in each process."""
        with self._building:
            if self._process == os.getpid():
                return
            built = service.build(self._settings)
            self._app = build_app(built)
            start_sweeping(built)
            self._process = os.getpid()


def start_sweeping(swept: Service) -> None:
    """Collect what has expired, again and again, in a thread of this process."""
    threading.Thread(
        target=_sweep_for_ever, args=(swept,), name="sweep", daemon=True
    ).start()


def _sweep_for_ever(swept: Service) -> None:
    pause = threading.Event()
    while not pause.wait(swept.settings.sweep_interval):
        try:
            swept.store.sweep(now=swept.now())
        except StorageUnavailable as error:
            LOG.warning("The sweep waits for the store: %s", error)
        except Exception:
            LOG.exception("The sweep failed; it goes on.")

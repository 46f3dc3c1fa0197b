# SPDX-License-Identifier: Apache-2.0
"""What each serving process holds: a service, its WSGI application, its upkeep."""

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

MEASURE_SECONDS = 60.0
# While the store does not answer: it may be back at any time, and then this clock has
# to be right.
UNMEASURED_SECONDS = 1.0


class PerProcessApplication:
    """A WSGI application that builds its service in the process that serves.

    Files, locks and threads must not come from a parent process. `begin` is called in
    each process, once.
    """

    def __init__(
        self, settings: Settings, begin: Callable[[], None] | None = None
    ) -> None:
        self._settings = settings
        self._begin = begin
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
        """Open the store and begin its upkeep, once in each process."""
        with self._building:
            if self._process == os.getpid():
                return
            built = service.build(self._settings)
            self._app = build_app(built)
            start_upkeep(built)
            if self._begin is not None:
                self._begin()
            self._process = os.getpid()


def start_upkeep(served: Service) -> None:
    """Sweep and measure the clock, again and again, in threads of this process."""
    _repeat("sweep", served.settings.sweep_interval, lambda: _sweep(served))
    start_clock(served)


def start_clock(served: Service) -> None:
    """Measure the clock of the store, again and again."""
    _repeat("clock", UNMEASURED_SECONDS, lambda: _measure(served))


def _repeat(name: str, first: float, step: Callable[[], float]) -> None:
    """Run the step after `first` seconds, and then after as many as it returns."""

    def for_ever() -> None:
        pause, seconds = threading.Event(), first
        while not pause.wait(seconds):
            seconds = step()

    threading.Thread(target=for_ever, name=name, daemon=True).start()


def _sweep(served: Service) -> float:
    try:
        served.store.sweep(now=served.now())
    except StorageUnavailable as error:
        LOG.warning("The sweep waits for the store: %s", error)
    except Exception:
        LOG.exception("The sweep failed; it goes on.")
    return served.settings.sweep_interval


def _measure(served: Service) -> float:
    try:
        measured = served.clock.measure()
    except Exception:
        LOG.exception("The clock of the store cannot be read; it is tried again.")
        return MEASURE_SECONDS
    return MEASURE_SECONDS if measured else UNMEASURED_SECONDS

# SPDX-License-Identifier: Apache-2.0
"""The default engine: gunicorn with threads."""

import os
import signal

from gunicorn.app.base import BaseApplication

from zaqar.conf import Settings
from zaqar.server.buffering import Worker
from zaqar.server.connections import SECONDS, Phase
from zaqar.server.framing import MAX_HEADER, MAX_HEADERS, MAX_LINE
from zaqar.server.notifier import Notifier
from zaqar.server.processes import PerProcessApplication
from zaqar.transport.wsgi.requests import largest_body

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, configured by our options instead of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._notifier = Notifier(settings)
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
            "keepalive": int(SECONDS[Phase.IDLE]),
            "graceful_timeout": settings.graceful_timeout,
            "timeout": 60,
            # SECURITY: nobody but a proxy of ours may say where the service is mounted.
            "forwarded_allow_ips": ",".join(settings.trusted_proxies),
            "forwarder_headers": "SCRIPT_NAME" if settings.trusted_proxies else "",
            "limit_request_line": MAX_LINE,
            "limit_request_field_size": MAX_HEADER,
            "limit_request_fields": MAX_HEADERS,
            "post_worker_init": self._begin,
            "proc_name": "zaqar-server",
            # Nobody asks for it, and it would be a file in the home folder.
            "control_socket_disable": True,
        }.items():
            self.cfg.set(name, value)

    def _begin(self, worker: Worker) -> None:
        worker.max_body = largest_body(self._settings.limits)
        worker.wsgi.start()

    def load(self) -> PerProcessApplication:
        return PerProcessApplication(self._settings, self._notifier.start)


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

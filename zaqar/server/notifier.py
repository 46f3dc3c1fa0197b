# SPDX-License-Identifier: Apache-2.0
"""The process that delivers to subscribers, and the worker that keeps it running.

One of the workers of a server holds a lock and starts the process. When that worker
ends, however it does, the process sees the end of its standard input and goes, the
kernel gives the lock back, and another worker starts a new one. So there is one as long
as anybody serves, whoever is killed.

The processes that one worker starts, one after the other, hold outboxes by one name: so
the next one goes on with what one that was killed had leased.
"""

import asyncio
import fcntl
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress

from oslo_log import log

from zaqar import conf, service
from zaqar.conf import Settings
from zaqar.errors import ConfigurationError
from zaqar.notification import senders
from zaqar.notification.dispatcher import Dispatcher
from zaqar.server.processes import start_clock

LOG = log.getLogger(__name__)

LOOK_SECONDS = 1.0
# Who posts waits for the workers, and nobody waits for this process.
NICENESS = 5


class Notifier:
    """Keeps the process running; made by the parent of the workers that share it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Open as long as the server runs, without a name that anybody could find.
        self._place = tempfile.TemporaryFile()  # noqa: SIM115

    def start(self) -> None:
        """Keep it running from a thread of this worker, or stand by."""
        if self._settings.notification.deliver:
            threading.Thread(target=self._keep, name="notifier", daemon=True).start()

    def _keep(self) -> None:
        # A lock of the process, which its end gives back; children do not inherit it.
        while not self._is_ours():
            time.sleep(LOOK_SECONDS)
        # NOTE: of this worker alone. What another one started may live a little longer.
        holder = uuid.uuid4().hex
        command = [sys.executable, "-m", __name__, holder, *self._settings.arguments]
        while True:
            with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
                code = process.wait()
            # Who is told to end, by a signal, ends well.
            tell = LOG.error if code else LOG.warning
            tell("The notifier ended with code %s; another one starts.", code)
            time.sleep(LOOK_SECONDS)

    def _is_ours(self) -> bool:
        try:
            fcntl.lockf(self._place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def run(
    settings: Settings, *, holder: str | None = None, until_end_of_input: bool = False
) -> None:
    """Deliver until a signal says stop, or standard input ends. Raises
    ConfigurationError."""
    # Attempts are sockets, and the usual limit is 1024 files.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    built = service.build(settings)
    start_clock(built)
    try:
        asyncio.run(_deliver(built, holder or uuid.uuid4().hex, until_end_of_input))
    finally:
        built.close()


async def _deliver(
    built: service.Service, holder: str, until_end_of_input: bool
) -> None:
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)

    def wait_for_end() -> None:
        # NOTE: not by sys.stdin, whose lock this thread would hold when the process
        # ends by a signal; the interpreter aborts then.
        while os.read(sys.stdin.fileno(), 1024):
            pass
        loop.call_soon_threadsafe(stopping.set)

    if until_end_of_input:
        threading.Thread(target=wait_for_end, daemon=True).start()
    settings = built.settings
    async with senders.opened(settings.notification, settings.config) as tools:
        await Dispatcher(built, tools, holder).run(stopping)


def main(arguments: Sequence[str]) -> int:
    """Be the process that a worker keeps running, given the name that it holds by."""
    try:
        os.nice(NICENESS)
        holder, *options = arguments
        settings = conf.load(options)
        log.setup(settings.config, "zaqar")
        run(settings, holder=holder, until_end_of_input=True)
    except ConfigurationError as error:
        LOG.error("The notifier cannot start: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

# SPDX-License-Identifier: Apache-2.0
"""How a process that posted wakes one that delivers, on the same machine.

It rings a bell: a named pipe of their user, of which nothing is left to clean up when
somebody is killed. Of several who listen one or two hear it. It tells nothing but that
there is something to do, costs some microseconds, and nobody waits for it; who is not
woken looks for work all the same, a little later.
"""

import asyncio
import os
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import Self

from oslo_log import log

LOG = log.getLogger(__name__)

# More than a pipe holds.
ALL = 1 << 20
# How often somebody wakes at most: who posts to many queues rings for each of them that
# nobody serves yet.
PAUSE = 0.02


class Bell:
    """A pipe of a name; made by who listens, opened anew by each who rings."""

    def __init__(self, path: str) -> None:
        self.path = path

    def ring(self) -> None:
        """Wake who listens, if there is somebody who can be woken."""
        # Full: it rings already.
        with suppress(OSError), _opened(self.path, os.O_WRONLY) as pipe:
            os.write(pipe, b"!")

    @contextmanager
    def listening(self) -> Iterator[int]:
        """Lend a descriptor that can be read when it rings. Raises OSError."""
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        with suppress(FileExistsError):
            os.mkfifo(self.path, 0o600)
        # To write too: a pipe that nobody writes to could be read all the time.
        with _opened(self.path, os.O_RDWR) as pipe:
            yield pipe


@contextmanager
def _opened(path: str, mode: int) -> Iterator[int]:
    pipe = os.open(path, mode | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(pipe)
        # SECURITY: whoever else has put it there would learn when there are posts.
        if not stat.S_ISFIFO(found.st_mode) or found.st_uid != os.geteuid():
            raise PermissionError(f"{path} is no pipe of this user.")
        yield pipe
    finally:
        os.close(pipe)


class Ear:
    """Hears the bell in a loop of asyncio, if that can be; to be entered and left."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._rung = asyncio.Event()
        self._woken_at = 0.0
        self._ends = ExitStack()

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        try:
            pipe = self._ends.enter_context(self._bell.listening())
        except OSError as error:
            LOG.warning("Who posts cannot wake this process: %s", error)
        else:
            loop.add_reader(pipe, self._hear, pipe)
            self._ends.callback(loop.remove_reader, pipe)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ends.close()

    def _hear(self, pipe: int) -> None:
        # Another one may have heard it.
        with suppress(BlockingIOError):
            os.read(pipe, ALL)
            self._rung.set()

    async def wait(self, stopping: asyncio.Event, seconds: float) -> None:
        """Wait so long, or until the bell rings, or the end."""
        events = [asyncio.create_task(e.wait()) for e in (stopping, self._rung)]
        await asyncio.wait(events, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for event in events:
            event.cancel()
        if self._rung.is_set():
            await asyncio.sleep(self._woken_at + PAUSE - time.monotonic())
            self._woken_at = time.monotonic()
            self._rung.clear()

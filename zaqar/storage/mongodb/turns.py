# SPDX-License-Identifier: Apache-2.0
"""Lets the processes of one machine take messages of a queue one after the other.

Two that do so at the same moment read the same messages; one of them has worked in
vain, and begins anew. Nothing depends on turns but that: who waits for too long goes
ahead, and processes of other machines are not waited for.
So between machines that pop from one queue at once more work is in vain.
"""

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from zlib import crc32

# Seconds that are waited for a turn, and between two looks.
PATIENCE = 0.1
PAUSE = 0.001
PLACES = 1 << 16


class Turns:
    """Each queue of a database has a byte in a file; who locks it has its turn."""

    def __init__(self, database: str) -> None:
        self._database = database.encode()
        self._file = _open()

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Wait for the turn of a queue; keep it meanwhile."""
        place = crc32(name.encode(), crc32(self._database)) % PLACES
        has_turn = self._file is not None and self._take(self._file, place)
        try:
            yield
        finally:
            if has_turn and self._file is not None:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)

    @staticmethod
    def _take(file: int, place: int) -> bool:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    return False
                time.sleep(PAUSE)
            except OSError:
                return False
            else:
                return True

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _open() -> int | None:
    """Open the file of this user; None if there cannot be one."""
    folder = os.path.join(tempfile.gettempdir(), f"zaqar-turns-{os.getuid()}")
    with suppress(OSError):
        os.mkdir(folder, 0o700)
    try:
        found = os.lstat(folder)
        # SECURITY: somebody else's folder could hold a link to any file.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            return None
        path = os.path.join(folder, "mongodb")
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None

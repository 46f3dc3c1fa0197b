# SPDX-License-Identifier: Apache-2.0
"""What projects use, as the workers of a node know it together: a file they all map.

A record for each of some thousand projects; the one that was used longest ago gives way
to a new one. Nothing in it has to be true: what is lost is measured again.
Knows nothing of what quotas allow.
"""

import fcntl
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import msgspec

from zaqar.errors import ConfigurationError

T = TypeVar("T")

# The form of the file is in its name, so that releases with another one do not meet.
NAME = "quota-usage-1"
# Of the start of the machine: its clock begins anew then.
BOOT = Path("/proc/sys/kernel/random/boot_id")
HEADER = 64
MARK = 16
NUMBERS = struct.Struct("9d")
RECORD = MARK + NUMBERS.size
# A project has its record in one bucket, which is searched whole.
WAYS, BUCKETS = 8, 8192
BUCKET = WAYS * RECORD
SIZE = HEADER + BUCKETS * BUCKET
FREE = bytes(MARK)
LOCKS = 64


class Record(msgspec.Struct):
    """What a project uses; all instants are those of `clock`, 0: never.

    `due`: see `quotas.take`. `messages` and `bytes` are what is stored, as it was
    measured and what was let in since; `let_in` counts messages and bytes that were let
    in at all. `measured_at` is when the last measurement began, `pause_until` when the
    next may begin, `refresh_at` when it has to if somebody posts.
    """

    due: float = 0.0
    messages: float = 0.0
    bytes: float = 0.0
    messages_let_in: float = 0.0
    bytes_let_in: float = 0.0
    measured_at: float = 0.0
    pause_until: float = 0.0
    refresh_at: float = 0.0
    used_at: float = 0.0


# One for all processes of the machine; it does not jump.
clock = time.monotonic


class NodeUsage:
    """The file as one process has it, open once; shared by threads, not across fork.

    Raises ConfigurationError if the file cannot be used.
    """

    def __init__(self, folder: str) -> None:
        path = os.path.join(folder, NAME)
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
            self._file = os.open(path, flags, 0o600)
            with _FileLock(self._file, 0, HEADER):
                # NOTE: not sparse: a full disk would kill who writes into a hole.
                os.posix_fallocate(self._file, 0, SIZE)
                self._map = mmap.mmap(self._file, SIZE)
                self._begin()
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be used: {error}.") from None
        self._locks = [threading.Lock() for _ in range(LOCKS)]

    def _begin(self) -> None:
        """Forget everything if the machine was started since."""
        boot = b""
        with suppress(OSError):
            boot = BOOT.read_bytes().strip()
        header = boot[:HEADER].ljust(HEADER, b"\0")
        if self._map[:HEADER] != header:
            self._map[:] = header + bytes(SIZE - HEADER)

    def change(self, project: str, step: Callable[[Record], T]) -> T:
        """Run the step on the project's record, which nobody else changes meanwhile."""
        mark = blake2b(project.encode(), digest_size=MARK).digest()
        number = int.from_bytes(mark[:4]) % BUCKETS
        start = HEADER + number * BUCKET
        # NOTE: locks of files are between processes, and the kernel ends those of a
        # process that was killed; threads of one process need their own.
        with self._locks[number % LOCKS], _FileLock(self._file, start, BUCKET):
            place = self._place(mark, start)
            record = Record(*NUMBERS.unpack_from(self._map, place + MARK))
            result = step(record)
            record.used_at = clock()
            numbers = msgspec.structs.astuple(record)
            NUMBERS.pack_into(self._map, place + MARK, *numbers)
        return result

    def _place(self, mark: bytes, start: int) -> int:
        """Return where the project's record stands, or now begins anew."""
        places = range(start, start + BUCKET, RECORD)
        for place in places:
            if self._map[place : place + MARK] == mark:
                return place
        # A free one was used longest ago: never.
        last = RECORD - NUMBERS.size // 9
        oldest = min(
            places,
            key=lambda place: struct.unpack_from("d", self._map, place + last),
        )
        self._map[oldest : oldest + RECORD] = mark + bytes(NUMBERS.size)
        return oldest

    def close(self) -> None:
        self._map.close()
        os.close(self._file)


class _FileLock:
    """A lock on a part of a file."""

    def __init__(self, file: int, start: int, length: int) -> None:
        self._part = (length, start)
        self._file = file

    def __enter__(self) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_EX, *self._part)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN, *self._part)

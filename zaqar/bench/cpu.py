# SPDX-License-Identifier: Apache-2.0
"""The processor time of processes and their descendants, in nanoseconds. Linux only."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path


def children(pid: int) -> list[int]:
    """Return the children of all threads of a process; none when it is gone."""
    found: list[int] = []
    try:
        for listing in Path(f"/proc/{pid}/task").glob("*/children"):
            found += [int(word) for word in listing.read_text().split()]
    except OSError:
        return found
    return found


def trees(pids: Iterable[int]) -> list[int]:
    """Return processes and their living descendants."""
    found = list(pids)
    for each in found:
        found += [child for child in children(each) if child not in found]
    return found


def spent(pid: int) -> int:
    """Return the processor time of one process, ended threads included; 0 if gone."""
    # NOTE: this is how Linux numbers the clock of a process (clock_getcpuclockid(3));
    # it counts nanoseconds where /proc/PID/stat counts ticks of 10 ms.
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:
        return 0


class Meter:
    """Measures between `start` and `stop` what processes and their descendants use."""

    def __init__(self, pids: Sequence[int]) -> None:
        self.pids = pids
        self._before: dict[int, int] = {}

    def start(self) -> None:
        self._before = {pid: spent(pid) for pid in trees(self.pids)}

    def stop(self) -> int:
        """Return the nanoseconds used, without processes that ended meanwhile."""
        return sum(
            max(spent(pid) - self._before.get(pid, 0), 0) for pid in trees(self.pids)
        )

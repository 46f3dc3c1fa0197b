# SPDX-License-Identifier: Apache-2.0
"""The time that all nodes agree on: the local clock, corrected to the store's.

Knows how the difference is measured; knows nothing of stores but a function that tells
their time.
"""

import time
from collections.abc import Callable
from uuid import UUID

from oslo_log import log
from uuid_utils import uuid7

from zaqar.errors import StorageUnavailable

LOG = log.getLogger(__name__)

# The quickest answer of so many tells the most: the truth lies within half its trip.
SAMPLES = 3
# Clocks that differ by less than so many seconds are not corrected. What a claim or a
# message lives is a whole number of seconds, and network and scheduler add such noise.
TOLERANCE = 0.05
# A difference of so many seconds is told: something keeps no time.
WRONG = 2.0


class Clock:
    """Tells the store's time without asking it each time; shared by threads.

    `ask` returns the store's time or raises StorageUnavailable.
    """

    def __init__(
        self,
        ask: Callable[[], float],
        local: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._local = local
        self._elapsed = elapsed
        # What has to be added to the local clock.
        self.offset = 0.0
        self._is_wrong = False

    def now(self) -> float:
        return self._local() + self.offset

    def new_id(self) -> str:
        """Return a UUID of version 7 whose time is this clock's."""
        id, offset = uuid7(), self.offset
        if not offset:
            return str(id)
        # Milliseconds stand above the lowest 80 bits.
        return str(UUID(int=id.int + (round(offset * 1000) << 80)))

    def measure(self) -> bool:
        """Compare with the store; if it does not answer, change nothing: False."""
        try:
            trip, offset = min(self._sample() for _ in range(SAMPLES))
        except StorageUnavailable:
            return False
        self._correct(offset, max(TOLERANCE, trip / 2))
        return True

    def _sample(self) -> tuple[float, float]:
        """Return how long one answer took, and the offset that it tells."""
        began, local = self._elapsed(), self._local()
        told = self._ask()
        trip = self._elapsed() - began
        return trip, told - (local + trip / 2)

    def _correct(self, offset: float, tolerance: float) -> None:
        """Take the offset, unless the one in use may be as true: time must not jump for
        noise or because an answer was slow."""
        if abs(offset - self.offset) > tolerance:
            self.offset = 0.0 if abs(offset) <= tolerance else offset
        was_wrong, self._is_wrong = self._is_wrong, abs(self.offset) > WRONG
        if self._is_wrong and not was_wrong:
            LOG.warning(
                "The clock of this machine is %.1f s %s the store's, whose time is "
                "used. Set it right.",
                abs(self.offset),
                "behind" if self.offset > 0 else "ahead of",
            )

# SPDX-License-Identifier: Apache-2.0
"""How long one call goes on trying, and who may try while a server does not work.

Knows nothing of connections.
"""

import time
from collections.abc import Callable

from zaqar.errors import StorageUnavailable

# The contract asks for an answer within 10 s.
PATIENCE = 9.0
REDIRECTIONS = 16
# Who waited for a thread while others waited for the server has waited as long as they.
# So when one gives up, others are refused at once for this share of the time it took.
REST = 0.05


class Tries:
    """The attempts of one call; waits longer before each.

    `is_patient`: where this call has given up, another would too. `is_probe`: it tries
    for all others.
    """

    def __init__(
        self,
        limit: int,
        sleep: float,
        *,
        began: float,
        attempt_seconds: float,
        is_probe: bool,
        is_patient: bool,
    ) -> None:
        self._left = limit
        self._sleep = sleep
        self._pause = 0.0
        # When the last attempt may begin.
        self._deadline = began + PATIENCE - attempt_seconds
        self._redirections = REDIRECTIONS
        self.began = began
        self.is_probe = is_probe
        self.is_patient = is_patient

    def wait(self) -> bool:
        """Wait before the next attempt; False if there is none left."""
        left = self._deadline - time.monotonic()
        if self._left <= 0 or left <= 0:
            return False
        self._left -= 1
        time.sleep(min(self._pause, left))
        self._pause = self._pause * 2 or self._sleep
        return True

    def redirect(self) -> bool:
        """Say whether another redirection may be followed."""
        self._redirections -= 1
        return self._redirections >= 0


class Gate:
    """Shuts the places that do not work: one caller after the other tries there, and
    all others are refused at once instead of queueing up.

    `place_of` tells the place of a key; what is wrong in one says nothing of others.
    Without a key a call is about many places, and the gate lets it pass.
    """

    def __init__(self, place_of: Callable[[str], int], attempt_seconds: float) -> None:
        self._place_of = place_of
        # Of one who tries and does not come back.
        self._longest = min(2 * attempt_seconds, PATIENCE)
        # When the next may try, of each place that is shut.
        self._shut: dict[int, float] = {}

    def enter(self, key: str | None) -> bool:
        """Say whether the place is open; if not, this caller is the one to try it.

        Raises StorageUnavailable if somebody else is.
        """
        if not self._shut or key is None:
            return True
        place, now = self._place_of(key), time.monotonic()
        until = self._shut.get(place)
        if until is None:
            return True
        if now < until:
            raise StorageUnavailable("Redis does not work, as was found just now.")
        self._shut[place] = now + self._longest
        return False

    def shut(self, key: str | None, began: float) -> None:
        """Note that a caller who began then has given up."""
        if key is not None:
            now = time.monotonic()
            self._shut[self._place_of(key)] = now + (now - began) * REST

    def open(self, key: str | None) -> None:
        """Note that the place works."""
        if self._shut and key is not None:
            self._shut.pop(self._place_of(key), None)

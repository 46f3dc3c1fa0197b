# SPDX-License-Identifier: Apache-2.0
"""Keeps requests from waiting, each by itself, for a Keystone that does not answer."""

import threading
from collections.abc import Callable

# How long nobody asks after a failure. Clients are told to wait as long.
PAUSE_SECONDS = 2
# The longest that one question is thought to take, retries included.
QUESTION_SECONDS = 30
# SECURITY: a failure that comes sooner holds no thread, and there is no pause. A client
# who finds a token on which Keystone stumbles keeps nobody else out.
SLOW_SECONDS = 0.4


class Pause:
    """After a slow failure, lets one request try now and then, and no other."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._until = 0.0
        self._deciding = threading.Lock()

    def may_ask(self) -> bool:
        """Say whether to ask Keystone now; tell `note` what came of it."""
        # PERF: read without the lock, which is taken only while Keystone is away.
        if not self._until:
            return True
        with self._deciding:
            now = self._now()
            if now < self._until:
                return False
            self._until = now + QUESTION_SECONDS
            return True

    def note(self, answered: bool, seconds: float) -> None:
        """Take note of a question that took so long."""
        failed = not answered and seconds >= SLOW_SECONDS
        self._until = self._now() + PAUSE_SECONDS if failed else 0.0

# SPDX-License-Identifier: Apache-2.0
"""Lets calls of one process that come at the same time, and go well together, share
their trips.

Who comes while nobody of the group is under way goes at once. Others wait for that one
to come back; meanwhile they gather, and then one of them goes for all. So what is read
for a call is never older than the call.

Where several went together the last time, the first one waits a little for as many: who
has just been answered often comes back. A client that is alone never waits.
"""

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from zaqar.errors import QueueChanged, QueueNotFound, StorageUnavailable

# Seconds; a call is answered in time or not at all.
PATIENCE = 9.0
TURNS = 256
# Seconds that are waited for others, where there were others before.
LINGERING = 0.002
# What goes wrong for all if it does for one.
FOR_ALL = (StorageUnavailable, QueueNotFound, QueueChanged)

Wish = TypeVar("Wish")
Answer = TypeVar("Answer")


class Gathered(Generic[Wish, Answer]):
    """Calls that go together; `failure` is what became of them if it went wrong."""

    def __init__(self) -> None:
        self.wishes: list[Wish] = []
        self.answers: list[Answer] = []
        self.failure: BaseException | None = None
        self.is_done = threading.Event()
        # Set when as many are there as are waited for.
        self.expected = 1
        self.is_full = threading.Event()


class Gathering(Generic[Wish, Answer]):
    """`send` takes wishes and returns an answer for each; what it raises is raised to
    each who gathered."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._open: dict[Hashable, Gathered[Wish, Answer]] = {}
        self._turns = [threading.Lock() for _ in range(TURNS)]
        # How many went together the last time.
        self._sizes = [1] * TURNS

    def join(
        self,
        group: Hashable,
        wish: Wish,
        send: Callable[[list[Wish]], list[Answer]],
    ) -> Answer:
        """Send the wish, with those of others of the group if there are any."""
        with self._guard:
            gathered = self._open.get(group)
            leads = gathered is None
            if gathered is None:
                gathered = self._open[group] = Gathered()
            place = len(gathered.wishes)
            gathered.wishes.append(wish)
            if len(gathered.wishes) >= gathered.expected:
                gathered.is_full.set()
        if leads:
            self._lead(group, gathered, send)
        elif not gathered.is_done.wait(PATIENCE):
            raise StorageUnavailable("MongoDB did not answer in time.")
        if gathered.failure is None:
            return gathered.answers[place]
        is_alone = len(gathered.wishes) == 1
        if is_alone or isinstance(gathered.failure, FOR_ALL):
            raise gathered.failure
        # What one of them has done wrong is not the fault of the others.
        return send([wish])[0]

    def _linger(self, gathered: Gathered[Wish, Answer], expected: int) -> None:
        """Wait a little for as many as there were before."""
        with self._guard:
            if len(gathered.wishes) >= expected:
                return
            gathered.expected = expected
            gathered.is_full.clear()
        gathered.is_full.wait(LINGERING)

    def _lead(
        self,
        group: Hashable,
        gathered: Gathered[Wish, Answer],
        send: Callable[[list[Wish]], list[Answer]],
    ) -> None:
        place = hash(group) % TURNS
        turn = self._turns[place]
        taken = turn.acquire(timeout=PATIENCE)
        if taken:
            self._linger(gathered, self._sizes[place])
        with self._guard:
            del self._open[group]
        self._sizes[place] = len(gathered.wishes)
        try:
            if not taken:
                raise StorageUnavailable("MongoDB did not answer in time.")
            gathered.answers = send(gathered.wishes)
        except BaseException as error:
            gathered.failure = error
        finally:
            if taken:
                turn.release()
            gathered.is_done.set()

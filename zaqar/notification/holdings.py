# SPDX-License-Identifier: Apache-2.0
"""Which queues a dispatcher holds, and of which projects it takes no more.

As with `shares`, who holds as many as are left gets no more: one project has half of
all at most. Those of such a project have to be given back after a while, so that others
get there, be they its own or, when none is left, anybody's.
"""

import asyncio
from collections import Counter

from zaqar.model import QueueKey


class Holdings:
    """For one loop. Projects are those of keys, so one's topics are another's."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._tasks: dict[QueueKey, asyncio.Task[None]] = {}
        self._of: Counter[str] = Counter()

    def __contains__(self, key: QueueKey) -> bool:
        return key in self._tasks

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def left(self) -> int:
        """How many more may be held."""
        return self._most - len(self._tasks)

    @property
    def keys(self) -> frozenset[QueueKey]:
        return frozenset(self._tasks)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        return list(self._tasks.values())

    @property
    def full(self) -> frozenset[str]:
        """The projects that get no more for now."""
        return frozenset(filter(self.is_full, self._of))

    def is_full(self, project: str) -> bool:
        return self._of[project] >= self.left

    def add(self, key: QueueKey, task: asyncio.Task[None]) -> None:
        """Hold a queue that is not held, as long as this task serves it."""
        self._tasks[key] = task
        self._of[key.project] += 1

    def remove(self, key: QueueKey) -> None:
        del self._tasks[key]
        self._of[key.project] -= 1
        if not self._of[key.project]:
            del self._of[key.project]

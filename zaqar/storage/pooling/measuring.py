# SPDX-License-Identifier: Apache-2.0
"""What the messages and subscriptions of a project come to, over all pools."""

from collections.abc import Callable
from typing import TypeVar

from oslo_log import log

from zaqar.errors import PoolNotFound, StorageUnavailable
from zaqar.model import Usage
from zaqar.storage.base import Store
from zaqar.storage.pooling.pools import Pools

LOG = log.getLogger(__name__)
T = TypeVar("T")

MAX_KNOWN = 50_000


class Measuring:
    """Shared by the threads of a process."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        # What was in a pool the last time, by project and pool.
        self._known: dict[tuple[str, str], Usage] = {}
        self._subscribed: dict[tuple[str, str], int] = {}

    def measure(self, project: str, *, sizes: bool, now: float) -> Usage:
        """Add up the pools; one that does not answer has what it had."""
        messages = size = 0
        for _, id in self._pools.all():
            found = self._of_pool(
                (project, id),
                self._known,
                lambda store: store.measure_usage(project, sizes=sizes, now=now),
                Usage(),
            )
            messages += found.messages
            size += found.bytes
        return Usage(messages, size)

    def subscriptions(self, project: str, *, now: float) -> int:
        """Add up the pools, as above."""
        return sum(
            self._of_pool(
                (project, id),
                self._subscribed,
                lambda store: store.count_subscriptions(project, now=now),
                0,
            )
            for _, id in self._pools.all()
        )

    def _of_pool(
        self,
        place: tuple[str, str],
        known: dict[tuple[str, str], T],
        ask: Callable[[Store], T],
        nothing: T,
    ) -> T:
        """Ask the pool of a project and a pool; remember what it says."""
        try:
            found = ask(self._pools.store(place[1]))
        except PoolNotFound:
            return nothing
        except StorageUnavailable as error:
            LOG.warning("A pool is not measured, and counts as before: %s", error)
            return known.get(place, nothing)
        if len(known) >= MAX_KNOWN:
            known.clear()
        known[place] = found
        return found

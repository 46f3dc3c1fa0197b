# SPDX-License-Identifier: Apache-2.0
"""How the pools are right now: asked all at once, for one may keep others waiting."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from zaqar.clock import Clock
from zaqar.errors import PoolNotFound, StorageUnavailable
from zaqar.model import Binding, Pool
from zaqar.storage.pooling.letters import PROJECT as OUTBOXES
from zaqar.storage.pooling.pools import Pools
from zaqar.storage.registry import Registry

AT_ONCE = 16
# Bindings that are read together.
CHUNK = 1000
PINGS = 3


class PoolState(msgspec.Struct, frozen=True):
    """`milliseconds` is what the quickest of some pings took, None without an answer.

    `capabilities` are those it has now, None without an answer; `ahead` is how many
    seconds its clock is ahead of this machine's, 0 for next to nothing. `trouble` says
    why it does not answer.
    """

    pool: Pool
    milliseconds: float | None = None
    capabilities: tuple[str, ...] | None = None
    ahead: float = 0.0
    trouble: str = ""

    @property
    def reachable(self) -> bool:
        return self.milliseconds is not None


def states(pools: Pools, of: Sequence[Pool]) -> list[PoolState]:
    """Ask each of the pools; the answers are in their order."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(lambda pool: _state(pools, pool), of))


def count_queues(pools: Pools, pool: Pool) -> int:
    """Return how many queues are bound to the pool, which clients know of or knew.

    The map also notes where dead letters may wait for their way to another pool.
    """
    notes = sum(
        binding.pool == pool.id for _, binding in bound(pools.registry, OUTBOXES)
    )
    return pools.registry.count_bound(pool.id) - notes


def bound(registry: Registry, project: str) -> Iterator[tuple[str, Binding]]:
    """Yield each bound queue of a project, by name."""
    marker = None
    while True:
        page = registry.list_queues(project, marker=marker, limit=CHUNK)
        yield from page
        if len(page) < CHUNK:
            return
        marker = page[-1][0]


def _state(pools: Pools, pool: Pool) -> PoolState:
    try:
        store = pools.store(pool.id)
        # Not counted: the first one connects.
        store.ping()
        took = [_seconds(store.ping) for _ in range(PINGS)]
        clock = Clock(store.clock)
        clock.measure()
        return PoolState(pool, 1000 * min(took), store.capabilities(), clock.offset)
    except PoolNotFound:
        return PoolState(pool, trouble="It was removed just now.")
    except StorageUnavailable as error:
        return PoolState(pool, trouble=str(error))


def _seconds(step: Callable[[], None]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began

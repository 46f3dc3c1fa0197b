# SPDX-License-Identifier: Apache-2.0
"""Lists the queues of a project over all pools: names from the map, the rest from them.

One trip to the registry and one to each pool that a page touches, all of these at once:
several that do not answer take no longer than one.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from oslo_log import log

from zaqar.errors import PoolNotFound, StorageUnavailable
from zaqar.model import Binding, Page, Queue
from zaqar.storage.matching import matches
from zaqar.storage.pooling.pools import Pools

LOG = log.getLogger(__name__)

# What is told of a queue whose pool does not answer, in place of its metadata.
UNAVAILABLE = "_unavailable"
# How many names are looked at together where not each of them will be shown.
CHUNK = 100
# How many pools are asked at once, by all threads of the process.
AT_ONCE = 32

Bound = Sequence[tuple[str, Binding]]


class Listing:
    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        self._threads = ThreadPoolExecutor(AT_ONCE, "listing")

    def page(
        self,
        project: str,
        marker: str | None,
        limit: int,
        name: str,
        match: Mapping[str, str | int],
    ) -> Page[Queue]:
        """Return a page as `Store.list_queues` does."""
        found: list[Queue] = []
        while len(found) < limit:
            size = max(limit, CHUNK) if match else limit - len(found)
            bound = self._pools.registry.list_queues(
                project, marker=marker, limit=size, name=name
            )
            found += [
                queue
                for queue in self.fetch(project, bound)
                if matches(queue.metadata, match)
            ]
            if len(bound) < size:
                break
            marker = bound[-1][0]
        items = tuple(found[:limit])
        return Page(items, items[-1].name if items else None)

    def fetch(self, project: str, bound: Bound) -> list[Queue]:
        """Return the queues that exist, in the order given.

        One whose pool does not answer has UNAVAILABLE as its only metadata.
        """
        shares: dict[str, list[str]] = {}
        for name, binding in bound:
            shares.setdefault(binding.pool, []).append(name)
        asked = [*shares.items()]
        # The last one by this thread: mostly there is no other.
        waited_for = [
            self._threads.submit(self._share, project, pool, names)
            for pool, names in asked[:-1]
        ]
        told = [self._share(project, pool, names) for pool, names in asked[-1:]]
        told += [each.result() for each in waited_for]
        found = {queue.name: queue for share in told for queue in share}
        return [found[name] for name, _ in bound if name in found]

    def close(self) -> None:
        """Begin nothing more; a pool that does not answer is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _share(self, project: str, pool: str, names: list[str]) -> list[Queue]:
        try:
            return self._pools.store(pool).get_queues(project, names)
        except PoolNotFound:
            return []
        except StorageUnavailable as error:
            LOG.warning("Queues are listed without their metadata: %s", error)
            return [Queue(name, {UNAVAILABLE: True}, "") for name in names]

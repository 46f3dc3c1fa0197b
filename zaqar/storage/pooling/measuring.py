# SPDX-License-Identifier: Apache-2.0
"""What the messages of a project come to, over all pools."""

from oslo_log import log

from zaqar.errors import PoolNotFound, StorageUnavailable
from zaqar.model import Usage
from zaqar.storage.pooling.pools import Pools

LOG = log.getLogger(__name__)

MAX_KNOWN = 50_000


class Measuring:
    """Shared by the threads of a process."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        # What was in a pool the last time, by project and pool.
        self._known: dict[tuple[str, str], Usage] = {}

    def measure(self, project: str, *, sizes: bool, now: float) -> Usage:
        """Add up the pools; one that does not answer has what it had."""
        messages = size = 0
        for _, id in self._pools.all():
            found = self._of_pool(project, id, sizes, now)
            messages += found.messages
            size += found.bytes
        return Usage(messages, size)

    def _of_pool(self, project: str, id: str, sizes: bool, now: float) -> Usage:
        try:
            store = self._pools.store(id)
            found = store.measure_usage(project, sizes=sizes, now=now)
        except PoolNotFound:
            return Usage()
        except StorageUnavailable as error:
            LOG.warning("A pool is not measured, and counts as before: %s", error)
            return self._known.get((project, id), Usage())
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[project, id] = found
        return found

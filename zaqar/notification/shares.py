# SPDX-License-Identifier: Apache-2.0
"""Places that tenants share, such as attempts that run at once. Knows nothing of these.

Who holds as many as are free gets no more: one tenant has half of all places at most,
another one half of the rest, and so on, until the places of many such tenants are all
there are. Tenants that wait take turns, however many of each wait.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Shares:
    """For one loop."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._held: Counter[str] = Counter()
        # In the order of their turns.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @property
    def taken(self) -> int:
        return self._held.total()

    @asynccontextmanager
    async def place(self, tenant: str) -> AsyncIterator[None]:
        """Hold a place, as soon as there is one for this tenant."""
        await self._take(tenant)
        try:
            yield
        finally:
            self._give_back(tenant)

    async def _take(self, tenant: str) -> None:
        if tenant not in self._waiting and self._may_have(tenant):
            self._give(tenant)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            # One that was cancelled before its turn came is passed over then.
            if not turn.cancelled():
                self._give_back(tenant)
            raise

    def _may_have(self, tenant: str) -> bool:
        return self._held[tenant] < self._free

    def _give(self, tenant: str) -> None:
        self._free -= 1
        self._held[tenant] += 1

    def _give_back(self, tenant: str) -> None:
        self._free += 1
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]
        while (served := next(filter(self._may_have, self._waiting), None)) is not None:
            turn = self._next(served)
            if not turn.cancelled():
                self._give(served)
                turn.set_result(None)

    def _next(self, tenant: str) -> asyncio.Future[None]:
        """Take out who waits longest; others of the tenant wait behind all tenants."""
        turns = self._waiting.pop(tenant)
        turn = turns.popleft()
        if turns:
            self._waiting[tenant] = turns
        return turn

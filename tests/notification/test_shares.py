# SPDX-License-Identifier: Apache-2.0
"""Facts of places that tenants share."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from zaqar.notification.shares import Shares


class Crowd:
    """Tasks that each want a place, and keep it until they are told to go."""

    def __init__(self, places: int) -> None:
        self.shares = Shares(places)
        self.inside: list[str] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._gates: dict[str, asyncio.Event] = {}

    async def come(self, *names: str) -> None:
        """Let some ask for places; the first letter is the tenant."""
        for name in names:
            self._gates[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._stay(name))
            await asyncio.sleep(0)

    async def _stay(self, name: str) -> None:
        async with self.shares.place(name[0]):
            self.inside.append(name)
            await self._gates[name].wait()
            self.inside.remove(name)

    async def go(self, *names: str) -> None:
        for name in names:
            self._gates[name].set()
        await self._settled()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        await self._settled()

    async def all_go(self) -> None:
        for gate in self._gates.values():
            gate.set()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _settled(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


def run(places: int, test: Callable[[Crowd], Awaitable[None]]) -> None:
    async def whole() -> None:
        crowd = Crowd(places)
        await test(crowd)
        await crowd.all_go()
        # Nothing was lost: one tenant can have its half again.
        async with AsyncExitStack() as stack, asyncio.timeout(10):
            for _ in range(places // 2):
                await stack.enter_async_context(crowd.shares.place("z"))

    asyncio.run(whole())


def test_nobody_has_more_places_than_are_free() -> None:
    async def test(crowd: Crowd) -> None:
        await crowd.come(*(f"a{n}" for n in range(9)))
        assert crowd.inside == ["a0", "a1", "a2", "a3"]

        await crowd.come(*(f"b{n}" for n in range(9)), "c0", "d0", "d1")

        assert crowd.inside[4:] == ["b0", "b1", "c0", "d0"]

    run(8, test)


def test_who_has_least_is_not_kept_waiting_by_those_who_came_first() -> None:
    async def test(crowd: Crowd) -> None:
        await crowd.come(*(f"a{n}" for n in range(9)), "b0", "b1", "c0", "d0")
        assert len(crowd.inside) == 4

        await crowd.go("a0")

        assert "d0" in crowd.inside and "a2" not in crowd.inside

    run(4, test)


def test_tenants_take_turns_however_many_of_each_wait() -> None:
    async def test(crowd: Crowd) -> None:
        await crowd.come("x", "y")
        await crowd.come("a0", "a1", "a2", "b0", "b1", "c0")
        order = []
        for _ in range(6):
            seen = crowd.inside[-1]
            order.append(seen)
            await crowd.go(seen)

        assert order == ["y", "a0", "b0", "c0", "a1", "b1"]

    run(2, test)


@pytest.mark.parametrize("victim", ["a1", "a2"])
def test_who_gives_up_waiting_takes_no_place(victim: str) -> None:
    async def test(crowd: Crowd) -> None:
        await crowd.come("a0", "a1", "a2", "a3")
        assert crowd.inside == ["a0"]
        await crowd.cancel(victim)

        await crowd.go("a0")

        assert crowd.inside == ["a2" if victim == "a1" else "a1"]

    run(2, test)


def test_who_gives_up_in_the_moment_of_its_turn_gives_the_place_on() -> None:
    async def test(crowd: Crowd) -> None:
        await crowd.come("a0", "a1", "a2")
        crowd._gates["a0"].set()
        # a0 ends, and a1, whose turn it is, has not run yet.
        await asyncio.sleep(0)
        assert crowd.inside == []

        await crowd.cancel("a1")

        assert crowd.inside == ["a2"]

    run(2, test)

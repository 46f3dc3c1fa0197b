# SPDX-License-Identifier: Apache-2.0
"""Facts of what a project has in all pools together."""

from collections.abc import Mapping

import pytest

from tests.contract.arrange import T0, post
from tests.model_store import ModelStore
from tests.storage.pooling.faulty import Faulty
from zaqar.errors import PoolNotFound
from zaqar.model import QueueKey, Usage
from zaqar.storage.pooling import measuring
from zaqar.storage.pooling.measuring import Measuring


class FewPools:
    """What measuring asks of the pools."""

    def __init__(self, stores: Mapping[str, Faulty | None]) -> None:
        self._stores = stores

    def all(self) -> list[tuple[str, str]]:
        return [(f"name of {id}", id) for id in self._stores]

    def store(self, id: str) -> Faulty:
        store = self._stores[id]
        if store is None:
            raise PoolNotFound(id)
        return store


def filled(count: int) -> Faulty:
    store = ModelStore()
    post(store, count, QueueKey("p", "queue"))
    return Faulty(store)


def test_pools_are_added_up() -> None:
    pools = FewPools({"a": filled(3), "b": filled(4), "gone": None})
    known = Measuring(pools)  # type: ignore[arg-type]

    assert known.measure("p", sizes=True, now=T0) == Usage(7, 42)
    assert known.measure("p", sizes=False, now=T0) == Usage(7)
    assert known.measure("q", sizes=True, now=T0) == Usage()


def test_a_pool_that_does_not_answer_has_what_it_had() -> None:
    a, b = filled(3), filled(4)
    known = Measuring(FewPools({"a": a, "b": b}))  # type: ignore[arg-type]
    known.measure("p", sizes=True, now=T0)
    a.is_down = True
    post(b.target, 1, QueueKey("p", "queue"))

    assert known.measure("p", sizes=True, now=T0) == Usage(8, 48)
    # Nothing is known of a project that was not measured before.
    assert known.measure("q", sizes=True, now=T0) == Usage()


def test_what_is_known_is_forgotten_before_it_is_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measuring, "MAX_KNOWN", 10)
    known = Measuring(FewPools({"a": filled(1)}))  # type: ignore[arg-type]

    for number in range(25):
        known.measure(str(number), sizes=False, now=T0)

    assert len(known._known) <= 10

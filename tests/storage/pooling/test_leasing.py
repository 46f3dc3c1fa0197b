# SPDX-License-Identifier: Apache-2.0
"""A dispatcher asks all pools for work; one that hangs keeps it from none."""

import threading
from typing import Any

import pytest

from tests.contract.arrange import KEY, post
from tests.contract.outboxes import ANOTHER, ME, lease
from tests.contract.subscriptions import OTHER, subscribe
from tests.model_store import ModelStore
from tests.storage.pooling.conftest import Deployment, pool
from zaqar.errors import StorageUnavailable
from zaqar.storage.pooling.router import Router


@pytest.fixture
def router(deployment: Deployment, in_turn: None) -> Router:
    """Two queues with something to tell, one in each pool."""
    deployment.register(pool("a"), pool("b"))
    router = deployment.router()
    for key in (KEY, OTHER):
        subscribe(router, key=key)
        post(router, key=key)
    return router


def test_pool_that_hangs_is_heard_when_it_answers(
    deployment: Deployment, router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    asked: list[Any] = []
    slow = deployment.stores["model:b"]
    lease_outboxes = ModelStore.lease_outboxes

    def hang(store: ModelStore, holder: str, **more: Any) -> Any:
        if store._data is slow:
            asked.append(holder)
            assert go_on.wait(60)
        return lease_outboxes(store, holder, **more)

    monkeypatch.setattr(ModelStore, "lease_outboxes", hang)

    assert lease(router) == [KEY]
    assert lease(router) == []
    assert asked == [ME]
    go_on.set()
    found: list[Any] = []
    while OTHER not in found:
        found = lease(router)


def test_other_holders_get_nothing_of_it(router: Router) -> None:
    assert sorted(lease(router), key=str) == sorted([KEY, OTHER], key=str)
    assert lease(router, ANOTHER) == []


def test_store_that_opens_after_the_end_is_closed_at_once(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment.register(pool("a"))
    pools = deployment.pools()
    closed: list[Any] = []
    monkeypatch.setattr(ModelStore, "close", lambda store: closed.append(store))
    pools.close()
    assert closed == []

    with pytest.raises(StorageUnavailable):
        pools.store("id-a")

    assert len(closed) == 1

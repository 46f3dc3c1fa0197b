# SPDX-License-Identifier: Apache-2.0
"""What the contract of outboxes says of one store, said of many."""

from typing import Any

import pytest

from tests.contract.arrange import KEY, T0, post
from tests.contract.outboxes import ANOTHER, ME, lease
from tests.contract.subscriptions import OTHER, STRANGER, subscribe
from zaqar.storage.pooling import outboxes


class OutboxesOfPools:
    """Goes before the contract; each pool is asked for as many queues as are wanted."""

    @pytest.fixture(autouse=True)
    def every_pool_is_awaited(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(outboxes, "PATIENCE", 60)

    def test_who_waits_longest_comes_first(self, store: Any) -> None:
        waiting = [STRANGER, KEY, OTHER]
        for seconds, key in enumerate(waiting):
            subscribe(store, key=key, now=T0)
            post(store, key=key, now=T0 + seconds)

        first = lease(store, limit=1, now=T0 + 3)
        left = [key for key in waiting if key not in first]
        second = lease(store, ANOTHER, limit=1, now=T0 + 3)

        assert STRANGER in first
        assert set(left[:1]) <= set(second) <= set(left)

    def test_who_was_released_comes_behind_those_that_wait(self, store: Any) -> None:
        for seconds, key in enumerate((KEY, OTHER)):
            subscribe(store, key=key)
            post(store, key=key, now=T0 + seconds)
        first = lease(store, limit=1, now=T0 + 2)
        assert KEY in first

        store.release_outbox(KEY, ME, now=T0 + 2)

        # Where both are in one pool, the other one comes first now.
        second = lease(store, limit=1, now=T0 + 2)
        assert (first, second) in (([KEY], [OTHER]), ([*first], [KEY]))

# SPDX-License-Identifier: Apache-2.0
"""The whole contract of a store.

A driver proves itself with one class that inherits `StoreContract`, and two fixtures:

* `opener`: a function that opens one more handle on the data of this test;
* `open_empty`: a function that opens the only handle on new and empty data.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.contract.claims import ClaimContract
from tests.contract.concurrency import ConcurrencyContract
from tests.contract.dead_letters import DeadLetterContract
from tests.contract.delays import DelayContract
from tests.contract.deletion import DeletionContract
from tests.contract.expiry import ExpiryContract
from tests.contract.isolation import IsolationContract, OddTextContract
from tests.contract.messages import MessageContract
from tests.contract.moving import (
    CapabilitiesContract,
    ExportContract,
    GetQueuesContract,
    ImportContract,
    MovingIsolationContract,
)
from tests.contract.outboxes import OutboxContract
from tests.contract.queues import QueueContract
from tests.contract.subscriptions import SubscriptionContract
from tests.contract.upkeep import UpkeepContract
from tests.contract.usage import UsageContract
from zaqar.storage.base import Store


class Handles:
    """Opens handles, and closes those that the test leaves open."""

    def __init__(self, opener: Callable[[], Store]) -> None:
        self._opener = opener
        self._opened: list[Store] = []

    def __call__(self) -> Store:
        self._opened.append(self._opener())
        return self._opened[-1]

    def close(self, store: Store) -> None:
        self._opened.remove(store)
        store.close()

    def close_all(self) -> None:
        while self._opened:
            self.close(self._opened[-1])


class StoreContract(
    QueueContract,
    MessageContract,
    DeletionContract,
    ClaimContract,
    DeadLetterContract,
    DelayContract,
    ExpiryContract,
    IsolationContract,
    OddTextContract,
    GetQueuesContract,
    ExportContract,
    ImportContract,
    MovingIsolationContract,
    CapabilitiesContract,
    SubscriptionContract,
    OutboxContract,
    UpkeepContract,
    UsageContract,
    ConcurrencyContract,
):
    @pytest.fixture
    def open_store(self, opener: Callable[[], Store]) -> Iterator[Handles]:
        handles = Handles(opener)
        yield handles
        handles.close_all()

    @pytest.fixture
    def store(self, open_store: Handles) -> Store:
        return open_store()

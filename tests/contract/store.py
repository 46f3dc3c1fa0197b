# SPDX-License-Identifier: Apache-2.0
"""The whole contract of a store.

A driver proves itself with one class that inherits `StoreContract` and has one fixture:
`open_store` returns a function that opens one more handle on the data of the test, and
closes all handles at its end.
"""

from collections.abc import Callable

import pytest

from tests.contract.claims import ClaimContract
from tests.contract.concurrency import ConcurrencyContract
from tests.contract.dead_letters import DeadLetterContract
from tests.contract.delays import DelayContract
from tests.contract.deletion import DeletionContract
from tests.contract.expiry import ExpiryContract
from tests.contract.isolation import IsolationContract, OddTextContract
from tests.contract.messages import MessageContract
from tests.contract.queues import QueueContract
from tests.contract.upkeep import UpkeepContract
from zaqar.storage.base import Store


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
    UpkeepContract,
    ConcurrencyContract,
):
    @pytest.fixture
    def store(self, open_store: Callable[[], Store]) -> Store:
        return open_store()

# SPDX-License-Identifier: Apache-2.0
"""Pools behind the router keep the contract of one store.

New queues go to the pools in turn, so that a queue and its dead letter queue live in
different ones.
"""

from collections.abc import Callable

import pytest

from tests.contract.state_machine import StateMachineContract
from tests.contract.store import StoreContract
from tests.storage.pooling.conftest import Deployment, pool
from tests.storage.pooling.outboxes import OutboxesOfPools
from zaqar.storage.pooling.router import Router


@pytest.mark.usefixtures("in_turn")
class TestPooledModelStores(OutboxesOfPools, StoreContract, StateMachineContract):
    @pytest.fixture
    def opener(self, deployment: Deployment) -> Callable[[], Router]:
        deployment.register(pool("a"), pool("b"), pool("c"))
        return deployment.router

    @pytest.fixture
    def open_empty(self) -> Callable[[], Router]:
        def opened() -> Router:
            deployment = Deployment()
            deployment.register(pool("a"), pool("b"), pool("c"))
            return deployment.router()

        return opened

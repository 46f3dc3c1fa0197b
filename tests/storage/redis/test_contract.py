# SPDX-License-Identifier: Apache-2.0
"""The Redis store keeps the contract, on one server and on a cluster of three."""

from collections.abc import Callable
from functools import partial
from uuid import uuid4

import pytest

from tests.contract.processes import ProcessContract
from tests.contract.state_machine import StateMachineContract
from tests.contract.store import StoreContract
from tests.redis_servers import RedisCluster
from zaqar.storage.redis.store import RedisStore


class TestRedisStore(
    StoreContract,
    StateMachineContract,
    ProcessContract,
):
    pass


# Without coverage where the same code runs a second time: it is a quarter of the time.
@pytest.mark.no_cover
class TestRedisStoreOnACluster(
    StoreContract,
    StateMachineContract,
    ProcessContract,
):
    examples = 20

    @pytest.fixture
    def opener(
        self, redis_cluster: RedisCluster, prefix: str
    ) -> Callable[[], RedisStore]:
        return partial(RedisStore, redis_cluster.uri, prefix=prefix)

    @pytest.fixture
    def open_empty(self, redis_cluster: RedisCluster) -> Callable[[], RedisStore]:
        return lambda: RedisStore(redis_cluster.uri, prefix=f"test-{uuid4().hex}")

# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from functools import partial
from uuid import uuid4

import pytest

from tests.redis_servers import (
    own_cluster,
    own_redis,
    redis_cluster,
    redis_uri,
    sentinel_of,
)
from zaqar.storage.redis.store import RedisStore

__all__ = ["own_cluster", "own_redis", "redis_cluster", "redis_uri", "sentinel_of"]


@pytest.fixture
def prefix() -> str:
    return f"test-{uuid4().hex}"


@pytest.fixture
def opener(redis_uri: str, prefix: str) -> Callable[[], RedisStore]:
    return partial(RedisStore, redis_uri, prefix=prefix)


@pytest.fixture
def open_empty(redis_uri: str) -> Callable[[], RedisStore]:
    return lambda: RedisStore(redis_uri, prefix=f"test-{uuid4().hex}")

# SPDX-License-Identifier: Apache-2.0
"""Facts of rates that nodes share over Redis."""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.contract.concurrency import together
from tests.contract.isolation import HOSTILE, STORABLE
from tests.redis_servers import RedisCluster, RedisServer
from zaqar.errors import StorageUnavailable
from zaqar.quotas import NOISE
from zaqar.storage.redis.registry import RedisRegistry

Open = Callable[[], RedisRegistry]
RATE, BURST = 0.2, 12


@pytest.fixture(params=["alone", "cluster"])
def open_registry(request: pytest.FixtureRequest, prefix: str) -> Iterator[Open]:
    """Return a function that opens what another node would have."""
    if request.param == "alone":
        uri: str = request.getfixturevalue("redis_uri")
    else:
        cluster: RedisCluster = request.getfixturevalue("redis_cluster")
        uri = cluster.uri
    opened: list[RedisRegistry] = []

    def open_one() -> RedisRegistry:
        opened.append(RedisRegistry(uri, prefix=prefix))
        return opened[-1]

    yield open_one
    for registry in opened:
        registry.close()


def take(
    registry: RedisRegistry, project: str = "p", rate: float = RATE, burst: int = BURST
) -> float:
    return registry.take_request(project, rate=rate, burst=burst)


def test_nodes_take_out_of_one_rate(open_registry: Open) -> None:
    nodes, since = [open_registry() for _ in range(3)], time.monotonic()

    early = together(
        8, lambda racer: [take(nodes[racer % 3]) for _ in range(BURST // 2)]
    )

    taken = sum(each == 0 for some in early for each in some)
    assert BURST <= taken <= BURST + RATE * (time.monotonic() - since) + 1
    waits = [each for some in early for each in some if each]
    assert all(0 < each <= 1 / RATE + NOISE for each in waits)


def test_projects_have_rates_of_their_own(open_registry: Open) -> None:
    registry = open_registry()
    texts = list(dict.fromkeys(["", *STORABLE, *HOSTILE]))
    for _ in range(2):
        take(registry, burst=2)

    early = [take(registry, text, burst=1) for text in texts]

    assert early == [0] * len(texts)
    assert take(registry, burst=2) > 0
    assert registry.list_quotas(limit=9) == []


def test_a_faster_rate_holds_at_once(open_registry: Open) -> None:
    registry = open_registry()
    for _ in range(BURST):
        take(registry, rate=0.001)
    assert take(registry, rate=0.001) > 100

    assert take(registry, rate=100, burst=1) <= 0.01 + NOISE


def test_what_is_over_is_forgotten(redis_uri: str, prefix: str) -> None:
    registry = RedisRegistry(redis_uri, prefix=prefix)
    take(registry, rate=1000, burst=1)
    client, key = registry._client, registry._rate("p")
    deadline = time.monotonic() + 20

    while client.ask(key, ("EXISTS", key)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    registry.close()


def test_a_server_that_is_gone_is_told_after_one_attempt(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = RedisRegistry(own_redis.uri)
    take(registry)
    own_redis.kill()
    paused: list[float] = []
    monkeypatch.setattr("zaqar.storage.redis.patience.time.sleep", paused.append)

    for _ in range(3):
        with pytest.raises(StorageUnavailable):
            take(registry)

    assert sum(paused) == 0
    own_redis.start()
    assert take(registry) == 0
    registry.close()


def test_other_registries_share_no_rates(tmp_path: object) -> None:
    from zaqar.storage.sqlite.registry import SqliteRegistry

    registry = SqliteRegistry(f"{tmp_path}/registry.db")

    assert registry.take_request("p", rate=1, burst=1) is None
    registry.close()

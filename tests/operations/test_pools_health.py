# SPDX-License-Identifier: Apache-2.0
"""Health with pools: each is told by itself, and one that is down keeps nobody away."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.model_registry import ModelRegistry
from tests.model_store import ModelStore
from tests.operations.conftest import T0
from tests.storage.pooling.conftest import PROMISED, Deployment, deployment, pool
from zaqar.errors import StorageUnavailable
from zaqar.operations import health
from zaqar.operations.health import PoolsReport
from zaqar.service import Service
from zaqar.storage.base import Store
from zaqar.storage.pooling.pools import Pools
from zaqar.storage.pooling.router import Router

__all__ = ["deployment"]

Serve = Callable[[Store], Service]
DOWN = "model:down"


class Down(ModelStore):
    def ping(self) -> None:
        raise StorageUnavailable("nobody there")


class DownRegistry(ModelRegistry):
    """One that was read once."""

    def ping(self) -> None:
        raise StorageUnavailable("nobody there")


def opened(deployment: Deployment, *, registry: bool = True) -> Pools:
    def open_store(uri: str, options: Mapping[str, Any]) -> Store:
        store = deployment.open_store(uri, options)
        return Down(deployment.stores[uri]) if uri == DOWN else store

    kind = ModelRegistry if registry else DownRegistry
    return Pools(kind(deployment.registry), open_store)


def served(serve: Serve, pools: Pools) -> Service:
    service = serve(Router(pools, lambda metadata: None))
    service.pools = pools
    return service


def found_in(pools: Pools) -> tuple[PoolsReport, list[tuple[str, str]]]:
    failures: list[tuple[str, str]] = []

    def told(reference: str, operation: str, error: Exception) -> None:
        failures.append((reference, operation))

    return health.pools_report(pools, lambda: T0, told), failures


def test_each_pool_is_tested_and_nothing_is_left_in_it(deployment: Deployment) -> None:
    deployment.register(pool("a"), pool("b", weight=0))

    found, failures = found_in(opened(deployment))

    assert found.catalog_reachable
    assert sorted(found.pools) == ["a", "b"]
    for report in found.pools.values():
        assert report.storage_reachable
        assert report.drift is None
        assert tuple(report.operation_status) == health.OPERATIONS
        assert all(step.succeeded for step in report.operation_status.values())
    assert not failures
    assert not any(data.queues for data in deployment.stores.values())


def test_pool_that_is_down_is_told_with_a_reference_that_the_log_has(
    deployment: Deployment,
) -> None:
    deployment.register(pool("a"), pool("down"))

    found, failures = found_in(opened(deployment))

    assert found.pools["a"].storage_reachable
    down = found.pools["down"]
    assert not down.storage_reachable
    assert tuple(down.operation_status) == health.OPERATIONS
    [reference] = {step.ref for step in down.operation_status.values()}
    assert failures == [(reference, "ping in pool down")]


def test_capabilities_that_are_not_those_registered_are_told(
    deployment: Deployment,
) -> None:
    registered = pool("a")
    deployment.register(
        type(registered)("a", "id-a", "model:a", 1, None, {}, (*PROMISED, "DURABILITY"))
    )

    found, _ = found_in(opened(deployment))

    now = ModelStore(deployment.stores["model:a"]).capabilities()
    assert found.pools["a"].drift == ((*PROMISED, "DURABILITY"), now)


def test_default_pool_is_tested_too(deployment: Deployment) -> None:
    found, _ = found_in(deployment.pools(virtual="model:default"))

    assert found.pools["default"].storage_reachable
    assert found.pools["default"].drift is None


def test_registry_that_is_down_is_told(deployment: Deployment) -> None:
    deployment.register(pool("a"))

    found, _ = found_in(opened(deployment, registry=False))

    assert not found.catalog_reachable
    assert found.pools["a"].storage_reachable


@pytest.mark.parametrize(
    ("pools", "registry", "alive", "ready"),
    [
        (["a", "b"], True, True, True),
        (["a", "down"], True, False, True),
        (["down"], True, False, True),
        ([], True, True, True),
        (["a", "down"], False, False, True),
        (["down"], False, False, False),
        ([], False, False, False),
    ],
)
def test_ping_needs_all_and_readiness_one_of_them(
    deployment: Deployment,
    serve: Serve,
    pools: list[str],
    registry: bool,
    alive: bool,
    ready: bool,
) -> None:
    deployment.register(*map(pool, pools))
    service = served(serve, opened(deployment, registry=registry))

    assert health.is_alive(service) == alive
    assert health.is_ready(service) == ready

# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any
from uuid import uuid4

import pytest

from tests.model_registry import ModelRegistry, RegistryData
from tests.model_store import ModelData, ModelStore
from zaqar import directory
from zaqar.directory import Directory
from zaqar.model import Flavor, Pool
from zaqar.storage.base import Store
from zaqar.storage.pooling.pools import Pools
from zaqar.storage.pooling.router import Router

PROMISED = ("FIFO", "CLAIMS", "AOD")


class Deployment:
    """Pools in memory, and what the processes of one service share of them."""

    def __init__(self) -> None:
        self.registry = RegistryData()
        self.stores: dict[str, ModelData] = {}
        self.opened: list[str] = []

    def open_store(self, uri: str, options: Mapping[str, Any]) -> Store:
        self.opened.append(uri)
        return ModelStore(self.stores.setdefault(uri, ModelData()))

    def pools(self, virtual: str | None = None) -> Pools:
        """Return the pools as one more process knows them."""
        store = None if virtual is None else self.open_store(virtual, {})
        return Pools(ModelRegistry(self.registry), self.open_store, store)

    def router(self, virtual: str | None = None) -> Router:
        return routed(self.pools(virtual))

    def register(self, *pools: Pool, flavors: Mapping[str, str] | None = None) -> None:
        """Make this the whole directory; `flavors` are names by project."""
        made = Directory(
            pools,
            tuple(Flavor(project, name) for project, name in (flavors or {}).items()),
        )
        self.registry.directory = (directory.write(made), uuid4().hex)


def routed(pools: Pools) -> Router:
    return Router(pools, lambda metadata: metadata.get("_flavor"))


def pool(name: str, *, weight: int = 1, flavor: str | None = None) -> Pool:
    return Pool(name, f"id-{name}", f"model:{name}", weight, flavor, {}, PROMISED)


@pytest.fixture
def deployment() -> Deployment:
    return Deployment()


@pytest.fixture
def in_turn(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let new queues go to the pools one after the other."""
    turns = count()

    def choose(pools: list[Pool], weights: list[int]) -> list[Pool]:
        return [pools[next(turns) % len(pools)]]

    monkeypatch.setattr(directory.random, "choices", choose)
    yield

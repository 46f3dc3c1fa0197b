# SPDX-License-Identifier: Apache-2.0
"""The contract suite of registries is right: the simplest one passes it."""

from collections.abc import Callable
from functools import partial

import pytest

from tests.contract.registry import RegistryContract
from tests.model_registry import ModelRegistry, RegistryData


def test_no_fact_of_the_contract_hides_another() -> None:
    facts = [
        name
        for part in RegistryContract.__bases__
        for name in vars(part)
        if not name.startswith("__")
    ]

    assert len(facts) == len(set(facts))


class TestModelRegistry(RegistryContract):
    @pytest.fixture
    def registry_opener(self) -> Callable[[], ModelRegistry]:
        return partial(ModelRegistry, RegistryData())

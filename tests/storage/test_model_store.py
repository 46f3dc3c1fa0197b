# SPDX-License-Identifier: Apache-2.0
"""The contract suite is right: the simplest store that can be passes it."""

from collections.abc import Callable
from functools import partial

import pytest

from tests.contract.state_machine import StateMachineContract
from tests.contract.store import StoreContract
from tests.model_store import ModelData, ModelStore


def test_no_fact_of_the_contract_hides_another() -> None:
    facts = [
        name
        for part in StoreContract.__bases__
        for name in vars(part)
        if not name.startswith("__")
    ]

    assert len(facts) == len(set(facts))


class TestModelStore(StoreContract, StateMachineContract):
    @pytest.fixture
    def opener(self) -> Callable[[], ModelStore]:
        return partial(ModelStore, ModelData())

    @pytest.fixture
    def open_empty(self) -> Callable[[], ModelStore]:
        return ModelStore

# SPDX-License-Identifier: Apache-2.0
"""The contract suite is right: the simplest store that can be passes it."""

from collections.abc import Callable

import pytest

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


class TestModelStore(StoreContract):
    @pytest.fixture
    def open_store(self) -> Callable[[], ModelStore]:
        data = ModelData()
        return lambda: ModelStore(data)

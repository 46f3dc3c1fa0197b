# SPDX-License-Identifier: Apache-2.0
"""The MongoDB store keeps the contract, on a replica set of one."""

from collections.abc import Callable
from functools import partial

import pytest

from tests.contract.processes import ProcessContract
from tests.contract.state_machine import StateMachineContract
from tests.contract.store import StoreContract
from tests.storage.mongodb.conftest import emptied
from zaqar.storage.mongodb.store import MongoStore


class TestMongoStore(
    StoreContract,
    StateMachineContract,
    ProcessContract,
):
    pass


# Without coverage where the same code runs a second time: it is a quarter of the time.
@pytest.mark.no_cover
class TestRelaxedMongoStore(
    StoreContract,
    StateMachineContract,
    ProcessContract,
):
    """With `ordering = relaxed` all holds but what strictness promises."""

    examples = 20

    # A post is seen while it is inserted.
    test_post_is_seen_whole_or_not_at_all = None
    test_import_is_seen_whole_or_not_at_all = None
    # What a slower writer inserts lies behind the marker of a quicker reader.
    test_observer_misses_and_repeats_nothing_while_others_post = None

    @pytest.fixture
    def opener(self, opener: Callable[[], MongoStore]) -> Callable[[], MongoStore]:
        return partial(opener, ordering="relaxed")

    @pytest.fixture
    def open_empty(self, mongo_uri: str) -> Callable[[], MongoStore]:
        return lambda: MongoStore(
            mongo_uri, database=emptied(mongo_uri), ordering="relaxed"
        )

# SPDX-License-Identifier: Apache-2.0
"""The SQLite store keeps the contract."""

from tests.contract.processes import ProcessContract
from tests.contract.state_machine import StateMachineContract
from tests.contract.store import StoreContract


class TestSqliteStore(
    StoreContract,
    StateMachineContract,
    ProcessContract,
):
    pass

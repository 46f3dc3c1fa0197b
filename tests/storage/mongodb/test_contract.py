# SPDX-License-Identifier: Apache-2.0
"""The MongoDB store keeps the contract, on a replica set of one."""

from tests.contract.processes import ProcessContract
from tests.contract.state_machine import StateMachineContract
from tests.contract.store import StoreContract


class TestMongoStore(StoreContract, StateMachineContract, ProcessContract):
    pass

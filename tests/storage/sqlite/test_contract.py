# SPDX-License-Identifier: Apache-2.0
"""The SQLite store keeps the contract."""

from tests.contract.store import StoreContract


class TestSqliteStore(StoreContract):
    pass

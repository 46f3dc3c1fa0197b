# SPDX-License-Identifier: Apache-2.0
"""Two projects of a real Keystone are kept apart, on every route of the table.

The requests and what is asked of the answers are those of `test_tenants.py`.
"""

from collections.abc import Callable

import pytest

from tests.api.bearer import Bearer
from tests.api.test_tenants import (
    Owner,
    Route,
    assert_strangers_find_nothing,
    table,
)
from tests.api.wire import Headers
from tests.keystone_servers import KeystoneServer
from tests.servers import Server, merge

__all__ = ["table"]


class Pretender(Bearer):
    """A client that says in headers to be of the project `pretended`."""

    pretended = ""

    def headers(self, changes: Headers) -> dict[str, str]:
        names = ("X-Project-ID", "X-Tenant-Id", "X-Project-Name", "X_Project_ID")
        return super().headers(dict.fromkeys(names, self.pretended) | dict(changes))


@pytest.mark.parametrize("version", ["/v1.1", "/v2"])
def test_administrator_of_another_project_finds_nothing_and_changes_nothing(
    servers: Callable[..., Server],
    keystone: KeystoneServer,
    table: list[Route],
    version: str,
) -> None:
    server = servers(merge(keystone.options(), {"server": {"workers": 2}}))
    blue = Bearer(server.address, token=keystone.token("blue-member", "blue"))
    red = Pretender(server.address, token=keystone.token("red-admin", "red"))
    red.pretended = keystone.ids["blue"]

    assert_strangers_find_nothing(Owner(blue), red.cleared, table, version)

    blue.cleared()
    red.cleared()

# SPDX-License-Identifier: Apache-2.0
"""A client with a token of Keystone, which alone says whose project it is."""

from typing import Self

from tests.api.conformance import CheckedApi
from tests.api.wire import CLIENT, Address, Headers


class Bearer(CheckedApi):
    """A client that names no project, and leaves nothing behind if it is `cleared`."""

    def __init__(
        self,
        address: Address,
        *,
        token: str | None,
        project: str | None = None,
        client: str = CLIENT,
        version: str = "/v2",
    ) -> None:
        super().__init__(address, project=project, client=client, version=version)
        self.token = token

    def _other(self, **changes: str | None) -> Self:
        assert "project" not in changes, "Another project needs another token."
        same = {"token": self.token, "client": self.client, "version": self.version}
        return type(self)(self.address, **{**same, **changes})  # type: ignore[arg-type]

    def headers(self, changes: Headers) -> dict[str, str]:
        given = {"X-Project-ID": None, "X-Auth-Token": self.token}
        return super().headers(given | dict(changes))

    def cleared(self) -> Self:
        """Delete all queues and topics of the project."""
        for kind in ("queues", "topics"):
            while found := self.get(f"/v2/{kind}", limit=20).json[kind]:
                for each in found:
                    assert self.delete(each["href"]).status == 204
        return self

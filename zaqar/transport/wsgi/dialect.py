# SPDX-License-Identifier: Apache-2.0
"""What differs between API versions, as data."""

from collections.abc import Mapping
from typing import Any

import msgspec

# The policy rule that each method of a resource asks for.
Rules = Mapping[str, str]


class Route(msgspec.Struct, frozen=True):
    """A path, its resource, and the rules of its methods.

    An anonymous route needs neither client nor project; so it has no header to check.
    """

    path: str
    resource: Any
    rules: Rules
    anonymous: bool = False


class Dialect(msgspec.Struct, frozen=True):
    """One version of the API."""

    prefix: str
    version: dict[str, Any]

    def queue(self, name: str) -> str:
        return f"{self.prefix}/queues/{name}"

    def messages(self, name: str) -> str:
        return f"{self.prefix}/queues/{name}/messages"

    def claim(self, name: str, claim: str) -> str:
        return f"{self.prefix}/queues/{name}/claims/{claim}"

# SPDX-License-Identifier: Apache-2.0
"""What differs between API versions, as data."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from zaqar.model import QUEUES

# The policy rule that each method of a resource asks for.
Rules = Mapping[str, str]


class Route(msgspec.Struct, frozen=True):
    """A path, its resource, and the rules of its methods.

    An anonymous route needs neither client nor project; so it has no header to check.
    Signed requests reach no route that is not `signable`. An `unmetered` one is served
    however many requests come. `kind` is what it serves.
    """

    path: str
    resource: Any
    rules: Rules
    anonymous: bool = False
    signable: bool = False
    unmetered: bool = False
    kind: str = QUEUES


# Name, template below the prefix, methods.
HomeResources = tuple[tuple[str, str, str], ...]


class Dialect(msgspec.Struct, frozen=True):
    """One version of the API.

    `shows_defaults`: the metadata of a queue is shown with the reserved keys that it
    does not have. `filters_queues`: the list of queues takes name, with_count and
    filters of the metadata. `applies_queue_settings`: posts take the ttl, delay and
    size of the queue. `lists_delayed`: lists of messages take include_delayed.
    `guards_admin`: health, pools and flavors ask for the rules of the policy without
    authentication too.
    `flavors_of_pools`: clients give pools a flavor, and are shown what they changed.
    `takes_signatures`: parts of a queue can be shared by signed URLs.
    `kind` is what is called a queue here: topics are queues of another name space.
    """

    prefix: str
    version: dict[str, Any]
    home: HomeResources
    shows_defaults: bool = True
    filters_queues: bool = True
    applies_queue_settings: bool = True
    lists_delayed: bool = True
    guards_admin: bool = True
    flavors_of_pools: bool = True
    takes_signatures: bool = True
    kind: str = QUEUES

    def queues(self) -> str:
        return f"{self.prefix}/{self.kind}"

    def queue(self, name: str) -> str:
        return f"{self.prefix}/{self.kind}/{name}"

    def messages(self, name: str) -> str:
        return f"{self.prefix}/{self.kind}/{name}/messages"

    def subscriptions(self, name: str) -> str:
        return f"{self.prefix}/{self.kind}/{name}/subscriptions"

    def subscription(self, name: str, id: str) -> str:
        return f"{self.subscriptions(name)}/{quote(id, safe='')}"

    def claim(self, name: str, claim: str) -> str:
        return f"{self.prefix}/queues/{name}/claims/{claim}"

    def pool(self, name: str) -> str:
        return f"{self.prefix}/pools/{quote(name, safe='')}"

    def flavor(self, name: str) -> str:
        return f"{self.prefix}/flavors/{quote(name, safe='')}"

# SPDX-License-Identifier: Apache-2.0
"""What a sender is: something that delivers one notification to one subscriber, once.

A sender is a class, found by the scheme of the subscriber's URI through the entry
points of the group `zaqar.notification.senders`; so a package of somebody else can
bring one. It knows neither stores nor retries.
"""

import ssl
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec
from yarl import URL

from zaqar.notification.payload import Notification
from zaqar.notification.settings import NotificationSettings

Options = Mapping[str, Any]


class Target(msgspec.Struct, frozen=True):
    """One attempt, from 1 on, of one delivery, whose id all its attempts share.

    `options` are those of the subscription as sent, empty for none.
    """

    subscriber: str
    options: Options
    project: str
    queue: str
    delivery: str
    attempt: int
    notification: Notification


class Outcome(msgspec.Struct, frozen=True):
    """What came of an attempt. `final`: another one would come to the same.

    `status` is that of the answer, if there was one and it has a number.
    """

    delivered: bool
    seconds: float
    status: int | None = None
    final: bool = False
    error: str | None = None


class DeliveryFailed(Exception):
    """Raised by a sender; the text is for whoever subscribed, and tells no secrets."""

    def __init__(
        self, error: str, *, final: bool = False, status: int | None = None
    ) -> None:
        super().__init__(error)
        self.error, self.final, self.status = error, final, status


class PostFailed(Exception):
    """Raised where there is no answer; `final`: there will never be one."""

    def __init__(self, error: str, *, final: bool = False) -> None:
        super().__init__(error)
        self.final = final


class HttpClient(Protocol):
    """Sends to subscribers, as far as they may be reached."""

    async def post(self, url: URL, body: bytes, headers: Mapping[str, str]) -> int:
        """Return the status of the answer. Raises PostFailed."""


class Tools(msgspec.Struct, frozen=True):
    """What senders are made with. `config` has the options of oslo's libraries."""

    settings: NotificationSettings
    client: HttpClient
    tls: ssl.SSLContext
    config: Any


class Sender(Protocol):
    """Delivers to the subscribers of a scheme."""

    def __init__(self, tools: Tools) -> None: ...

    @staticmethod
    def check(
        subscriber: str, options: Options, settings: NotificationSettings
    ) -> None:
        """Raise InvalidRequest, which names the field, unless one can subscribe so.

        May take as long as looking up a name. Never runs in the loop.
        """

    async def deliver(self, target: Target) -> int | None:
        """Return the status of the answer, if it has a number.

        Runs under the deadline of an attempt. Raises DeliveryFailed, and InvalidRequest
        where subscriber or options would not be accepted today.
        """

# SPDX-License-Identifier: Apache-2.0
"""Trusts that are made for subscriptions: those that none has in the end are removed.

Knows when a subscription needs one; how Keystone is asked `senders/trust.py` knows.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from zaqar.errors import InvalidRequest, StorageUnavailable, SubscriptionChanged
from zaqar.model import Context, Subscription
from zaqar.notification import senders
from zaqar.notification.senders.trust import create_trust, remove_trust
from zaqar.service import Service

# Schemes that begin so are told with a token, by a trust.
TRUST, TRUST_ID = "trust+", "trust_id"


def lacks_trust(subscriber: str, options: Mapping[str, Any]) -> bool:
    is_trusted = senders.scheme_of(subscriber).startswith(TRUST)
    return is_trusted and options.get(TRUST_ID) is None


class Trusts:
    """Those that one request makes, of the one whose `token` it has.

    Left, it removes what was made and not kept, unless nobody knows what is stored.
    """

    def __init__(self, ctx: Context, service: Service, token: str | None) -> None:
        self._ctx = ctx
        self._config = service.settings.config
        self._token = token
        # With the instants at which they end.
        self._made: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, StorageUnavailable) and not isinstance(
            error.__cause__, SubscriptionChanged
        ):
            return
        for trust in self._made:
            assert self._token is not None
            remove_trust(
                self._config, trust, token=self._token, project=self._ctx.project
            )

    def options(
        self, subscriber: str, options: Mapping[str, Any], expires: float
    ) -> Mapping[str, Any]:
        """Return the options, with a trust if the subscriber needs one and has none.

        One that was made already is taken if it lasts as long.
        Raises InvalidRequest, StorageUnavailable if Keystone does not answer.
        """
        if not lacks_trust(subscriber, options):
            return options
        if self._token is None:
            raise InvalidRequest(
                "options.trust_id is needed: only of a token of Keystone a trust is "
                "made."
            )
        lasting = (trust for trust, ends in self._made.items() if ends >= expires)
        if (trust := next(lasting, None)) is None:
            trust = create_trust(
                self._config,
                token=self._token,
                project=self._ctx.project,
                roles=self._ctx.roles,
                expires=expires,
            )
            self._made[trust] = expires
        return {**options, TRUST_ID: trust}

    def keep(self, stored: Subscription) -> None:
        """Let the subscription have its own."""
        self._made.pop(stored.options.get(TRUST_ID, ""), None)

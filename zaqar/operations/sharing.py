# SPDX-License-Identifier: Apache-2.0
"""Signed URLs: who may use a queue lends a part of that to others, for a time."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec

from zaqar import signing
from zaqar.errors import InvalidRequest
from zaqar.model import Context
from zaqar.service import Service

LIFETIME = timedelta(days=1)


class Share(msgspec.Struct, frozen=True):
    """What is lent; no `expires` means a day."""

    paths: tuple[str, ...]
    methods: tuple[str, ...]
    expires: datetime | None = None


def share(
    ctx: Context, service: Service, lent: Share, rules: Iterable[str]
) -> tuple[signing.Terms, str]:
    """Return the terms and their signature; the queue need not exist.

    `rules` guard what is lent. Raises NotAuthorized, and InvalidRequest, also where
    there is no key.
    """
    # SECURITY: a signature is asked for no rule when it is used. So nobody can lend
    # what they may not do themselves.
    for rule in rules:
        service.policy.check(rule, ctx)
    if not service.settings.signing_keys:
        raise InvalidRequest(
            "This service signs no URLs: it has no [signed_url] secret_key."
        )
    terms = signing.Terms(
        tuple(sorted(set(lent.paths))),
        tuple(sorted(set(lent.methods))),
        ctx.project,
        _expires(lent.expires, service.now()),
    )
    return terms, signing.sign(terms, service.settings.signing_keys[0])


def _expires(asked: datetime | None, now: float) -> str:
    """Return the end of the terms. Raises InvalidRequest if it is over already."""
    if asked is None:
        return signing.expiry(datetime.fromtimestamp(now, UTC) + LIFETIME)
    try:
        expires = signing.expiry(asked)
        is_over = signing.instant(expires) <= now
    except (OverflowError, ValueError):
        raise InvalidRequest("expires must be of the years 1 to 9999 in UTC.") from None
    if is_over:
        raise InvalidRequest("expires must lie in the future.")
    return expires

# SPDX-License-Identifier: Apache-2.0
"""Operations on claims: create, get, renew, release."""

from contextlib import suppress
from functools import partial

import msgspec
from uuid_utils import uuid7

from zaqar import limits
from zaqar.bodies import unreadable
from zaqar.errors import QueueNotFound
from zaqar.model import Claim, Context, Message
from zaqar.service import KnownQueue, Service

# How often a claim is tried where nothing of what was claimed can be read.
LOOKS = 5


class Wish(msgspec.Struct, frozen=True):
    """What a client asks of a claim; None means the default."""

    ttl: int | None = None
    grace: int | None = None
    limit: int | None = None


def create(
    ctx: Context, service: Service, name: str, wish: Wish
) -> tuple[str, list[Message]]:
    """Claim the oldest free messages; the claim's id and its messages.

    Without messages there is no claim. Raises InvalidRequest; KeyUnavailable if none of
    several claims, which stay, has a message that can be read.
    """
    key = ctx.key(name)
    ttl = limits.claim_ttl(wish.ttl, service.limits)
    grace = limits.claim_grace(wish.grace, service.limits)
    limit = limits.page_limit(
        wish.limit, "limit", service.limits.max_messages_per_claim_or_pop
    )

    def step(queue: KnownQueue, claim: str) -> list[Message]:
        if queue.revision is None:
            return []
        return service.store.create_claim(
            key,
            claim,
            ttl=ttl,
            grace=grace,
            limit=limit,
            dead_letter=queue.settings.dead_letter,
            revision=queue.revision,
            now=service.now(),
        )

    for _ in range(LOOKS):
        claim = str(uuid7())
        claimed = service.queues.attempt(key, partial(step, claim=claim))
        shown = service.bodies.read(key, claimed)
        if shown or not claimed:
            return claim, list(shown)
        # What cannot be read stays claimed, and so it is in nobody's way.
    raise unreadable(key)


def get(ctx: Context, service: Service, name: str, claim: str) -> Claim:
    """Return a live claim. Raises ClaimNotFound, QueueNotFound."""
    key = ctx.key(name)
    found = service.store.get_claim(key, claim, now=service.now())
    shown = service.bodies.read(key, found.messages)
    return msgspec.structs.replace(found, messages=tuple(shown))


def renew(ctx: Context, service: Service, name: str, claim: str, wish: Wish) -> None:
    """Restart a live claim. Raises InvalidRequest, ClaimNotFound, QueueNotFound."""
    service.store.renew_claim(
        ctx.key(name),
        claim,
        ttl=limits.claim_ttl(wish.ttl, service.limits),
        grace=limits.claim_grace(wish.grace, service.limits),
        now=service.now(),
    )


def release(ctx: Context, service: Service, name: str, claim: str) -> None:
    """Set the messages of the claim free; nothing if there is no such claim."""
    with suppress(QueueNotFound):
        service.store.release_claim(ctx.key(name), claim, now=service.now())

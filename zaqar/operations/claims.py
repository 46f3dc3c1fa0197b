# SPDX-License-Identifier: Apache-2.0
"""Operations on claims: create, get, renew, release."""

from contextlib import suppress

import msgspec
from uuid_utils import uuid7

from zaqar import limits
from zaqar.errors import QueueNotFound
from zaqar.model import Claim, Context, Message, QueueKey
from zaqar.service import KnownQueue, Service


class Wish(msgspec.Struct, frozen=True):
    """What a client asks of a claim; None means the default."""

    ttl: int | None = None
    grace: int | None = None
    limit: int | None = None


def create(
    ctx: Context, service: Service, name: str, wish: Wish
) -> tuple[str, list[Message]]:
    """Claim the oldest free messages; the claim's id and its messages.

    Without messages there is no claim. Raises InvalidRequest.
    """
    key, claim = QueueKey(ctx.project, name), str(uuid7())
    ttl = limits.claim_ttl(wish.ttl, service.limits)
    grace = limits.claim_grace(wish.grace, service.limits)
    limit = limits.page_limit(
        wish.limit, "limit", service.limits.max_messages_per_claim_or_pop
    )

    def step(queue: KnownQueue) -> list[Message]:
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

    return claim, service.queues.attempt(key, step)


def get(ctx: Context, service: Service, name: str, claim: str) -> Claim:
    """Return a live claim. Raises ClaimNotFound, QueueNotFound."""
    return service.store.get_claim(
        QueueKey(ctx.project, name), claim, now=service.now()
    )


def renew(ctx: Context, service: Service, name: str, claim: str, wish: Wish) -> None:
    """Restart a live claim. Raises InvalidRequest, ClaimNotFound, QueueNotFound."""
    service.store.renew_claim(
        QueueKey(ctx.project, name),
        claim,
        ttl=limits.claim_ttl(wish.ttl, service.limits),
        grace=limits.claim_grace(wish.grace, service.limits),
        now=service.now(),
    )


def release(ctx: Context, service: Service, name: str, claim: str) -> None:
    """Set the messages of the claim free; nothing if there is no such claim."""
    with suppress(QueueNotFound):
        service.store.release_claim(
            QueueKey(ctx.project, name), claim, now=service.now()
        )

# SPDX-License-Identifier: Apache-2.0
"""Operations on messages: post, list, get, delete, pop.

An absent queue is one without messages.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from zaqar import limits
from zaqar.checksum import checksum
from zaqar.errors import InvalidRequest, MessageNotFound, QueueNotFound
from zaqar.model import Context, Message, NewMessage, Page, QueueKey
from zaqar.queue_settings import QueueSettings
from zaqar.service import KnownQueue, Service


class Draft(msgspec.Struct, frozen=True, gc=False):
    """A message as a client sends it.

    `ttl` None means the queue's default. `delay` is whatever was sent, read only where
    the queue delays; UNSET means the queue's default.
    """

    body: bytes
    ttl: int | None = None
    delay: Any = msgspec.UNSET


def post(
    ctx: Context,
    service: Service,
    name: str,
    drafts: Sequence[Draft],
    *,
    size: int,
    with_settings: bool = True,
) -> list[str]:
    """Store the messages, all or none, and return their ids in the order posted.

    `size` is the length of the request in bytes. Without settings, the defaults of the
    service hold, whatever the queue says, and nothing is delayed. An absent queue is
    created.
    Raises InvalidRequest, InvalidBody, QuotaExceeded.
    """
    key = QueueKey(ctx.project, name)
    if not drafts:
        raise InvalidRequest("messages must hold at least one message.")
    if service.quotas is not None:
        size_of_bodies = sum(len(draft.body) for draft in drafts)
        service.quotas.admit_messages(ctx.project, len(drafts), size_of_bodies)

    def step(queue: KnownQueue) -> list[str]:
        settings = queue.settings if with_settings else _plain(service)
        limits.check_size("The body", size, settings.max_post_size)
        messages = [_message(service, draft, settings) for draft in drafts]
        if queue.revision is None:
            if not service.create_queue(key, {}):
                # Somebody was faster, and the settings are theirs: look again.
                raise QueueNotFound(name)
            queue = service.queues.get(key)
        service.store.post_messages(
            key,
            messages,
            client=ctx.client,
            revision=queue.revision or "",
            now=service.now(),
        )
        return [message.id for message in messages]

    return service.queues.attempt(key, step)


def _plain(service: Service) -> QueueSettings:
    """Return the settings of a post that asks nothing of its queue."""
    return msgspec.structs.replace(service.queues.absent.settings, message_delay=0)


def _message(service: Service, draft: Draft, settings: QueueSettings) -> NewMessage:
    ttl, delay = settings.message_ttl, settings.message_delay
    if draft.ttl is not None:
        ttl = limits.message_ttl(draft.ttl, service.limits)
    if delay and draft.delay is not msgspec.UNSET:
        delay = limits.message_delay(draft.delay, service.limits)
    mark = checksum(draft.body) if service.settings.enable_checksum else None
    return NewMessage(service.clock.new_id(), draft.body, ttl, delay, mark)


def page(
    ctx: Context,
    service: Service,
    name: str,
    *,
    marker: str | None,
    limit: int | None,
    echo: bool,
    claimed: bool,
    delayed: bool,
) -> Page[Message]:
    """Return a page of messages, oldest first.

    `echo` includes those that the caller's client posted.
    """
    size = limits.page_limit(limit, "limit", service.limits.max_messages_per_page)
    try:
        return service.store.list_messages(
            QueueKey(ctx.project, name),
            marker=marker,
            limit=size,
            skip_client=None if echo else ctx.client,
            claimed=claimed,
            delayed=delayed,
            now=service.now(),
        )
    except QueueNotFound:
        return Page()


def get(ctx: Context, service: Service, name: str, id: str) -> Message:
    """Return one message. Raises MessageNotFound."""
    return get_many(ctx, service, name, [id])[0]


def get_many(
    ctx: Context, service: Service, name: str, ids: Sequence[str]
) -> list[Message]:
    """Return those of the messages that exist. Raises MessageNotFound if none does."""
    _check_count(service, ids)
    messages: list[Message] = []
    with suppress(QueueNotFound):
        messages = service.store.get_messages(
            QueueKey(ctx.project, name), ids, now=service.now()
        )
    if not messages:
        raise MessageNotFound(name, *ids)
    return messages


def delete(
    ctx: Context, service: Service, name: str, id: str, claim: str | None
) -> None:
    """Delete one message. Raises MessageIsClaimed, ClaimDoesNotHoldMessage."""
    with suppress(QueueNotFound):
        service.store.delete_message(
            QueueKey(ctx.project, name), id, claim=claim, now=service.now()
        )


def delete_many(
    ctx: Context,
    service: Service,
    name: str,
    ids: Sequence[str],
    claims: Sequence[str],
) -> None:
    """Delete messages whether claimed or not.

    Where `message_delete_with_claim_id` is on, one of the claims must hold each of
    them. Raises InvalidRequest, ClaimDoesNotHoldMessage.
    """
    _check_count(service, ids)
    with_claims = service.settings.message_delete_with_claim_id
    if with_claims and not claims:
        raise InvalidRequest("claim_ids must name the claims that hold the messages.")
    with suppress(QueueNotFound):
        service.store.delete_messages(
            QueueKey(ctx.project, name),
            ids,
            claims=claims if with_claims else None,
            now=service.now(),
        )


def pop(
    ctx: Context, service: Service, name: str, count: int, claims: Sequence[str] = ()
) -> list[Message]:
    """Remove and return the oldest messages that are free. Raises InvalidRequest."""
    if claims and service.settings.message_delete_with_claim_id:
        raise InvalidRequest("claim_ids does not go with pop.")
    limit = limits.check_range(
        "pop", count, 1, service.limits.max_messages_per_claim_or_pop
    )
    try:
        return service.store.pop_messages(
            QueueKey(ctx.project, name), limit, now=service.now()
        )
    except QueueNotFound:
        return []


def _check_count(service: Service, ids: Sequence[str]) -> None:
    limits.check_range(
        "The number of ids", len(ids), 1, service.limits.max_messages_per_page
    )

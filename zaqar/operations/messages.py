# SPDX-License-Identifier: Apache-2.0
"""Operations on messages: post, list, get, delete, pop.

An absent queue is one without messages.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from zaqar import limits
from zaqar.bodies import unreadable
from zaqar.checksum import checksum
from zaqar.errors import (
    BadInput,
    InvalidRequest,
    KeyUnavailable,
    MessageNotFound,
    QueueNotFound,
)
from zaqar.model import Context, Message, NewMessage, Page, Parcel, QueueKey
from zaqar.queue_settings import QueueSettings
from zaqar.service import KnownQueue, Service

# How many pages of messages that cannot be read are passed to find one that can, and
# how often so many are popped.
PAGES, LOOKS = 20, 5


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
    service hold, whatever the queue says, and nothing is delayed; but a queue that
    encrypts does so. An absent queue is created.
    Raises InvalidRequest, InvalidBody, KeyUnavailable, QuotaExceeded.
    """
    key = ctx.key(name)
    if not drafts:
        raise InvalidRequest("messages must hold at least one message.")
    if service.quotas is not None:
        size_of_bodies = sum(len(draft.body) for draft in drafts)
        service.quotas.admit_messages(ctx.project, len(drafts), size_of_bodies)

    def step(queue: KnownQueue) -> list[str]:
        settings = queue.settings if with_settings else _plain(service, queue)
        limits.check_size("The body", size, settings.max_post_size)
        messages = [_message(service, draft, settings, key) for draft in drafts]
        if queue.revision is None:
            if not service.create_queue(key, {}):
                # Somebody was faster, and the settings are theirs: look again.
                raise QueueNotFound(name)
            queue = service.queues.get(key)
        is_owed = service.store.post_messages(
            key,
            messages,
            client=ctx.client,
            revision=queue.revision or "",
            now=service.now(),
        )
        if is_owed:
            service.bell.ring()
        return [message.id for message in messages]

    try:
        return service.queues.attempt(key, step)
    except (BadInput, KeyUnavailable):
        # It may have been refused by settings that the queue has no longer.
        if not service.queues.was_outdated(key):
            raise
        return service.queues.attempt(key, step)


def _plain(service: Service, queue: KnownQueue) -> QueueSettings:
    """Return the settings of a post that asks next to nothing of its queue."""
    return msgspec.structs.replace(
        service.queues.absent.settings,
        message_delay=0,
        encrypts=queue.settings.encrypts,
    )


def _message(
    service: Service, draft: Draft, settings: QueueSettings, key: QueueKey
) -> NewMessage:
    ttl, delay = settings.message_ttl, settings.message_delay
    if draft.ttl is not None:
        ttl = limits.message_ttl(draft.ttl, service.limits)
    if delay and draft.delay is not msgspec.UNSET:
        delay = limits.message_delay(draft.delay, service.limits)
    mark = checksum(draft.body) if service.settings.enable_checksum else None
    id, body = service.clock.new_id(), draft.body
    if settings.encrypts:
        body = service.bodies.seal(key, id, body)
    return NewMessage(id, body, ttl, delay, mark)


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
    key = ctx.key(name)
    for _ in range(PAGES):
        try:
            page = service.store.list_messages(
                key,
                marker=marker,
                limit=size,
                skip_client=None if echo else ctx.client,
                claimed=claimed,
                delayed=delayed,
                now=service.now(),
            )
        except QueueNotFound:
            return Page()
        shown = service.bodies.read(key, page.items)
        if shown is page.items:
            return page
        if shown:
            return msgspec.structs.replace(page, items=tuple(shown))
        # An empty page would be the end.
        marker = page.marker
    raise unreadable(key)


def get(ctx: Context, service: Service, name: str, id: str) -> Message:
    """Return one message. Raises MessageNotFound, KeyUnavailable."""
    return get_many(ctx, service, name, [id])[0]


def get_many(
    ctx: Context, service: Service, name: str, ids: Sequence[str]
) -> Sequence[Message]:
    """Return those of the messages that exist and can be read.

    Raises MessageNotFound if none exists, KeyUnavailable if none can be read.
    """
    _check_count(service, ids)
    key = ctx.key(name)
    messages: list[Message] = []
    with suppress(QueueNotFound):
        messages = service.store.get_messages(key, ids, now=service.now())
    if not messages:
        raise MessageNotFound(name, *ids)
    shown = service.bodies.read(key, messages)
    if not shown:
        raise unreadable(key)
    return shown


def delete(
    ctx: Context, service: Service, name: str, id: str, claim: str | None
) -> None:
    """Delete one message. Raises MessageIsClaimed, ClaimDoesNotHoldMessage."""
    with suppress(QueueNotFound):
        service.store.delete_message(ctx.key(name), id, claim=claim, now=service.now())


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
            ctx.key(name),
            ids,
            claims=claims if with_claims else None,
            now=service.now(),
        )


def pop(
    ctx: Context, service: Service, name: str, count: int, claims: Sequence[str] = ()
) -> Sequence[Message]:
    """Remove and return the oldest messages that are free and can be read.

    Raises InvalidRequest; KeyUnavailable if many were looked at and none can be read.
    """
    if claims and service.settings.message_delete_with_claim_id:
        raise InvalidRequest("claim_ids does not go with pop.")
    limit = limits.check_range(
        "pop", count, 1, service.limits.max_messages_per_claim_or_pop
    )
    key = ctx.key(name)
    for _ in range(LOOKS):
        now = service.now()
        try:
            popped = service.store.pop_messages(key, limit, now=now)
        except QueueNotFound:
            return []
        shown = service.bodies.read(key, popped)
        if len(shown) < len(popped):
            _put_back(service, key, popped, shown, now)
        if shown or not popped:
            return shown
    raise unreadable(key)


def _put_back(
    service: Service,
    key: QueueKey,
    popped: Sequence[Message],
    shown: Sequence[Message],
    now: float,
) -> None:
    """Append again what nobody could read: its key may be back one day."""
    ids = {message.id for message in shown}
    # Who posted it is not known any more.
    parcels = [
        Parcel(message, "", now + message.ttl)
        for message in popped
        if message.id not in ids
    ]
    with suppress(QueueNotFound):
        service.store.import_messages(key, parcels, now=now)


def _check_count(service: Service, ids: Sequence[str]) -> None:
    limits.check_range(
        "The number of ids", len(ids), 1, service.limits.max_messages_per_page
    )

# SPDX-License-Identifier: Apache-2.0
"""Operations on queues: list, put, get, patch, delete, stats, purge.

Queues are lazy: reading, claiming from, or deleting an absent queue is no error.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from zaqar.errors import (
    InvalidBody,
    InvalidRequest,
    QueueChanged,
    QueueNotFound,
    StorageUnavailable,
)
from zaqar.limits import page_limit
from zaqar.model import Context, Metadata, Page, Queue, QueueKey, QueueStats
from zaqar.queue_settings import (
    ENCRYPTION,
    Change,
    check_metadata,
    patched,
    settings_of,
)
from zaqar.service import ATTEMPTS, Service, new_revision


def page(
    ctx: Context,
    service: Service,
    *,
    marker: str | None,
    limit: int | None,
    name: str,
    match: Mapping[str, str | int],
) -> Page[Queue]:
    """Return a page of the project's queues with the metadata that is stored."""
    size = page_limit(limit, "limit", service.limits.max_queues_per_page)
    return service.store.list_queues(
        ctx.space, marker=marker, limit=size, name=name, match=match
    )


def count(ctx: Context, service: Service) -> int:
    return service.store.count_queues(ctx.space)


def put(ctx: Context, service: Service, name: str, metadata: Metadata) -> bool:
    """Create the queue if it is absent, and say whether it is new.

    Raises InvalidRequest; the metadata is checked even if the queue is there.
    """
    check_metadata(metadata, service.limits)
    _check_encryption(service, metadata)
    return service.create_queue(ctx.key(name), metadata)


def get(ctx: Context, service: Service, name: str) -> Metadata:
    """Return the metadata that is stored; none of an absent queue."""
    try:
        return service.store.get_queue(ctx.key(name)).metadata
    except QueueNotFound:
        return {}


def exists(ctx: Context, service: Service, name: str) -> bool:
    try:
        service.store.get_queue(ctx.key(name))
    except QueueNotFound:
        return False
    return True


def patch(
    ctx: Context, service: Service, name: str, changes: Sequence[Change]
) -> Metadata:
    """Apply all changes or none, and return the metadata that is stored then.

    An absent queue is created, unless `strict_patch` asks for QueueNotFound.
    Raises MetadataKeyNotFound, InvalidBody.
    """
    key = ctx.key(name)
    for _ in range(ATTEMPTS):
        try:
            return _patch(service, key, changes)
        except QueueChanged:
            continue
        except QueueNotFound:
            if service.settings.strict_patch:
                raise
    raise StorageUnavailable(f"The metadata of queue {name} keeps changing.")


def _patch(service: Service, key: QueueKey, changes: Sequence[Change]) -> Metadata:
    """Apply the changes to the queue as it is stored now.

    Raises QueueChanged or QueueNotFound if somebody else wrote or removed it meanwhile.
    """
    try:
        queue = service.store.get_queue(key)
    except QueueNotFound:
        if service.settings.strict_patch:
            raise
        metadata = _patched(service, {}, changes)
        if not service.create_queue(key, metadata):
            raise
        return metadata
    metadata = _patched(service, queue.metadata, changes)
    service.store.put_queue(
        key,
        metadata,
        delays=settings_of(metadata, service.limits).delays,
        revision=new_revision(),
        expect=queue.revision,
        now=service.now(),
    )
    return metadata


def _patched(
    service: Service, metadata: Metadata, changes: Sequence[Change]
) -> Metadata:
    result = patched(metadata, changes, service.limits)
    if not metadata.get(ENCRYPTION):
        try:
            _check_encryption(service, result)
        except InvalidRequest as error:
            raise InvalidBody(str(error)) from None
    return result


def _check_encryption(service: Service, metadata: Metadata) -> None:
    """Raise InvalidRequest if the queue is to encrypt and there is no key for that."""
    if metadata.get(ENCRYPTION) and not service.bodies.can_seal:
        raise InvalidRequest(
            f"{ENCRYPTION}: this service has no key to encrypt with; its operator sets "
            "one as [transport] message_encryption_key."
        )


def delete(ctx: Context, service: Service, name: str) -> None:
    key = ctx.key(name)
    service.store.delete_queue(key)
    service.queues.forget(key)


def stats(ctx: Context, service: Service, name: str) -> QueueStats:
    """Return the numbers of messages; all 0 for an absent queue."""
    try:
        return service.store.queue_stats(ctx.key(name), now=service.now())
    except QueueNotFound:
        return QueueStats()


def purge(
    ctx: Context, service: Service, name: str, *, messages: bool, subscriptions: bool
) -> None:
    """Remove what no live claim holds."""
    with suppress(QueueNotFound):
        service.store.purge_queue(
            ctx.key(name),
            messages=messages,
            subscriptions=subscriptions,
            now=service.now(),
        )

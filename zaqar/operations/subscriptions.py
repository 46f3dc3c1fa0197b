# SPDX-License-Identifier: Apache-2.0
"""Operations on subscriptions: list, create, get, change, confirm, delete, replay.

Who subscribes to an absent queue creates it; reading below one finds nothing.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from zaqar import limits
from zaqar.errors import (
    InvalidRequest,
    QueueNotFound,
    StorageUnavailable,
    SubscriberExists,
    SubscriptionChanged,
    SubscriptionNotFound,
)
from zaqar.model import Attempt, Context, Delivery, Page, QueueKey, Subscription
from zaqar.notification import confirmation, senders
from zaqar.operations.trusts import Trusts, lacks_trust
from zaqar.service import ATTEMPTS, KnownQueue, Service

# How many are read at once where all are looked through.
CHUNK = 500
# No subscription outlives the last second that a date can name.
LAST_INSTANT = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())


class Wish(msgspec.Struct, frozen=True):
    """What a client asks of a subscription; None means the default, or no change."""

    subscriber: str | None = None
    ttl: int | None = None
    options: Mapping[str, Any] | None = None


def page(
    ctx: Context, service: Service, name: str, *, marker: str | None, limit: int | None
) -> Page[Subscription]:
    """Return a page of live subscriptions in the order of their creation."""
    size = limits.page_limit(limit, "limit", service.limits.max_subscriptions_per_page)
    if marker is not None and not _is_id(marker):
        return Page()
    try:
        return service.store.list_subscriptions(
            ctx.key(name), marker=marker, limit=size, now=service.now()
        )
    except QueueNotFound:
        return Page()


def create(
    ctx: Context,
    service: Service,
    name: str,
    wish: Wish,
    token: str | None = None,
) -> Subscription:
    """Subscribe; who has not confirmed yet keeps the subscription that is there.

    A subscriber that is to be told with a token gets a trust of the one whose `token`
    this is, unless the options name one.
    Raises InvalidRequest, QuotaExceeded, and SubscriberExists if the subscriber has
    confirmed.
    """
    if not wish.subscriber:
        raise InvalidRequest("subscriber must be a URI.")
    ttl = service.limits.default_subscription_ttl if wish.ttl is None else wish.ttl
    _check_ttl(service, ttl)
    _check(service, wish.subscriber, wish.options)
    key, subscriber = ctx.key(name), wish.subscriber
    if service.quotas is not None:
        service.quotas.admit_subscription(key, subscriber, _all(service, key))
    options = wish.options or {}

    def step(queue: KnownQueue) -> Subscription:
        if queue.revision is None and not service.create_queue(key, {}):
            raise QueueNotFound(name)
        now = service.now()
        new = Subscription(service.clock.new_id(), subscriber, ttl, now, options)
        return service.store.add_subscription(key, new, now=now)

    with Trusts(ctx, service, token) as trusts:
        if lacks_trust(subscriber, options) and not any(
            each.subscriber == subscriber for each in _all(service, key)
        ):
            options = trusts.options(subscriber, options, service.now() + ttl)
        subscription = service.queues.attempt(key, step)
        trusts.keep(subscription)
    if subscription.confirmed:
        raise SubscriberExists(name, subscriber)
    _ask(service, ctx, name, subscription, confirmation.SUBSCRIBE)
    return subscription


def get(ctx: Context, service: Service, name: str, id: str) -> Subscription:
    """Return a live subscription. Raises SubscriptionNotFound."""
    with _of_queue(name, id):
        return service.store.get_subscription(ctx.key(name), id, now=service.now())


def change(
    ctx: Context,
    service: Service,
    name: str,
    id: str,
    wish: Wish,
    token: str | None = None,
) -> None:
    """Change what the wish names; a new ttl begins now. Trusts are as in `create`.

    Raises InvalidRequest, SubscriptionNotFound, SubscriberExists.
    """

    with Trusts(ctx, service, token) as trusts:

        def changed(old: Subscription) -> Subscription:
            return _changed(service, old, wish, trusts)

        trusts.keep(_update(ctx, service, name, id, changed))


def _changed(
    service: Service, old: Subscription, wish: Wish, trusts: Trusts
) -> Subscription:
    """Return what the wish makes of it. Raises InvalidRequest."""
    changes: dict[str, Any] = {}
    if wish.ttl is not None:
        _check_ttl(service, wish.ttl)
        changes |= {"ttl": wish.ttl, "created": service.now()}
    if wish.subscriber is not None:
        changes["subscriber"] = wish.subscriber
    if wish.options is not None:
        changes["options"] = wish.options
    new = msgspec.structs.replace(old, **changes)
    if wish.subscriber is not None or wish.options is not None:
        _check(service, new.subscriber, new.options)
        options = trusts.options(new.subscriber, new.options, new.expires)
        new = msgspec.structs.replace(new, options=options)
    return new


def confirm(
    ctx: Context, service: Service, name: str, id: str, confirmed: bool
) -> None:
    """Say whether the subscriber wants it. Raises SubscriptionNotFound."""

    def changed(old: Subscription) -> Subscription:
        return msgspec.structs.replace(old, confirmed=confirmed)

    subscription = _update(ctx, service, name, id, changed)
    if not confirmed:
        _ask(service, ctx, name, subscription, confirmation.UNSUBSCRIBE)


def delete(ctx: Context, service: Service, name: str, id: str) -> None:
    with suppress(QueueNotFound):
        service.store.remove_subscription(ctx.key(name), id)


def deliveries(
    ctx: Context,
    service: Service,
    name: str,
    id: str,
    *,
    marker: str | None,
    limit: int | None,
) -> tuple[Page[Delivery], list[Attempt]]:
    """Return deliveries that wait or have failed, and the last attempts, newest first.

    Raises InvalidRequest, SubscriptionNotFound.
    """
    size = limits.page_limit(limit, "limit", service.limits.max_messages_per_page)
    key, now = ctx.key(name), service.now()
    with _of_queue(name, id):
        found = service.store.list_deliveries(
            key, id, marker=marker, limit=size, now=now
        )
        return found, service.store.list_attempts(key, id, now=now)


def replay(
    ctx: Context, service: Service, name: str, id: str, messages: Sequence[str] | None
) -> int:
    """Let failed deliveries be tried again, all or these; return how many.

    Raises SubscriptionNotFound.
    """
    with _of_queue(name, id):
        count = service.store.replay_deliveries(
            ctx.key(name), id, messages, now=service.now()
        )
    service.bell.ring()
    return count


@contextmanager
def _of_queue(name: str, id: str) -> Iterator[None]:
    """Say that there is no such subscription where there is not even the queue."""
    try:
        yield
    except QueueNotFound:
        raise SubscriptionNotFound(name, id) from None


def _all(service: Service, key: QueueKey) -> Iterator[Subscription]:
    """Yield the live subscriptions of a queue, read as they are asked for."""
    marker = None
    with suppress(QueueNotFound):
        while True:
            found = service.store.list_subscriptions(
                key, marker=marker, limit=CHUNK, now=service.now()
            )
            yield from found.items
            if len(found.items) < CHUNK:
                break
            marker = found.marker


def _update(
    ctx: Context,
    service: Service,
    name: str,
    id: str,
    change: Callable[[Subscription], Subscription],
) -> Subscription:
    """Store what the change makes of it as it is then; return that.

    Raises SubscriptionNotFound, SubscriberExists.
    """
    for _ in range(ATTEMPTS):
        old = get(ctx, service, name, id)
        new = change(old)
        try:
            with _of_queue(name, id):
                service.store.set_subscription(
                    ctx.key(name), new, expect=old, now=service.now()
                )
            return new
        except SubscriptionChanged as error:
            lost = error
    raise StorageUnavailable(f"Subscription {id} keeps changing.") from lost


def _ask(
    service: Service, ctx: Context, name: str, subscription: Subscription, what: str
) -> None:
    """Let the subscriber be asked, or told, where subscriptions are to be confirmed.

    As durably as messages are told of.
    """
    if not service.settings.notification.require_confirmation:
        return
    ttl = service.limits.default_subscription_ttl
    if what == confirmation.SUBSCRIBE:
        ttl = subscription.ttl
    notice = confirmation.notice(
        what, service.clock.new_id(), service.now() + ttl, subscription
    )
    with suppress(QueueNotFound, SubscriptionNotFound):
        service.store.add_delivery(
            ctx.key(name),
            Delivery(subscription.id, notice, 0, service.now()),
            now=service.now(),
        )
        service.bell.ring()


def _check(service: Service, subscriber: str, options: Any) -> None:
    senders.check(
        subscriber,
        options,
        service.settings.notification,
        service.settings.subscriber_types,
    )


def _check_ttl(service: Service, ttl: int) -> None:
    limits.check_range("ttl", ttl, limits.MIN_TTL, LAST_INSTANT - int(service.now()))


def _is_id(text: str) -> bool:
    """Say whether it can be the id of a subscription, whose time tells a place."""
    try:
        id = uuid.UUID(text)
    except ValueError:
        return False
    return id.version == 7 and str(id) == text

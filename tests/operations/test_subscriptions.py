# SPDX-License-Identifier: Apache-2.0
"""Facts of subscriptions that need a clock that moves, or nobody but the operation."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from tests.model_store import ModelStore
from zaqar.errors import (
    InvalidRequest,
    StorageUnavailable,
    SubscriberExists,
    SubscriptionChanged,
    SubscriptionNotFound,
)
from zaqar.model import TOPICS, Context, QueueKey, Subscription
from zaqar.operations import subscriptions
from zaqar.operations.subscriptions import LAST_INSTANT, Wish
from zaqar.service import Service
from zaqar.storage.base import Store

T0 = 1_800_000_000.0
CTX = Context("p", "c" * 32)
MAIL = "mailto:ada@example.org"
BOTH = pytest.mark.parametrize("ctx", [CTX, replace(CTX, kind=TOPICS)])


@pytest.fixture
def service(serve: Callable[[Store], Service]) -> Service:
    return serve(ModelStore())


def at(service: Service, seconds: float) -> None:
    """Let it be so many seconds later."""
    service.now = lambda: T0 + seconds


def create(service: Service, ctx: Context = CTX, ttl: int = 60) -> str:
    return subscriptions.create(ctx, service, "q", Wish(MAIL, ttl)).id


@BOTH
def test_subscription_ends_with_its_ttl(service: Service, ctx: Context) -> None:
    id = create(service, ctx)

    at(service, 59.9)
    assert subscriptions.get(ctx, service, "q", id).subscriber == MAIL
    at(service, 60)

    with pytest.raises(SubscriptionNotFound):
        subscriptions.get(ctx, service, "q", id)
    with pytest.raises(SubscriptionNotFound):
        subscriptions.change(ctx, service, "q", id, Wish(ttl=60))
    with pytest.raises(SubscriptionNotFound):
        subscriptions.confirm(ctx, service, "q", id, True)
    with pytest.raises(SubscriptionNotFound):
        subscriptions.deliveries(ctx, service, "q", id, marker=None, limit=None)
    page = subscriptions.page(ctx, service, "q", marker=None, limit=None)
    assert page.items == ()


def test_subscriber_may_subscribe_again_after_the_end(service: Service) -> None:
    id = create(service)
    subscriptions.confirm(CTX, service, "q", id, True)
    at(service, 59.9)
    with pytest.raises(SubscriberExists):
        create(service)

    at(service, 60)

    assert create(service) != id


def test_lifetime_begins_anew_with_a_ttl_only(service: Service) -> None:
    id = create(service)
    at(service, 50)
    subscriptions.change(CTX, service, "q", id, Wish(options={"a": 1}))
    assert subscriptions.get(CTX, service, "q", id).created == T0

    subscriptions.change(CTX, service, "q", id, Wish(ttl=60))

    at(service, 109.9)
    assert subscriptions.get(CTX, service, "q", id).created == T0 + 50
    at(service, 110)
    with pytest.raises(SubscriptionNotFound):
        subscriptions.get(CTX, service, "q", id)


def test_no_subscription_outlives_the_last_date(service: Service) -> None:
    longest = LAST_INSTANT - int(T0)
    assert create(service, ttl=longest)

    at(service, 1)

    with pytest.raises(InvalidRequest, match=f"ttl.*{longest - 1}"):
        create(service, ttl=longest)


def test_without_a_token_no_trust_is_made(service: Service) -> None:
    wish = Wish("trust+https://192.0.43.8/")
    named = replace(wish, options={"trust_id": "0" * 32})
    id = subscriptions.create(CTX, service, "q", named).id

    with pytest.raises(InvalidRequest, match=r"options\.trust_id"):
        subscriptions.create(CTX, service, "other", wish)
    with pytest.raises(InvalidRequest, match=r"options\.trust_id"):
        subscriptions.change(CTX, service, "q", id, Wish(options={}))

    subscriptions.change(CTX, service, "q", id, Wish(ttl=600))
    assert subscriptions.create(CTX, service, "q", wish).id == id


def test_changes_that_cross_are_all_made(service: Service) -> None:
    id, read = create(service), service.store.get_subscription
    others = iter(
        (
            lambda: subscriptions.confirm(CTX, service, "q", id, True),
            lambda: subscriptions.change(CTX, service, "q", id, Wish(ttl=600)),
        )
    )

    def crossed(key: QueueKey, id: str, *, now: float) -> Subscription:
        """Read, and let somebody change what was read before it is written."""
        found = read(key, id, now=now)
        for other in others:
            other()
            break
        return found

    service.store.get_subscription = crossed  # type: ignore[method-assign]
    subscriptions.change(CTX, service, "q", id, Wish(options={"a": 1}))

    changed = subscriptions.get(CTX, service, "q", id)
    assert (changed.confirmed, changed.ttl, changed.options) == (True, 600, {"a": 1})


def test_subscription_that_never_stays_as_it_is_is_tried_again_later(
    service: Service,
) -> None:
    id = create(service)

    def refuse(*_: Any, **__: Any) -> None:
        raise SubscriptionChanged("q", id)

    service.store.set_subscription = refuse  # type: ignore[method-assign]

    with pytest.raises(StorageUnavailable):
        subscriptions.confirm(CTX, service, "q", id, True)

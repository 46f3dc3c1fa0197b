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
from zaqar.operations import subscriptions, trusts
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


class Keystone:
    """Makes trusts, and removes them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        self.ends: list[float] = []
        self.left: set[str] = set()
        monkeypatch.setattr(trusts, "create_trust", self._create)
        monkeypatch.setattr(trusts, "remove_trust", self._remove)

    def _create(self, config: Any, *, expires: float, **asked: Any) -> str:
        assert (asked["token"], asked["project"]) == ("token", CTX.project)
        trust = f"trust-{len(self.made)}"
        self.made.append(trust)
        self.ends.append(expires)
        self.left.add(trust)
        return trust

    def _remove(self, config: Any, trust: str, *, token: str, project: str) -> None:
        assert (token, project) == ("token", CTX.project)
        self.left.remove(trust)


@pytest.fixture
def keystone(monkeypatch: pytest.MonkeyPatch) -> Keystone:
    return Keystone(monkeypatch)


TRUSTED = Wish("trust+https://192.0.43.8/", options={})


def cross(
    service: Service, monkeypatch: pytest.MonkeyPatch, id: str, *wishes: Wish
) -> None:
    """Let changes be made, one each time that somebody has read to make his own."""
    read, others = service.store.get_subscription, list(wishes)

    def crossed(key: QueueKey, id: str, *, now: float) -> Subscription:
        found = read(key, id, now=now)
        if others:
            with monkeypatch.context() as alone:
                alone.setattr(service.store, "get_subscription", read)
                subscriptions.change(CTX, service, "q", id, others.pop(0))
        return found

    monkeypatch.setattr(service.store, "get_subscription", crossed)


def test_changes_that_cross_make_one_trust(
    service: Service, keystone: Keystone, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = create(service)
    cross(service, monkeypatch, id, Wish(options={"a": 1}), Wish(options={"b": 1}))

    subscriptions.change(CTX, service, "q", id, TRUSTED, "token")

    assert keystone.made == ["trust-0"]
    assert keystone.left == {"trust-0"}
    stored = subscriptions.get(CTX, service, "q", id)
    assert stored.options == {"trust_id": "trust-0"}


def test_trust_lasts_as_long_as_a_subscription_that_was_lengthened_meanwhile(
    service: Service, keystone: Keystone, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = create(service)
    cross(service, monkeypatch, id, Wish(ttl=600))

    subscriptions.change(CTX, service, "q", id, TRUSTED, "token")

    assert keystone.ends == [T0 + 60, T0 + 600]
    assert keystone.left == {"trust-1"}
    stored = subscriptions.get(CTX, service, "q", id)
    assert stored.options == {"trust_id": "trust-1"}


def test_change_that_is_lost_for_good_leaves_no_trust(
    service: Service, keystone: Keystone, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = create(service)
    many = [Wish(options={"n": n}) for n in range(100)]
    cross(service, monkeypatch, id, *many)

    with pytest.raises(StorageUnavailable):
        subscriptions.change(CTX, service, "q", id, TRUSTED, "token")

    assert keystone.made == ["trust-0"]
    assert keystone.left == set()


def test_change_of_what_is_gone_by_then_leaves_no_trust(
    service: Service, keystone: Keystone, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = create(service)
    keep = service.store.set_subscription

    def too_late(key: QueueKey, *given: Any, **named: Any) -> None:
        service.store.remove_subscription(key, id)
        keep(key, *given, **named)

    monkeypatch.setattr(service.store, "set_subscription", too_late)

    with pytest.raises(SubscriptionNotFound):
        subscriptions.change(CTX, service, "q", id, TRUSTED, "token")

    assert (keystone.made, keystone.left) == (["trust-0"], set())


def test_trust_stays_where_nobody_knows_whether_it_was_stored(
    service: Service, keystone: Keystone, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = create(service)
    keep = service.store.set_subscription

    def silent(*given: Any, **named: Any) -> None:
        keep(*given, **named)
        raise StorageUnavailable("It does not answer.")

    monkeypatch.setattr(service.store, "set_subscription", silent)

    with pytest.raises(StorageUnavailable):
        subscriptions.change(CTX, service, "q", id, TRUSTED, "token")

    assert keystone.left == {"trust-0"}
    stored = subscriptions.get(CTX, service, "q", id)
    assert stored.options == {"trust_id": "trust-0"}


def test_of_two_who_subscribe_at_once_one_trust_stays(
    service: Service, keystone: Keystone, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, others = service.store.add_subscription, [True]

    def crossed(*given: Any, **named: Any) -> Subscription:
        if others:
            others.pop()
            subscriptions.create(CTX, service, "q", TRUSTED, "token")
        return add(*given, **named)

    monkeypatch.setattr(service.store, "add_subscription", crossed)

    made = subscriptions.create(CTX, service, "q", TRUSTED, "token")

    assert made.options == {"trust_id": "trust-1"}
    assert (keystone.made, keystone.left) == (["trust-0", "trust-1"], {"trust-1"})


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

# SPDX-License-Identifier: Apache-2.0
"""Facts about who subscribes to a queue, and for how long."""

from typing import Any

import pytest
from msgspec.structs import replace as changed

from tests.contract.arrange import KEY, T0, create, message_id, post, ready
from zaqar.errors import (
    QueueNotFound,
    SubscriberExists,
    SubscriptionChanged,
    SubscriptionNotFound,
)
from zaqar.model import Delivery, Notice, QueueKey, Subscription
from zaqar.storage.base import Store

OTHER = QueueKey(KEY.project, "another")
STRANGER = QueueKey("stranger", KEY.name)
YEAR_9000 = 220_367_260_800


def subscription(
    subscriber: str = "http://example.com/", *, ttl: int = 300, now: float = T0
) -> Subscription:
    return Subscription(message_id(now), subscriber, ttl, now)


def subscribe(
    store: Any,
    subscriber: str = "http://example.com/",
    key: QueueKey = KEY,
    *,
    ttl: int = 300,
    now: float = T0,
) -> Subscription:
    """Subscribe to the queue, created if it is absent."""
    try:
        store.get_queue(key)
    except QueueNotFound:
        create(store, key, now=now)
    new = subscription(subscriber, ttl=ttl, now=now)
    added: Subscription = store.add_subscription(key, new, now=now)
    assert added == new
    return added


def subscribers(store: Any, key: QueueKey = KEY, *, now: float = T0) -> list[str]:
    """Return all subscribers, by pages of two."""
    found: list[str] = []
    marker: str | None = None
    while True:
        page = store.list_subscriptions(key, marker=marker, limit=2, now=now)
        if not page.items:
            assert page.marker is None
            return found
        found += [each.subscriber for each in page.items]
        marker = page.marker


class SubscriptionContract:
    def test_subscription_comes_back_as_it_was_stored(self, store: Any) -> None:
        create(store)
        options = {"post_headers": {"X-É": "ü"}, "n": [1, 2.5, None, True, 2**53]}
        new = Subscription(message_id(T0), "mailto:é@b?subject=x", 300, T0, options)

        assert store.add_subscription(KEY, new, now=T0) == new
        assert store.get_subscription(KEY, new.id, now=T0 + 1) == new
        assert store.list_subscriptions(KEY, limit=5, now=T0 + 1).items == (new,)

    def test_same_subscriber_gets_the_subscription_that_it_has(
        self, store: Any
    ) -> None:
        first = subscribe(store)

        again = store.add_subscription(KEY, subscription(ttl=60), now=T0 + 1)

        assert again == first
        assert subscribers(store) == [first.subscriber]

    def test_subscription_that_is_added_twice_is_one(self, store: Any) -> None:
        first = subscribe(store)

        assert store.add_subscription(KEY, first, now=T0 + 1) == first
        assert subscribers(store) == [first.subscriber]

    def test_pages_follow_the_times_of_subscriptions(self, store: Any) -> None:
        names = [f"http://example.com/{(7 * n) % 10}" for n in range(5)]
        for seconds, name in enumerate(names):
            subscribe(store, name, now=T0 + seconds)

        assert subscribers(store, now=T0 + 5) == names

    def test_marker_of_a_subscription_that_is_gone_goes_on_behind_it(
        self, store: Any
    ) -> None:
        ids = [subscribe(store, f"http://{n}", now=T0 + n).id for n in range(3)]
        store.remove_subscription(KEY, ids[0])

        page = store.list_subscriptions(KEY, marker=ids[0], limit=5, now=T0 + 3)

        assert [each.id for each in page.items] == ids[1:]

    def test_subscription_ends_exactly_with_its_ttl(self, store: Any) -> None:
        id = subscribe(store, ttl=60).id

        assert store.get_subscription(KEY, id, now=T0 + 59.75).id == id
        with pytest.raises(SubscriptionNotFound):
            store.get_subscription(KEY, id, now=T0 + 60)
        assert subscribers(store, now=T0 + 60) == []

    def test_subscriber_may_subscribe_again_after_the_end(self, store: Any) -> None:
        old = subscribe(store, ttl=60)

        new = subscribe(store, now=T0 + 60)

        assert new.id != old.id
        assert subscribers(store, now=T0 + 60) == [new.subscriber]

    def test_subscription_lives_to_the_year_9000(self, store: Any) -> None:
        id = subscribe(store, ttl=YEAR_9000).id

        later = T0 + 200_000_000_000
        shown = store.get_subscription(KEY, id, now=later)
        assert shown.ttl == YEAR_9000
        # Documents are made of it, and know no other kind.
        assert type(shown.ttl) is int

    def test_subscription_is_replaced(self, store: Any) -> None:
        old = subscribe(store, ttl=60)
        new = Subscription(
            old.id, "https://example.org/", 90, T0 + 30, {"a": 1}, confirmed=True
        )

        store.set_subscription(KEY, new, expect=old, now=T0 + 30)
        # Whoever lost the answer may repeat it.
        store.set_subscription(KEY, new, expect=old, now=T0 + 30)

        # The old subscriber is free, the new one is not.
        added = store.add_subscription(KEY, subscription(), now=T0 + 31)
        assert added.subscriber == old.subscriber and added.id != old.id
        taken = subscription(new.subscriber)
        assert store.add_subscription(KEY, taken, now=T0 + 31).id == old.id
        assert store.get_subscription(KEY, old.id, now=T0 + 119.75) == new
        assert subscribers(store, now=T0 + 120) == [added.subscriber]

    def test_subscriber_of_another_subscription_is_refused(self, store: Any) -> None:
        one, two = subscribe(store, "http://1"), subscribe(store, "http://2")

        with pytest.raises(SubscriberExists):
            store.set_subscription(
                KEY, changed(two, subscriber="http://1"), expect=two, now=T0 + 1
            )
        assert store.get_subscription(KEY, two.id, now=T0 + 1) == two
        assert store.get_subscription(KEY, one.id, now=T0 + 1) == one

    def test_subscriber_of_a_subscription_that_has_ended_may_be_taken(
        self, store: Any
    ) -> None:
        subscribe(store, "http://1", ttl=60)
        two = subscribe(store, "http://2", ttl=300)
        new = changed(two, subscriber="http://1")

        store.set_subscription(KEY, new, expect=two, now=T0 + 60)

        assert store.get_subscription(KEY, two.id, now=T0 + 61) == new

    def test_what_somebody_else_changed_meanwhile_is_not_replaced(
        self, store: Any
    ) -> None:
        """Whichever part of it they changed."""
        options = {"post_headers": {"X-É": "ü"}, "n": [1, 2.5, None, True, 2**60]}
        old = subscribe(store, "http://0")
        for part in (
            {"confirmed": True},
            {"options": options},
            {"ttl": 400, "created": T0 + 1},
            {"subscriber": "http://1"},
            {"confirmed": False},
        ):
            new = changed(old, **part)
            store.set_subscription(KEY, new, expect=old, now=T0 + 1)

            with pytest.raises(SubscriptionChanged):
                store.set_subscription(
                    KEY, changed(old, ttl=900), expect=old, now=T0 + 2
                )
            old = store.get_subscription(KEY, old.id, now=T0 + 2)
            assert old == new

    def test_absent_subscription_cannot_be_replaced(self, store: Any) -> None:
        create(store)
        ended = subscribe(store, ttl=60)

        with pytest.raises(SubscriptionNotFound):
            absent = subscription("http://x")
            store.set_subscription(KEY, absent, expect=absent, now=T0 + 1)
        with pytest.raises(SubscriptionNotFound):
            store.set_subscription(KEY, ended, expect=ended, now=T0 + 60)

    def test_removed_subscription_is_gone(self, store: Any) -> None:
        one, two = subscribe(store, "http://1"), subscribe(store, "http://2")

        store.remove_subscription(KEY, one.id)
        store.remove_subscription(KEY, one.id)

        assert subscribers(store) == ["http://2"]
        with pytest.raises(SubscriptionNotFound):
            store.get_subscription(KEY, one.id, now=T0)
        assert store.get_subscription(KEY, two.id, now=T0) == two
        subscribe(store, "http://1")

    def test_purge_removes_subscriptions_where_asked(self, store: Any) -> None:
        subscribe(store)
        ids = post(store)

        store.purge_queue(KEY, messages=True, subscriptions=False, now=T0)
        assert subscribers(store) != []
        ids = post(store)
        store.purge_queue(KEY, messages=False, subscriptions=True, now=T0)

        assert subscribers(store) == []
        assert ready(store) == ids
        subscribe(store)

    def test_queue_takes_its_subscriptions_along(self, store: Any) -> None:
        id = subscribe(store).id

        store.delete_queue(KEY)
        create(store)

        assert subscribers(store) == []
        with pytest.raises(SubscriptionNotFound):
            store.get_subscription(KEY, id, now=T0)
        subscribe(store)

    def test_absent_queue_is_told(self, store: Any) -> None:
        new = subscription()
        for call in (
            lambda: store.add_subscription(KEY, new, now=T0),
            lambda: store.get_subscription(KEY, new.id, now=T0),
            lambda: store.list_subscriptions(KEY, limit=5, now=T0),
            lambda: store.set_subscription(KEY, new, expect=new, now=T0),
            lambda: store.remove_subscription(KEY, new.id),
            lambda: store.add_delivery(
                KEY, Delivery(new.id, Notice("id", b"1", 60), 0, T0), now=T0
            ),
            lambda: store.list_deliveries(KEY, new.id, limit=5, now=T0),
            lambda: store.list_attempts(KEY, new.id, now=T0),
            lambda: store.replay_deliveries(KEY, new.id, None, now=T0),
        ):
            with pytest.raises(QueueNotFound):
                call()

    def test_queues_and_projects_do_not_mix(self, store: Any) -> None:
        mine = subscribe(store)
        for key in (OTHER, STRANGER):
            create(store, key)
            assert subscribers(store, key) == []
            with pytest.raises(SubscriptionNotFound):
                store.get_subscription(key, mine.id, now=T0)
            with pytest.raises(SubscriptionNotFound):
                store.set_subscription(key, mine, expect=mine, now=T0)
            store.remove_subscription(key, mine.id)
            subscribe(store, mine.subscriber, key)
        assert store.get_subscription(KEY, mine.id, now=T0) == mine

    def test_sweep_collects_subscriptions_that_have_ended(self, store: Store) -> None:
        subscribe(store, "http://1", ttl=60)
        subscribe(store, "http://2", ttl=300)

        store.sweep(now=T0 + 60)

        assert subscribers(store, now=T0 + 60) == ["http://2"]

    def test_live_subscriptions_of_a_project_are_counted(self, store: Store) -> None:
        assert store.count_subscriptions(KEY.project, now=T0) == 0
        create(store, QueueKey(KEY.project, "without"))
        subscribe(store, "http://1", ttl=60)
        gone = subscribe(store, "http://2")
        subscribe(store, "http://1", OTHER)
        subscribe(store, "http://1", STRANGER)

        assert store.count_subscriptions(KEY.project, now=T0 + 59.75) == 3
        assert store.count_subscriptions(KEY.project, now=T0 + 60) == 2
        assert store.count_subscriptions(STRANGER.project, now=T0) == 1
        store.remove_subscription(KEY, gone.id)
        assert store.count_subscriptions(KEY.project, now=T0 + 60) == 1
        store.delete_queue(OTHER)
        create(store, OTHER)
        assert store.count_subscriptions(KEY.project, now=T0 + 60) == 0

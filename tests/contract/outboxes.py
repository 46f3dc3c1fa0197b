# SPDX-License-Identifier: Apache-2.0
"""Facts about what subscribers have still to be told."""

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import pytest

from tests.contract.arrange import (
    CLIENT,
    KEY,
    T0,
    claim,
    create,
    draft,
    post,
    send,
    set_delays,
)
from tests.contract.concurrency import together
from tests.contract.subscriptions import OTHER, STRANGER, subscribe
from zaqar.errors import LeaseLost, SubscriptionNotFound
from zaqar.model import Attempt, Delivery, Notice, QueueKey, Settled, Work
from zaqar.storage.delivering import KEPT_ATTEMPTS, KEPT_FAILURES

ME, ANOTHER = "holder-1", "holder-2"
SECONDS = 15.0


def lease(
    store: Any, holder: str = ME, *, limit: int = 10, now: float = T0, **more: Any
) -> list[QueueKey]:
    leased: list[QueueKey] = store.lease_outboxes(
        holder, seconds=SECONDS, limit=limit, now=now, **more
    )
    return leased


def work(
    store: Any,
    key: QueueKey = KEY,
    *,
    notices: int = 100,
    now: float = T0,
    **more: Any,
) -> Work:
    found: Work = store.read_outbox(key, notices=notices, deliveries=5, now=now, **more)
    return found


def told(found: Work) -> list[str]:
    return [notice.id for notice in found.notices]


def waiting(found: Work) -> list[tuple[str, str, int]]:
    return [(d.subscription, d.notice.id, d.failures) for d in found.deliveries]


def settle(
    store: Any,
    settled: Settled | None = None,
    key: QueueKey = KEY,
    *,
    holder: str = ME,
    now: float = T0,
) -> None:
    store.settle_outbox(key, holder, settled or Settled(), seconds=SECONDS, now=now)


def some_notices(ids: Iterable[str]) -> list[Notice]:
    return [Notice(id, b'"body"', 300) for id in ids]


class OutboxContract:
    # Notices

    def test_queue_that_nobody_watches_has_no_work(self, store: Any) -> None:
        post(store, 3)

        assert lease(store) == []
        assert work(store) == Work()

    def test_absent_queue_has_no_work(self, store: Any) -> None:
        assert work(store) == Work()

    def test_watched_queue_has_a_notice_of_each_message(self, store: Any) -> None:
        subscription = subscribe(store)
        drafts = [draft(T0, b'{"n":1}', ttl=90), draft(T0, b'"\xc3\xa9"', ttl=300)]
        ids = send(store, drafts)
        ids += post(store, now=T0 + 1)

        assert lease(store, now=T0 + 1) == [KEY]
        found = work(store, now=T0 + 1)

        assert told(found) == ids
        assert found.notices[0] == Notice(ids[0], b'{"n":1}', 90)
        assert found.notices[1] == Notice(ids[1], b'"\xc3\xa9"', 300)
        assert found.subscriptions == (subscription,)
        assert (found.deliveries, found.behind) == ((), frozenset())

    def test_notices_are_read_in_order_and_stay(self, store: Any) -> None:
        subscribe(store)
        ids = post(store, 150) + post(store, 3)
        lease(store)

        assert told(work(store, notices=120)) == ids[:120]
        assert told(work(store, notices=500)) == ids

    def test_message_that_is_gone_is_told_all_the_same(self, store: Any) -> None:
        subscribe(store)
        ids = post(store, 4, ttl=60)
        store.delete_message(KEY, ids[0], now=T0)
        store.pop_messages(KEY, 1, now=T0)
        claim(store)
        lease(store)

        assert told(work(store, now=T0)) == ids
        store.purge_queue(KEY, messages=True, subscriptions=False, now=T0)
        store.sweep(now=T0 + 90)
        assert told(work(store, now=T0 + 90)) == ids

    def test_message_is_told_when_its_delay_is_over(self, store: Any) -> None:
        create(store, delays=True)
        subscribe(store)
        late = post(store, delay=30)
        early = post(store)

        assert lease(store) == [KEY]
        assert told(work(store)) == early
        settle(store, Settled(notices=tuple(early)))
        store.release_outbox(KEY, ME, now=T0)
        assert lease(store, now=T0 + 29.75) == []
        assert lease(store, now=T0 + 30) == [KEY]
        assert work(store, now=T0 + 30).notices == (
            Notice(late[0], b'"body"', 300, 30),
        )

    def test_delay_means_nothing_where_the_queue_does_not_delay(
        self, store: Any
    ) -> None:
        subscribe(store)
        ids = post(store, delay=30)

        assert lease(store) == [KEY]
        assert told(work(store)) == ids

    def test_repeated_post_is_told_once(self, store: Any) -> None:
        subscribe(store)
        drafts = [draft(T0), draft(T0)]
        ids = send(store, drafts)
        send(store, drafts)
        lease(store)

        assert told(work(store)) == ids

    def test_message_that_comes_again_after_it_was_taken_is_told_once(
        self, store: Any
    ) -> None:
        subscribe(store)
        drafts = [draft(T0), draft(T0)]
        ids = send(store, drafts)
        store.pop_messages(KEY, 2, now=T0)
        send(store, drafts)
        lease(store)

        assert told(work(store)) == ids

    def test_settings_of_the_queue_change_nothing(self, store: Any) -> None:
        subscribe(store)
        set_delays(store, False, now=T0)
        ids = post(store)

        assert lease(store) == [KEY]
        assert told(work(store)) == ids

    def test_messages_that_move_are_not_told_again(self, store: Any) -> None:
        subscribe(store)
        post(store, 2)
        subscribe(store, key=OTHER)

        store.import_messages(OTHER, store.export_messages(KEY, 5, now=T0), now=T0)

        assert lease(store) == [KEY]
        assert work(store, OTHER).notices == ()

    # Leases

    def test_leased_outbox_is_not_leased_to_another(self, store: Any) -> None:
        subscribe(store)
        post(store)

        assert lease(store) == [KEY]
        assert lease(store, ANOTHER, now=T0 + 14.75) == []
        assert lease(store, ME, now=T0 + 14.75) == [KEY]

    def test_lost_sight_of_it_comes_back_after_half_of_the_lease(
        self, store: Any
    ) -> None:
        subscribe(store)
        post(store)
        lease(store)
        settle(store, now=T0 + 5)

        assert lease(store, ANOTHER, now=T0 + 12.5) == []
        assert lease(store, ME, now=T0 + 12.5) == [KEY]

    def test_own_lease_is_not_given_again_in_its_first_half(self, store: Any) -> None:
        subscribe(store)
        post(store)
        assert lease(store) == [KEY]

        assert lease(store, now=T0 + 7) == []
        assert lease(store, now=T0 + 7.5) == [KEY]
        # It was given anew, for as long.
        assert lease(store, now=T0 + 14.5) == []
        assert lease(store, ANOTHER, now=T0 + 22) == []
        assert lease(store, now=T0 + 15) == [KEY]

    def test_who_begins_anew_gets_its_own_at_once_and_nothing_else(
        self, store: Any
    ) -> None:
        idle = QueueKey(KEY.project, "idle")
        for key, holder in ((KEY, ME), (OTHER, ANOTHER), (idle, ME)):
            subscribe(store, key=key)
            ids = post(store, key=key)
            assert lease(store, holder) == [key]
        settle(store, Settled(notices=tuple(ids)), idle)
        subscribe(store, key=STRANGER)
        post(store, key=STRANGER)

        found = lease(store, anew=True, now=T0 + 1)

        assert KEY in found and {*found} <= {KEY, idle}
        assert lease(store, ANOTHER, anew=True, now=T0 + 1) == [OTHER]
        if idle in found:
            store.release_outbox(idle, ME, now=T0 + 1)
        # What had nothing due is free as soon as it has.
        post(store, key=idle, now=T0 + 1)
        found = lease(store, ANOTHER, now=T0 + 1)
        assert sorted(map(_pair, found)) == sorted(map(_pair, (STRANGER, idle)))

    def test_projects_that_are_passed_over_get_no_new_leases(self, store: Any) -> None:
        mine = [QueueKey(KEY.project, f"q{n}") for n in range(5)]
        subscribe(store, key=mine[0])
        post(store, key=mine[0])
        assert lease(store) == mine[:1]
        for seconds, key in enumerate([*mine[1:], STRANGER]):
            subscribe(store, key=key)
            post(store, key=key, now=T0 + seconds)

        # Whoever they hide from the first page is not hidden.
        others = ["p/ 2", *map(str, range(10_000))]
        found = lease(store, limit=2, without=[KEY.project, *others], now=T0 + 6)
        assert found == [STRANGER]
        found = lease(store, limit=4, without=[STRANGER.project], now=T0 + 6)
        assert sorted(map(_pair, found)) == sorted(map(_pair, mine[1:]))
        # What it holds already is its own.
        found = lease(store, without=[KEY.project, STRANGER.project], now=T0 + 7.5)
        assert found == mine[:1]

    def test_who_was_released_comes_behind_those_that_wait(self, store: Any) -> None:
        for seconds, key in enumerate((KEY, OTHER)):
            subscribe(store, key=key)
            post(store, key=key, now=T0 + seconds)
        assert lease(store, limit=1, now=T0 + 2) == [KEY]

        store.release_outbox(KEY, ME, now=T0 + 2)

        assert lease(store, limit=1, now=T0 + 2) == [OTHER]
        assert lease(store, limit=1, now=T0 + 2) == [KEY]

    def test_lease_that_is_over_is_another_ones(self, store: Any) -> None:
        subscribe(store)
        post(store)
        lease(store)

        assert lease(store, ANOTHER, now=T0 + 15) == [KEY]
        with pytest.raises(LeaseLost):
            settle(store, now=T0 + 15)

    def test_settling_lengthens_the_lease(self, store: Any) -> None:
        subscribe(store)
        post(store)
        lease(store)
        settle(store, now=T0 + 10)

        assert lease(store, ANOTHER, now=T0 + 24.75) == []
        assert lease(store, ANOTHER, now=T0 + 25) == [KEY]

    def test_lease_that_is_over_goes_on_where_nobody_took_it(self, store: Any) -> None:
        subscribe(store)
        ids = post(store)
        lease(store)

        settle(store, Settled(notices=tuple(ids)), now=T0 + 100)

        assert work(store, now=T0 + 100).notices == ()

    def test_released_outbox_is_free(self, store: Any) -> None:
        subscribe(store)
        post(store)
        lease(store)

        store.release_outbox(KEY, ANOTHER, now=T0)
        assert lease(store, ANOTHER) == []
        store.release_outbox(KEY, ME, now=T0)
        assert lease(store, ANOTHER) == [KEY]
        with pytest.raises(LeaseLost):
            settle(store)

    def test_post_says_whether_somebody_had_better_look(self, store: Any) -> None:
        create(store)

        def is_owed(now: float) -> bool:
            answer: bool = store.post_messages(
                KEY,
                [draft(now)],
                client=CLIENT,
                revision=store.get_queue(KEY).revision,
                now=now,
            )
            return answer

        assert not is_owed(T0)
        subscribe(store)
        assert is_owed(T0 + 1)
        lease(store, now=T0 + 1)
        # Who holds it finds it himself.
        assert not is_owed(T0 + 2)
        settle(store, Settled(notices=tuple(told(work(store, now=T0 + 2)))), now=T0 + 2)
        store.release_outbox(KEY, ME, now=T0 + 2)
        assert is_owed(T0 + 3)

    def test_who_leased_nothing_settles_nothing(self, store: Any) -> None:
        subscribe(store)
        ids = post(store)

        for key in (KEY, OTHER):
            with pytest.raises(LeaseLost):
                settle(store, Settled(notices=tuple(ids)), key)
        lease(store)
        assert told(work(store)) == ids

    def test_who_waits_longest_comes_first(self, store: Any) -> None:
        for seconds, key in enumerate((STRANGER, KEY, OTHER)):
            subscribe(store, key=key, now=T0)
            post(store, key=key, now=T0 + seconds)

        assert lease(store, limit=2, now=T0 + 3) == [STRANGER, KEY]
        assert lease(store, ANOTHER, limit=2, now=T0 + 3) == [OTHER]

    def test_what_is_posted_while_it_is_leased_is_found(self, store: Any) -> None:
        subscribe(store)
        first = post(store)
        lease(store)
        second = post(store, now=T0 + 1)

        settle(store, Settled(notices=tuple(first)), now=T0 + 1)

        assert told(work(store, now=T0 + 1)) == second
        store.release_outbox(KEY, ME, now=T0)
        assert lease(store, ANOTHER, now=T0 + 1) == [KEY]

    # Deliveries

    def test_settled_notice_is_gone(self, store: Any) -> None:
        subscribe(store)
        ids = post(store, 3)
        lease(store)

        settle(store, Settled(notices=(ids[0], ids[2], "unknown")))
        settle(store, Settled(notices=(ids[0],)))

        assert told(work(store)) == [ids[1]]
        settle(store, Settled(notices=(ids[1],)))
        store.release_outbox(KEY, ME, now=T0)
        assert lease(store) == []

    def test_waiting_delivery_comes_back_when_it_is_due(self, store: Any) -> None:
        id = subscribe(store).id
        ids = post(store)
        lease(store)
        failed = Delivery(id, some_notices(ids)[0], 2, T0 + 5)

        settle(store, Settled(notices=tuple(ids), waiting=(failed,)))
        store.release_outbox(KEY, ME, now=T0)

        assert lease(store, now=T0 + 4.75) == []
        assert work(store, now=T0 + 4.75).deliveries == ()
        assert lease(store, now=T0 + 5) == [KEY]
        assert work(store, now=T0 + 5).deliveries == (failed,)
        assert work(store, now=T0 + 5).behind == frozenset()

    def test_deliveries_that_were_not_tried_are_told(self, store: Any) -> None:
        one, two = subscribe(store, "http://1").id, subscribe(store, "http://2").id
        ids = post(store, 2)
        lease(store)
        first, second = some_notices(ids)
        later = Delivery(one, first, 0, T0 + 50)

        settle(store, Settled(waiting=(later, Delivery(two, second, 1, T0))))

        assert work(store).behind == {one}
        settle(store, Settled(finished=((one, ids[0]),)))
        assert work(store).behind == frozenset()

    def test_each_subscription_gets_its_share_of_deliveries(self, store: Any) -> None:
        one, two = subscribe(store, "http://1").id, subscribe(store, "http://2").id
        ids = post(store, 9)
        lease(store)
        notices = some_notices(ids)
        many = tuple(Delivery(one, notice, 0, T0) for notice in notices[:8])

        settle(store, Settled(waiting=(*many, Delivery(two, notices[8], 1, T0))))

        assert sorted(waiting(work(store))) == sorted(
            [(one, id, 0) for id in ids[:5]] + [(two, ids[8], 1)]
        )

    def test_notices_are_read_up_to_a_size_and_at_least_one(self, store: Any) -> None:
        subscribe(store)
        bodies = [b'"%s"' % (b"x" * size) for size in (50_000, 10, 10, 50_000, 10)]
        ids = send(store, [draft(T0, body) for body in bodies])
        lease(store)

        # Nothing overtakes what is too large.
        for size, count in ((1, 1), (40_000, 1), (60_000, 3), (90_000, 3)):
            found = work(store, size=size)
            assert (told(found), found.cut) == (ids[:count], True)
        found = work(store, size=200_000)
        assert (told(found), found.cut) == (ids, False)
        assert found.notices[3].body == bodies[3]
        # What was left comes when the others are gone.
        settle(store, Settled(notices=tuple(ids[:3])))
        assert told(work(store, size=1)) == ids[3:4]

    def test_deliveries_are_read_up_to_a_size_that_subscriptions_share(
        self, store: Any
    ) -> None:
        three = [subscribe(store, f"http://{n}").id for n in range(3)]
        ids = post(store)
        lease(store)
        large = [Notice(f"m{n}", b'"%s"' % (b"x" * 30_000), 300) for n in range(4)]
        owed = tuple(Delivery(id, notice, 1, T0) for id in three for notice in large)
        settle(store, Settled(notices=tuple(ids), waiting=owed))

        def read(size: int, **more: Any) -> dict[str, list[str]]:
            found = work(store, size=size, **more)
            assert found.cut == (len(found.deliveries) < len(owed))
            shares: dict[str, list[str]] = {}
            for each in found.deliveries:
                shares.setdefault(each.subscription, []).append(each.notice.id)
            return shares

        every = [notice.id for notice in large]
        assert read(10**6) == dict.fromkeys(three, every)
        assert read(210_000) == dict.fromkeys(three, every[:2])
        # Each gets something, sooner or later.
        seen: set[str] = set()
        for millisecond in range(9):
            [(id, first)] = read(1, now=T0 + millisecond / 1000).items()
            assert first == every[:1]
            seen.add(id)
        assert seen == {*three}

    def test_what_those_are_owed_who_are_busy_is_not_read(self, store: Any) -> None:
        one, two = subscribe(store, "http://1").id, subscribe(store, "http://2").id
        ids = post(store, 2)
        lease(store)
        first, second = some_notices(ids)
        settle(store, Settled(waiting=(Delivery(one, first, 0, T0),)))
        settle(store, Settled(waiting=(Delivery(two, second, 0, T0),)))

        found = work(store, busy=[one, *map(str, range(10_000))])

        assert waiting(found) == [(two, ids[1], 0)]
        assert (told(found), found.behind) == (ids, {one, two})
        assert {each.id for each in found.subscriptions} == {one, two}
        assert work(store, busy={one, two}).deliveries == ()

    def test_deliveries_come_by_instant_and_then_in_the_order_of_settling(
        self, store: Any
    ) -> None:
        id = subscribe(store).id
        ids = post(store, 4)
        lease(store)
        a, b, c, d = some_notices(ids)

        settle(store, Settled(waiting=(Delivery(id, b, 0, T0), Delivery(id, a, 0, T0))))
        settle(store, Settled(waiting=(Delivery(id, d, 1, T0 - 1),)))
        settle(store, Settled(waiting=(Delivery(id, c, 0, T0),)))

        assert [m for _, m, _ in waiting(work(store))] == [d.id, b.id, a.id, c.id]

    def test_delivery_is_replaced_and_finished(self, store: Any) -> None:
        id = subscribe(store).id
        ids = post(store, 2)
        lease(store)
        one, two = some_notices(ids)
        settle(
            store, Settled(waiting=tuple(Delivery(id, n, 1, T0) for n in (one, two)))
        )

        settle(store, Settled(waiting=(Delivery(id, one, 2, T0 + 5),)))
        assert waiting(work(store)) == [(id, two.id, 1)]
        settle(store, Settled(finished=((id, two.id), (id, "unknown"))))
        assert waiting(work(store)) == []
        assert waiting(work(store, now=T0 + 5)) == [(id, one.id, 2)]

    def test_failed_delivery_is_kept_and_never_due(self, store: Any) -> None:
        id = subscribe(store).id
        ids = post(store)
        lease(store)
        failed = Delivery(id, some_notices(ids)[0], 14, None)

        settle(store, Settled(notices=tuple(ids), waiting=(failed,)))
        store.release_outbox(KEY, ME, now=T0)

        assert lease(store, now=T0 + 200) == []
        assert work(store, now=T0 + 200).deliveries == ()
        assert work(store, now=T0 + 200).behind == frozenset()
        assert store.list_deliveries(KEY, id, limit=5, now=T0).items == (failed,)

    def test_failed_deliveries_are_replayed(self, store: Any) -> None:
        id = subscribe(store).id
        ids = sorted(post(store, 3))
        lease(store)
        dead = [Delivery(id, notice, 14, None) for notice in some_notices(ids)]
        settle(store, Settled(notices=tuple(ids), waiting=tuple(dead)))
        store.release_outbox(KEY, ME, now=T0)

        assert store.replay_deliveries(KEY, id, [ids[1], "unknown"], now=T0 + 9) == 1
        assert lease(store, now=T0 + 9) == [KEY]
        assert waiting(work(store, now=T0 + 9)) == [(id, ids[1], 0)]
        assert store.replay_deliveries(KEY, id, None, now=T0 + 9) == 2
        assert store.replay_deliveries(KEY, id, None, now=T0 + 9) == 0
        assert len(work(store, now=T0 + 9).deliveries) == 3

    def test_only_the_last_failures_are_kept(self, store: Any) -> None:
        id = subscribe(store, ttl=10**6).id
        lease(store)
        post(store)
        lease(store)
        ids = [f"{n:05}" for n in range(KEPT_FAILURES + 3)]
        for start in range(0, len(ids), 200):
            part = some_notices(ids[start : start + 200])
            settle(
                store, Settled(waiting=tuple(Delivery(id, n, 3, None) for n in part))
            )

        kept: list[str] = []
        marker: str | None = None
        while True:
            page = store.list_deliveries(KEY, id, marker=marker, limit=400, now=T0)
            if not page.items:
                break
            kept += [delivery.notice.id for delivery in page.items]
            marker = page.marker
        assert kept == ids[-KEPT_FAILURES:]

    def test_delivery_without_a_message_waits_too(self, store: Any) -> None:
        id = subscribe(store).id
        notice = Notice("question", b"{}", 60)

        store.add_delivery(KEY, Delivery(id, notice, 0, T0 + 1), now=T0)
        store.add_delivery(KEY, Delivery(id, notice, 0, T0 + 9), now=T0)

        assert lease(store, now=T0 + 0.75) == []
        assert lease(store, now=T0 + 1) == [KEY]
        assert work(store, now=T0 + 1).deliveries == (Delivery(id, notice, 0, T0 + 1),)
        with pytest.raises(SubscriptionNotFound):
            store.add_delivery(KEY, Delivery("x", notice, 0, T0), now=T0)

    def test_deliveries_are_listed_by_message(self, store: Any) -> None:
        one, two = subscribe(store, "http://1").id, subscribe(store, "http://2").id
        ids = sorted(post(store, 3))
        lease(store)
        notices = some_notices(ids)
        mine = [
            Delivery(one, notices[0], 1, T0 + 90),
            Delivery(one, notices[1], 14, None),
            Delivery(one, notices[2], 0, T0),
        ]
        settle(store, Settled(waiting=(*mine, Delivery(two, notices[0], 0, T0))))

        first = store.list_deliveries(KEY, one, limit=2, now=T0)
        rest = store.list_deliveries(KEY, one, marker=first.marker, limit=2, now=T0)

        assert [*first.items, *rest.items] == mine
        assert store.list_deliveries(KEY, two, limit=5, now=T0).items != ()

    def test_log_keeps_the_last_attempts_newest_first(self, store: Any) -> None:
        id = subscribe(store).id
        post(store)
        lease(store)
        attempts = [
            Attempt(f"m{n}", T0 + n, 0.25, n % 2 == 0, 200 + n, None if n else "é")
            for n in range(KEPT_ATTEMPTS + 5)
        ]

        settle(store, Settled(attempts={id: tuple(attempts[:3])}))
        settle(store, Settled(attempts={id: tuple(attempts[3:])}))

        found = store.list_attempts(KEY, id, now=T0)
        assert found == attempts[: -KEPT_ATTEMPTS - 1 : -1]

    # What goes with its subscription or queue

    def test_removed_subscription_takes_its_deliveries_along(self, store: Any) -> None:
        one, two = subscribe(store, "http://1").id, subscribe(store, "http://2").id
        ids = post(store)
        lease(store)
        notice = some_notices(ids)[0]
        both = tuple(Delivery(id, notice, 1, T0) for id in (one, two))
        attempt = Attempt(notice.id, T0, 0.5, False, 500)
        settle(store, Settled(waiting=both, attempts={one: (attempt,)}))

        store.remove_subscription(KEY, one)

        assert waiting(work(store)) == [(two, notice.id, 1)]
        settle(store, Settled(waiting=both, attempts={one: (attempt,)}))
        assert waiting(work(store)) == [(two, notice.id, 1)]
        for call in (store.list_deliveries, store.list_attempts):
            limit = {"limit": 5} if call == store.list_deliveries else {}
            with pytest.raises(SubscriptionNotFound):
                call(KEY, one, now=T0, **limit)
        with pytest.raises(SubscriptionNotFound):
            store.replay_deliveries(KEY, one, None, now=T0)

    def test_subscription_that_ends_takes_its_deliveries_along(
        self, store: Any
    ) -> None:
        id = subscribe(store, ttl=60).id
        ids = post(store)
        lease(store)
        settle(
            store,
            Settled(tuple(ids), (Delivery(id, some_notices(ids)[0], 1, T0 + 70),)),
        )
        store.release_outbox(KEY, ME, now=T0)

        found = work(store, now=T0 + 80)
        assert (found.deliveries, found.subscriptions, found.behind) == (
            (),
            (),
            frozenset(),
        )

    def test_queue_takes_its_outbox_along(self, store: Any) -> None:
        id = subscribe(store).id
        ids = post(store, 2)
        lease(store)
        settle(store, Settled(waiting=(Delivery(id, some_notices(ids)[0], 1, T0),)))

        store.delete_queue(KEY)

        assert lease(store) == []
        assert work(store) == Work()
        with pytest.raises(LeaseLost):
            settle(store)
        subscribe(store)
        assert lease(store) == []
        assert work(store).notices == ()
        new = post(store)
        assert lease(store) == [KEY]
        assert told(work(store)) == new

    def test_purge_of_subscriptions_leaves_nothing_to_deliver_to(
        self, store: Any
    ) -> None:
        id = subscribe(store).id
        ids = post(store)
        lease(store)
        settle(store, Settled(waiting=(Delivery(id, some_notices(ids)[0], 1, T0),)))

        store.purge_queue(KEY, messages=False, subscriptions=True, now=T0)

        assert work(store).subscriptions == ()
        assert work(store).deliveries == ()

    def test_queues_do_not_share_what_they_owe(self, store: Any) -> None:
        for key in (KEY, OTHER, STRANGER):
            subscribe(store, key=key)
        mine, others = post(store), post(store, key=STRANGER)

        assert set(map(tuple, map(_pair, lease(store)))) == {
            _pair(KEY),
            _pair(STRANGER),
        }
        settle(store, Settled(notices=tuple([*mine, *others])))
        assert told(work(store)) == []
        assert told(work(store, STRANGER)) == others
        assert told(work(store, OTHER)) == []

    # Many at the same time

    def test_racing_dispatchers_never_share_an_outbox(
        self, open_store: Callable[[], Any]
    ) -> None:
        stores = [open_store(), open_store()]
        keys = [QueueKey(KEY.project, f"q{number}") for number in range(12)]
        for key in keys:
            subscribe(stores[0], key=key)
            post(stores[0], key=key)

        def take(number: int) -> list[QueueKey]:
            taken: list[QueueKey] = []
            while True:
                found = lease(stores[number % 2], f"holder-{number}", limit=2)
                new = [key for key in found if key not in taken]
                if not new:
                    # Only what is its own, or that of others, is left.
                    return taken
                taken += new

        taken = list(chain.from_iterable(together(6, take)))

        assert sorted(map(_pair, taken)) == sorted(map(_pair, keys))

    def test_nothing_waits_that_was_posted_while_dispatchers_came_and_went(
        self, open_store: Callable[[], Any]
    ) -> None:
        """No lease ends, for the time stands still: who is not told stays untold."""
        stores = [open_store(), open_store()]
        keys = [KEY, OTHER]
        for key in keys:
            subscribe(stores[0], key=key)
        told_ids: list[list[str]] = [[], []]
        posted: list[list[str]] = [[], [], []]

        def dispatch(number: int) -> None:
            store, holder = stores[number], f"holder-{number}"
            idle = 0
            while idle < 3 or not all(posted):
                leased = lease(store, holder, limit=1)
                for key in leased:
                    ids = told(work(store, key, notices=5))
                    settle(store, Settled(notices=tuple(ids)), key, holder=holder)
                    store.release_outbox(key, holder, now=T0)
                    told_ids[number] += ids
                idle = 0 if leased else idle + 1

        def produce(number: int) -> None:
            ids: list[str] = []
            for turn in range(40):
                key = keys[(number + turn) % 2]
                ids += post(stores[turn % 2], 2, key)
            posted[number] = ids

        together(5, lambda n: dispatch(n) if n < 2 else produce(n - 2))

        assert sorted(chain(*told_ids)) == sorted(chain(*posted))
        assert lease(stores[0]) == []


def _pair(key: QueueKey) -> tuple[str, str]:
    return key.project, key.name

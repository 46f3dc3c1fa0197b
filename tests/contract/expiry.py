# SPDX-License-Identifier: Apache-2.0
"""Facts about expiry: exact to the instant, for every method, without any sweep.

Messages expire at T0 + 60 here, or at T0 + 300 where they have to outlive others.
"""

from collections.abc import Callable

import pytest

from tests.contract.arrange import (
    KEY,
    T0,
    assert_stats_match_listing,
    claim,
    counted,
    create,
    ids_of,
    listed,
    post,
    read,
)
from zaqar.errors import ClaimDoesNotHoldMessage, MessageIsClaimed
from zaqar.model import DeadLetter, QueueStats
from zaqar.storage.base import Store

END = T0 + 60
JUST_BEFORE = T0 + 59.75


class ExpiryContract:
    def test_message_is_listed_until_it_expires(self, store: Store) -> None:
        ids = post(store, 2, ttl=60)

        assert listed(store, now=JUST_BEFORE) == ids
        assert listed(store, now=END) == []

    def test_message_is_got_until_it_expires(self, store: Store) -> None:
        ids = post(store, 2, ttl=60)

        assert ids_of(store.get_messages(KEY, ids, now=JUST_BEFORE)) == ids
        assert store.get_messages(KEY, ids, now=END) == []

    def test_message_is_counted_until_it_expires(self, store: Store) -> None:
        post(store, 2, ttl=60)

        assert counted(store, now=JUST_BEFORE) == (2, 0)
        assert store.queue_stats(KEY, now=END) == QueueStats()

    def test_expired_message_is_not_claimed(self, store: Store) -> None:
        post(store, 2, ttl=60)
        rest = post(store, 1, ttl=300)

        assert ids_of(claim(store, now=END)[1]) == rest

    def test_expired_message_is_not_popped(self, store: Store) -> None:
        post(store, 2, ttl=60)
        rest = post(store, 1, ttl=300)

        assert ids_of(store.pop_messages(KEY, 10, now=END)) == rest

    def test_expired_message_is_not_there_to_be_refused(self, store: Store) -> None:
        ids = post(store, 2, ttl=60)
        post(store, ttl=300)

        store.delete_message(KEY, ids[0], now=END)
        store.delete_message(KEY, ids[0], claim="unknown", now=END)
        store.delete_messages(KEY, ids, claims=["unknown"], now=END)

        assert counted(store, now=END) == (1, 0)

    def test_expired_message_is_not_moved_to_the_dead_letter_queue(
        self, store: Store
    ) -> None:
        post(store, ttl=60)
        rule = DeadLetter("dead", 1)
        claim_id, _ = claim(store, ttl=59, dead_letter=rule)
        store.release_claim(KEY, claim_id, now=T0 + 1)

        _, held = claim(store, dead_letter=rule, now=END)

        assert held == []
        assert store.count_queues(KEY.project) == 1

    def test_expired_message_is_skipped_by_paging(self, store: Store) -> None:
        first = post(store, 1, ttl=300)
        post(store, 3, ttl=60)
        last = post(store, 2, ttl=300)

        page = store.list_messages(KEY, limit=2, now=END)

        assert ids_of(page.items) == [*first, last[0]]
        assert listed(store, marker=page.marker, now=END) == last[1:]

    def test_oldest_and_newest_are_live(self, store: Store) -> None:
        post(store, 1, ttl=60)
        ids = post(store, 2, ttl=300, now=T0 + 1)
        post(store, 1, ttl=58, now=T0 + 2)

        stats = assert_stats_match_listing(store, now=END)

        assert stats.oldest is not None and stats.newest is not None
        assert (stats.oldest.id, stats.newest.id) == (ids[0], ids[1])

    def test_each_message_expires_at_its_own_time(self, store: Store) -> None:
        ids = [post(store, 1, ttl=ttl)[0] for ttl in (90, 60, 120)]

        assert listed(store, now=T0 + 89) == [ids[0], ids[2]]
        assert listed(store, now=T0 + 90) == [ids[2]]
        assert listed(store, now=T0 + 120) == []

    def test_deep_backlog_expires_at_once(self, store: Store) -> None:
        post(store, 2500, ttl=60)
        rest = post(store, 1, ttl=300)

        assert listed(store, now=END) == rest
        assert counted(store, now=END) == (1, 0)
        assert ids_of(claim(store, now=END)[1]) == rest

    @pytest.mark.parametrize(
        "first_call",
        [
            lambda store, ids, now: listed(store, now=now),
            lambda store, ids, now: store.get_messages(KEY, ids, now=now),
            lambda store, ids, now: store.queue_stats(KEY, now=now),
            lambda store, ids, now: store.pop_messages(KEY, 1, now=now),
            lambda store, ids, now: claim(store, limit=1, now=now),
            lambda store, ids, now: store.delete_messages(KEY, ids[:1], now=now),
            lambda store, ids, now: store.release_claim(KEY, "none", now=now),
            lambda store, ids, now: post(store, 1, ttl=60, now=now),
            lambda store, ids, now: store.purge_queue(
                KEY, messages=True, subscriptions=True, now=now
            ),
        ],
        ids=[
            "list",
            "get",
            "stats",
            "pop",
            "claim",
            "delete",
            "release",
            "post",
            "purge",
        ],
    )
    def test_whoever_meets_a_deep_expired_backlog_first_leaves_true_numbers(
        self, store: Store, first_call: Callable[[Store, list[str], float], object]
    ) -> None:
        create(store)
        post(store, 1100, ttl=60)
        claim(store, limit=1050, ttl=30)
        ids = post(store, 1100, ttl=60)
        claim(store, limit=1050, ttl=60, grace=30)
        post(store, 3, ttl=300)

        first_call(store, ids, END)

        assert_stats_match_listing(store, now=END)
        assert_stats_match_listing(store, now=END + 30)

    def test_claimed_messages_are_counted_until_the_claim_expires(
        self, store: Store
    ) -> None:
        post(store, 3, ttl=300)
        claim(store, ttl=60, limit=2)

        assert counted(store, now=JUST_BEFORE) == (3, 2)
        assert counted(store, now=END) == (3, 0)

    def test_message_of_an_expired_claim_names_no_claim(self, store: Store) -> None:
        ids = post(store, 2, ttl=300)
        claim(store, ttl=60)

        got = store.get_messages(KEY, ids, now=END)

        assert [message.claim for message in got] == [None, None]
        assert [message.claim for message in read(store, now=END)] == [None, None]

    def test_messages_of_an_expired_claim_are_listed(self, store: Store) -> None:
        ids = post(store, 2, ttl=300)
        claim(store, ttl=60)

        assert listed(store, claimed=False, now=JUST_BEFORE) == []
        assert listed(store, claimed=False, now=END) == ids

    def test_message_is_protected_until_its_claim_expires(self, store: Store) -> None:
        ids = post(store, 2, ttl=300)
        claim_id, _ = claim(store, ttl=60)

        with pytest.raises(MessageIsClaimed):
            store.delete_message(KEY, ids[0], now=JUST_BEFORE)
        with pytest.raises(ClaimDoesNotHoldMessage):
            store.delete_message(KEY, ids[0], claim=claim_id, now=END)
        store.delete_message(KEY, ids[0], now=END)

        assert listed(store, now=END) == ids[1:]

    def test_message_may_expire_with_its_claim(self, store: Store) -> None:
        post(store, 2, ttl=60)
        claim(store, ttl=60)
        rest = post(store, 1, ttl=300)

        assert listed(store, now=END) == rest
        assert_stats_match_listing(store, now=END)

    def test_fractions_of_a_second_count(self, store: Store) -> None:
        ids = post(store, 1, ttl=60, now=T0 + 0.5)

        assert listed(store, now=T0 + 60.25) == ids
        assert listed(store, now=T0 + 60.5) == []

    def test_queue_stays_when_all_its_messages_expired(self, store: Store) -> None:
        create(store, metadata={"a": 1})
        post(store, 2, ttl=60)

        store.sweep(now=END)

        assert store.get_queue(KEY).metadata == {"a": 1}
        assert store.queue_stats(KEY, now=END) == QueueStats()

# SPDX-License-Identifier: Apache-2.0
"""Facts about upkeep, and about the numbers that must be true after anything."""

import random
import time
from collections.abc import Callable
from typing import Any

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
    ready,
    set_delays,
)
from zaqar.errors import ClaimNotFound
from zaqar.model import DeadLetter, QueueKey
from zaqar.storage.base import Store


class UpkeepContract:
    def test_store_answers_a_ping(self, store: Store) -> None:
        store.ping()
        post(store)
        store.ping()

        assert counted(store) == (1, 0)
        assert store.count_queues("") == 0

    def test_clock_tells_seconds_since_1970(self, store: Store) -> None:
        assert abs(store.clock() - time.time()) < 3600

    def test_clock_goes_on_by_parts_of_a_second(self, store: Store) -> None:
        told = [store.clock()]
        while len(set(told)) < 4:
            told.append(store.clock())

        assert told == sorted(told)
        assert told[-1] - told[0] < 60

    def test_all_handles_have_one_clock(self, open_store: Any) -> None:
        one, two = open_store(), open_store()

        told = [store.clock() for store in (one, two) * 20]

        assert told == sorted(told)

    def test_sweep_of_an_empty_store_collects_nothing(self, store: Store) -> None:
        assert store.sweep(now=T0) == 0

    def test_sweep_tells_how_much_it_collected(self, store: Store) -> None:
        post(store, 3, ttl=60)
        post(store, 2, ttl=300)

        before = store.sweep(now=T0 + 59.75)
        at = store.sweep(now=T0 + 60)
        again = store.sweep(now=T0 + 60)

        assert (before, at, again) == (0, 3, 0)

    def test_sweep_collects_expired_claims(self, store: Store) -> None:
        ids = post(store, 3, ttl=300)
        claim(store, ttl=60, limit=2)

        collected = store.sweep(now=T0 + 60)

        assert collected == 1
        assert store.sweep(now=T0 + 60) == 0
        assert ready(store, now=T0 + 60) == ids

    def test_one_sweep_collects_all_queues(self, store: Store) -> None:
        for number in range(30):
            post(store, 2, QueueKey(f"p{number % 3}", f"q{number}"), ttl=60)

        assert store.sweep(now=T0 + 60) == 60

    def test_one_sweep_collects_a_deep_backlog(self, store: Store) -> None:
        post(store, 3500, ttl=60)
        rest = post(store, 1, ttl=300)

        assert store.sweep(now=T0 + 60) == 3500
        assert listed(store, now=T0 + 60) == rest

    def test_sweep_changes_nothing_that_can_be_seen(self, store: Store) -> None:
        create(store, delays=True)
        post(store, 2, ttl=60)
        live, _ = claim(store, ttl=100, limit=1)
        post(store, 2, ttl=300)
        dead, _ = claim(store, ttl=60, limit=2)
        post(store, 2, ttl=300, delay=60)
        post(store, 2, ttl=300, delay=70)
        now = T0 + 60

        def seen() -> list[object]:
            return [
                read(store, now=now),
                ready(store, now=now),
                store.queue_stats(KEY, now=now),
                store.get_claim(KEY, live, now=now),
                store.get_queue(KEY),
            ]

        before = seen()
        store.sweep(now=now)
        after = seen()

        assert after == before
        with pytest.raises(ClaimNotFound):
            store.get_claim(KEY, dead, now=now)

    def test_sweep_before_anybody_looked_changes_nothing(self, store: Store) -> None:
        create(store, delays=True)
        ids = post(store, 2, ttl=300)
        claim(store, ttl=60)
        delayed = post(store, 2, ttl=300, delay=60)
        post(store, 2, ttl=60)

        store.sweep(now=T0 + 60)

        assert ready(store, now=T0 + 60) == ids + delayed
        assert_stats_match_listing(store, now=T0 + 60)

    def test_sweep_keeps_queues(self, store: Store) -> None:
        create(store)

        store.sweep(now=T0 + 10**9)

        assert store.count_queues(KEY.project) == 1

    def test_closed_store_leaves_other_handles_alone(self, open_store: Any) -> None:
        one, two = open_store(), open_store()
        ids = post(one, 2)

        open_store.close(one)

        assert listed(two) == ids
        assert ids_of(claim(two)[1]) == ids

    @pytest.mark.parametrize("seed", range(4))
    def test_numbers_match_the_listing_after_anything(
        self, store: Store, seed: int
    ) -> None:
        dice = random.Random(seed)
        keys = [KEY, QueueKey(KEY.project, "dead")]
        now = T0
        for key in keys:
            create(store, key)

        for _ in range(150):
            disturb(store, dice.choice(keys), dice, now)
            now += dice.choice([0, 0, 0.25, 7, 30])

            for key in keys:
                assert_stats_match_listing(store, key, now=now)


def disturb(store: Store, key: QueueKey, dice: random.Random, now: float) -> None:
    """Do one thing or another to the queue."""
    messages = read(store, key, now=now)
    some = dice.sample(messages, min(len(messages), dice.randint(0, 5)))
    held = [message for message in some if message.claim is not None]
    ttl = dice.randint(60, 120)

    def delete_held() -> None:
        for message in held:
            store.delete_message(key, message.id, claim=message.claim, now=now)

    def release() -> None:
        for message in held:
            store.release_claim(key, message.claim or "", now=now)

    actions: list[Callable[[], object]] = [
        lambda: post(store, dice.randint(1, 20), key, ttl=ttl, now=now),
        lambda: post(store, dice.randint(1, 20), key, ttl=ttl, delay=50, now=now),
        lambda: claim(store, key, ttl=ttl, limit=dice.randint(1, 9), now=now),
        lambda: claim(
            store,
            key,
            ttl=ttl,
            limit=dice.randint(1, 9),
            dead_letter=DeadLetter("dead", 2, ttl=90),
            now=now,
        ),
        release,
        delete_held,
        lambda: store.delete_messages(key, ids_of(some), now=now),
        lambda: store.pop_messages(key, dice.randint(1, 5), now=now),
        lambda: set_delays(store, dice.random() < 0.5, key, now=now),
        lambda: store.sweep(now=now),
    ]
    dice.choice(actions)()

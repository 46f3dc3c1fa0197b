# SPDX-License-Identifier: Apache-2.0
"""Facts about what the messages of a project come to."""

import pytest

from tests.contract.arrange import (
    KEY,
    T0,
    claim,
    create,
    draft,
    post,
    send,
    set_delays,
)
from tests.contract.isolation import PAIRS
from zaqar.model import QueueKey, Usage
from zaqar.storage.base import Store

OTHER = QueueKey(KEY.project, "other")


def usage(store: Store, project: str = KEY.project, *, now: float = T0) -> Usage:
    """Measure with sizes, and check that nothing else is told without them."""
    found = store.measure_usage(project, sizes=True, now=now)
    assert store.measure_usage(project, sizes=False, now=now) == Usage(found.messages)
    return found


class UsageContract:
    def test_nothing_is_used_at_first(self, store: Store) -> None:
        assert usage(store) == Usage()
        create(store)

        assert usage(store) == Usage()

    @pytest.mark.parametrize("size", [2, 100, 255, 256, 65_535, 65_536, 200_000])
    def test_bodies_are_counted_by_their_bytes(self, store: Store, size: int) -> None:
        send(store, [draft(body=b'"' + b"x" * (size - 2) + b'"')])

        assert usage(store) == Usage(1, size)

    def test_bytes_are_those_of_the_text_in_utf_8(self, store: Store) -> None:
        body = '"é☃😀"'.encode()

        send(store, [draft(body=body, checksum="MD5:0123"), draft(body=b"1")])

        assert usage(store) == Usage(2, len(body) + 1)

    def test_all_queues_of_the_project_count(self, store: Store) -> None:
        post(store, 3)
        post(store, 4, OTHER)
        post(store, 5, QueueKey("stranger", "queue"))

        assert usage(store) == Usage(7, 7 * 6)
        assert usage(store, "stranger") == Usage(5, 5 * 6)

    def test_many_messages_in_many_queues_count(self, store: Store) -> None:
        for number in range(12):
            key = QueueKey("p", f"queue {number}")
            if number % 3:
                post(store, 60 * (number % 3), key)
            else:
                create(store, key)
        for _ in range(4):
            post(store, 100, QueueKey("p", "deep"))

        assert usage(store, "p") == Usage(1120, 1120 * 6)

    def test_claimed_and_delayed_messages_count(self, store: Store) -> None:
        create(store, delays=True)
        post(store, 2)
        post(store, 3, delay=60)
        claim(store, limit=1)

        assert usage(store) == Usage(5, 30)
        set_delays(store, False, now=T0 + 1)
        assert usage(store, now=T0 + 61) == Usage(5, 30)

    def test_what_has_expired_does_not_count(self, store: Store) -> None:
        post(store, 2, ttl=60)
        post(store, 3, ttl=300)
        claim(store, ttl=90, grace=60, limit=1)

        assert usage(store, now=T0 + 59) == Usage(5, 30)
        # The claim gave the first one a longer life.
        assert usage(store, now=T0 + 61) == Usage(4, 24)
        assert usage(store, now=T0 + 151) == Usage(3, 18)
        assert usage(store, now=T0 + 301) == Usage()
        store.sweep(now=T0 + 61)
        assert usage(store, now=T0 + 61) == Usage(4, 24)

    def test_what_is_removed_does_not_count(self, store: Store) -> None:
        ids = post(store, 9)
        store.delete_message(KEY, ids[0], now=T0)
        store.delete_messages(KEY, ids[1:3], now=T0)
        store.pop_messages(KEY, 2, now=T0)

        assert usage(store) == Usage(4, 24)
        claim(store, limit=1)
        store.purge_queue(KEY, messages=True, subscriptions=True, now=T0)
        assert usage(store) == Usage(1, 6)

    def test_a_deleted_queue_does_not_count(self, store: Store) -> None:
        post(store, 3, OTHER)
        for _ in range(3):
            post(store, 50)
        store.delete_queue(KEY)

        assert usage(store) == Usage(3, 18)
        post(store, 2, now=T0 + 1)
        assert usage(store, now=T0 + 1) == Usage(5, 30)

    def test_measuring_changes_nothing(self, store: Store) -> None:
        post(store, 3, ttl=60)

        usage(store, now=T0 + 100)

        assert store.queue_stats(KEY, now=T0).total == 3

    @pytest.mark.parametrize("pair", PAIRS, ids=range(len(PAIRS)))
    def test_usage_is_not_that_of_another_key(
        self, store: Store, pair: tuple[tuple[str, str], tuple[str, str]]
    ) -> None:
        mine, theirs = QueueKey(*pair[0]), QueueKey(*pair[1])
        post(store, 2, mine)
        post(store, 3, theirs)

        if mine.project == theirs.project:
            assert usage(store, mine.project) == Usage(5, 30)
        else:
            assert usage(store, mine.project) == Usage(2, 12)
            assert usage(store, theirs.project) == Usage(3, 18)

# SPDX-License-Identifier: Apache-2.0
"""Facts about messages that were claimed too often."""

from typing import Any

import pytest

from tests.contract.arrange import (
    KEY,
    T0,
    claim,
    counted,
    create,
    draft,
    ids_of,
    listed,
    post,
    read,
    ready,
    send,
)
from zaqar.errors import ClaimNotFound
from zaqar.model import DeadLetter, Message, QueueKey
from zaqar.storage.base import Store

DEAD = QueueKey(KEY.project, "dead")
RULE = DeadLetter("dead", 2)


def claim_and_release(
    store: Store, times: int, rule: DeadLetter = RULE, *, limit: int = 10, now: float
) -> None:
    for _ in range(times):
        claim_id, held = claim(store, dead_letter=rule, limit=limit, now=now)
        assert held
        store.release_claim(KEY, claim_id, now=now)


def alternate(store: Store) -> list[str]:
    """Post four messages; the second and the fourth were claimed often enough."""
    ids = []
    keepers = []
    for tired in (False, True, False, True):
        ids += post(store, 1)
        if tired:
            claim_and_release(store, 2, now=T0)
        keepers.append(claim(store)[0])
    for keeper in keepers:
        store.release_claim(KEY, keeper, now=T0)
    return ids


class DeadLetterContract:
    def test_claims_of_a_message_are_counted(self, store: Store) -> None:
        post(store)

        counts = []
        for _ in range(2):
            claim_id, (held,) = claim(store, dead_letter=RULE)
            counts.append(held.claim_count)
            store.release_claim(KEY, claim_id, now=T0)

        assert counts == [1, 2]
        assert read(store)[0].claim_count == 2

    def test_expired_claims_count(self, store: Store) -> None:
        (id,) = post(store, ttl=10_000)
        claim(store, ttl=60, dead_letter=RULE, now=T0)
        claim(store, ttl=60, dead_letter=RULE, now=T0 + 60)

        _, held = claim(store, ttl=60, dead_letter=RULE, now=T0 + 120)

        assert held == []
        assert listed(store, DEAD, now=T0 + 120) == [id]

    def test_claim_after_the_last_allowed_one_moves_the_message(
        self, store: Store
    ) -> None:
        (id,) = send(store, [draft(body=b"[1]", ttl=300, checksum="MD5:abc")])
        claim_and_release(store, 2, now=T0 + 1)

        claim_id, held = claim(store, dead_letter=RULE, now=T0 + 2)

        assert held == []
        assert read(store, now=T0 + 2) == []
        assert counted(store, now=T0 + 2) == (0, 0)
        assert read(store, DEAD, now=T0 + 2) == [
            Message(
                id,
                b"[1]",
                300,
                T0,
                checksum="MD5:abc",
                origin="queue",
                origin_claims=2,
            )
        ]
        assert counted(store, DEAD, now=T0 + 2) == (1, 0)
        with pytest.raises(ClaimNotFound):
            store.get_claim(KEY, claim_id, now=T0 + 2)

    def test_moved_message_is_no_longer_in_its_old_queue(self, store: Store) -> None:
        (id,) = post(store)
        claim_and_release(store, 2, now=T0)
        claim(store, dead_letter=RULE)

        store.delete_message(KEY, id, now=T0)
        store.delete_messages(KEY, [id], now=T0)

        assert store.get_messages(KEY, [id], now=T0) == []
        assert ids_of(store.get_messages(DEAD, [id], now=T0)) == [id]

    def test_moved_messages_do_not_use_up_the_limit(self, store: Store) -> None:
        tired = post(store, 30)
        claim_and_release(store, 2, limit=30, now=T0)
        fresh = post(store, 3)

        _, held = claim(store, limit=2, dead_letter=RULE)

        assert ids_of(held) == fresh[:2]
        assert listed(store, DEAD) == tired
        assert ready(store) == fresh[2:]

    def test_many_messages_are_moved_by_one_claim(self, store: Store) -> None:
        tired = post(store, 1500)
        claim_and_release(store, 2, limit=1500, now=T0)
        fresh = post(store, 1)

        _, held = claim(store, limit=1, dead_letter=RULE)

        assert ids_of(held) == fresh
        assert listed(store, DEAD) == tired
        assert counted(store) == (1, 1)

    def test_messages_behind_a_full_claim_are_not_moved(self, store: Store) -> None:
        fresh, tired, full, behind = alternate(store)

        _, held = claim(store, limit=2, dead_letter=RULE)

        assert ids_of(held) == [fresh, full]
        assert listed(store, DEAD) == [tired]
        assert listed(store) == [fresh, full, behind]

    def test_same_claim_twice_moves_nothing_behind_it(self, store: Store) -> None:
        alternate(store)
        claim_id, held = claim(store, limit=2, dead_letter=RULE)
        behind = listed(store)

        _, again = claim(store, id=claim_id, limit=2, dead_letter=RULE)

        assert again == held
        assert listed(store) == behind

    def test_moved_messages_are_free_at_once(self, store: Store) -> None:
        ids = post(store, 2)
        claim_and_release(store, 2, now=T0)
        claim(store, dead_letter=RULE)

        _, held = claim(store, DEAD)

        assert ids_of(held) == ids
        assert [message.claim_count for message in held] == [0, 0]

    def test_moved_message_goes_to_the_end_of_the_dead_letter_queue(
        self, store: Store
    ) -> None:
        tired = post(store, 2, now=T0)
        claim_and_release(store, 2, now=T0)
        before = post(store, 2, DEAD, now=T0 + 5)
        claim(store, dead_letter=RULE, now=T0 + 6)
        after = post(store, 1, DEAD, now=T0 + 7)

        assert listed(store, DEAD, now=T0 + 7) == before + tired + after

    def test_reader_of_the_dead_letter_queue_sees_what_comes_later(
        self, store: Store
    ) -> None:
        tired = post(store, 1, now=T0)
        claim_and_release(store, 2, now=T0)
        post(store, 2, DEAD, now=T0 + 5)
        marker = store.list_messages(DEAD, limit=10, now=T0 + 5).marker

        claim(store, dead_letter=RULE, now=T0 + 6)

        assert listed(store, DEAD, marker=marker, now=T0 + 6) == tired

    def test_marker_of_a_message_gone_skips_no_older_message_moved_behind_it(
        self, store: Store
    ) -> None:
        (old,) = post(store, 1, now=T0)
        claim_and_release(store, 2, now=T0)
        (gone,) = post(store, 1, DEAD, now=T0 + 100)
        claim(store, dead_letter=RULE, now=T0 + 200)

        store.delete_message(DEAD, gone, now=T0 + 200)

        assert listed(store, DEAD, marker=gone, now=T0 + 200) == [old]

    def test_moved_message_keeps_its_expiry_without_a_ttl_of_the_rule(
        self, store: Store
    ) -> None:
        post(store, ttl=300)
        claim_and_release(store, 2, now=T0)

        claim(store, dead_letter=RULE, now=T0 + 100)

        (message,) = read(store, DEAD, now=T0 + 299)
        assert (message.ttl, message.created) == (300, T0)
        assert read(store, DEAD, now=T0 + 300) == []

    def test_moved_message_lives_for_the_ttl_of_the_rule(self, store: Store) -> None:
        post(store, ttl=300)
        rule = DeadLetter("dead", 2, ttl=1000)
        claim_and_release(store, 2, rule, now=T0)

        claim(store, dead_letter=rule, now=T0 + 100)

        (message,) = read(store, DEAD, now=T0 + 1099)
        assert (message.ttl, message.created) == (1000, T0)
        assert read(store, DEAD, now=T0 + 1100) == []

    def test_ttl_of_the_rule_may_be_shorter(self, store: Store) -> None:
        post(store, ttl=3000)
        rule = DeadLetter("dead", 2, ttl=60)
        claim_and_release(store, 2, rule, now=T0)

        claim(store, dead_letter=rule, now=T0 + 100)

        assert len(read(store, DEAD, now=T0 + 159)) == 1
        assert read(store, DEAD, now=T0 + 160) == []

    def test_dead_letter_queue_is_created_if_absent(self, store: Store) -> None:
        post(store)
        claim_and_release(store, 2, now=T0)

        claim(store, dead_letter=RULE)

        queue = store.get_queue(DEAD)
        assert (queue.name, queue.metadata, queue.delays) == ("dead", {}, False)
        assert queue.revision
        assert store.count_queues(KEY.project) == 2

    def test_dead_letter_queue_is_not_created_before_it_is_needed(
        self, store: Store
    ) -> None:
        post(store)

        claim_and_release(store, 2, now=T0)

        assert store.count_queues(KEY.project) == 1

    def test_existing_dead_letter_queue_keeps_its_settings(self, store: Store) -> None:
        create(store, DEAD, {"a": 1}, delays=True)
        before = store.get_queue(DEAD)
        ids = post(store, delay=1000)
        claim_and_release(store, 2, now=T0)

        claim(store, dead_letter=RULE)

        assert store.get_queue(DEAD) == before
        assert ready(store, DEAD) == ids

    def test_existing_dead_letter_queue_keeps_its_messages_and_claims(
        self, store: Store
    ) -> None:
        held_there = post(store, 1, DEAD)
        claim_id, _ = claim(store, DEAD)
        moved = post(store)
        claim_and_release(store, 2, now=T0)

        claim(store, dead_letter=RULE)

        assert listed(store, DEAD) == held_there + moved
        assert counted(store, DEAD) == (2, 1)
        assert len(store.get_claim(DEAD, claim_id, now=T0).messages) == 1

    def test_queue_that_names_itself_moves_nothing(self, store: Store) -> None:
        ids = post(store, 2)
        rule = DeadLetter(KEY.name, 1)
        claim_and_release(store, 3, rule, now=T0)

        _, held = claim(store, dead_letter=rule)

        assert ids_of(held) == ids
        assert [message.origin for message in held] == [None, None]
        assert listed(store) == ids

    def test_message_moves_on_to_the_next_dead_letter_queue(self, store: Store) -> None:
        (id,) = post(store)
        claim_and_release(store, 2, now=T0)
        claim(store, dead_letter=RULE)
        last = QueueKey(KEY.project, "last")
        rule = DeadLetter("last", 1)
        claim_id, _ = claim(store, DEAD, dead_letter=rule)
        store.release_claim(DEAD, claim_id, now=T0)

        claim(store, DEAD, dead_letter=rule)

        (message,) = read(store, last)
        assert (message.id, message.origin, message.origin_claims) == (id, "dead", 1)
        assert listed(store, DEAD) == []

    def test_message_may_come_back_from_its_dead_letter_queue(
        self, store: Store
    ) -> None:
        (id,) = post(store)
        claim_and_release(store, 2, now=T0)
        claim(store, dead_letter=RULE)
        back = DeadLetter(KEY.name, 1)
        claim_id, _ = claim(store, DEAD, dead_letter=back)
        store.release_claim(DEAD, claim_id, now=T0)

        claim(store, DEAD, dead_letter=back)
        claim_id, (held,) = claim(store, dead_letter=RULE)

        assert (held.id, held.claim_count, held.origin) == (id, 1, "dead")
        assert counted(store, DEAD) == (0, 0)

    def test_same_claim_twice_moves_nothing_more(self, store: Store) -> None:
        tired = post(store, 2)
        claim_and_release(store, 2, now=T0)
        fresh = post(store, 2)
        claim_id, held = claim(store, limit=1, dead_letter=RULE)

        _, again = claim(store, id=claim_id, limit=1, dead_letter=RULE)

        assert again == held
        assert listed(store) == fresh
        assert listed(store, DEAD) == tired

    def test_dead_letters_stay_in_their_project(self, store: Store) -> None:
        post(store)
        create(store, QueueKey("other", "dead"))
        claim_and_release(store, 2, now=T0)

        claim(store, dead_letter=RULE)

        assert listed(store, QueueKey("other", "dead")) == []
        assert len(listed(store, DEAD)) == 1

    def test_message_that_was_moved_and_then_posted_again_is_moved_once(
        self, store: Store
    ) -> None:
        drafts = [draft(), draft()]
        ids = send(store, drafts)
        claim_and_release(store, 2, now=T0)
        claim(store, dead_letter=RULE)
        send(store, drafts)
        claim_and_release(store, 2, now=T0)

        _, held = claim(store, dead_letter=RULE)

        assert held == []
        assert listed(store) == []
        assert listed(store, DEAD) == ids
        assert counted(store) == (0, 0)
        assert counted(store, DEAD) == (2, 0)

    def test_no_message_is_lost_or_doubled_over_many_rounds(self, store: Store) -> None:
        ids = post(store, 40, ttl=100_000)
        now = T0
        seen: dict[str, int] = dict.fromkeys(ids, 0)

        for step in range(60):
            now += 1
            claim_id, held = claim(
                store, limit=step % 7 + 1, dead_letter=RULE, ttl=60, now=now
            )
            for message in held:
                seen[message.id] += 1
            if step % 3:
                store.release_claim(KEY, claim_id, now=now)
            now += 30

        here, there = listed(store, now=now), listed(store, DEAD, now=now)
        assert sorted(here + there) == sorted(ids)
        assert max(seen.values()) == 2
        assert {seen[id] for id in there} <= {2}

    def test_reopened_store_has_the_dead_letters(self, open_store: Any) -> None:
        first = open_store()
        ids = post(first)
        claim_and_release(first, 2, now=T0)
        claim(first, dead_letter=RULE)
        open_store.close(first)

        second = open_store()

        assert listed(second, DEAD) == ids
        assert listed(second) == []

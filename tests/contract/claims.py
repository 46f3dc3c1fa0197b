# SPDX-License-Identifier: Apache-2.0
"""Facts about claims: who holds what, and until when."""

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
from zaqar.errors import ClaimNotFound, MessageIsClaimed
from zaqar.model import Claim, DeadLetter, Message
from zaqar.storage.base import Store


class ClaimContract:
    def test_claim_takes_the_oldest_ready_messages(self, store: Store) -> None:
        ids = post(store, 5)

        _, first = claim(store, limit=2)
        _, second = claim(store, limit=2)
        _, third = claim(store, limit=2)

        assert [ids_of(held) for held in (first, second, third)] == [
            ids[:2],
            ids[2:4],
            ids[4:],
        ]

    def test_claimed_message_names_its_claim(self, store: Store) -> None:
        (id,) = send(store, [draft(body=b"[1]", checksum="MD5:abc")])

        claim_id, held = claim(store, now=T0 + 1)

        message = Message(id, b"[1]", 300, T0, claim=claim_id, checksum="MD5:abc")
        assert held == [message]
        assert read(store, now=T0 + 1) == [message]
        assert store.get_messages(KEY, [id], now=T0 + 1) == [message]

    def test_claim_is_got_with_its_messages(self, store: Store) -> None:
        post(store, 3)
        claim_id, held = claim(store, ttl=90, now=T0 + 0.5)

        got = store.get_claim(KEY, claim_id, now=T0 + 10)

        assert got == Claim(claim_id, 90, T0 + 0.5, tuple(held))

    def test_claim_of_nothing_is_not_made(self, store: Store) -> None:
        create(store)

        claim_id, held = claim(store)

        assert held == []
        with pytest.raises(ClaimNotFound) as raised:
            store.get_claim(KEY, claim_id, now=T0)
        assert (raised.value.queue, raised.value.claim) == ("queue", claim_id)

    def test_claim_finds_the_few_ready_among_many_claimed(self, store: Store) -> None:
        post(store, 2000)
        claim(store, limit=2000)
        ids = post(store, 2)

        _, held = claim(store)

        assert ids_of(held) == ids

    def test_large_claim_is_whole(self, store: Store) -> None:
        ids = post(store, 1500)

        claim_id, held = claim(store, limit=1400)

        assert ids_of(held) == ids[:1400]
        assert list(store.get_claim(KEY, claim_id, now=T0).messages) == held
        assert counted(store) == (1500, 1400)

    def test_same_claim_twice_gives_the_same_messages(self, store: Store) -> None:
        post(store, 5)
        rule = DeadLetter("dead", 3)
        claim_id, held = claim(store, limit=2, dead_letter=rule)

        _, again = claim(store, id=claim_id, limit=2, dead_letter=rule, now=T0 + 1)

        assert again == held
        assert counted(store, now=T0 + 1) == (5, 2)
        assert store.get_claim(KEY, claim_id, now=T0 + 1).created == T0

    def test_same_claim_twice_gives_what_it_still_holds(self, store: Store) -> None:
        ids = post(store, 3)
        claim_id, _ = claim(store, limit=2)
        store.delete_message(KEY, ids[0], claim=claim_id, now=T0)

        _, again = claim(store, id=claim_id, limit=2)

        assert ids_of(again) == ids[1:2]

    def test_id_of_an_expired_claim_claims_anew(self, store: Store) -> None:
        ids = post(store, 3)
        claim_id, _ = claim(store, limit=2, ttl=60)

        _, held = claim(store, id=claim_id, limit=1, ttl=60, now=T0 + 60)

        assert ids_of(held) == ids[:1]
        got = store.get_claim(KEY, claim_id, now=T0 + 60)
        assert (got.created, ids_of(got.messages)) == (T0 + 60, ids[:1])
        assert counted(store, now=T0 + 60) == (3, 1)

    def test_id_of_an_emptied_claim_claims_anew(self, store: Store) -> None:
        ids = post(store, 2)
        claim_id, _ = claim(store, limit=1)
        store.delete_message(KEY, ids[0], claim=claim_id, now=T0)

        _, held = claim(store, id=claim_id, limit=1, ttl=90, now=T0 + 1)

        assert ids_of(held) == ids[1:]
        got = store.get_claim(KEY, claim_id, now=T0 + 1)
        assert (got.ttl, got.created) == (90, T0 + 1)

    def test_claimed_message_keeps_a_ttl_that_outlives_the_claim(
        self, store: Store
    ) -> None:
        post(store, ttl=100)

        _, (held,) = claim(store, ttl=90, grace=1000, now=T0 + 10)

        assert held.ttl == 100
        assert listed(store, now=T0 + 99.75) == [held.id]
        assert listed(store, now=T0 + 100) == []

    def test_claimed_message_gets_the_claims_ttl_and_grace_if_it_would_expire(
        self, store: Store
    ) -> None:
        post(store, ttl=75)

        claim_id, (held,) = claim(store, ttl=120, grace=60, now=T0 + 10)

        assert held.ttl == 180
        assert store.get_claim(KEY, claim_id, now=T0 + 129).messages == (held,)
        assert ready(store, now=T0 + 130) == [held.id]
        assert ready(store, now=T0 + 189.75) == [held.id]
        assert ready(store, now=T0 + 190) == []

    def test_longer_ttl_stays_after_release(self, store: Store) -> None:
        (id,) = post(store, ttl=75)
        claim_id, _ = claim(store, ttl=120, grace=60)

        store.release_claim(KEY, claim_id, now=T0 + 1)

        (message,) = store.get_messages(KEY, [id], now=T0 + 179)
        assert (message.ttl, message.created, message.claim) == (180, T0, None)
        assert store.get_messages(KEY, [id], now=T0 + 180) == []

    def test_only_messages_that_need_it_get_a_longer_ttl(self, store: Store) -> None:
        send(store, [draft(ttl=75), draft(ttl=300), draft(ttl=119), draft(ttl=120)])

        _, held = claim(store, ttl=120, grace=60)

        assert [message.ttl for message in held] == [180, 300, 180, 120]

    def test_claim_ends_at_its_ttl(self, store: Store) -> None:
        ids = post(store, 3)
        claim_id, _ = claim(store, ttl=60, limit=2)

        store.get_claim(KEY, claim_id, now=T0 + 59.75)

        with pytest.raises(ClaimNotFound):
            store.get_claim(KEY, claim_id, now=T0 + 60)
        assert ready(store, now=T0 + 60) == ids

    def test_expired_claim_cannot_be_renewed(self, store: Store) -> None:
        post(store)
        claim_id, _ = claim(store, ttl=60)

        with pytest.raises(ClaimNotFound):
            store.renew_claim(KEY, claim_id, ttl=60, grace=60, now=T0 + 60)

        assert counted(store, now=T0 + 60) == (1, 0)

    def test_releasing_an_expired_claim_does_nothing(self, store: Store) -> None:
        post(store, 2)
        old, _ = claim(store, ttl=60)
        new, held = claim(store, ttl=60, now=T0 + 60)

        store.release_claim(KEY, old, now=T0 + 60)

        assert list(store.get_claim(KEY, new, now=T0 + 60).messages) == held

    def test_messages_of_an_expired_claim_return_to_their_old_places(
        self, store: Store
    ) -> None:
        ids = post(store, 5)
        claim(store, ttl=60, limit=2)
        claim(store, ttl=120, limit=1)

        _, held = claim(store, limit=3, now=T0 + 60)

        assert ids_of(held) == [*ids[:2], ids[3]]

    def test_many_expired_claims_are_settled_by_the_next_call(
        self, store: Store
    ) -> None:
        ids = post(store, 1300)
        for _ in range(130):
            claim(store, ttl=60)

        _, held = claim(store, limit=1300, now=T0 + 60)

        assert ids_of(held) == ids
        assert counted(store, now=T0 + 60) == (1300, 1300)

    def test_renewed_claim_starts_again(self, store: Store) -> None:
        post(store, 2)
        claim_id, held = claim(store, ttl=60)

        store.renew_claim(KEY, claim_id, ttl=100, grace=60, now=T0 + 59)

        got = store.get_claim(KEY, claim_id, now=T0 + 158)
        assert got == Claim(claim_id, 100, T0 + 59, tuple(held))
        with pytest.raises(ClaimNotFound):
            store.get_claim(KEY, claim_id, now=T0 + 159)

    def test_renewal_can_shorten_a_claim(self, store: Store) -> None:
        ids = post(store, 2)
        claim_id, _ = claim(store, ttl=200)

        store.renew_claim(KEY, claim_id, ttl=60, grace=60, now=T0 + 1)

        assert ready(store, now=T0 + 60) == []
        assert ready(store, now=T0 + 61) == ids

    def test_renewal_gives_messages_the_ttl_and_grace_if_they_would_expire(
        self, store: Store
    ) -> None:
        ids = send(store, [draft(ttl=75), draft(ttl=300)])
        claim_id, _ = claim(store, ttl=60, grace=60)

        store.renew_claim(KEY, claim_id, ttl=100, grace=70, now=T0 + 50)

        held = store.get_claim(KEY, claim_id, now=T0 + 50).messages
        assert [message.ttl for message in held] == [170, 300]
        assert listed(store, now=T0 + 219.75) == ids
        assert listed(store, now=T0 + 220) == ids[1:]

    def test_renewal_repeated_is_the_same(self, store: Store) -> None:
        post(store, ttl=75)
        claim_id, _ = claim(store, ttl=60)

        for _ in range(2):
            store.renew_claim(KEY, claim_id, ttl=100, grace=60, now=T0 + 10)

        got = store.get_claim(KEY, claim_id, now=T0 + 10)
        assert (got.ttl, got.created, got.messages[0].ttl) == (100, T0 + 10, 160)

    def test_renewal_and_release_keep_the_count_of_claims(self, store: Store) -> None:
        (id,) = post(store)
        rule = DeadLetter("dead", 5)
        claim_id, _ = claim(store, dead_letter=rule)

        store.renew_claim(KEY, claim_id, ttl=60, grace=60, now=T0)
        store.release_claim(KEY, claim_id, now=T0)

        (message,) = store.get_messages(KEY, [id], now=T0)
        assert message.claim_count == 1

    def test_released_messages_are_ready_in_their_old_places(
        self, store: Store
    ) -> None:
        ids = post(store, 4)
        first, _ = claim(store, limit=2)
        second, held = claim(store, limit=1)

        store.release_claim(KEY, first, now=T0)

        assert ready(store) == [*ids[:2], ids[3]]
        assert list(store.get_claim(KEY, second, now=T0).messages) == held
        assert counted(store) == (4, 1)

    def test_released_claim_is_gone(self, store: Store) -> None:
        post(store)
        claim_id, _ = claim(store)

        store.release_claim(KEY, claim_id, now=T0)
        store.release_claim(KEY, claim_id, now=T0)

        with pytest.raises(ClaimNotFound):
            store.get_claim(KEY, claim_id, now=T0)
        with pytest.raises(ClaimNotFound):
            store.renew_claim(KEY, claim_id, ttl=60, grace=60, now=T0)

    def test_claim_after_a_release_takes_nothing_that_another_claim_holds(
        self, store: Store
    ) -> None:
        ids = post(store, 3)
        first, _ = claim(store, limit=1)
        claim(store, limit=1)
        store.release_claim(KEY, first, now=T0)

        _, held = claim(store, limit=10)

        assert ids_of(held) == [ids[0], ids[2]]

    def test_message_of_a_longer_renewed_claim_stays_claimed(
        self, store: Store
    ) -> None:
        (id,) = post(store, ttl=300)
        claim_id, _ = claim(store, ttl=60)
        store.renew_claim(KEY, claim_id, ttl=100, grace=60, now=T0 + 50)

        with pytest.raises(MessageIsClaimed):
            store.delete_message(KEY, id, now=T0 + 61)

        assert ready(store, now=T0 + 149) == []
        assert ready(store, now=T0 + 150) == [id]

    def test_claim_with_a_ttl_of_64_bits_lives_on(self, store: Store) -> None:
        post(store, ttl=60)
        long = 220_367_260_800

        claim_id, (held,) = claim(store, ttl=long, grace=long)

        assert held.ttl == 2 * long
        got = store.get_claim(KEY, claim_id, now=T0 + 1_000_000_000)
        assert (got.ttl, got.messages) == (long, (held,))

    def test_claims_are_not_counted_without_a_dead_letter_queue(
        self, store: Store
    ) -> None:
        post(store)
        for _ in range(3):
            claim_id, (held,) = claim(store)
            store.release_claim(KEY, claim_id, now=T0)

        assert held.claim_count == 0

    def test_end_of_a_claim_and_of_its_messages_may_be_one(self, store: Store) -> None:
        post(store, 2, ttl=60)
        claim_id, _ = claim(store, ttl=60, grace=0, now=T0)

        with pytest.raises(ClaimNotFound):
            store.get_claim(KEY, claim_id, now=T0 + 60)

        assert counted(store, now=T0 + 60) == (0, 0)

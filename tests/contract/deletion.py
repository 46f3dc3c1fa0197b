# SPDX-License-Identifier: Apache-2.0
"""Facts about deleting, popping and purging messages."""

import pytest

from tests.contract.arrange import (
    CLIENT,
    KEY,
    T0,
    claim,
    counted,
    create,
    draft,
    ids_of,
    listed,
    message_id,
    post,
    read,
    ready,
    send,
)
from zaqar.errors import (
    ClaimDoesNotHoldMessage,
    ClaimNotFound,
    MessageIsClaimed,
)
from zaqar.model import DeadLetter, Message, QueueStats
from zaqar.storage.base import Store


def dead_claim(store: Store) -> str:
    """Return the id of a claim that held a message of the queue and was released."""
    claim_id, _ = claim(store, limit=1)
    store.release_claim(KEY, claim_id, now=T0)
    return claim_id


def expired_claim(store: Store, now: float) -> str:
    """Return the id of a claim that ends at `now` and frees the oldest message."""
    claim_id, _ = claim(store, limit=1, ttl=60, now=now - 60)
    return claim_id


class DeletionContract:
    def test_deleted_message_is_gone(self, store: Store) -> None:
        a, b, c = post(store, 3)

        store.delete_message(KEY, b, now=T0)

        assert listed(store) == [a, c]
        assert store.get_messages(KEY, [b], now=T0) == []
        assert counted(store) == (2, 0)

    def test_absent_message_is_deleted_silently(self, store: Store) -> None:
        ids = post(store, 2)
        live, _ = claim(store, limit=1)
        absent = message_id(T0)

        for given in (None, live, "unknown"):
            store.delete_message(KEY, absent, claim=given, now=T0)
        store.delete_message(KEY, ids[0], claim=live, now=T0)
        for given in (None, live, "unknown"):
            store.delete_message(KEY, ids[0], claim=given, now=T0)

        assert listed(store) == ids[1:]

    def test_unclaimed_message_is_not_held_by_a_live_claim(self, store: Store) -> None:
        ids = post(store, 2)
        live, _ = claim(store, limit=1)

        with pytest.raises(ClaimDoesNotHoldMessage) as raised:
            store.delete_message(KEY, ids[1], claim=live, now=T0)

        assert (raised.value.claim, raised.value.message) == (live, ids[1])
        assert listed(store) == ids

    @pytest.mark.parametrize("dead", ["unknown", "", "nul\x00", "%"])
    def test_unclaimed_message_is_not_held_by_an_unknown_claim(
        self, store: Store, dead: str
    ) -> None:
        (id,) = post(store)

        with pytest.raises(ClaimDoesNotHoldMessage):
            store.delete_message(KEY, id, claim=dead, now=T0)

        assert listed(store) == [id]

    def test_released_message_is_not_held_by_its_former_claim(
        self, store: Store
    ) -> None:
        (id,) = post(store)
        dead = dead_claim(store)

        with pytest.raises(ClaimDoesNotHoldMessage):
            store.delete_message(KEY, id, claim=dead, now=T0)

        assert listed(store) == [id]

    def test_message_is_not_held_by_its_expired_claim(self, store: Store) -> None:
        (id,) = post(store)
        dead = expired_claim(store, now=T0 + 60)

        with pytest.raises(ClaimDoesNotHoldMessage):
            store.delete_message(KEY, id, claim=dead, now=T0 + 60)

        assert listed(store, now=T0 + 60) == [id]

    def test_message_of_an_expired_claim_is_deleted_without_claim(
        self, store: Store
    ) -> None:
        (id,) = post(store)
        expired_claim(store, now=T0 + 60)

        store.delete_message(KEY, id, now=T0 + 60)

        assert listed(store, now=T0 + 60) == []

    def test_claimed_message_cannot_be_deleted_without_its_claim(
        self, store: Store
    ) -> None:
        (id,) = post(store)
        claim(store)

        with pytest.raises(MessageIsClaimed) as raised:
            store.delete_message(KEY, id, now=T0)

        assert raised.value.message == id
        assert listed(store) == [id]

    def test_claimed_message_is_deleted_with_its_claim(self, store: Store) -> None:
        ids = post(store, 2)
        live, _ = claim(store)

        store.delete_message(KEY, ids[0], claim=live, now=T0)

        assert listed(store) == ids[1:]
        assert counted(store) == (1, 1)

    def test_claimed_message_cannot_be_deleted_with_another_live_claim(
        self, store: Store
    ) -> None:
        ids = post(store, 2)
        claim(store, limit=1)
        other, _ = claim(store, limit=1)

        with pytest.raises(MessageIsClaimed):
            store.delete_message(KEY, ids[0], claim=other, now=T0)

        assert listed(store) == ids

    def test_claimed_message_is_not_held_by_a_dead_claim(self, store: Store) -> None:
        (id,) = post(store)
        released = dead_claim(store)
        expired = expired_claim(store, now=T0 + 60)
        claim(store, now=T0 + 60)

        for dead in (released, expired, "unknown"):
            with pytest.raises(ClaimDoesNotHoldMessage):
                store.delete_message(KEY, id, claim=dead, now=T0 + 60)

        assert listed(store, now=T0 + 60) == [id]

    def test_emptied_claim_is_dead_for_deletion(self, store: Store) -> None:
        ids = post(store, 2)
        emptied, _ = claim(store, limit=1)
        store.delete_message(KEY, ids[0], claim=emptied, now=T0)
        claim(store, limit=1)

        with pytest.raises(ClaimDoesNotHoldMessage):
            store.delete_message(KEY, ids[1], claim=emptied, now=T0)

        assert listed(store) == ids[1:]

    def test_claim_lives_on_with_its_other_messages(self, store: Store) -> None:
        ids = post(store, 3)
        live, _ = claim(store)

        store.delete_message(KEY, ids[1], claim=live, now=T0)

        held = store.get_claim(KEY, live, now=T0).messages
        assert ids_of(held) == [ids[0], ids[2]]

    def test_claim_is_gone_with_its_last_message(self, store: Store) -> None:
        ids = post(store, 2)
        live, _ = claim(store)

        for id in ids:
            store.delete_message(KEY, id, claim=live, now=T0)

        with pytest.raises(ClaimNotFound):
            store.get_claim(KEY, live, now=T0)
        with pytest.raises(ClaimNotFound):
            store.renew_claim(KEY, live, ttl=60, grace=60, now=T0)
        store.release_claim(KEY, live, now=T0)
        assert store.queue_stats(KEY, now=T0) == QueueStats()

    # Bulk

    def test_bulk_deletion_leaves_out_unknown_ids(self, store: Store) -> None:
        a, b, c = post(store, 3)

        store.delete_messages(KEY, [c, message_id(T0), a, "x", c], now=T0)

        assert listed(store) == [b]
        assert counted(store) == (1, 0)

    def test_bulk_deletion_takes_claimed_messages_too(self, store: Store) -> None:
        ids = post(store, 4)
        live, _ = claim(store, limit=3)

        store.delete_messages(KEY, ids[1:], now=T0)

        assert ids_of(store.get_claim(KEY, live, now=T0).messages) == ids[:1]
        assert counted(store) == (1, 1)

    def test_bulk_deletion_of_all_messages_of_a_claim_ends_it(
        self, store: Store
    ) -> None:
        ids = post(store, 2)
        live, _ = claim(store)

        store.delete_messages(KEY, ids, now=T0)

        with pytest.raises(ClaimNotFound):
            store.get_claim(KEY, live, now=T0)

    def test_bulk_deletion_takes_delayed_messages_too(self, store: Store) -> None:
        create(store, delays=True)
        ids = post(store, 2, delay=100)

        store.delete_messages(KEY, ids, now=T0)

        assert listed(store, now=T0 + 100) == []

    def test_bulk_deletion_of_many(self, store: Store) -> None:
        ids = post(store, 600)

        store.delete_messages(KEY, ids[:599], now=T0)

        assert listed(store) == ids[599:]

    def test_bulk_deletion_with_the_claims_that_hold_the_messages(
        self, store: Store
    ) -> None:
        ids = post(store, 4)
        one, _ = claim(store, limit=2)
        two, _ = claim(store, limit=2)

        store.delete_messages(
            KEY, [ids[0], message_id(T0), ids[2]], claims=[one, two], now=T0
        )

        assert listed(store) == [ids[1], ids[3]]
        assert ids_of(store.get_claim(KEY, one, now=T0).messages) == [ids[1]]

    def test_bulk_deletion_with_a_claim_too_few_deletes_nothing(
        self, store: Store
    ) -> None:
        ids = post(store, 4)
        one, _ = claim(store, limit=2)
        claim(store, limit=2)

        for claims in ([one], [one, "unknown"], []):
            with pytest.raises(ClaimDoesNotHoldMessage):
                store.delete_messages(KEY, ids, claims=claims, now=T0)

        assert listed(store) == ids
        assert counted(store) == (4, 4)

    def test_bulk_deletion_with_claims_refuses_unclaimed_messages(
        self, store: Store
    ) -> None:
        ids = post(store, 2)
        live, _ = claim(store, limit=1)

        with pytest.raises(ClaimDoesNotHoldMessage):
            store.delete_messages(KEY, ids, claims=[live], now=T0)

        assert listed(store) == ids

    def test_bulk_deletion_with_an_expired_claim_deletes_nothing(
        self, store: Store
    ) -> None:
        ids = post(store, 2)
        dead = expired_claim(store, now=T0 + 60)

        with pytest.raises(ClaimDoesNotHoldMessage):
            store.delete_messages(KEY, ids[:1], claims=[dead], now=T0 + 60)

        assert listed(store, now=T0 + 60) == ids

    def test_bulk_deletion_with_claims_of_absent_messages_does_nothing(
        self, store: Store
    ) -> None:
        (id,) = post(store, ttl=60)

        store.delete_messages(KEY, [message_id(T0)], claims=["unknown"], now=T0)
        store.delete_messages(KEY, [message_id(T0)], claims=[], now=T0)
        store.delete_messages(KEY, [id], claims=["unknown"], now=T0 + 60)

        assert listed(store, now=T0 + 60) == []

    def test_bulk_deletion_of_nothing_does_nothing(self, store: Store) -> None:
        ids = post(store)

        store.delete_messages(KEY, [], now=T0)
        store.delete_messages(KEY, [], claims=["unknown"], now=T0)

        assert listed(store) == ids

    # Pop

    def test_pop_removes_the_oldest_messages(self, store: Store) -> None:
        ids = post(store, 5)

        popped = store.pop_messages(KEY, 3, now=T0)

        assert ids_of(popped) == ids[:3]
        assert listed(store) == ids[3:]
        assert counted(store) == (2, 0)

    def test_popped_message_is_whole(self, store: Store) -> None:
        (id,) = send(store, [draft(body=b"[1]", checksum="MD5:abc")])
        rule = DeadLetter("dead", 9)
        for _ in range(2):
            claim_id, _ = claim(store, ttl=60, grace=60, dead_letter=rule)
            store.release_claim(KEY, claim_id, now=T0)

        popped = store.pop_messages(KEY, 1, now=T0 + 1)

        assert popped == [
            Message(id, b"[1]", 300, T0, claim_count=2, checksum="MD5:abc")
        ]

    def test_pop_of_more_than_there_are_takes_all(self, store: Store) -> None:
        ids = post(store, 3)

        assert ids_of(store.pop_messages(KEY, 20, now=T0)) == ids
        assert store.pop_messages(KEY, 20, now=T0) == []

    def test_pop_skips_claimed_and_delayed_messages(self, store: Store) -> None:
        create(store, delays=True)
        post(store, 2)
        claim(store)
        post(store, 2, delay=100)
        free = post(store, 2)

        popped = store.pop_messages(KEY, 2, now=T0)

        assert ids_of(popped) == free
        assert counted(store) == (4, 2)

    def test_pop_takes_messages_of_an_expired_claim(self, store: Store) -> None:
        ids = post(store, 2)
        claim(store, ttl=60)

        popped = store.pop_messages(KEY, 2, now=T0 + 60)

        assert ids_of(popped) == ids
        assert [message.claim for message in popped] == [None, None]

    # Purge

    def test_purge_removes_all_that_no_live_claim_holds(self, store: Store) -> None:
        create(store, metadata={"a": 1}, delays=True)
        post(store, 2)
        post(store, 2, delay=100)
        live, held = claim(store, limit=1)

        store.purge_queue(KEY, messages=True, subscriptions=True, now=T0)

        assert read(store) == held
        assert store.get_queue(KEY).metadata == {"a": 1}
        assert list(store.get_claim(KEY, live, now=T0).messages) == held
        assert counted(store) == (1, 1)

    def test_purge_removes_messages_of_expired_claims(self, store: Store) -> None:
        post(store, 3)
        claim(store, ttl=60)

        store.purge_queue(KEY, messages=True, subscriptions=False, now=T0 + 60)

        assert listed(store, now=T0 + 60) == []

    def test_purge_without_messages_keeps_them(self, store: Store) -> None:
        ids = post(store, 3)

        store.purge_queue(KEY, messages=False, subscriptions=True, now=T0)

        assert listed(store) == ids

    def test_deep_queue_is_purged_whole(self, store: Store) -> None:
        post(store, 2500)
        _, held = claim(store, limit=10)

        store.purge_queue(KEY, messages=True, subscriptions=True, now=T0)

        assert read(store) == held
        assert ready(store) == []

    def test_purged_queue_goes_on(self, store: Store) -> None:
        post(store, 3)
        marker = store.list_messages(KEY, limit=10, now=T0).marker
        store.purge_queue(KEY, messages=True, subscriptions=True, now=T0)

        ids = post(store, 2, client=CLIENT)

        assert listed(store) == ids
        assert listed(store, marker=marker) == ids

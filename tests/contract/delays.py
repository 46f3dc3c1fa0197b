# SPDX-License-Identifier: Apache-2.0
"""Facts about messages that are held back for a while."""

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
    ready,
    send,
    set_delays,
)
from zaqar.storage.base import Store


class DelayContract:
    def test_delayed_message_is_held_back_until_its_delay_is_over(
        self, store: Store
    ) -> None:
        create(store, delays=True)
        ids = post(store, delay=30)

        assert ready(store, now=T0 + 29.75) == []
        assert ready(store, now=T0 + 30) == ids

    def test_delayed_message_cannot_be_claimed_or_popped(self, store: Store) -> None:
        create(store, delays=True)
        post(store, delay=30)

        _, held = claim(store, now=T0 + 29.75)
        popped = store.pop_messages(KEY, 10, now=T0 + 29.75)

        assert (held, popped) == ([], [])

    def test_message_can_be_claimed_when_its_delay_is_over(self, store: Store) -> None:
        create(store, delays=True)
        ids = post(store, delay=30)

        _, held = claim(store, now=T0 + 30)

        assert ids_of(held) == ids

    def test_message_can_be_popped_when_its_delay_is_over(self, store: Store) -> None:
        create(store, delays=True)
        ids = post(store, delay=30)

        assert ids_of(store.pop_messages(KEY, 10, now=T0 + 30)) == ids

    def test_delayed_messages_count_and_are_listed_when_asked_for(
        self, store: Store
    ) -> None:
        create(store, delays=True)
        ids = post(store, 2, delay=30)

        stats = store.queue_stats(KEY, now=T0)

        assert (stats.total, stats.claimed) == (2, 0)
        assert stats.oldest is not None and stats.oldest.id == ids[0]
        assert stats.newest is not None and stats.newest.id == ids[1]
        assert listed(store, delayed=True) == ids

    def test_message_takes_its_place_by_its_post_and_not_by_its_delay(
        self, store: Store
    ) -> None:
        create(store, delays=True)
        ids = send(store, [draft(delay=30), draft(delay=10), draft(), draft(delay=20)])

        order = [ready(store, now=T0 + seconds) for seconds in (0, 10, 20, 30)]

        a, b, c, d = ids
        assert order == [[c], [b, c], [b, c, d], [a, b, c, d]]

    def test_ttl_runs_from_the_post(self, store: Store) -> None:
        create(store, delays=True)
        ids = post(store, ttl=100, delay=60)

        assert ready(store, now=T0 + 99) == ids
        assert ready(store, now=T0 + 100) == []

    def test_message_may_expire_while_it_is_held_back(self, store: Store) -> None:
        create(store, delays=True)
        post(store, ttl=60, delay=200)

        assert listed(store, now=T0 + 60) == []
        assert counted(store, now=T0 + 60) == (0, 0)
        assert listed(store, now=T0 + 200) == []

    def test_delay_means_nothing_in_a_queue_that_does_not_delay(
        self, store: Store
    ) -> None:
        ids = post(store, delay=200)

        _, held = claim(store)

        assert ids_of(held) == ids

    def test_messages_become_visible_when_the_queue_stops_delaying(
        self, store: Store
    ) -> None:
        create(store, delays=True)
        ids = post(store, 2, delay=200)

        set_delays(store, False, now=T0 + 1)

        assert ready(store, now=T0 + 1) == ids
        assert ids_of(claim(store, now=T0 + 1)[1]) == ids

    def test_messages_are_held_back_again_when_the_queue_delays_again(
        self, store: Store
    ) -> None:
        create(store, delays=True)
        ids = post(store, delay=200)
        set_delays(store, False, now=T0 + 1)

        set_delays(store, True, now=T0 + 2)

        assert ready(store, now=T0 + 199) == []
        assert claim(store, now=T0 + 199)[1] == []
        assert ready(store, now=T0 + 200) == ids

    def test_only_delays_that_are_not_over_hold_back_again(self, store: Store) -> None:
        create(store, delays=True)
        ids = send(store, [draft(delay=10), draft(delay=100), draft()])
        set_delays(store, False, now=T0 + 1)

        set_delays(store, True, now=T0 + 10)

        assert ready(store, now=T0 + 10) == [ids[0], ids[2]]

    def test_messages_posted_while_the_queue_did_not_delay_are_held_back(
        self, store: Store
    ) -> None:
        ids = post(store, delay=100)

        set_delays(store, True, now=T0 + 1)

        assert ready(store, now=T0 + 99) == []
        assert ready(store, now=T0 + 100) == ids

    def test_claimed_message_stays_claimed_when_the_queue_delays(
        self, store: Store
    ) -> None:
        ids = post(store, delay=200)
        claim_id, _ = claim(store, ttl=60)

        set_delays(store, True, now=T0 + 1)

        held = store.get_claim(KEY, claim_id, now=T0 + 1).messages
        assert ids_of(held) == ids
        assert counted(store, now=T0 + 1) == (1, 1)
        assert listed(store, claimed=True, delayed=False, now=T0 + 1) == ids
        assert listed(store, claimed=False, delayed=True, now=T0 + 1) == []

    def test_released_message_is_held_back_while_its_delay_runs(
        self, store: Store
    ) -> None:
        ids = post(store, delay=200, ttl=1000)
        claim_id, _ = claim(store, ttl=300)
        set_delays(store, True, now=T0 + 1)

        store.release_claim(KEY, claim_id, now=T0 + 2)

        assert ready(store, now=T0 + 199) == []
        assert counted(store, now=T0 + 199) == (1, 0)
        assert ready(store, now=T0 + 200) == ids

    def test_released_message_is_ready_when_the_queue_stopped_delaying(
        self, store: Store
    ) -> None:
        ids = post(store, delay=200, ttl=1000)
        claim_id, _ = claim(store, ttl=300)
        set_delays(store, True, now=T0 + 1)
        set_delays(store, False, now=T0 + 2)

        store.release_claim(KEY, claim_id, now=T0 + 3)

        assert ready(store, now=T0 + 3) == ids

    def test_message_of_an_expired_claim_is_held_back_while_its_delay_runs(
        self, store: Store
    ) -> None:
        ids = post(store, delay=200, ttl=1000)
        claim(store, ttl=60)
        set_delays(store, True, now=T0 + 1)

        assert ready(store, now=T0 + 60) == []
        assert listed(store, now=T0 + 60) == ids
        assert ready(store, now=T0 + 200) == ids

    def test_delay_that_ends_under_a_claim_is_over(self, store: Store) -> None:
        ids = post(store, delay=100, ttl=1000)
        claim_id, _ = claim(store, ttl=300)
        set_delays(store, True, now=T0 + 1)

        store.release_claim(KEY, claim_id, now=T0 + 100)

        assert ready(store, now=T0 + 100) == ids

    def test_queue_can_be_changed_while_messages_are_held_back(
        self, store: Store
    ) -> None:
        create(store, delays=True)
        ids = post(store, 2, delay=30)

        set_delays(store, True, now=T0 + 1)

        assert ready(store, now=T0 + 29) == []
        assert ready(store, now=T0 + 30) == ids

    def test_delayed_message_is_deleted_without_a_claim(self, store: Store) -> None:
        create(store, delays=True)
        (id,) = post(store, delay=30)

        store.delete_message(KEY, id, now=T0)

        assert listed(store, now=T0 + 30) == []

    def test_many_delays_end_at_once(self, store: Store) -> None:
        create(store, delays=True)
        ids = post(store, 2500, delay=30)

        _, held = claim(store, limit=2500, now=T0 + 30)

        assert ids_of(held) == ids

    def test_many_messages_change_with_their_queue(self, store: Store) -> None:
        create(store, delays=True)
        ids = post(store, 2500, delay=200)

        set_delays(store, False, now=T0 + 1)
        visible = ready(store, now=T0 + 1)
        set_delays(store, True, now=T0 + 2)

        assert visible == ids
        assert ready(store, now=T0 + 2) == []
        assert counted(store, now=T0 + 2) == (2500, 0)

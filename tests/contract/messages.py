# SPDX-License-Identifier: Apache-2.0
"""Facts about posting, listing and getting messages."""

from itertools import chain
from typing import Any

import pytest

from tests.contract.arrange import (
    CLIENT,
    KEY,
    OTHER_CLIENT,
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
    send,
    set_delays,
)
from zaqar.model import Message, NewMessage, Page
from zaqar.storage.base import Store

BODIES = [
    b"null",
    b"true",
    b"0",
    b"-0.0",
    b"1E400",
    b"9223372036854775808",
    b"1.10",
    b'""',
    b'"\\u00e9\\ud83d\\ude00\\/"',
    '"é ☃ 😀"'.encode(),
    b"[]",
    b" [ 1 ,\r\n\t2 ] ",
    b'{"b": 1, "a": 2, "b": 3}',
    b'{"\\u0000": "\\u0000"}',
    b'"' + b"x" * 200_000 + b'"',
]


class MessageContract:
    def test_posted_message_is_listed_as_it_was_posted(self, store: Store) -> None:
        create(store)
        new = NewMessage(message_id(T0), b"[1]", 300, 0, "MD5:abc")

        send(store, [new], now=T0 + 0.25)

        (message,) = read(store, now=T0 + 1)
        assert message == Message(new.id, b"[1]", 300, T0 + 0.25, checksum="MD5:abc")

    @pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
    def test_body_is_given_back_byte_for_byte(self, store: Store, body: bytes) -> None:
        (id,) = send(store, [draft(body=body)])

        (in_list,) = read(store)
        (got,) = store.get_messages(KEY, [id], now=T0)
        claim_id, (claimed,) = claim(store)
        (held,) = store.get_claim(KEY, claim_id, now=T0).messages
        store.release_claim(KEY, claim_id, now=T0)
        (popped,) = store.pop_messages(KEY, 1, now=T0)

        bodies = [m.body for m in (in_list, got, claimed, held, popped)]
        assert bodies == [body] * 5

    def test_messages_keep_the_order_of_their_posts(self, store: Store) -> None:
        posts = [post(store, count, now=T0 + count) for count in (3, 1, 20, 2)]

        assert listed(store, now=T0 + 20) == list(chain(*posts))

    def test_order_is_that_of_posts_and_not_of_ids_or_clocks(
        self, store: Store
    ) -> None:
        ids = sorted((message_id(T0 + n) for n in range(6)), reverse=True)
        send(store, [NewMessage(id, b"1", 300) for id in ids[:3]], now=T0 + 1)
        send(store, [NewMessage(id, b"1", 300) for id in ids[3:]], now=T0 + 0.75)

        in_list = listed(store, now=T0 + 1)
        _, claimed = claim(store, limit=2, now=T0 + 1)
        popped = store.pop_messages(KEY, 4, now=T0 + 1)

        assert in_list == ids
        assert ids_of(claimed) == ids[:2]
        assert ids_of(popped) == ids[2:]

    def test_large_post_becomes_one_run_of_messages(self, store: Store) -> None:
        before = post(store, 2)
        large = post(store, 1000)
        after = post(store, 2)

        assert listed(store) == before + large + after

    def test_same_post_twice_stores_once(self, store: Store) -> None:
        drafts = [draft() for _ in range(3)]
        ids = send(store, drafts)
        later = post(store)

        send(store, drafts, now=T0 + 1)

        assert listed(store, now=T0 + 1) == ids + later
        assert counted(store, now=T0 + 1) == (4, 0)
        assert {message.created for message in read(store, now=T0 + 1)} == {T0}

    def test_same_post_twice_leaves_claims_alone(self, store: Store) -> None:
        drafts = [draft() for _ in range(3)]
        send(store, drafts)
        claim_id, held = claim(store, limit=2)

        send(store, drafts)

        assert list(store.get_claim(KEY, claim_id, now=T0).messages) == held
        assert counted(store) == (3, 2)

    def test_page_ends_at_its_limit(self, store: Store) -> None:
        ids = post(store, 5)

        page = store.list_messages(KEY, limit=3, now=T0)

        assert ids_of(page.items) == ids[:3]

    @pytest.mark.parametrize("limit", [1, 2, 3, 10])
    def test_pages_meet_without_gap_from_the_first_message_on(
        self, store: Store, limit: int
    ) -> None:
        ids = post(store, 7)

        seen: list[str] = []
        marker = None
        while (
            page := store.list_messages(KEY, marker=marker, limit=limit, now=T0)
        ).items:
            assert len(page.items) == min(limit, len(ids) - len(seen))
            assert page.marker is not None
            seen += ids_of(page.items)
            marker = page.marker

        assert seen == ids
        assert page.marker is None

    def test_page_behind_the_last_message_is_empty(self, store: Store) -> None:
        post(store, 2)
        marker = store.list_messages(KEY, limit=10, now=T0).marker

        assert store.list_messages(KEY, marker=marker, limit=10, now=T0) == Page()

    def test_page_tells_whether_the_queue_delays(self, store: Store) -> None:
        create(store)
        before = store.list_messages(KEY, limit=10, now=T0)

        set_delays(store, True, now=T0)

        assert before.delays is False
        assert store.list_messages(KEY, limit=10, now=T0).delays is True

    def test_id_of_a_message_is_a_marker_strictly_behind_it(self, store: Store) -> None:
        ids = post(store, 4)

        behind = [listed(store, marker=id, limit=2) for id in ids]

        assert behind == [ids[1:], ids[2:], ids[3:], []]

    def test_id_of_a_hidden_message_is_a_marker(self, store: Store) -> None:
        create(store, delays=True)
        (claimed,) = post(store)
        claim(store)
        (delayed,) = post(store, delay=100)
        (plain,) = post(store, client=OTHER_CLIENT)

        page = store.list_messages(KEY, marker=claimed, limit=9, now=T0)
        behind_delayed = store.list_messages(
            KEY, marker=delayed, limit=9, skip_client=CLIENT, now=T0
        )

        assert ids_of(page.items) == [plain]
        assert ids_of(behind_delayed.items) == [plain]

    def test_marker_of_a_deleted_message_goes_on_at_its_time(
        self, store: Store
    ) -> None:
        post(store, 2, now=T0)
        (gone,) = post(store, 1, now=T0 + 200)
        new = post(store, 3, now=T0 + 210)

        store.delete_message(KEY, gone, now=T0 + 210)

        assert listed(store, marker=gone, limit=2, now=T0 + 210) == new

    def test_marker_of_an_expired_message_goes_on_at_its_time(
        self, store: Store
    ) -> None:
        (gone,) = post(store, ttl=60, now=T0)
        new = post(store, 3, now=T0 + 59)

        assert listed(store, marker=gone, now=T0 + 60) == new

    def test_marker_of_a_popped_message_skips_nothing_of_its_post(
        self, store: Store
    ) -> None:
        by_id = sorted(message_id(T0) for _ in range(7))
        ids = [by_id[rank] for rank in (1, 3, 2, 5, 0, 6, 4)]
        send(store, [NewMessage(id, b"1", 300) for id in ids])
        store.pop_messages(KEY, 3, now=T0)

        behind = [listed(store, marker=id) for id in ids[:3]]

        assert behind == [ids[3:]] * 3

    def test_marker_of_a_deleted_message_skips_nothing_of_a_slower_clock(
        self, store: Store
    ) -> None:
        (gone,) = post(store, now=T0 + 0.5)
        (slower,) = post(store, now=T0)

        store.delete_message(KEY, gone, now=T0 + 0.5)

        assert listed(store, marker=gone, now=T0 + 0.5) == [slower]

    def test_marker_of_the_only_message_gone_skips_nothing_that_follows(
        self, store: Store
    ) -> None:
        (gone,) = post(store)
        store.pop_messages(KEY, 1, now=T0)

        ids = post(store, 2, now=T0 + 1)

        assert listed(store, marker=gone, now=T0 + 1) == ids

    def test_marker_of_a_page_outlives_its_messages(self, store: Store) -> None:
        ids = post(store, 3)
        marker = store.list_messages(KEY, limit=2, now=T0).marker

        store.delete_messages(KEY, ids[:2], now=T0)

        assert listed(store, marker=marker) == ids[2:]

    def test_marker_of_a_page_outlives_all_messages(self, store: Store) -> None:
        post(store, 3)
        marker = store.list_messages(KEY, limit=10, now=T0).marker
        store.pop_messages(KEY, 10, now=T0)
        store.sweep(now=T0)

        ids = post(store, 2, now=T0 + 1)

        assert listed(store, marker=marker, now=T0 + 1) == ids

    def test_place_is_not_given_twice_after_closing_and_opening(
        self, open_store: Any
    ) -> None:
        first = open_store()
        post(first, 3)
        marker = first.list_messages(KEY, limit=10, now=T0).marker
        first.pop_messages(KEY, 10, now=T0)
        open_store.close(first)

        second = open_store()
        ids = post(second, 2, now=T0 + 1)

        assert listed(second, marker=marker, now=T0 + 1) == ids

    @pytest.mark.parametrize(
        "marker",
        [
            "",
            "nonsense",
            "'; DROP TABLE messages; --",
            "%",
            "é",
            "😀",
            "nul\x00nul",
            "x" * 100_000,
            "-",
            "None",
            "not-a-uuid-at-all-but-as-long-as-one",
        ],
        ids=range(11),
    )
    def test_unknown_marker_gives_an_empty_page(
        self, store: Store, marker: str
    ) -> None:
        post(store, 3)

        page = store.list_messages(KEY, marker=marker, limit=10, now=T0)

        assert page == Page()

    @pytest.mark.parametrize(
        "marker",
        ["0", "-1", "1", "9" * 30, "1.5", "1e999", "nan", "0x1", "١", " 1", "f" * 32],
    )
    def test_marker_that_looks_like_a_number_does_no_harm(
        self, store: Store, marker: str
    ) -> None:
        ids = post(store, 3)

        page = store.list_messages(KEY, marker=marker, limit=10, now=T0)

        assert set(ids_of(page.items)) <= set(ids)
        assert listed(store) == ids

    def test_own_messages_are_left_out(self, store: Store) -> None:
        post(store, 2, client=CLIENT)
        theirs = post(store, 2, client=OTHER_CLIENT)
        post(store, 2, client=CLIENT)

        assert listed(store, skip_client=CLIENT) == theirs
        assert len(listed(store, skip_client="nobody")) == 6

    @pytest.mark.parametrize("limit", [1, 2, 5])
    def test_page_is_filled_after_leaving_out_own_messages(
        self, store: Store, limit: int
    ) -> None:
        theirs: list[str] = []
        for _ in range(6):
            post(store, 350, client=CLIENT)
            theirs += post(store, 1, client=OTHER_CLIENT)

        page = store.list_messages(KEY, limit=limit, skip_client=CLIENT, now=T0)

        assert ids_of(page.items) == theirs[:limit]
        assert listed(store, skip_client=CLIENT, limit=limit) == theirs

    @pytest.mark.parametrize("limit", [1, 2, 5])
    def test_page_is_filled_after_leaving_out_claimed_messages(
        self, store: Store, limit: int
    ) -> None:
        post(store, 1500)
        claim(store, limit=1500)
        free = post(store, 5)

        page = store.list_messages(KEY, limit=limit, now=T0)

        assert ids_of(page.items) == free[:limit]

    @pytest.mark.parametrize("limit", [1, 2, 5])
    def test_page_is_filled_after_leaving_out_delayed_messages(
        self, store: Store, limit: int
    ) -> None:
        create(store, delays=True)
        post(store, 1500, delay=100)
        free = post(store, 5)

        page = store.list_messages(KEY, limit=limit, now=T0)

        assert ids_of(page.items) == free[:limit]

    def test_hidden_messages_are_listed_in_their_places_when_asked_for(
        self, store: Store
    ) -> None:
        create(store, delays=True)
        first = post(store, 2)
        claim_id, _ = claim(store, limit=1)
        delayed = post(store, 1, delay=100)
        last = post(store, 1)

        def ids(**flags: Any) -> list[str]:
            page = store.list_messages(KEY, limit=10, now=T0, **flags)
            return ids_of(page.items)

        assert ids() == first[1:] + last
        assert ids(claimed=True) == first + last
        assert ids(delayed=True) == first[1:] + delayed + last
        assert ids(claimed=True, delayed=True) == first + delayed + last
        assert read(store)[0].claim == claim_id

    def test_hidden_messages_page_by_one_in_their_places(self, store: Store) -> None:
        create(store, delays=True)
        ids = []
        for _ in range(3):
            ids += post(store, 1)
            claim(store, limit=1)
            ids += post(store, 1, delay=100)
        ids += post(store, 2)

        assert listed(store, limit=1) == ids
        assert listed(store, limit=2) == ids
        assert listed(store, limit=1, delayed=False) == [*ids[::2][:3], *ids[6:]]

    def test_messages_are_got_in_the_order_asked_each_once(self, store: Store) -> None:
        a, b, c = post(store, 3)

        got = store.get_messages(KEY, [c, a, message_id(T0), c, b, a], now=T0)

        assert ids_of(got) == [c, a, b]

    def test_getting_hides_nothing(self, store: Store) -> None:
        create(store, delays=True)
        (claimed,) = post(store)
        claim_id, _ = claim(store)
        (delayed,) = post(store, delay=100)

        got = store.get_messages(KEY, [claimed, delayed], now=T0)

        assert [(m.id, m.claim) for m in got] == [(claimed, claim_id), (delayed, None)]

    def test_many_messages_are_got_at_once(self, store: Store) -> None:
        ids = post(store, 600)

        got = store.get_messages(KEY, ids[::-1], now=T0)

        assert ids_of(got) == ids[::-1]

    def test_getting_nothing_gives_nothing(self, store: Store) -> None:
        post(store)

        assert store.get_messages(KEY, [], now=T0) == []

    @pytest.mark.parametrize("ttl", [2**31, 2**53 + 1, 220_367_260_800, 2**62])
    def test_ttl_has_64_bits(self, store: Store, ttl: int) -> None:
        ids = post(store, 2, ttl=ttl)
        claim_id, (held,) = claim(store, limit=1, ttl=43_200, grace=43_200)

        messages = read(store, now=T0 + 43_199)
        store.release_claim(KEY, claim_id, now=T0 + 43_199)

        assert held.ttl == ttl
        assert [(m.id, m.ttl) for m in messages] == [(id, ttl) for id in ids]
        assert counted(store, now=T0 + 10_000_000) == (2, 0)

# SPDX-License-Identifier: Apache-2.0
"""Facts about messages on their way to another store, and what a store promises."""

import threading
from collections.abc import Callable, Sequence

import pytest

from tests.contract.arrange import (
    CLIENT,
    KEY,
    OTHER_CLIENT,
    T0,
    assert_stats_match_listing,
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
    set_delays,
)
from tests.contract.concurrency import together
from tests.contract.isolation import ODD, PAIRS, STORABLE
from zaqar.errors import QueueNotFound
from zaqar.model import DeadLetter, Message, NewMessage, Parcel, Queue, QueueKey
from zaqar.storage.base import CAPABILITIES, Store

OTHER = QueueKey("project", "other")
ABSENT = QueueKey("project", "absent")


def parcel(
    now: float = T0,
    *,
    ttl: int = 300,
    body: bytes = b'"body"',
    client: str = CLIENT,
) -> Parcel:
    return Parcel(Message(message_id(now), body, ttl, now), client, now + ttl)


def parcels(count: int, now: float = T0, *, ttl: int = 300) -> list[Parcel]:
    """Return parcels whose ids descend: a store that orders by ids is found out."""
    made = [parcel(now, ttl=ttl) for _ in range(count)]
    return sorted(made, key=lambda one: one.message.id, reverse=True)


def ids_in(parcels: Sequence[Parcel]) -> list[str]:
    return [parcel.message.id for parcel in parcels]


class GetQueuesContract:
    def test_those_of_the_queues_that_exist_are_got(self, store: Store) -> None:
        create(store, QueueKey("p", "one"), {"a": [1]}, delays=True)
        create(store, QueueKey("p", "two"))
        create(store, QueueKey("p", "three"))

        found = store.get_queues("p", ["two", "none", "one"])

        assert sorted(found, key=lambda queue: queue.name) == [
            store.get_queue(QueueKey("p", "one")),
            store.get_queue(QueueKey("p", "two")),
        ]

    def test_no_names_get_no_queues(self, store: Store) -> None:
        create(store)

        assert store.get_queues(KEY.project, []) == []
        assert store.get_queues("none", [KEY.name]) == []

    def test_many_queues_are_got(self, store: Store) -> None:
        names = [f"queue-{number:03}" for number in range(120)]
        for name in names[::2]:
            create(store, QueueKey("p", name), {"name": name})

        found: list[Queue] = store.get_queues("p", names)

        assert sorted(queue.name for queue in found) == names[::2]
        assert all(queue.metadata == {"name": queue.name} for queue in found)

    @pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
    def test_odd_names_of_queues_get_nothing(self, store: Store, text: str) -> None:
        create(store, QueueKey("p", "plain"))

        assert store.get_queues("p", [text]) == []
        assert store.get_queues(text, ["plain"]) == []

    @pytest.mark.parametrize("text", STORABLE, ids=range(len(STORABLE)))
    def test_queue_with_an_odd_name_is_got(self, store: Store, text: str) -> None:
        create(store, QueueKey(text, text), {text: text})

        (found,) = store.get_queues(text, ["plain", text])

        assert (found.name, found.metadata) == (text, {text: text})


class ExportContract:
    def test_messages_of_all_states_are_exported_oldest_first(
        self, store: Store
    ) -> None:
        create(store, delays=True)
        ids = post(store, 2)
        claim_id, _ = claim(store, limit=1)
        ids += post(store, 2, delay=60)
        ids += post(store, 2)

        found = store.export_messages(KEY, 10, now=T0)

        assert ids_in(found) == ids
        assert [one.message for one in found] == read(store)
        assert found[0].message.claim == claim_id

    def test_parcel_tells_who_posted_it_and_when_it_expires(self, store: Store) -> None:
        send(store, [draft(ttl=60)], client=OTHER_CLIENT)
        send(store, [draft(ttl=90, checksum="c")], now=T0 + 1)

        first, second = store.export_messages(KEY, 10, now=T0 + 1)

        assert (first.client, first.expires) == (OTHER_CLIENT, T0 + 60)
        assert (second.client, second.expires) == (CLIENT, T0 + 91)
        assert second.message.checksum == "c"

    def test_export_tells_of_a_life_that_a_claim_made_longer(
        self, store: Store
    ) -> None:
        post(store, ttl=60)
        claim(store, ttl=300, grace=100)

        (found,) = store.export_messages(KEY, 10, now=T0)

        assert (found.message.ttl, found.expires) == (400, T0 + 400)

    def test_export_is_limited_and_takes_nothing_out(self, store: Store) -> None:
        ids = post(store, 5)

        found = store.export_messages(KEY, 2, now=T0)

        assert ids_in(found) == ids[:2]
        assert listed(store) == ids
        assert counted(store) == (5, 0)

    def test_nothing_expired_is_exported(self, store: Store) -> None:
        post(store, 2, ttl=60)
        rest = post(store, 2, ttl=300)

        found = store.export_messages(KEY, 10, now=T0 + 60)

        assert ids_in(found) == rest

    def test_claim_that_is_over_is_not_exported(self, store: Store) -> None:
        post(store)
        claim(store, ttl=60)

        (found,) = store.export_messages(KEY, 10, now=T0 + 60)

        assert found.message.claim is None

    def test_queue_is_exported_piece_by_piece(self, store: Store) -> None:
        ids = post(store, 25)

        seen: list[str] = []
        while found := store.export_messages(KEY, 10, now=T0):
            seen += ids_in(found)
            store.delete_messages(KEY, ids_in(found), now=T0)

        assert seen == ids
        assert counted(store) == (0, 0)

    def test_absent_queue_exports_nothing_but_an_error(self, store: Store) -> None:
        with pytest.raises(QueueNotFound):
            store.export_messages(ABSENT, 10, now=T0)


class ImportContract:
    def test_imported_message_keeps_what_it_had(self, store: Store) -> None:
        create(store)
        message = Message(
            id=message_id(T0 - 500),
            body=b'{"a" :  1.0}',
            ttl=700,
            created=T0 - 500.25,
            claim="of another life",
            claim_count=3,
            checksum="SHA256:0",
            origin="first",
            origin_claims=7,
        )

        store.import_messages(KEY, [Parcel(message, OTHER_CLIENT, T0 + 99.5)], now=T0)

        (found,) = store.export_messages(KEY, 10, now=T0)
        assert found.message == Message(
            id=message.id,
            body=message.body,
            ttl=700,
            created=T0 - 500.25,
            claim=None,
            claim_count=3,
            checksum="SHA256:0",
            origin="first",
            origin_claims=7,
        )
        assert (found.client, found.expires) == (OTHER_CLIENT, T0 + 99.5)
        assert read(store) == [found.message]
        assert listed(store, skip_client=OTHER_CLIENT) == []
        assert store.get_messages(KEY, [message.id], now=T0) == [found.message]

    def test_what_was_exported_is_the_same_after_import(self, store: Store) -> None:
        create(store, delays=True)
        create(store, OTHER)
        ids = send(store, [draft(ttl=60, checksum="c"), draft(ttl=90)])
        rule = DeadLetter("dead", 5)
        claim_id, _ = claim(store, ttl=70, grace=60, dead_letter=rule)
        store.release_claim(KEY, claim_id, now=T0)
        ids += post(store, 1, delay=60, client=OTHER_CLIENT)
        exported = store.export_messages(KEY, 10, now=T0)

        store.import_messages(OTHER, exported, now=T0)

        assert ids_in(exported) == ids
        assert store.export_messages(OTHER, 10, now=T0) == exported
        assert exported[0].message.claim_count == 1

    def test_imported_messages_stand_behind_what_is_there(self, store: Store) -> None:
        ids = post(store, 3, now=T0)
        older, newer = parcels(3, T0 - 60), parcels(2, T0 + 1)

        store.import_messages(KEY, older, now=T0)
        store.import_messages(KEY, newer, now=T0)
        last = post(store, 2)

        assert listed(store) == ids + ids_in(older) + ids_in(newer) + last
        assert_stats_match_listing(store, now=T0)

    def test_imported_messages_are_listed_behind_a_marker(self, store: Store) -> None:
        ids = post(store, 2)
        marker = store.list_messages(KEY, limit=10, now=T0).marker
        sent = parcels(5, T0 - 60)

        store.import_messages(KEY, sent, now=T0)

        assert listed(store, marker=marker, limit=2) == ids_in(sent)
        assert listed(store, marker=ids[-1]) == ids_in(sent)
        assert listed(store, marker=sent[2].message.id) == ids_in(sent)[3:]

    def test_listing_behind_a_lost_message_skips_nothing_that_was_imported(
        self, store: Store
    ) -> None:
        lost, kept = post(store, 1, now=T0), post(store, 1, now=T0 + 100)
        near = [parcel(T0 + 0.5), parcel(T0 + 99)]
        store.import_messages(KEY, near, now=T0 + 100)

        store.delete_message(KEY, lost[0], now=T0 + 100)
        store.delete_message(KEY, near[0].message.id, now=T0 + 100)

        rest = kept + ids_in(near[1:])
        assert listed(store, marker=lost[0], now=T0 + 100) == rest
        behind = listed(store, marker=near[0].message.id, now=T0 + 100)
        assert behind[-1:] == rest[-1:]

    def test_ids_that_are_stored_are_left_out(self, store: Store) -> None:
        sent = [parcel(body=b"1"), parcel(body=b"2"), parcel(body=b"3")]
        create(store)
        store.import_messages(KEY, sent[1:2], now=T0)
        claim_id, _ = claim(store)
        changed = [
            Parcel(Message(one.message.id, b"0", 9, T0), CLIENT, T0 + 9) for one in sent
        ]

        store.import_messages(KEY, [changed[1], *sent, sent[0]], now=T0)

        assert [(m.id, m.body, m.claim) for m in read(store)] == [
            (sent[1].message.id, b"2", claim_id),
            (sent[0].message.id, b"1", None),
            (sent[2].message.id, b"3", None),
        ]
        assert counted(store) == (3, 1)
        assert_stats_match_listing(store, now=T0 + 10)

    def test_import_repeated_changes_nothing(self, store: Store) -> None:
        create(store)
        sent = parcels(4)
        store.import_messages(KEY, sent, now=T0)
        claim(store, limit=2)
        before = read(store)

        store.import_messages(KEY, sent, now=T0)
        store.import_messages(KEY, sent, now=T0 + 1)

        assert read(store, now=T0 + 1) == before
        assert counted(store, now=T0 + 1) == (4, 2)

    def test_what_has_expired_is_not_imported(self, store: Store) -> None:
        create(store)
        sent = [parcel(ttl=60), parcel(ttl=61), parcel(ttl=59)]

        store.import_messages(KEY, sent, now=T0 + 60)

        assert listed(store, now=T0 + 60) == [sent[1].message.id]
        assert counted(store, now=T0 + 60) == (1, 0)

    def test_nothing_may_be_imported(self, store: Store) -> None:
        ids = post(store)

        store.import_messages(KEY, [], now=T0)
        store.import_messages(KEY, [parcel(ttl=60)], now=T0 + 60)

        assert listed(store, now=T0 + 60) == ids

    def test_imported_message_expires_in_time(self, store: Store) -> None:
        create(store)
        sent = [parcel(ttl=60), parcel(ttl=90)]
        store.import_messages(KEY, sent, now=T0)

        before = counted(store, now=T0 + 59.75)
        at = listed(store, now=T0 + 60)

        assert before == (2, 0)
        assert at == ids_in(sent[1:])
        assert counted(store, now=T0 + 60) == (1, 0)
        assert counted(store, now=T0 + 90) == (0, 0)

    def test_sweep_collects_what_was_imported(self, store: Store) -> None:
        create(store)
        store.import_messages(KEY, parcels(3, ttl=60), now=T0)

        assert store.sweep(now=T0 + 59) == 0
        assert store.sweep(now=T0 + 60) == 3

    def test_id_of_an_expired_message_may_be_imported(self, store: Store) -> None:
        sent = parcel(T0, ttl=300)
        send(store, [NewMessage(sent.message.id, b"0", 60)])

        store.import_messages(KEY, [sent], now=T0 + 60)

        assert listed(store, now=T0 + 60) == [sent.message.id]
        assert counted(store, now=T0 + 60) == (1, 0)
        assert listed(store, now=T0 + 300) == []

    def test_imported_messages_can_be_claimed_and_deleted(self, store: Store) -> None:
        create(store)
        sent = parcels(3)
        store.import_messages(KEY, sent, now=T0)

        claim_id, held = claim(store, limit=2)
        store.delete_message(KEY, held[0].id, claim=claim_id, now=T0)
        store.release_claim(KEY, claim_id, now=T0)
        store.delete_messages(KEY, [sent[1].message.id], now=T0)

        assert ids_of(held) == ids_in(sent[:2])
        assert listed(store) == ids_in(sent[2:])
        assert counted(store) == (1, 0)

    def test_imported_messages_can_be_popped_and_purged(self, store: Store) -> None:
        create(store)
        sent = parcels(3)
        store.import_messages(KEY, sent, now=T0)

        popped = store.pop_messages(KEY, 2, now=T0)
        store.purge_queue(KEY, messages=True, subscriptions=True, now=T0)

        assert ids_of(popped) == ids_in(sent[:2])
        assert counted(store) == (0, 0)

    def test_imported_message_goes_on_counting_its_claims(self, store: Store) -> None:
        create(store)
        message = Message(message_id(T0), b"1", 300, T0, claim_count=2)
        store.import_messages(KEY, [Parcel(message, CLIENT, T0 + 300)], now=T0)
        rule = DeadLetter("dead", 3)

        claim_id, held = claim(store, dead_letter=rule)
        store.release_claim(KEY, claim_id, now=T0)
        _, again = claim(store, dead_letter=rule)

        (letter,) = read(store, QueueKey("project", "dead"))
        assert [message.claim_count for message in held] == [3]
        assert again == []
        assert (letter.origin, letter.origin_claims) == (KEY.name, 3)

    def test_imported_message_is_not_delayed(self, store: Store) -> None:
        create(store, delays=True)
        post(store, 1, OTHER, delay=60)
        exported = store.export_messages(OTHER, 10, now=T0)

        store.import_messages(KEY, exported, now=T0)
        set_delays(store, False, now=T0)
        set_delays(store, True, now=T0)

        assert ready(store) == ids_in(exported)

    def test_many_messages_are_imported_at_once(self, store: Store) -> None:
        create(store)
        sent = parcels(1050)

        store.import_messages(KEY, sent, now=T0)

        assert listed(store, limit=500) == ids_in(sent)
        assert_stats_match_listing(store, now=T0)
        assert ids_in(store.export_messages(KEY, 2000, now=T0)) == ids_in(sent)

    def test_nothing_is_imported_into_an_absent_queue(self, store: Store) -> None:
        for some in ([], parcels(2), [parcel(T0 - 300)]):
            with pytest.raises(QueueNotFound):
                store.import_messages(ABSENT, some, now=T0)

        assert store.count_queues("project") == 0

    def test_import_is_seen_whole_or_not_at_all(
        self, open_store: Callable[[], Store]
    ) -> None:
        stores = [open_store(), open_store()]
        create(stores[0])
        done = threading.Event()

        def work(number: int) -> list[int]:
            if number == 0:
                for _ in range(30):
                    stores[0].import_messages(KEY, parcels(10), now=T0)
                done.set()
                return []
            sizes = []
            while not done.is_set():
                sizes.append(counted(stores[1])[0])
                sizes.append(len(stores[1].list_messages(KEY, limit=999, now=T0).items))
            return sizes

        _, sizes = together(2, work)

        assert {size % 10 for size in sizes} <= {0}

    def test_one_of_many_imports_of_a_message_takes_effect(
        self, open_store: Callable[[], Store]
    ) -> None:
        stores = [open_store() for _ in range(4)]
        create(stores[0])
        sent = parcels(20)

        together(12, lambda racer: stores[racer % 4].import_messages(KEY, sent, now=T0))

        assert listed(stores[0]) == ids_in(sent)
        assert counted(stores[0]) == (20, 0)

    def test_imports_and_posts_at_once_lose_nothing(
        self, open_store: Callable[[], Store]
    ) -> None:
        stores = [open_store() for _ in range(4)]
        create(stores[0])

        def work(racer: int) -> list[list[str]]:
            store, batches = stores[racer % 4], []
            for _ in range(8):
                if racer % 2:
                    batches.append(post(store, 5))
                else:
                    sent = parcels(5)
                    store.import_messages(KEY, sent, now=T0)
                    batches.append(ids_in(sent))
            return batches

        done = together(8, work)

        ids = listed(stores[0])
        assert counted(stores[0]) == (len(ids), 0)
        assert sorted(ids) == sorted(id for one in done for ids in one for id in ids)
        for batches in done:
            places = [[ids.index(id) for id in batch] for batch in batches]
            assert all(p == list(range(p[0], p[0] + 5)) for p in places)
            assert places == sorted(places)


class MovingIsolationContract:
    @pytest.mark.parametrize("pair", PAIRS, ids=range(len(PAIRS)))
    def test_messages_are_moved_under_their_own_key_only(
        self, store: Store, pair: tuple[tuple[str, str], tuple[str, str]]
    ) -> None:
        mine, theirs = QueueKey(*pair[0]), QueueKey(*pair[1])
        create(store, theirs, {"secret": 1})
        ids = post(store, 2, theirs)

        with pytest.raises(QueueNotFound):
            store.export_messages(mine, 10, now=T0)
        with pytest.raises(QueueNotFound):
            store.import_messages(mine, parcels(1), now=T0)
        if mine.project != theirs.project:
            assert store.get_queues(mine.project, [theirs.name]) == []
        assert store.get_queues(mine.project, [mine.name]) == []
        create(store, mine)
        exported = store.export_messages(theirs, 10, now=T0)
        store.import_messages(mine, exported, now=T0)
        store.import_messages(mine, parcels(1), now=T0)

        assert listed(store, mine)[:2] == ids
        assert counted(store, mine) == (3, 0)
        assert listed(store, theirs) == ids
        assert counted(store, theirs) == (2, 0)


class CapabilitiesContract:
    def test_capabilities_are_told_in_their_order(self, store: Store) -> None:
        told = store.capabilities()

        assert told == tuple(each for each in CAPABILITIES if each in told)

# SPDX-License-Identifier: Apache-2.0
"""Facts about queues: making, changing, listing and removing them."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from tests.contract.arrange import (
    KEY,
    T0,
    claim,
    counted,
    create,
    draft,
    listed,
    message_id,
    post,
    ready,
    send,
)
from zaqar.errors import ClaimNotFound, QueueChanged, QueueNotFound
from zaqar.model import Page, Queue, QueueKey, QueueStats
from zaqar.storage.base import Store

DOCUMENT: dict[str, Any] = {
    "": None,
    "text": 'quote " slash \\ accent é snow ☃ face 😀 nul \x00',
    "integer": 2**63 - 1,
    "negative": -1,
    "fraction": 0.1,
    "truth": True,
    "list": [1, "a", None, {}],
    "object": {"inner": {"deep": []}},
    "_default_message_ttl": 300,
    "$.a['b']\"c": 1,
}
ODD_KEYS = [*DOCUMENT, "\x00", "a\x00b", "a.b", "a[0]", "é", "%", "'", "#-1"]


def names(page: Page[Queue]) -> list[str]:
    return [queue.name for queue in page.items]


def put(
    store: Store, name: str, metadata: dict[str, Any] | None = None, project: str = "p"
) -> None:
    create(store, QueueKey(project, name), metadata)


ID = message_id(T0)

# Each method that needs a queue; `delete_queue` is the one that does not.
ON_A_QUEUE: dict[str, Callable[[Store, QueueKey], object]] = {
    "get": lambda store, key: store.get_queue(key),
    "stats": lambda store, key: store.queue_stats(key, now=T0),
    "purge": lambda store, key: store.purge_queue(
        key, messages=True, subscriptions=True, now=T0
    ),
    "post": lambda store, key: store.post_messages(
        key, [draft()], client="c", revision="r", now=T0
    ),
    "list": lambda store, key: store.list_messages(key, limit=10, now=T0),
    "list behind": lambda store, key: store.list_messages(
        key, marker=ID, limit=10, now=T0
    ),
    "get messages": lambda store, key: store.get_messages(key, [ID], now=T0),
    "delete": lambda store, key: store.delete_message(key, ID, now=T0),
    "delete by claim": lambda store, key: store.delete_message(
        key, ID, claim="c", now=T0
    ),
    "delete many": lambda store, key: store.delete_messages(key, [ID], now=T0),
    "delete many by claims": lambda store, key: store.delete_messages(
        key, [ID], claims=["c"], now=T0
    ),
    "pop": lambda store, key: store.pop_messages(key, 10, now=T0),
    "claim": lambda store, key: store.create_claim(
        key, "c", ttl=60, grace=60, limit=1, revision="r", now=T0
    ),
    "get claim": lambda store, key: store.get_claim(key, "c", now=T0),
    "renew claim": lambda store, key: store.renew_claim(
        key, "c", ttl=60, grace=60, now=T0
    ),
    "release claim": lambda store, key: store.release_claim(key, "c", now=T0),
    "export": lambda store, key: store.export_messages(key, 10, now=T0),
    "import": lambda store, key: store.import_messages(key, [], now=T0),
}


class QueueContract:
    def test_first_put_creates_the_queue(self, store: Store) -> None:
        is_new = store.put_queue(KEY, {"a": 1}, delays=True, revision="r1", now=T0)

        assert is_new is True
        assert store.get_queue(KEY) == Queue("queue", {"a": 1}, "r1", True)

    def test_later_put_touches_nothing(self, store: Store) -> None:
        store.put_queue(KEY, {"a": 1}, delays=False, revision="r1", now=T0)

        is_new = store.put_queue(KEY, {"b": 2}, delays=True, revision="r2", now=T0)

        assert is_new is False
        assert store.get_queue(KEY) == Queue("queue", {"a": 1}, "r1", False)

    def test_put_repeated_with_its_revision_says_new_again(self, store: Store) -> None:
        store.put_queue(KEY, {"a": 1}, delays=False, revision="r1", now=T0)

        is_new = store.put_queue(KEY, {"a": 1}, delays=False, revision="r1", now=T0)

        assert is_new is True
        assert store.count_queues(KEY.project) == 1

    def test_put_with_expect_replaces_settings(self, store: Store) -> None:
        store.put_queue(KEY, {"a": 1}, delays=False, revision="r1", now=T0)

        is_new = store.put_queue(
            KEY, {"b": 2}, delays=True, revision="r2", expect="r1", now=T0
        )

        assert is_new is False
        assert store.get_queue(KEY) == Queue("queue", {"b": 2}, "r2", True)

    def test_put_with_expect_repeated_does_nothing(self, store: Store) -> None:
        store.put_queue(KEY, {"a": 1}, delays=False, revision="r1", now=T0)
        change = {"delays": True, "revision": "r2", "expect": "r1", "now": T0}
        store.put_queue(KEY, {"b": 2}, **change)

        is_new = store.put_queue(KEY, {"b": 2}, **change)

        assert is_new is False
        assert store.get_queue(KEY) == Queue("queue", {"b": 2}, "r2", True)

    def test_put_with_another_expect_raises_with_the_fresh_queue(
        self, store: Store
    ) -> None:
        store.put_queue(KEY, {"a": 1}, delays=True, revision="r1", now=T0)

        with pytest.raises(QueueChanged) as raised:
            store.put_queue(KEY, {}, delays=False, revision="r3", expect="r2", now=T0)

        assert raised.value.queue == Queue("queue", {"a": 1}, "r1", True)
        assert store.get_queue(KEY) == raised.value.queue

    def test_put_with_expect_never_creates(self, store: Store) -> None:
        with pytest.raises(QueueNotFound) as raised:
            store.put_queue(KEY, {}, delays=False, revision="r2", expect="r1", now=T0)

        assert raised.value.name == "queue"
        assert store.count_queues(KEY.project) == 0

    def test_put_with_expect_keeps_messages_and_claims(self, store: Store) -> None:
        ids = post(store, 3)
        claim_id, _ = claim(store, limit=1)
        revision = store.get_queue(KEY).revision

        store.put_queue(
            KEY, {"a": 1}, delays=False, revision="new", expect=revision, now=T0
        )

        assert listed(store) == ids
        assert len(store.get_claim(KEY, claim_id, now=T0).messages) == 1

    def test_absent_queue_is_not_found(self, store: Store) -> None:
        with pytest.raises(QueueNotFound) as raised:
            store.get_queue(KEY)

        assert raised.value.name == "queue"

    def test_metadata_comes_back_as_it_was(self, store: Store) -> None:
        create(store, metadata=DOCUMENT)

        assert store.get_queue(KEY).metadata == DOCUMENT
        assert store.get_queue(KEY).metadata["truth"] is True

    def test_deleting_an_absent_queue_does_nothing(self, store: Store) -> None:
        store.delete_queue(KEY)

        assert store.count_queues(KEY.project) == 0

    def test_deleted_queue_is_gone_for_every_method(self, store: Store) -> None:
        post(store, 3)
        claim(store, limit=1)

        store.delete_queue(KEY)

        assert store.count_queues(KEY.project) == 0
        assert store.list_queues(KEY.project, limit=10) == Page()
        for step in ON_A_QUEUE.values():
            with pytest.raises(QueueNotFound):
                step(store, KEY)

    def test_recreated_queue_is_empty(self, store: Store) -> None:
        ids = post(store, 3)
        claim_id, _ = claim(store, limit=1)
        store.delete_queue(KEY)

        create(store)

        assert store.get_queue(KEY).metadata == {}
        assert store.queue_stats(KEY, now=T0) == QueueStats()
        assert listed(store) == []
        assert store.get_messages(KEY, ids, now=T0) == []
        with pytest.raises(ClaimNotFound):
            store.get_claim(KEY, claim_id, now=T0)
        with pytest.raises(ClaimNotFound):
            store.renew_claim(KEY, claim_id, ttl=60, grace=60, now=T0)

    def test_recreated_queue_takes_ids_of_its_former_life(self, store: Store) -> None:
        drafts = [draft() for _ in range(3)]
        send(store, drafts)
        claim_id, _ = claim(store, limit=2)
        store.delete_queue(KEY)

        send(store, drafts)
        _, messages = claim(store, id=claim_id, limit=1)

        assert listed(store) == [message.id for message in drafts]
        assert [message.id for message in messages] == [drafts[0].id]
        assert counted(store) == (3, 1)

    def test_deep_queue_is_deleted_whole(self, store: Store) -> None:
        post(store, 2500)
        claim(store, limit=1200)
        store.delete_queue(KEY)
        ids = post(store, 2)

        before = listed(store)
        store.sweep(now=T0)

        assert before == ids
        assert listed(store) == ids
        assert counted(store) == (2, 0)

    def test_posting_with_the_revision_of_a_former_life_is_refused(
        self, store: Store
    ) -> None:
        revision = create(store)
        store.delete_queue(KEY)

        with pytest.raises(QueueNotFound):
            store.post_messages(KEY, [draft()], client="c", revision=revision, now=T0)
        create(store)
        with pytest.raises(QueueChanged):
            store.post_messages(KEY, [draft()], client="c", revision=revision, now=T0)

        assert listed(store) == []

    @pytest.mark.parametrize("step", ON_A_QUEUE)
    def test_absent_queue_is_told_by_each_method_and_not_created(
        self, store: Store, step: str
    ) -> None:
        with pytest.raises(QueueNotFound):
            ON_A_QUEUE[step](store, KEY)
        store.sweep(now=T0)

        assert store.count_queues(KEY.project) == 0

    def test_claiming_with_another_revision_raises_with_the_fresh_queue(
        self, store: Store
    ) -> None:
        post(store)

        with pytest.raises(QueueChanged) as raised:
            store.create_claim(
                KEY, "c", ttl=60, grace=60, limit=1, revision="old", now=T0
            )

        assert raised.value.queue == store.get_queue(KEY)
        assert len(ready(store)) == 1

    def test_posting_with_another_revision_raises_with_the_fresh_queue(
        self, store: Store
    ) -> None:
        create(store, metadata={"a": [1]}, delays=True)

        with pytest.raises(QueueChanged) as raised:
            store.post_messages(KEY, [draft()], client="c", revision="old", now=T0)

        assert raised.value.queue == store.get_queue(KEY)
        assert raised.value.queue.metadata == {"a": [1]}
        assert raised.value.queue.delays is True
        assert listed(store) == []

    def test_queues_are_listed_in_byte_order(self, store: Store) -> None:
        in_order = ["-", "A", "B", "_", "a", "a-", "aa", "b", "é", "☃", "😀"]
        for name in reversed(in_order):
            put(store, name)

        assert names(store.list_queues("p", limit=100)) == in_order

    @pytest.mark.parametrize("limit", [1, 2, 3, 7])
    def test_pages_of_queues_meet_without_gap(self, store: Store, limit: int) -> None:
        expected = [f"q{number:02}" for number in range(7)]
        for name in expected:
            put(store, name)

        seen, marker = [], None
        while page := names(store.list_queues("p", marker=marker, limit=limit)):
            assert len(page) == min(limit, len(expected) - len(seen))
            seen += page
            marker = page[-1]

        assert seen == expected

    def test_marker_of_a_page_of_queues_is_its_last_name(self, store: Store) -> None:
        for name in "abc":
            put(store, name)

        assert store.list_queues("p", limit=2).marker == "b"
        assert store.list_queues("p", marker="b", limit=2).marker == "c"
        assert store.list_queues("p", marker="c", limit=2) == Page()

    def test_queue_marker_need_not_exist(self, store: Store) -> None:
        for name in ("a", "c", "e"):
            put(store, name)

        assert names(store.list_queues("p", marker="b", limit=9)) == ["c", "e"]
        assert names(store.list_queues("p", marker="", limit=9)) == ["a", "c", "e"]
        assert names(store.list_queues("p", marker="z", limit=9)) == []

    def test_queues_are_listed_as_they_are_got(self, store: Store) -> None:
        create(store, metadata=DOCUMENT, delays=True)

        page = store.list_queues(KEY.project, limit=10)

        assert page.items == (store.get_queue(KEY),)

    @pytest.mark.parametrize(
        ("part", "found"),
        [
            ("a", ["a.b", "aXb", "a_b"]),
            (".", ["a.b"]),
            ("_", ["a_b"]),
            ("a_b", ["a_b"]),
            ("%", ["50%"]),
            ("x", []),
            ("X", ["aXb"]),
            (".*", []),
            ("É", ["É"]),
            ("é", []),
            ("'", ["it's"]),
            ("\x00", []),
        ],
    )
    def test_name_filter_is_a_plain_part_of_the_name(
        self, store: Store, part: str, found: list[str]
    ) -> None:
        for name in ("a.b", "a_b", "aXb", "50%", "É", "it's"):
            put(store, name)

        assert names(store.list_queues("p", name=part, limit=10)) == sorted(found)

    @pytest.mark.parametrize(
        ("value", "found"),
        [
            (1, ["float", "int"]),
            ("1", ["text"]),
            (0, ["zero"]),
            ("", ["empty"]),
            ("true", []),
            ("null", []),
            ("None", []),
            ('{"a":1}', []),
            ("[1]", []),
            (2**63 - 1, ["large"]),
            (2**63 - 2, []),
            (-5, ["negative"]),
        ],
    )
    def test_match_compares_kind_and_value(
        self, store: Store, value: str | int, found: list[str]
    ) -> None:
        put(store, "int", {"k": 1})
        put(store, "float", {"k": 1.0})
        put(store, "text", {"k": "1"})
        put(store, "true", {"k": True})
        put(store, "zero", {"k": 0})
        put(store, "false", {"k": False})
        put(store, "null", {"k": None})
        put(store, "empty", {"k": ""})
        put(store, "object", {"k": {"a": 1}})
        put(store, "list", {"k": [1]})
        put(store, "large", {"k": 2**63 - 1})
        put(store, "negative", {"k": -5})
        put(store, "absent", {})

        page = store.list_queues("p", match={"k": value}, limit=20)

        assert names(page) == found

    @pytest.mark.parametrize(
        "key", [*DOCUMENT, "\x00", "a\x00b", "a.b", "a[0]", "é", "%", "'", "#-1"]
    )
    def test_match_takes_any_text_as_a_key(self, store: Store, key: str) -> None:
        put(store, "has", {key: "wanted", "other": 1})
        put(store, "nested", {"a": {"b": "wanted"}, "x": ["wanted"]})

        page = store.list_queues("p", match={key: "wanted"}, limit=10)

        assert names(page) == ["has"]

    def test_match_needs_all_its_keys(self, store: Store) -> None:
        put(store, "both", {"a": 1, "b": "x", "c": 0})
        put(store, "one", {"a": 1})
        put(store, "wrong", {"a": 1, "b": "y"})

        page = store.list_queues("p", match={"a": 1, "b": "x"}, limit=10)

        assert names(page) == ["both"]

    def test_page_of_queues_is_filled_after_filtering(self, store: Store) -> None:
        for number in range(60):
            put(store, f"q{number:02}", {"third": int(number % 3 == 0)})

        first = store.list_queues("p", match={"third": 1}, limit=8)
        rest = store.list_queues("p", marker=first.marker, match={"third": 1}, limit=99)
        named = store.list_queues("p", name="5", limit=10)

        assert names(first) == [f"q{number:02}" for number in range(0, 24, 3)]
        assert names(rest) == [f"q{number:02}" for number in range(24, 60, 3)]
        assert len(named.items) == 10

    def test_queues_are_counted_per_project(self, store: Store) -> None:
        for name in "abc":
            put(store, name)
        put(store, "a", project="other")

        store.delete_queue(QueueKey("p", "b"))

        assert store.count_queues("p") == 2
        assert store.count_queues("other") == 1
        assert store.count_queues("none") == 0
        assert store.list_queues("none", limit=10) == Page()

    def test_another_handle_sees_a_change_at_once(self, open_store: Any) -> None:
        one, two = open_store(), open_store()
        ids = post(one, 2)

        claim_id, messages = claim(two)
        two.put_queue(
            KEY,
            {"a": 1},
            delays=True,
            revision=(revision := str(uuid4())),
            expect=one.get_queue(KEY).revision,
            now=T0,
        )

        assert [message.id for message in messages] == ids
        assert one.get_queue(KEY).revision == revision
        assert len(one.get_claim(KEY, claim_id, now=T0).messages) == 2

    def test_everything_is_there_after_closing_and_opening(
        self, open_store: Any
    ) -> None:
        first = open_store()
        ids = post(first, 3)
        claim_id, _ = claim(first, limit=1)
        queue = first.get_queue(KEY)
        marker = first.list_messages(KEY, limit=1, claimed=True, now=T0).marker
        open_store.close(first)

        second = open_store()

        assert second.get_queue(KEY) == queue
        assert listed(second) == ids
        assert listed(second, marker=marker) == ids[1:]
        assert counted(second) == (3, 1)
        assert len(second.get_claim(KEY, claim_id, now=T0).messages) == 1

# SPDX-License-Identifier: Apache-2.0
"""Facts about keys: nothing of one queue or project is seen or touched from another."""

import json

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
    send,
    set_delays,
)
from tests.contract.queues import ON_A_QUEUE
from zaqar.errors import ClaimDoesNotHoldMessage, ClaimNotFound, QueueNotFound
from zaqar.model import DeadLetter, QueueKey
from zaqar.storage.base import Store

PAIRS = [
    (("p", "q"), ("p", "r")),
    (("p", "q"), ("o", "q")),
    (("a", "b.c"), ("a.b", "c")),
    (("a", "b/c"), ("a/b", "c")),
    (("a", "b:c"), ("a:b", "c")),
    (("a", "b\x00c"), ("a\x00b", "c")),
    (("a", "\x00b"), ("a\x00", "b")),
    (("", "ab"), ("ab", "")),
    (("p", "q"), ("P", "q")),
    (("p", "q"), ("p", "Q")),
    (("p", "q"), ("p", "q ")),
    (("p", "q"), ("p", "q\x00")),
    (("p", "\u00e9"), ("p", "e\u0301")),
    (("p", "1"), ("p", "1.0")),
    (("p", "%"), ("p", "x")),
    (("p", "{q}"), ("{p}", "q")),
]


class IsolationContract:
    @pytest.fixture(params=PAIRS, ids=range(len(PAIRS)))
    def pair(self, request: pytest.FixtureRequest) -> tuple[QueueKey, QueueKey]:
        one, two = request.param
        return QueueKey(*one), QueueKey(*two)

    def test_queue_is_not_seen_under_another_key(
        self, store: Store, pair: tuple[QueueKey, QueueKey]
    ) -> None:
        mine, theirs = pair
        create(store, theirs, {"secret": 1})

        with pytest.raises(QueueNotFound):
            store.get_queue(mine)
        with pytest.raises(QueueNotFound):
            store.queue_stats(mine, now=T0)
        store.delete_queue(mine)

        assert store.get_queue(theirs).metadata == {"secret": 1}
        assert mine.name not in [
            queue.name for queue in store.list_queues(mine.project, limit=10).items
        ]

    def test_queues_with_unlike_keys_live_side_by_side(
        self, store: Store, pair: tuple[QueueKey, QueueKey]
    ) -> None:
        mine, theirs = pair
        create(store, mine, {"owner": "me"})
        create(store, theirs, {"owner": "they"}, delays=True)

        set_delays(store, False, theirs, now=T0)
        own, other = post(store, 2, mine), post(store, 3, theirs)
        store.delete_queue(theirs)

        assert store.get_queue(mine).metadata == {"owner": "me"}
        assert listed(store, mine) == own
        assert listed(store, theirs) == []
        assert counted(store, mine) == (2, 0)
        assert len(other) == 3

    def test_messages_are_not_read_under_another_key(
        self, store: Store, pair: tuple[QueueKey, QueueKey]
    ) -> None:
        mine, theirs = pair
        create(store, mine)
        ids = post(store, 3, theirs)
        marker = store.list_messages(theirs, limit=1, now=T0).marker

        assert store.get_messages(mine, ids, now=T0) == []
        assert listed(store, mine) == []
        assert listed(store, mine, marker=ids[0]) == []
        assert listed(store, mine, marker=marker) == []
        assert counted(store, mine) == (0, 0)

    def test_messages_are_not_removed_under_another_key(
        self, store: Store, pair: tuple[QueueKey, QueueKey]
    ) -> None:
        mine, theirs = pair
        own, ids = post(store, 1, mine), post(store, 3, theirs)

        store.delete_message(mine, ids[0], now=T0)
        store.delete_messages(mine, ids, now=T0)
        popped = store.pop_messages(mine, 10, now=T0)
        store.purge_queue(mine, messages=True, subscriptions=True, now=T0)

        assert ids_of(popped) == own
        assert listed(store, theirs) == ids

    def test_claims_are_not_seen_under_another_key(
        self, store: Store, pair: tuple[QueueKey, QueueKey]
    ) -> None:
        mine, theirs = pair
        own, ids = post(store, 2, mine), post(store, 2, theirs)

        claim_id, held = claim(store, theirs)

        with pytest.raises(ClaimNotFound):
            store.get_claim(mine, claim_id, now=T0)
        with pytest.raises(ClaimNotFound):
            store.renew_claim(mine, claim_id, ttl=60, grace=60, now=T0)
        with pytest.raises(ClaimDoesNotHoldMessage):
            store.delete_message(mine, own[0], claim=claim_id, now=T0)
        with pytest.raises(ClaimDoesNotHoldMessage):
            store.delete_messages(mine, own, claims=[claim_id], now=T0)
        store.release_claim(mine, claim_id, now=T0)

        assert ids_of(held) == ids
        assert list(store.get_claim(theirs, claim_id, now=T0).messages) == held
        assert counted(store, mine) == (2, 0)

    def test_one_id_may_name_a_message_and_a_claim_of_each_key(
        self, store: Store, pair: tuple[QueueKey, QueueKey]
    ) -> None:
        mine, theirs = pair
        new = draft()
        send(store, [new], mine)
        send(store, [new], theirs, now=T0 + 1)

        claim(store, mine, id="c", now=T0 + 1)
        claim(store, theirs, id="c", ttl=90, now=T0 + 1)
        store.delete_message(mine, new.id, claim="c", now=T0 + 1)

        assert listed(store, mine, now=T0 + 1) == []
        assert store.get_claim(theirs, "c", now=T0 + 1).ttl == 90
        assert [m.created for m in read(store, theirs, now=T0 + 1)] == [T0 + 1]

    def test_dead_letters_come_from_their_own_queue(
        self, store: Store, pair: tuple[QueueKey, QueueKey]
    ) -> None:
        mine, theirs = pair
        own, ids = post(store, 2, mine), post(store, 2, theirs)
        rule = DeadLetter("dead", 1)
        claim_id, _ = claim(store, mine, dead_letter=rule)
        store.release_claim(mine, claim_id, now=T0)

        claim(store, mine, dead_letter=rule)

        assert listed(store, QueueKey(mine.project, "dead")) == own
        assert listed(store, theirs) == ids

    def test_queue_of_a_project_is_not_listed_in_another(self, store: Store) -> None:
        for project in ("a", "b", "a.b", "A", ""):
            create(store, QueueKey(project, f"of-{project}"))

        listings = {
            project: [q.name for q in store.list_queues(project, limit=10).items]
            for project in ("a", "b", "a.b", "A", "", "c")
        }

        assert listings == {
            "a": ["of-a"],
            "b": ["of-b"],
            "a.b": ["of-a.b"],
            "A": ["of-A"],
            "": ["of-"],
            "c": [],
        }


ODD = ["", "\x00", "a\x00b", "'", '"', "%", "_", "*", "\\", "\n", "é", "😀"]
ODD += ["'; DROP TABLE messages; --", "-1", "x" * 100_000, "\u202e", "None"]

# What would be more than data if it were pasted into a command, a key, a script, a
# pattern or a query.
HOSTILE = [
    "{q}",
    "}{",
    "{index}:queues",
    "a:b:m",
    "a.b.$",
    "$gt",
    "$where",
    '{"$gt": ""}',
    "$$ROOT",
    "%s%n%(name)s",
    "{0.__class__}",
    "') return redis.call('FLUSHALL') --",
    "]] .. redis.call('FLUSHALL') .. [[",
    "*1\r\n$8\r\nFLUSHALL\r\n",
    "[a-z]*?",
    "a\nb\r\nc",
    "(a",
    "[a",
    "+",
    "\x7f\xff\uffff",
]
ODD += ["{index}:queues", "$gt", '{"$gt": ""}', "[a"]

# What a request can carry: some text, and no lone half of a surrogate pair.
STORABLE = [text for text in ODD if text]


class OddTextContract:
    """Any text may be asked for; what cannot exist does not exist."""

    @pytest.fixture(params=ODD, ids=range(len(ODD)))
    def text(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    def test_odd_ids_do_not_exist(self, store: Store, text: str) -> None:
        ids = post(store, 2)
        claim(store, limit=1)

        store.delete_message(KEY, text, now=T0)
        store.delete_message(KEY, text, claim=text, now=T0)
        store.delete_messages(KEY, [text], now=T0)
        store.delete_messages(KEY, [text], claims=[text], now=T0)
        store.release_claim(KEY, text, now=T0)

        assert store.get_messages(KEY, [text, ids[0]], now=T0)[0].id == ids[0]
        assert listed(store) == ids
        assert counted(store) == (2, 1)

    def test_odd_claims_do_not_exist(self, store: Store, text: str) -> None:
        post(store)

        with pytest.raises(ClaimNotFound):
            store.get_claim(KEY, text, now=T0)
        with pytest.raises(ClaimNotFound):
            store.renew_claim(KEY, text, ttl=60, grace=60, now=T0)

    def test_odd_queues_do_not_exist(self, store: Store, text: str) -> None:
        for key in (QueueKey(KEY.project, text), QueueKey(text, KEY.name)):
            for step in ON_A_QUEUE.values():
                with pytest.raises(QueueNotFound):
                    step(store, key)
            store.delete_queue(key)
        assert store.count_queues(text) == 0

    def test_odd_filters_of_queues_find_nothing_else(
        self, store: Store, text: str
    ) -> None:
        create(store, QueueKey("p", "plain"), {"k": "v"})

        named = store.list_queues("p", name=text, limit=10)
        by_key = store.list_queues("p", match={text: "v"}, limit=10)
        by_value = store.list_queues("p", match={"k": text}, limit=10)
        behind = store.list_queues("p", marker=text, limit=10)

        assert [queue.name for queue in named.items] == ["plain"] * (text in "plain")
        assert by_key.items == by_value.items == ()
        assert [queue.name for queue in behind.items] == ["plain"] * (text < "plain")

    def test_odd_client_is_nobody(self, store: Store, text: str) -> None:
        ids = post(store, 2)

        assert listed(store, skip_client=text) == ids

    @pytest.mark.parametrize("name", STORABLE, ids=range(len(STORABLE)))
    def test_odd_queue_can_be_used(self, store: Store, name: str) -> None:
        key = QueueKey(name, name)
        create(store, key, {name: name})

        ids = post(store, 2, key)
        claim(store, key, limit=1)

        assert store.get_queue(key).name == name
        assert store.get_queue(key).metadata == {name: name}
        assert store.list_queues(name, limit=10).marker == name
        assert listed(store, key) == ids
        assert counted(store, key) == (2, 1)

    @pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
    def test_hostile_text_is_data_everywhere(self, store: Store, text: str) -> None:
        key, dead = QueueKey(text, text), QueueKey(text, f"{text} dead")
        metadata = {text: text, "inside": {text: {"$gt": ""}, "$or": [{text: text}]}}
        body = json.dumps({text: text}).encode()
        rule = DeadLetter(dead.name, 1)
        create(store, QueueKey(text, "other"), {"$gt": 1})
        create(store, key, metadata)

        ids = send(store, [draft(body=body)], key, client=text)
        own = listed(store, key, skip_client=text)
        claim(store, key, id=text, dead_letter=rule)
        held = store.get_claim(key, text, now=T0)
        store.renew_claim(key, text, ttl=60, grace=60, now=T0)
        store.release_claim(key, text, now=T0)
        claim(store, key, id=f"{text} 2", dead_letter=rule)

        assert (own, ids_of(held.messages)) == ([], ids)
        assert store.get_queue(key).metadata == metadata
        (letter,) = read(store, dead)
        assert (letter.id, letter.body, letter.origin) == (ids[0], body, text)
        found = store.list_queues(text, match={text: text}, limit=10)
        assert [queue.name for queue in found.items] == [text]
        for match in ({"$where": "1"}, {text: "$ne"}, {"inside": text}):
            assert store.list_queues(text, match=match, limit=10).items == ()
        store.delete_queue(key)
        assert listed(store, dead) == ids
        assert store.count_queues(text) == 2

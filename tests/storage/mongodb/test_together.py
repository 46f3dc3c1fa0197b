# SPDX-License-Identifier: Apache-2.0
"""What calls share, and what a process remembers of queues, changes no answer."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from tests.contract.arrange import (
    KEY,
    T0,
    assert_stats_match_listing,
    claim,
    create,
    ids_of,
    listed,
    post,
    ready,
)
from tests.contract.concurrency import together
from zaqar.errors import QueueNotFound
from zaqar.storage.mongodb import floors, gathering, turns
from zaqar.storage.mongodb.documents import name_of
from zaqar.storage.mongodb.gathering import Gathering
from zaqar.storage.mongodb.store import MongoStore
from zaqar.storage.mongodb.turns import Turns

NAME = name_of(KEY)


# Gathering


def gathered_behind(
    gathering: Gathering[int, int], send: Callable[[list[int]], list[int]]
) -> tuple[list[list[int]], list[Any]]:
    """Let five join while the first is under way; return what went together and what
    each was answered."""
    groups: list[list[int]] = []
    under_way, all_there = threading.Event(), threading.Event()

    def slow(wishes: list[int]) -> list[int]:
        groups.append(list(wishes))
        under_way.set()
        assert all_there.wait(5)
        return send(wishes)

    def work(number: int) -> Any:
        if number:
            assert under_way.wait(5)
            if number == 5:
                threading.Timer(0.2, all_there.set).start()
        try:
            return gathering.join("group", number, slow)
        except QueueNotFound as error:
            return error

    return groups, together(6, work)


def test_who_comes_meanwhile_goes_together() -> None:
    groups, answers = gathered_behind(Gathering(), lambda wishes: [-n for n in wishes])

    assert [sorted(group) for group in groups] == [[0], [1, 2, 3, 4, 5]]
    assert answers == [0, -1, -2, -3, -4, -5]


def test_what_is_wrong_for_all_is_not_tried_for_each() -> None:
    def send(wishes: list[int]) -> list[int]:
        raise QueueNotFound("q")

    groups, answers = gathered_behind(Gathering(), send)

    assert len(groups) == 2
    assert all(isinstance(each, QueueNotFound) for each in answers)


def test_who_is_alone_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "LINGERING", 20.0)
    own: Gathering[int, int] = Gathering()
    begun = time.monotonic()

    answers = [own.join("group", n, lambda wishes: wishes) for n in range(3)]

    assert answers == [0, 1, 2]
    assert time.monotonic() - begun < 20


def test_who_had_company_waits_for_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "LINGERING", 5.0)
    own: Gathering[int, int] = Gathering()
    gathered_behind(own, lambda wishes: wishes)
    groups: list[int] = []

    def send(wishes: list[int]) -> list[int]:
        groups.append(len(wishes))
        return wishes

    together(5, lambda n: own.join("group", n, send))

    assert groups == [5]


def test_deletions_together_remove_what_each_named(store: MongoStore) -> None:
    ids = post(store, 12)

    together(4, lambda n: store.delete_messages(KEY, ids[n : n + 2], now=T0))

    assert listed(store) == ids[5:]
    assert_stats_match_listing(store, now=T0)


def slowed(store: MongoStore, patch: pytest.MonkeyPatch) -> None:
    """Let others gather behind the first view."""
    read = store._viewing.view_behind
    others = threading.Event()
    threading.Timer(0.3, others.set).start()

    def slow(*args: Any, **kwargs: Any) -> Any:
        others.wait(5)
        return read(*args, **kwargs)

    patch.setattr(store._viewing, "view_behind", slow)


def test_pops_together_share_what_is_there(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = post(store, 11)
    slowed(store, monkeypatch)

    popped = together(6, lambda _: ids_of(store.pop_messages(KEY, 2, now=T0)))

    assert sorted(id for each in popped for id in each) == sorted(ids)
    assert sorted(map(len, popped)) == [1, 2, 2, 2, 2, 2]
    assert all(each == sorted(each, key=ids.index) for each in popped)
    assert_stats_match_listing(store, now=T0)


def test_claims_together_are_claims_of_their_own(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = post(store, 11)
    slowed(store, monkeypatch)

    claims = together(6, lambda n: claim(store, limit=2, ttl=60 + n))

    monkeypatch.undo()
    held = [ids_of(messages) for _, messages in claims]
    assert sorted(id for each in held for id in each) == sorted(ids)
    for number, (claim_id, messages) in enumerate(claims):
        found = store.get_claim(KEY, claim_id, now=T0)
        assert (found.ttl, list(found.messages)) == (60 + number, messages)
    assert store.sweep(now=T0 + 66) == 6


def test_claim_that_is_made_twice_among_others_answers_the_same(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(store, 12)
    slowed(store, monkeypatch)

    claims = together(
        6, lambda n: claim(store, limit=2, id="same" if n % 2 else None)[1]
    )

    same = claims[1]
    assert len(same) == 2
    assert claims[1] == claims[3] == claims[5]
    assert len({each.id for held in claims for each in held}) == 8
    assert_stats_match_listing(store, now=T0)


# Floors


def emptied_below(store: MongoStore) -> tuple[str, list[str]]:
    """Let the store know that nothing is free below the last of its messages."""
    ids = post(store, 6)
    claim_id, _ = claim(store, limit=4)
    assert ready(store) == ids[4:]
    floor = store._floors.of(NAME)
    assert floor is not None and floor.number > 0
    return claim_id, ids


def test_message_that_another_process_sets_free_is_seen_at_once(
    store: MongoStore, other: MongoStore
) -> None:
    claim_id, ids = emptied_below(store)

    other.release_claim(KEY, claim_id, now=T0)

    assert ready(store) == ids
    assert ids_of(store.pop_messages(KEY, 10, now=T0)) == ids


def test_claim_that_another_process_finds_ended_is_seen_at_once(
    store: MongoStore, other: MongoStore
) -> None:
    _, ids = emptied_below(store)

    other.sweep(now=T0 + 60)

    assert ready(store, now=T0 + 60) == ids


def test_lost_announcement_is_made_up_for(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim_id, ids = emptied_below(store)
    monkeypatch.setattr(other._floors, "announce", lambda name: None)
    other.release_claim(KEY, claim_id, now=T0)

    monkeypatch.setattr(floors, "LASTING", -1.0)

    assert ready(store) == ids


def test_floor_of_an_earlier_life_is_forgotten(
    store: MongoStore, other: MongoStore
) -> None:
    emptied_below(store)
    other.delete_queue(KEY)

    ids = post(other, 3)

    assert ready(store) == ids


def test_messages_behind_the_floor_of_an_empty_queue_are_found(
    store: MongoStore, other: MongoStore
) -> None:
    create(store)
    assert ready(store) == []
    assert store._floors.of(NAME) is not None

    for _ in range(3):
        ids = post(other, 2)
        assert ids_of(store.pop_messages(KEY, 10, now=T0)) == ids


def test_relaxed_order_has_no_floors(opener: Callable[..., MongoStore]) -> None:
    store = opener(ordering="relaxed")
    post(store, 2)

    assert len(ready(store)) == 2

    assert store._floors.of(NAME) is None
    store.close()


# What is due


def test_what_others_claim_meanwhile_ends_in_time(
    store: MongoStore, other: MongoStore
) -> None:
    ids = post(store, 3)
    assert ready(store) == ids
    claim(other, ttl=1, now=T0 + 0.1)
    assert ready(store, now=T0 + 0.4) == []

    assert ready(store, now=T0 + 1.1) == ids


def test_message_that_ends_is_not_seen_until_somebody_looks(
    store: MongoStore, other: MongoStore
) -> None:
    post(store, 1, ttl=60)
    assert len(ready(store)) == 1
    last = post(other, 1, ttl=90)

    assert listed(store, now=T0 + 60) == last
    assert ready(store, now=T0 + 90) == []
    assert store.queue_stats(KEY, now=T0 + 90).total == 0


# Turns

HOLDER = """
import sys, time
from zaqar.storage.mongodb.turns import Turns
with Turns(sys.argv[1]).turn("queue"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_turn_that_another_process_keeps_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 1.0)
    own = Turns(database := uuid4().hex)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, database],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        begun = time.monotonic()

        with own.turn("queue"):
            waited = time.monotonic() - begun
        with own.turn("another"):
            waited_for_none = time.monotonic() - begun - waited
        holder.communicate()

    assert waited_for_none < 1.0 <= waited
    own.close()


def test_turn_comes_when_it_is_given_back() -> None:
    own = Turns(database := uuid4().hex)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, database],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        holder.kill()
        holder.communicate()

        with own.turn("queue"):
            pass
    own.close()


def test_folder_of_somebody_else_is_not_used(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(turns.os, "getuid", lambda: 12345)

    own = Turns("")

    with own.turn(NAME):
        assert own._file is None
    own.close()

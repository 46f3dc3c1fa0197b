# SPDX-License-Identifier: Apache-2.0
"""The ends of a queue, as statistics tell them, by what a process knows of them."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from tests.contract.arrange import (
    KEY,
    T0,
    assert_stats_match_listing,
    claim,
    create,
    ids_of,
    post,
)
from zaqar.model import QueueStats
from zaqar.storage.mongodb import counting, ends, statistics
from zaqar.storage.mongodb.counting import MANY_NOTES
from zaqar.storage.mongodb.documents import name_of
from zaqar.storage.mongodb.reading import View
from zaqar.storage.mongodb.store import MongoStore

NAME = name_of(KEY)


def ends_of(store: MongoStore, now: float = T0) -> list[str]:
    """Return the ids of the oldest and the newest message, as listings show them."""
    stats = assert_stats_match_listing(store, now=now)
    return [end.id for end in (stats.oldest, stats.newest) if end is not None]


@pytest.mark.parametrize("soon", [ends.SOON, -1.0])
def test_ends_move_with_what_others_do(
    store: MongoStore,
    other: MongoStore,
    monkeypatch: pytest.MonkeyPatch,
    soon: float,
) -> None:
    monkeypatch.setattr(ends, "SOON", soon)
    ids = post(store, 6)
    assert ends_of(store) == [ids[0], ids[5]]

    other.delete_messages(KEY, [ids[0], ids[5]], now=T0)
    assert ends_of(store) == [ids[1], ids[4]]

    later = post(other, 2)
    assert ends_of(store) == [ids[1], later[1]]

    claim(other, limit=10)
    assert ends_of(store) == [ids[1], later[1]]

    latest = post(other, 2)
    claim(other, limit=1)
    assert ends_of(store) == [ids[1], latest[1]]
    claim(other, limit=1)
    assert ends_of(store) == [ids[1], latest[1]]

    other.delete_messages(KEY, [*ids, *later], now=T0)
    assert ends_of(store) == latest

    other.delete_messages(KEY, latest, now=T0)
    assert store.queue_stats(KEY, now=T0) == QueueStats()

    assert ends_of(other) == []
    assert ends_of(store) == []
    again = post(other, 1)
    assert ends_of(store) == [again[0], again[0]]


@pytest.mark.parametrize("few", [3, 5, 7, 8, 9, 100])
def test_ends_are_found_and_notes_added_up_however_many_there_are(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """More than are read one by one."""
    for module in ends, statistics:
        monkeypatch.setattr(module, "FEW", few)
    monkeypatch.setattr(ends, "SOON", 1e9)
    ids = post(store, 1)
    assert ends_of(store) == [ids[0], ids[0]]

    later = post(other, 8)
    claim(other, limit=7)
    assert ends_of(store) == [ids[0], later[-1]]

    latest = post(other, 8)
    other.pop_messages(KEY, 2, now=T0)
    claim(other, limit=3)
    assert ends_of(store) == [ids[0], latest[-1]]


def test_what_comes_free_again_is_an_end(store: MongoStore, other: MongoStore) -> None:
    ids = post(store, 4)
    held, _ = claim(other, limit=2)
    assert ends_of(store) == [ids[0], ids[3]]

    other.release_claim(KEY, held, now=T0)
    assert ends_of(store) == [ids[0], ids[3]]

    held, _ = claim(other, limit=4)
    other.delete_message(KEY, ids[0], claim=held, now=T0)
    other.release_claim(KEY, held, now=T0)

    assert ends_of(store) == [ids[1], ids[3]]
    assert ids_of(other.pop_messages(KEY, 10, now=T0)) == ids[1:]


def test_what_is_released_between_the_parts_of_a_reading_is_an_end_later(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = post(store, 4)
    held, _ = claim(other, limit=1)
    viewing = store._statistics._viewing
    read = viewing.view

    def view(*parts: Any) -> View:
        # What is free was read before the release, and what is claimed after it.
        seen = read(*parts)
        monkeypatch.undo()
        other.release_claim(KEY, held, now=T0)
        first = min(each["number"] for each in seen.found if "number" in each)
        left = [each for each in seen.found if each.get("number") != first]
        return structs.replace(seen, found=left)

    monkeypatch.setattr(viewing, "view", view)
    store.queue_stats(KEY, now=T0)

    assert ends_of(store) == [ids[0], ids[3]]


def test_queue_that_is_made_again_has_new_ends(
    store: MongoStore, other: MongoStore
) -> None:
    post(store, 4)
    ends_of(store)
    other.delete_queue(KEY)
    create(other)
    assert ends_of(store) == []

    ids = post(other, 2)

    assert ends_of(store) == ids


def test_ends_of_what_is_delayed(store: MongoStore, other: MongoStore) -> None:
    ids = post(store, 2)
    assert ends_of(store) == ids

    delayed = post(other, 1, delay=10)
    assert ends_of(store) == [ids[0], delayed[0]]
    other.pop_messages(KEY, 2, now=T0 + 11)

    assert ends_of(store, T0 + 11) == [delayed[0], delayed[0]]


def test_relaxed_posts_may_arrive_below_an_end(
    opener: Callable[..., MongoStore],
) -> None:
    store = opener(ordering="relaxed")
    messages = store._database.messages
    (gone,) = post(store, 1)
    place = messages.find_one({"_id": NAME + gone}, {"_id": 0, "number": 1})
    store.delete_message(KEY, gone, now=T0)
    ids = post(store, 3)
    assert ends_of(store) == [ids[0], ids[2]]

    messages.update_one({"_id": NAME + ids[2]}, {"$set": place})

    assert ends_of(store) == [ids[2], ids[1]]
    store.close()


def test_statistics_count_what_is_in_their_way(store: MongoStore) -> None:
    ids = post(store, MANY_NOTES + 1)
    store.delete_messages(KEY, ids[:MANY_NOTES], now=T0)
    noted = {"queue": NAME, "uncounted": counting.NOTES}
    assert store._database.messages.count_documents(noted) == MANY_NOTES

    assert ends_of(store) == [ids[-1], ids[-1]]

    assert store._database.messages.count_documents(noted) == 0
    assert ends_of(store) == [ids[-1], ids[-1]]

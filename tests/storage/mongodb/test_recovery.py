# SPDX-License-Identifier: Apache-2.0
"""What somebody left half done is finished or undone by others, and spoils nothing.

Who dies raises `Died` where it stops: nothing in the store handles that.
"""

from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.arrange import (
    CLIENT,
    KEY,
    T0,
    assert_stats_match_listing,
    claim,
    counted,
    create,
    draft,
    ids_of,
    listed,
    post,
    ready,
)
from tests.contract.concurrency import together
from zaqar.errors import ClaimNotFound, QueueNotFound, StorageUnavailable
from zaqar.model import DeadLetter, NewMessage, QueueKey, QueueStats
from zaqar.storage.mongodb import counting, letters, posting, reading, statistics
from zaqar.storage.mongodb.counting import Counting
from zaqar.storage.mongodb.documents import WALL, Document, name_of, wall
from zaqar.storage.mongodb.letters import Letters
from zaqar.storage.mongodb.posting import Posting
from zaqar.storage.mongodb.queues import Queues
from zaqar.storage.mongodb.reading import View
from zaqar.storage.mongodb.settling import Settling
from zaqar.storage.mongodb.store import MongoStore

NAME = name_of(KEY)
DEAD = QueueKey(KEY.project, "dead")
RULE = DeadLetter("dead", 1)


class Died(BaseException):
    pass


def die(*_: object, **__: object) -> None:
    raise Died


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function that lets everybody find that posts take too long."""
    return lambda: monkeypatch.setattr(reading, "DEAD", -60_000)


@pytest.fixture
def forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was popped just now is counted at once."""
    monkeypatch.setattr(counting, "POPPING", -60_000)


def count_all(store: MongoStore) -> None:
    while store._counting.count(NAME):
        pass


def stored(store: MongoStore) -> int:
    """Return how many messages there are, in whatever state; walls are none."""
    return store._database.messages.count_documents({"state": {"$ne": WALL}})


def walls(store: MongoStore) -> list[str]:
    """Return the queues that have a wall."""
    found = store._database.messages.find({"state": WALL})
    return [each["queue"] for each in found]


# Writers that die


def insert_some(
    own: Posting, name: str, first: int, documents: list[Document], _: object
) -> None:
    own._messages.insert_many(documents[:2])
    raise Died


DEATHS: dict[str, tuple[str, Callable[..., Any], bool]] = {
    "after reserving": ("_insert", die, False),
    "after inserting some": ("_insert", insert_some, False),
    "before releasing": ("_release", die, True),
}


@pytest.fixture(params=DEATHS)
def dead_post(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> tuple[list[str], list[str]]:
    """Two messages that were there, and what is to be seen of three of a dead post."""
    before = post(store, 2)
    method, death, is_kept = DEATHS[request.param]
    drafts = [draft(ttl=60) for _ in range(3)]
    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(Posting, method, death)
        store.post_messages(
            KEY,
            drafts,
            client=CLIENT,
            revision=store.get_queue(KEY).revision,
            now=T0,
        )
    return before, [message.id for message in drafts] if is_kept else []


def test_nobody_sees_a_post_that_is_not_finished(
    store: MongoStore, other: MongoStore, dead_post: tuple[list[str], list[str]]
) -> None:
    before, _ = dead_post

    after = post(other, 2)

    assert listed(other) == before
    assert ids_of(other.pop_messages(KEY, 10, now=T0)) == before
    assert other.get_messages(KEY, after, now=T0) == []


def test_dead_post_is_kept_whole_or_dropped_whole(
    other: MongoStore,
    dead_post: tuple[list[str], list[str]],
    later: Callable[[], None],
) -> None:
    before, kept = dead_post
    after = post(other, 2)

    later()

    assert listed(other) == before + kept + after
    assert_stats_match_listing(other, now=T0)
    assert ids_of(claim(other)[1]) == before + kept + after
    assert stored(other) == len(before + kept + after)


def test_dead_post_whose_messages_expire_spoils_no_count(
    other: MongoStore,
    dead_post: tuple[list[str], list[str]],
    later: Callable[[], None],
) -> None:
    before, _ = dead_post
    now = T0 + 61
    other.sweep(now=now)
    count_all(other)

    later()
    after = post(other, 2, now=now)

    assert listed(other, now=now) == before + after
    assert counted(other, now=now) == (4, 0)
    count_all(other)
    assert counted(other, now=now) == (4, 0)
    assert_stats_match_listing(other, now=now)


# Writers that are slow


@pytest.fixture
def meanwhile(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch, later: Callable[[], None]
) -> Callable[[str, Callable[[], object]], None]:
    """Let others do something when `store` is about to begin a step of a post."""

    def interrupt(method: str, work: Callable[[], object]) -> None:
        real = getattr(store._posting, method)

        def slow(*args: Any) -> Any:
            later()
            work()
            return real(*args)

        monkeypatch.setattr(store._posting, method, slow)

    return interrupt


def test_slow_writer_whose_post_was_dropped_is_told(
    store: MongoStore, other: MongoStore, meanwhile: Any
) -> None:
    ids = post(store, 2)
    meanwhile("_insert", lambda: listed(other))

    with pytest.raises(StorageUnavailable):
        post(store, 3)

    assert listed(other) == ids
    assert_stats_match_listing(other, now=T0)
    assert stored(other) == 2


def test_slow_writer_whose_post_was_kept_has_posted(
    store: MongoStore, other: MongoStore, meanwhile: Any
) -> None:
    create(store)
    meanwhile("_release", lambda: listed(other))

    ids = post(store, 3)

    assert listed(other) == ids
    assert counted(other) == (3, 0)


def test_slow_writer_whose_queue_is_deleted_is_told_and_leaves_nothing(
    store: MongoStore, other: MongoStore, meanwhile: Any
) -> None:
    create(store)

    def renew_queue() -> None:
        other.delete_queue(KEY)
        create(other)

    meanwhile("_insert", renew_queue)

    with pytest.raises(QueueNotFound):
        post(store, 3)

    assert listed(other) == []
    assert counted(other) == (0, 0)
    assert stored(other) == 0


def test_slow_writer_does_not_remove_what_its_twin_has_posted(
    store: MongoStore, other: MongoStore, meanwhile: Any
) -> None:
    revision = create(store)
    drafts = [draft() for _ in range(3)]

    def send(own: MongoStore) -> None:
        own.post_messages(KEY, drafts, client=CLIENT, revision=revision, now=T0)

    meanwhile("_insert", lambda: [listed(other), send(other)])

    with pytest.raises(StorageUnavailable):
        send(store)

    assert listed(other) == [message.id for message in drafts]
    assert counted(other) == (3, 0)


def test_what_a_dead_writer_inserts_late_is_never_seen(
    store: MongoStore,
    other: MongoStore,
    meanwhile: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = post(store, 2)
    meanwhile("_insert", lambda: listed(other))
    monkeypatch.setattr(store._posting, "_release", die)
    with pytest.raises(Died):
        post(store, 3, ttl=60)
    assert stored(other) == 5

    assert counted(other) == (2, 0)
    assert ids_of(claim(other, ttl=30)[1]) == ids
    assert stored(other) == 2


def test_what_a_dead_writer_inserts_late_is_not_counted_when_it_expires(
    store: MongoStore,
    other: MongoStore,
    meanwhile: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = post(store, 2)
    meanwhile("_insert", lambda: listed(other))
    monkeypatch.setattr(store._posting, "_release", die)
    with pytest.raises(Died):
        post(store, 3, ttl=60)

    other.sweep(now=T0 + 61)

    assert counted(other, now=T0 + 61) == (2, 0)
    assert listed(other, now=T0 + 61) == ids
    assert stored(other) == 2


def test_dropped_post_is_not_forgotten_before_its_messages_are_gone(
    store: MongoStore,
    other: MongoStore,
    meanwhile: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = post(store, 2)
    meanwhile("_insert", lambda: listed(other))
    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(store._posting, "_release", die)
        post(store, 3)
    monkeypatch.setattr(posting, "FORGIVEN", -60_000)
    monkeypatch.setattr(other._posting, "_insert", die)
    with pytest.raises(Died):
        post(other)

    # It finds the second one dead, and drops it.
    list_without_looking = [
        store.list_messages(KEY, limit=1, now=T0).items[0].id for _ in range(2)
    ]

    queue = other._database.queues.find_one({"_id": NAME})
    assert queue is not None and len(queue["buried"]) == 1
    assert list_without_looking == ids[:1] * 2
    assert listed(store) == ids


def test_purge_spares_a_post_that_is_on_its_way(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(store, 2)
    release = store._posting._release

    def slow(*args: Any) -> None:
        other.purge_queue(KEY, messages=True, subscriptions=True, now=T0)
        release(*args)

    monkeypatch.setattr(store._posting, "_release", slow)

    ids = post(store, 3)

    assert listed(other) == ids
    assert_stats_match_listing(other, now=T0)


# Counts


def disturbed(store: MongoStore) -> None:
    """Leave messages of all kinds that are not counted."""
    ids = post(store, 12)
    claim(store, limit=5)
    store.delete_messages(KEY, ids[4:7], now=T0)


@pytest.mark.usefixtures("forgiven")
@pytest.mark.parametrize(
    ("owner", "step"), [(Counting, "finish"), (counting, "_learns")]
)
def test_interrupted_count_is_finished_by_whoever_looks(
    store: MongoStore,
    other: MongoStore,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    step: str,
) -> None:
    disturbed(store)
    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(owner, step, die)
        count_all(store)

    assert counted(other) == (9, 4)

    count_all(other)
    assert counted(store) == (9, 4)
    assert_stats_match_listing(store, now=T0)
    assert stored(store) == 9


def test_interrupted_count_is_finished_by_the_next_count(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    disturbed(store)
    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(Counting, "finish", die)
        count_all(store)
    disturbed(other)

    count_all(other)

    assert counted(other) == (18, 9)
    assert_stats_match_listing(other, now=T0)


@pytest.mark.usefixtures("forgiven")
def test_numbers_are_right_while_a_count_tells_the_messages(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins to tell before the numbers are read, and is done before their end."""
    ids = post(store, 12)
    store.delete_messages(KEY, ids[:6], now=T0)
    counts: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(store._counting, "finish", lambda *count: counts.append(count))
        store._counting.count(NAME)
    parts = statistics.parts

    def while_it_tells(name: str, *, few: bool) -> list[Document]:
        """Let the notes be those that are left, and the last reading come later."""
        notes, again, *ends = parts(name, few=few)
        monkeypatch.setattr(statistics, "parts", parts)
        again["$unionWith"]["pipeline"].append({"$unset": "count"})
        return [notes, again, *ends]

    monkeypatch.setattr(statistics, "parts", while_it_tells)

    assert counted(other) == (6, 0)


def test_late_count_teaches_nothing(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was finished by somebody else, and others have counted since."""
    late: list[Any] = []
    post(store, 4)
    claim_id, _ = claim(store, limit=2)
    with monkeypatch.context() as patch:
        patch.setattr(store._counting, "finish", lambda *count: late.append(count))
        store._counting.count(NAME)
    assert counted(other) == (4, 2)
    other.release_claim(KEY, claim_id, now=T0)
    count_all(other)

    store._counting.finish(*late[0])

    count_all(other)
    claim(other)
    assert counted(other) == (4, 4)
    assert_stats_match_listing(other, now=T0)


def test_queue_that_is_deleted_while_it_is_counted_begins_anew(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    disturbed(store)
    sums = counting.sums

    def slow(notes: Any) -> Any:
        other.delete_queue(KEY)
        post(other, 2)
        return sums(notes)

    monkeypatch.setattr(counting, "sums", slow)
    store._counting.count(NAME)
    monkeypatch.setattr(counting, "sums", sums)

    assert counted(other) == (2, 0)
    assert_stats_match_listing(other, now=T0)


def test_numbers_are_right_while_all_count_at_once(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "CHANGES", 3)
    post(store, 30)

    def work(number: int) -> None:
        own = (store, other)[number % 2]
        for _ in range(15):
            claim_id, messages = claim(own, limit=5)
            if number < 2 and messages:
                own.delete_message(KEY, messages[0].id, claim=claim_id, now=T0)
                post(own, 1)
            own.release_claim(KEY, claim_id, now=T0)
            assert own.queue_stats(KEY, now=T0).claimed <= 20

    together(4, work)

    assert counted(store) == (30, 0)
    count_all(store)
    assert counted(other) == (30, 0)
    assert_stats_match_listing(other, now=T0)


def test_claim_of_what_is_counted_meanwhile_is_counted_right(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(store, 3)
    take = store._taking._take

    def slow(*args: Any) -> Any:
        # What was read is free and was never counted as claimed.
        claim_id, _ = claim(other)
        count_all(other)
        other.release_claim(KEY, claim_id, now=T0)
        return take(*args)

    monkeypatch.setattr(store._taking, "_take", slow)

    _, held = claim(store, limit=2)

    assert len(held) == 2
    assert counted(other) == (3, 2)
    count_all(other)
    assert counted(other) == (3, 2)
    assert_stats_match_listing(other, now=T0)


# Dead letters on their way


def post_and_die(own: Letters, *args: Any) -> None:
    POST(own, *args)
    raise Died


POST = Letters._post
STEPS: dict[str, Callable[..., Any]] = {
    "when they have left": die,
    "when they have arrived": post_and_die,
}


@pytest.fixture(params=STEPS)
def interrupted(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> list[str]:
    """Dead letters whose mover died."""
    ids = post(store, 3)
    claim_id, _ = claim(store, dead_letter=RULE)
    store.release_claim(KEY, claim_id, now=T0)
    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(Letters, "_post", STEPS[request.param])
        claim(store, dead_letter=RULE)
    return ids


def resume_by_claim(store: MongoStore, now: float) -> None:
    assert claim(store, dead_letter=RULE, now=now)[1] == []


def resume_by_sweep(store: MongoStore, now: float) -> None:
    store.sweep(now=now)


@pytest.mark.parametrize("resume", [resume_by_claim, resume_by_sweep])
def test_interrupted_move_is_finished_by_who_comes_next(
    other: MongoStore,
    interrupted: list[str],
    resume: Callable[[MongoStore, float], None],
) -> None:
    assert listed(other) == []
    assert counted(other) == (0, 0)
    now = T0 + letters.LEASE + 1

    resume(other, now)

    assert listed(other, DEAD, now=now) == interrupted
    assert counted(other, DEAD, now=now) == (3, 0)
    assert counted(other, now=now) == (0, 0)
    count_all(other)
    assert counted(other, now=now) == (0, 0)
    assert stored(other) == 3
    resume(other, now + letters.LEASE + 1)
    assert listed(other, DEAD, now=now) == interrupted


@pytest.mark.usefixtures("forgiven")
def test_letters_that_were_taken_do_not_arrive_again(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if nothing of them is left in the target when their mover is replaced."""
    ids = post(store, 3)
    claim_id, _ = claim(store, dead_letter=RULE)
    store.release_claim(KEY, claim_id, now=T0)
    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(Letters, "_post", post_and_die)
        claim(store, dead_letter=RULE)
    assert ids_of(other.pop_messages(DEAD, 10, now=T0)) == ids
    while other._counting.count(name_of(DEAD)):
        pass

    other.sweep(now=T0 + letters.LEASE + 1)

    assert listed(other, DEAD, now=T0 + letters.LEASE + 1) == []
    assert_stats_match_listing(other, DEAD, now=T0 + letters.LEASE + 1)
    assert stored(other) == 0


def test_mover_that_was_too_slow_leaves_the_move_to_others(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = post(store, 3)
    claim_id, _ = claim(store, dead_letter=RULE)
    store.release_claim(KEY, claim_id, now=T0)
    monkeypatch.setattr(letters, "IN_TIME", -1.0)
    with pytest.raises(StorageUnavailable):
        claim(store, dead_letter=RULE)
    monkeypatch.undo()

    other.sweep(now=T0 + letters.LEASE + 1)

    assert listed(other, DEAD, now=T0 + letters.LEASE + 1) == ids


# What a deleted queue has left


def leave_remains(
    store: MongoStore, patch: pytest.MonkeyPatch
) -> tuple[str, list[str]]:
    """Delete a queue with messages in all states, and die; return a claim and ids."""
    create(store, delays=True)
    ids = post(store, 6, ttl=60)
    claim_id, _ = claim(store, limit=2, ttl=50)
    store.delete_messages(KEY, ids[4:], now=T0)
    ids += post(store, 2, delay=50)
    with patch.context() as inner, pytest.raises(Died):
        inner.setattr(Queues, "_remove", die)
        store.delete_queue(KEY)
    return claim_id, ids


def test_remains_of_a_deleted_queue_are_not_in_its_next_life(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim_id, ids = leave_remains(store, monkeypatch)

    create(other)

    assert listed(other) == ready(other) == []
    assert other.get_messages(KEY, ids, now=T0) == []
    assert counted(other) == (0, 0)
    with pytest.raises(ClaimNotFound):
        other.get_claim(KEY, claim_id, now=T0)
    with pytest.raises(ClaimNotFound):
        other.renew_claim(KEY, claim_id, ttl=60, grace=60, now=T0)
    for id in ids:
        other.delete_message(KEY, id, now=T0)
    other.release_claim(KEY, claim_id, now=T0)
    assert counted(other) == (0, 0)
    new = post(other, 2)
    assert ids_of(claim(other)[1]) == new
    count_all(other)
    assert counted(other) == (2, 2)


def test_ids_of_remains_can_be_posted(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, ids = leave_remains(store, monkeypatch)
    revision = create(other)

    drafts = [NewMessage(id, b"1", 300) for id in ids]
    other.post_messages(KEY, drafts, client=CLIENT, revision=revision, now=T0)

    assert listed(other) == ids
    assert_stats_match_listing(other, now=T0)


@pytest.mark.parametrize("is_anew", [False, True])
def test_sweep_removes_the_remains_of_a_deleted_queue(
    store: MongoStore,
    other: MongoStore,
    monkeypatch: pytest.MonkeyPatch,
    is_anew: bool,
) -> None:
    leave_remains(store, monkeypatch)
    new = post(other, 2) if is_anew else []

    other.sweep(now=T0)

    assert stored(other) == len(new)
    if is_anew:
        assert listed(other) == new
        assert counted(other) == (2, 0)


def test_remains_that_expire_are_not_counted_in_the_next_life(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_remains(store, monkeypatch)
    new = post(other, 3)
    now = T0 + 61

    assert listed(other, now=now) == new
    count_all(other)

    assert counted(other, now=now) == (3, 0)
    assert_stats_match_listing(other, now=now)


# Races, message by message


@pytest.fixture
def overtaken(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[], object]], None]:
    """Let others do something once, when `store` has read what it is about to take."""

    def interrupt(work: Callable[[], object]) -> None:
        read = store._viewing.view_behind
        begun: list[int] = []

        def slow(*args: Any, **kwargs: Any) -> View | None:
            view = read(*args, **kwargs)
            if not begun:
                begun.append(1)
                work()
            return view

        monkeypatch.setattr(store._viewing, "view_behind", slow)

    return interrupt


@pytest.mark.parametrize("others", [1, 2, 4])
def test_pop_returns_what_it_won(
    store: MongoStore, other: MongoStore, overtaken: Any, others: int
) -> None:
    ids = post(store, 6)
    theirs: list[str] = []
    overtaken(lambda: theirs.extend(ids_of(other.pop_messages(KEY, others, now=T0))))

    mine = ids_of(store.pop_messages(KEY, 4, now=T0))

    assert theirs == ids[:others]
    assert mine == (ids[others:4] or ids[4:])
    assert listed(other) == [id for id in ids if id not in mine + theirs]
    assert_stats_match_listing(other, now=T0)


@pytest.mark.parametrize("others", [1, 2, 4])
def test_claim_returns_what_it_won(
    store: MongoStore, other: MongoStore, overtaken: Any, others: int
) -> None:
    ids = post(store, 6)
    create(store, QueueKey("p", "q"))
    overtaken(lambda: claim(other, limit=others, ttl=100))

    claim_id, held = claim(store, limit=4)

    assert ids_of(held) == (ids[others:4] or ids[4:])
    kept = store.get_claim(KEY, claim_id, now=T0).messages
    assert list(kept) == held
    assert_stats_match_listing(other, now=T0)
    # The claim is collected once, whoever has taken its first message.
    assert other.sweep(now=T0 + 60) == 1
    assert_stats_match_listing(other, now=T0 + 60)


def test_message_that_is_claimed_meanwhile_is_not_claimed_too_often(
    store: MongoStore, other: MongoStore, overtaken: Any
) -> None:
    ids = post(store, 3)

    def claim_once() -> None:
        claim_id, _ = claim(other, limit=1, dead_letter=RULE)
        other.release_claim(KEY, claim_id, now=T0)

    overtaken(claim_once)

    _, held = claim(store, dead_letter=RULE)

    assert ids_of(held) == ids[1:]
    assert [message.claim_count for message in held] == [1, 1]
    assert claim(store, dead_letter=RULE)[1] == []
    assert [
        message.origin_claims for message in other.pop_messages(DEAD, 9, now=T0)
    ] == [1]


def test_claim_that_is_made_twice_at_once_answers_the_same(
    store: MongoStore, other: MongoStore, overtaken: Any
) -> None:
    ids = post(store, 9)
    overtaken(lambda: claim(other, id="same", limit=3))

    _, held = claim(store, id="same", limit=3)

    assert ids_of(held) == ids[:3]
    assert counted(other) == (9, 3)


RACES: dict[str, Callable[[MongoStore, str, list[str]], object]] = {
    "release": lambda other, claim_id, ids: other.release_claim(
        KEY, claim_id, now=T0 + 59
    ),
    "renew": lambda other, claim_id, ids: other.renew_claim(
        KEY, claim_id, ttl=60, grace=60, now=T0 + 59
    ),
    "delete": lambda other, claim_id, ids: other.delete_message(
        KEY, ids[0], claim=claim_id, now=T0 + 59
    ),
    "delete many": lambda other, claim_id, ids: other.delete_messages(
        KEY, ids[:2], claims=[claim_id], now=T0 + 59
    ),
    "sweep": lambda other, claim_id, ids: other.sweep(now=T0 + 61),
    "claim": lambda other, claim_id, ids: claim(other, now=T0 + 61),
}


@pytest.mark.parametrize("race", RACES)
def test_what_is_settled_is_what_is_still_due(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch, race: str
) -> None:
    ids = post(store, 5)
    claim_id, _ = claim(store, limit=3, ttl=60)
    real = Settling._settle
    begun: list[int] = []

    def slow(own: Settling, *args: Any) -> int:
        if own is store._settling and not begun:
            begun.append(1)
            RACES[race](other, claim_id, ids)
        return real(own, *args)

    monkeypatch.setattr(Settling, "_settle", slow)

    seen = assert_stats_match_listing(store, now=T0 + 61)

    expected = {
        "release": (5, 0),
        "renew": (5, 3),
        "delete": (4, 0),
        "delete many": (3, 0),
        "sweep": (5, 0),
        "claim": (5, 5),
    }
    assert (seen.total, seen.claimed) == expected[race]
    count_all(store)
    assert_stats_match_listing(other, now=T0 + 61)


# Too much for one call


def until_done(work: Callable[[], object]) -> int:
    """Repeat what is refused; return how often it was."""
    for refused in range(10):
        try:
            work()
        except StorageUnavailable:
            continue
        return refused
    raise AssertionError("It is never done.")


@pytest.fixture
def hasty(store: MongoStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A deep queue, of which a call does no more than one step."""
    monkeypatch.setattr("zaqar.storage.mongodb.viewing.LONG", -1.0)
    return post(store, 3500, ttl=60)


def test_purge_of_a_deep_queue_goes_on_where_it_stopped(
    store: MongoStore, hasty: list[str]
) -> None:
    refused = until_done(
        lambda: store.purge_queue(KEY, messages=True, subscriptions=True, now=T0)
    )

    assert refused == 3
    assert counted(store) == (0, 0)


def test_backlog_of_what_has_expired_is_collected_by_several_calls(
    store: MongoStore, hasty: list[str]
) -> None:
    new = post(store, 2)

    refused = until_done(lambda: store.list_messages(KEY, limit=1, now=T0 + 60))

    assert refused == 4
    assert listed(store, now=T0 + 60) == new
    assert counted(store, now=T0 + 60) == (2, 0)


def test_backlog_of_claims_that_ended_is_collected_by_several_calls(
    store: MongoStore, hasty: list[str]
) -> None:
    claim(store, limit=3500, ttl=30)

    refused = until_done(lambda: store.queue_stats(KEY, now=T0 + 30))

    assert refused == 4
    assert counted(store, now=T0 + 30) == (3500, 0)
    assert ready(store, now=T0 + 30) == hasty


def test_deep_queue_that_is_deleted_is_gone_at_once(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zaqar.storage.mongodb.queues.AT_ONCE", 1)
    post(store, 2500)

    store.delete_queue(KEY)

    assert stored(store) == 1500
    new = post(other, 2)
    assert listed(other) == new
    assert counted(other) == (2, 0)
    store.sweep(now=T0)
    assert stored(other) == 2


# Posts that begin while others read


@pytest.mark.parametrize(
    ("posting", "relaxed", "visible"),
    [
        ([], False, [9, 10]),
        ([], True, [9, 10, 12]),
        ([{"first": 10, "count": 1}], False, [9]),
    ],
)
def test_what_is_reserved_after_the_queue_was_read_is_not_seen(
    posting: list[Document], relaxed: bool, visible: list[int]
) -> None:
    """Of two posts the later one may have inserted first."""
    queue = {"base": 0, "last": 10, "posting": posting, "buried": []}

    view = View(queue, [{"number": each} for each in (9, 10, 12)], relaxed=relaxed)

    assert [each["number"] for each in view.visible] == visible


# Walls

WITHOUT, WITH = "no wall", "a wall"
FAR = 10.0**15


def test_queue_has_a_wall_until_its_remains_are_removed(store: MongoStore) -> None:
    create(store)
    assert walls(store) == [NAME]

    store.delete_queue(KEY)
    store.sweep(now=T0)

    assert walls(store) == []


def test_queue_that_is_made_again_has_a_wall(store: MongoStore) -> None:
    create(store)
    store.delete_queue(KEY)
    store.sweep(now=T0)

    create(store)
    store.sweep(now=T0)

    assert walls(store) == [NAME]


@pytest.mark.parametrize("there", [WITHOUT, WITH])
def test_wall_is_no_message(store: MongoStore, there: str) -> None:
    revision = create(store)
    if there == WITHOUT:
        store._database.messages.delete_many({"state": WALL})
    expected = [wall(NAME)] if there == WITH else []
    id = wall(NAME)["_id"]

    for now in (T0, FAR):
        assert listed(store, claimed=True, delayed=True, now=now) == []
        assert counted(store, now=now) == (0, 0)
        assert store.queue_stats(KEY, now=now) == QueueStats()
        assert store.export_messages(KEY, 10, now=now) == []
        assert store.pop_messages(KEY, 10, now=now) == []
        assert store.get_messages(KEY, [id, ""], now=now) == []
        assert claim(store, limit=10, now=now)[1] == []
        store.delete_messages(KEY, [id, ""], now=now)
        store.delete_message(KEY, id, now=now)
        store.purge_queue(KEY, messages=True, subscriptions=True, now=now)
        store.sweep(now=now)
        assert store._counting.count(NAME) == 0
    with pytest.raises(ClaimNotFound):
        store.get_claim(KEY, "true", now=T0)
    with pytest.raises(ClaimNotFound):
        store.renew_claim(KEY, "true", ttl=60, grace=60, now=T0)
    store.release_claim(KEY, "true", now=T0)

    assert store.get_queue(KEY).revision == revision
    assert list(store._database.messages.find()) == expected


def test_messages_before_the_wall_are_counted_alone(store: MongoStore) -> None:
    ids = post(store, 5)
    claim_id, held = claim(store, limit=2)

    store.delete_messages(KEY, ids_of(held)[:1], claims=[claim_id], now=T0)

    assert counted(store) == (4, 1)
    assert_stats_match_listing(store, now=T0)
    assert ids_of(store.pop_messages(KEY, 10, now=T0)) == ids[2:]
    assert counted(store) == (1, 1)
    assert ids_of(store.get_claim(KEY, claim_id, now=T0).messages) == ids[1:2]

# SPDX-License-Identifier: Apache-2.0
"""Facts that hold when many threads use the same data through two handles."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any, TypeVar
from uuid import uuid4

from tests.contract.arrange import (
    KEY,
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
)
from zaqar.errors import QueueChanged, QueueNotFound
from zaqar.model import DeadLetter, NewMessage, QueueKey
from zaqar.storage.base import Store

T = TypeVar("T")
Opener = Callable[[], Store]


def together(count: int, work: Callable[[int], T]) -> list[T]:
    """Run `work(0)` to `work(count - 1)` in threads that start as one."""
    start = threading.Barrier(count)

    def run(number: int) -> T:
        start.wait(timeout=60)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def produce(store: Store, producer: int, posts: int, size: int) -> None:
    """Post batches whose bodies say who posted them, and in which place."""
    revision = store.get_queue(KEY).revision
    for number in range(posts):
        bodies = [f"[{producer},{number},{part}]".encode() for part in range(size)]
        batch = [NewMessage(message_id(T0), body, 300) for body in bodies]
        store.post_messages(KEY, batch, client=str(producer), revision=revision, now=T0)


def assert_ordered(bodies: list[bytes], producers: int, posts: int, size: int) -> None:
    """Check that each post is one run and that each producer's posts keep order."""
    entries = [tuple(map(int, body[1:-1].split(b","))) for body in bodies]
    runs = [entries[at : at + size] for at in range(0, len(entries), size)]
    assert len(entries) == producers * posts * size
    for run in runs:
        producer, number, _ = run[0]
        assert run == [(producer, number, part) for part in range(size)]
    for producer in range(producers):
        numbers = [run[0][1] for run in runs if run[0][0] == producer]
        assert numbers == list(range(posts))


class ConcurrencyContract:
    def test_posts_of_parallel_producers_are_contiguous_and_in_order(
        self, open_store: Opener
    ) -> None:
        stores = [open_store(), open_store()]
        create(stores[0])

        together(8, lambda number: produce(stores[number % 2], number, 12, 5))

        bodies = [message.body for message in read(stores[0])]
        assert_ordered(bodies, producers=8, posts=12, size=5)
        assert counted(stores[1]) == (480, 0)

    def test_parallel_claims_never_share_a_message(self, open_store: Opener) -> None:
        stores = [open_store(), open_store()]
        ids = post(stores[0], 200)

        def claim_all(number: int) -> list[str]:
            taken: list[str] = []
            while held := claim(stores[number % 2], limit=3)[1]:
                taken += ids_of(held)
            return taken

        taken = together(16, claim_all)

        assert Counter(chain(*taken)) == Counter(ids)
        assert counted(stores[0]) == (200, 200)
        order = {id: place for place, id in enumerate(ids)}
        for mine in taken:
            assert [order[id] for id in mine] == sorted(order[id] for id in mine)

    def test_claims_that_are_released_meanwhile_never_overlap(
        self, open_store: Opener
    ) -> None:
        stores = [open_store(), open_store()]
        post(stores[0], 20)
        holders: Counter[str] = Counter()
        guard = threading.Lock()
        overlaps: list[str] = []

        def work(number: int) -> None:
            store = stores[number % 2]
            for _ in range(15):
                claim_id, held = claim(store, limit=4)
                with guard:
                    holders.update(ids_of(held))
                    overlaps.extend(id for id in ids_of(held) if holders[id] > 1)
                with guard:
                    holders.subtract(ids_of(held))
                store.release_claim(KEY, claim_id, now=T0)

        together(8, work)

        assert overlaps == []
        assert counted(stores[0]) == (20, 0)

    def test_parallel_pops_hand_each_message_to_one_caller(
        self, open_store: Opener
    ) -> None:
        stores = [open_store(), open_store()]
        ids = post(stores[0], 200)

        def pop_all(number: int) -> list[str]:
            taken: list[str] = []
            while popped := stores[number % 2].pop_messages(KEY, 3, now=T0):
                taken += ids_of(popped)
            return taken

        taken = together(8, pop_all)

        assert Counter(chain(*taken)) == Counter(ids)
        assert counted(stores[0]) == (0, 0)

    def test_claims_and_pops_never_share_a_message(self, open_store: Opener) -> None:
        stores = [open_store(), open_store()]
        ids = post(stores[0], 200)

        def work(number: int) -> list[str]:
            store = stores[number // 2 % 2]
            taken: list[str] = []
            while True:
                some = (
                    claim(store, limit=2)[1]
                    if number % 2
                    else store.pop_messages(KEY, 2, now=T0)
                )
                if not some:
                    return taken
                taken += ids_of(some)

        taken = together(8, work)

        assert Counter(chain(*taken)) == Counter(ids)
        assert_stats_match_listing(stores[0], now=T0)

    def test_observer_misses_and_repeats_nothing_while_others_post(
        self, open_store: Opener
    ) -> None:
        stores = [open_store(), open_store()]
        create(stores[0])
        left = [4]

        def work(number: int) -> list[bytes]:
            store = stores[number % 2]
            if number < 4:
                produce(store, number, 25, 3)
                left[0] -= 1
                return []
            seen: list[bytes] = []
            marker = None
            while True:
                last_look = left[0] == 0
                page = store.list_messages(KEY, marker=marker, limit=4, now=T0)
                seen += [message.body for message in page.items]
                marker = page.marker or marker
                if last_look and not page.items:
                    return seen

        *_, first, second = together(6, work)

        assert_ordered(first, producers=4, posts=25, size=3)
        assert second == first
        assert first == [message.body for message in read(stores[0])]

    def test_post_is_seen_whole_or_not_at_all(self, open_store: Opener) -> None:
        stores = [open_store(), open_store()]
        create(stores[0])
        done = threading.Event()

        def work(number: int) -> list[int]:
            if number == 0:
                produce(stores[0], 0, 40, 10)
                done.set()
                return []
            sizes = []
            while not done.is_set():
                sizes.append(counted(stores[1])[0])
                sizes.append(len(stores[1].list_messages(KEY, limit=999, now=T0).items))
            return sizes

        _, sizes = together(2, work)

        assert {size % 10 for size in sizes} <= {0}

    def test_claim_is_never_missed_while_its_deep_queue_is_purged(
        self, open_store: Opener
    ) -> None:
        stores = [open_store(), open_store()]
        post(stores[0])
        claim_id, held = claim(stores[0], ttl=1000)
        left = [12]

        def work(number: int) -> int:
            while number == 0 and left[0]:
                post(stores[0], 1100)
                stores[0].purge_queue(KEY, messages=True, subscriptions=True, now=T0)
                left[0] -= 1
            looks = 0
            while left[0]:
                got = stores[1].get_claim(KEY, claim_id, now=T0)
                assert list(got.messages) == held
                assert counted(stores[1])[1] == 1
                looks += 1
            return looks

        together(3, work)

        assert read(stores[0]) == held

    def test_one_of_racing_creators_creates(self, open_store: Opener) -> None:
        stores = [open_store(), open_store()]

        for attempt in range(10):
            key = QueueKey("p", f"q{attempt}")

            def put(number: int, key: QueueKey = key) -> bool:
                return stores[number % 2].put_queue(
                    key, {"n": number}, delays=False, revision=str(number), now=T0
                )

            new = together(8, put)

            queue = stores[0].get_queue(key)
            assert [number for number in range(8) if new[number]] == [
                int(queue.revision)
            ]
            assert queue.metadata == {"n": int(queue.revision)}

    def test_one_of_racing_changes_wins(self, open_store: Opener) -> None:
        stores = [open_store(), open_store()]
        create(stores[0])

        for _ in range(10):
            before = stores[0].get_queue(KEY).revision

            def change(number: int, before: str = before) -> str:
                revision = str(uuid4())
                try:
                    stores[number % 2].put_queue(
                        KEY,
                        {"n": revision},
                        delays=False,
                        revision=revision,
                        expect=before,
                        now=T0,
                    )
                except QueueChanged as changed:
                    assert changed.queue.revision != before
                    return ""
                return revision

            winners = [revision for revision in together(8, change) if revision]

            queue = stores[0].get_queue(KEY)
            assert winners == [queue.revision]
            assert queue.metadata == {"n": queue.revision}

    def test_same_post_sent_in_parallel_is_stored_once(
        self, open_store: Opener
    ) -> None:
        stores = [open_store(), open_store()]
        revision = create(stores[0])
        drafts = [draft() for _ in range(5)]

        together(
            8,
            lambda number: stores[number % 2].post_messages(
                KEY, drafts, client="c", revision=revision, now=T0
            ),
        )

        assert listed(stores[0]) == [message.id for message in drafts]
        assert counted(stores[0]) == (5, 0)

    def test_same_claim_sent_in_parallel_is_made_once(self, open_store: Opener) -> None:
        stores = [open_store(), open_store()]
        post(stores[0], 20)

        answers = together(
            8, lambda number: claim(stores[number % 2], id="same", limit=3)[1]
        )

        assert all(answer == answers[0] for answer in answers)
        assert counted(stores[0]) == (20, 3)

    def test_parallel_sweeps_collect_each_thing_once(self, open_store: Opener) -> None:
        stores = [open_store(), open_store()]
        post(stores[0], 2500, ttl=60)
        rest = post(stores[0], 3, ttl=300)
        claim(stores[0], limit=1200, ttl=30)

        collected = together(6, lambda number: stores[number % 2].sweep(now=T0 + 60))

        assert sum(collected) == 2501
        assert listed(stores[1], now=T0 + 60) == rest
        assert_stats_match_listing(stores[0], now=T0 + 60)

    def test_dead_letters_are_neither_lost_nor_doubled_in_parallel(
        self, open_store: Opener
    ) -> None:
        stores = [open_store(), open_store()]
        ids = post(stores[0], 60)
        rule = DeadLetter("dead", 2)

        def work(number: int) -> None:
            store = stores[number % 2]
            while held := claim(store, limit=5, dead_letter=rule):
                claim_id, messages = held
                if not messages:
                    return
                store.release_claim(KEY, claim_id, now=T0)

        together(6, work)
        claim(stores[0], limit=100, dead_letter=rule)

        dead = QueueKey(KEY.project, "dead")
        assert Counter(listed(stores[0], dead)) == Counter(ids)
        assert counted(stores[0]) == (0, 0)
        assert counted(stores[1], dead) == (60, 0)
        assert {message.origin_claims for message in read(stores[1], dead)} == {2}

    def test_queue_deleted_under_producers_is_never_half_there(
        self, open_store: Opener
    ) -> None:
        stores = [open_store(), open_store()]

        def work(number: int) -> Any:
            store = stores[number % 2]
            for _ in range(25):
                if number == 0:
                    store.delete_queue(KEY)
                    continue
                try:
                    post(store, 3)
                except (QueueNotFound, QueueChanged, AssertionError):
                    continue

        together(5, work)
        stores[0].delete_queue(KEY)
        ids = post(stores[0], 2)

        assert listed(stores[1]) == ids
        assert counted(stores[1]) == (2, 0)

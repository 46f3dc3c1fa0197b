# SPDX-License-Identifier: Apache-2.0
"""Facts that hold when several processes, each with threads, use the same data.

For drivers whose `opener` can be sent to another process.
"""

import multiprocessing
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from typing import Any

from tests.contract.arrange import (
    KEY,
    T0,
    assert_stats_match_listing,
    claim,
    counted,
    create,
    ids_of,
    listed,
    post,
    read,
)
from tests.contract.concurrency import assert_ordered, produce, together
from zaqar.storage.base import Store

Opener = Callable[[], Store]

PROCESSES, THREADS = 4, 3


def in_processes(work: Callable[[Opener, int], Any], opener: Opener) -> list[Any]:
    """Run `work(opener, number)` in fresh processes at the same time."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=context) as pool:
        jobs = [pool.submit(work, opener, number) for number in range(PROCESSES)]
        return [job.result(timeout=120) for job in jobs]


def open_and_produce(opener: Opener, process: int) -> None:
    store = opener()
    together(THREADS, lambda thread: produce(store, process * THREADS + thread, 10, 4))
    store.close()


def open_and_take(opener: Opener, process: int) -> list[str]:
    """Claim and delete in even threads, pop in odd ones, until nothing is left."""
    store = opener()

    def take(thread: int) -> list[str]:
        taken: list[str] = []
        while True:
            if thread % 2:
                some = store.pop_messages(KEY, 2, now=T0)
            else:
                claim_id, some = claim(store, limit=3)
                for message in some:
                    store.delete_message(KEY, message.id, claim=claim_id, now=T0)
            if not some:
                return taken
            taken += ids_of(some)

    taken = together(THREADS, take)
    store.close()
    return list(chain(*taken))


def open_and_create(opener: Opener, process: int) -> bool:
    store = opener()
    new = store.put_queue(KEY, {}, delays=False, revision=str(process), now=T0)
    store.close()
    return new


def open_and_sweep(opener: Opener, process: int) -> int:
    store = opener()
    collected = together(2, lambda _: store.sweep(now=T0 + 60))
    store.close()
    return sum(collected)


class ProcessContract:
    def test_posts_of_several_processes_are_contiguous_and_in_order(
        self, opener: Opener, store: Store
    ) -> None:
        create(store)

        in_processes(open_and_produce, opener)

        producers = PROCESSES * THREADS
        bodies = [message.body for message in read(store)]
        assert_ordered(bodies, producers=producers, posts=10, size=4)
        assert counted(store) == (producers * 40, 0)

    def test_each_message_is_taken_by_one_of_several_processes(
        self, opener: Opener, store: Store
    ) -> None:
        ids = post(store, 400)

        taken = in_processes(open_and_take, opener)

        assert Counter(chain(*taken)) == Counter(ids)
        assert counted(store) == (0, 0)

    def test_one_of_several_processes_creates(
        self, opener: Opener, store: Store
    ) -> None:
        new = in_processes(open_and_create, opener)

        assert new.count(True) == 1
        assert store.get_queue(KEY).revision == str(new.index(True))

    def test_several_processes_sweep_each_thing_once(
        self, opener: Opener, store: Store
    ) -> None:
        post(store, 2500, ttl=60)
        rest = post(store, 2, ttl=300)

        collected = in_processes(open_and_sweep, opener)

        assert sum(collected) == 2500
        assert listed(store, now=T0 + 60) == rest
        assert_stats_match_listing(store, now=T0 + 60)

# SPDX-License-Identifier: Apache-2.0
"""What happens when the server fails, forgets, refuses, or its answer is lost."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import pytest

from tests.contract.arrange import (
    CLIENT,
    KEY,
    T0,
    claim,
    counted,
    create,
    draft,
    ids_of,
    listed,
    post,
    send,
    set_delays,
)
from tests.cutting import Cutter
from tests.redis_servers import RedisServer
from zaqar.errors import ConfigurationError, StorageUnavailable
from zaqar.model import DeadLetter
from zaqar.storage.redis.pool import Pool
from zaqar.storage.redis.store import RedisStore

T = TypeVar("T")


@pytest.fixture
def store(own_redis: RedisServer) -> Iterator[RedisStore]:
    """A store that gives up soon."""
    store = RedisStore(
        own_redis.uri.replace("=4", "=0.5"),
        max_reconnect_attempts=2,
        reconnect_sleep=0.05,
    )
    yield store
    store.close()


@pytest.fixture(params=["the whole answer", "its second half"])
def cutter(own_redis: RedisServer, request: pytest.FixtureRequest) -> Iterator[Cutter]:
    """A proxy that can lose answers, or the second half of each."""
    cutter = Cutter(own_redis.port)
    cutter.halves = request.param == "its second half"
    yield cutter
    cutter.close()


@pytest.fixture
def cut_store(cutter: Cutter) -> Iterator[RedisStore]:
    store = RedisStore(cutter.uri, reconnect_sleep=0.01)
    yield store
    store.close()


def unavailable(work: Callable[[], object]) -> float:
    """Check that the work is refused; return how long that took."""
    begin = time.monotonic()
    with pytest.raises(StorageUnavailable):
        work()
    return time.monotonic() - begin


def soon(work: Callable[[], T]) -> T:
    """Do the work as soon as it is not refused any more."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return work()
        except StorageUnavailable:
            assert time.monotonic() < deadline
            time.sleep(0.01)


# The server fails


def test_forgotten_scripts_are_loaded_again(
    store: RedisStore, own_redis: RedisServer
) -> None:
    ids = post(store, 3)
    own_redis.ask("SCRIPT", "FLUSH")

    assert listed(store) == ids
    assert ids_of(store.pop_messages(KEY, 3, now=T0)) == ids


def test_killed_server_is_unavailable_and_comes_back_with_its_messages(
    store: RedisStore, own_redis: RedisServer
) -> None:
    ids = post(store, 3)
    claim_id, _ = claim(store, limit=1)
    own_redis.kill()

    unavailable(lambda: store.queue_stats(KEY, now=T0))
    unavailable(lambda: store.pop_messages(KEY, 1, now=T0))
    unavailable(store.ping)
    own_redis.start()

    store.ping()
    assert listed(store) == ids
    assert ids_of(store.get_claim(KEY, claim_id, now=T0).messages) == ids[:1]


def test_idle_connections_of_a_restarted_server_are_not_used(
    store: RedisStore, own_redis: RedisServer
) -> None:
    ids = post(store, 3)
    own_redis.kill()
    own_redis.start()

    assert ids_of(store.pop_messages(KEY, 3, now=T0)) == ids


def test_server_that_hangs_is_unavailable_in_time_and_goes_on(
    own_redis: RedisServer,
) -> None:
    store = RedisStore(f"redis://127.0.0.1:{own_redis.port}")
    ids = post(store, 3)
    own_redis.stop_for_a_while()

    first = unavailable(lambda: store.queue_stats(KEY, now=T0))
    second = unavailable(lambda: store.queue_stats(KEY, now=T0))
    own_redis.go_on()

    assert first < 10
    assert second < first / 2, "nobody waits again for a server that was given up on"
    assert soon(lambda: listed(store)) == ids
    store.close()


def test_queues_of_a_server_that_was_given_up_on_are_not_waited_for(
    own_redis: RedisServer,
) -> None:
    store = RedisStore(f"redis://127.0.0.1:{own_redis.port}")
    create(store)
    own_redis.stop_for_a_while()

    first = unavailable(lambda: store.get_queues(KEY.project, [KEY.name]))
    second = unavailable(lambda: store.get_queues(KEY.project, [KEY.name]))
    own_redis.go_on()

    assert second < first / 2
    assert soon(lambda: len(store.get_queues(KEY.project, [KEY.name]))) == 1
    store.close()


def test_crowd_before_a_server_that_hangs_is_refused_in_time_and_goes_on(
    own_redis: RedisServer,
) -> None:
    """Eight threads serve forty callers, as a worker does."""
    store = RedisStore(f"redis://127.0.0.1:{own_redis.port}?socket_timeout=1")
    ids = post(store, 3)
    own_redis.stop_for_a_while()
    begin = time.monotonic()

    with ThreadPoolExecutor(8) as threads:
        for _ in range(40):
            threads.submit(unavailable, lambda: store.queue_stats(KEY, now=T0))
    seconds = time.monotonic() - begin
    own_redis.go_on()

    assert seconds < 10
    assert soon(lambda: listed(store)) == ids
    store.close()


def test_one_at_a_time_tries_a_server_that_was_given_up_on(
    own_redis: RedisServer,
) -> None:
    store = RedisStore(
        f"redis://127.0.0.1:{own_redis.port}?socket_timeout=1",
        max_reconnect_attempts=0,
    )
    create(store)
    own_redis.stop_for_a_while()
    unavailable(lambda: store.queue_stats(KEY, now=T0))
    time.sleep(0.1)

    with ThreadPoolExecutor(8) as threads:
        work = partial(unavailable, lambda: store.queue_stats(KEY, now=T0))
        waits = sorted(threads.map(lambda _: work(), range(8)))
    own_redis.go_on()

    assert waits[-2] < waits[-1] / 2
    store.close()


def test_impatient_ping_shuts_nobody_out(
    store: RedisStore, own_redis: RedisServer
) -> None:
    ids = post(store)
    own_redis.stop_for_a_while()
    unavailable(store.ping)
    own_redis.go_on()

    assert listed(store) == ids


def test_attempts_end_in_time_whatever_the_options_say(own_redis: RedisServer) -> None:
    store = RedisStore(
        f"redis://127.0.0.1:{own_redis.port}?socket_timeout=60",
        max_reconnect_attempts=1000,
        reconnect_sleep=100.0,
    )
    own_redis.stop_for_a_while()

    assert unavailable(lambda: store.queue_stats(KEY, now=T0)) < 10
    store.close()


def test_operation_waits_for_a_server_that_is_just_starting(
    own_redis: RedisServer,
) -> None:
    store = RedisStore(own_redis.uri, reconnect_sleep=0.2)
    create(store)
    own_redis.kill()
    begin = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        sleep = time.sleep

        def start_meanwhile(seconds: float) -> None:
            if own_redis.process.poll() is not None:
                own_redis.start()
            sleep(seconds)

        patch.setattr("zaqar.storage.redis.patience.time.sleep", start_meanwhile)
        assert store.queue_stats(KEY, now=T0).total == 0
    assert time.monotonic() - begin < 10
    store.close()


def test_server_that_does_not_run_yet_is_no_reason_to_refuse(
    own_redis: RedisServer,
) -> None:
    own_redis.kill()

    store = RedisStore(own_redis.uri, max_reconnect_attempts=0)

    unavailable(store.ping)
    own_redis.start()
    store.ping()
    store.close()


# The server refuses


def test_replica_is_refused_at_start_and_by_ping(
    store: RedisStore, own_redis: RedisServer
) -> None:
    ids = post(store)
    own_redis.ask("REPLICAOF", "127.0.0.1", "1")

    with pytest.raises(ConfigurationError, match="replica"):
        RedisStore(own_redis.uri)
    unavailable(store.ping)
    unavailable(lambda: post(store))
    own_redis.ask("REPLICAOF", "NO", "ONE")

    assert listed(store) == ids


def test_full_server_is_unavailable_and_nothing_happened(
    store: RedisStore, own_redis: RedisServer
) -> None:
    ids = post(store, 3)
    own_redis.ask("CONFIG", "SET", "maxmemory", "1")

    unavailable(lambda: post(store))
    unavailable(store.ping)
    own_redis.ask("CONFIG", "SET", "maxmemory", "0")

    assert listed(store) == ids
    assert counted(store) == (3, 0)


def test_server_that_would_drop_messages_is_refused(own_redis: RedisServer) -> None:
    own_redis.ask("CONFIG", "SET", "maxmemory", "100mb")
    own_redis.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")

    with pytest.raises(ConfigurationError, match="allkeys-lru"):
        RedisStore(own_redis.uri)


def test_wrong_password_is_refused_at_start(own_redis: RedisServer) -> None:
    own_redis.ask("CONFIG", "SET", "requirepass", "secret")

    RedisStore(own_redis.uri.replace("//", "//:secret@")).close()
    for wrong in (own_redis.uri, own_redis.uri.replace("//", "//:wrong@")):
        with pytest.raises(ConfigurationError):
            RedisStore(wrong)


def test_password_that_has_changed_is_unavailable(
    store: RedisStore, own_redis: RedisServer
) -> None:
    post(store)
    own_redis.ask("CONFIG", "SET", "requirepass", "secret")
    store._client._nodes.pool("")._idle.clear()

    unavailable(lambda: post(store))


def test_error_of_a_script_is_no_outage(store: RedisStore) -> None:
    create(store)
    record = store._keys.record(KEY)
    store._client.ask(record, ("SET", f"{record}:m", "not a hash"))

    with pytest.raises(Exception, match="WRONGTYPE"):
        store.queue_stats(KEY, now=T0)


# An answer is lost


def test_post_whose_answer_was_lost_is_stored_once(
    cut_store: RedisStore, cutter: Cutter
) -> None:
    create(cut_store)
    post(cut_store)
    revision = cut_store.get_queue(KEY).revision
    new = [draft(), draft()]
    cutter.cuts = 1

    cut_store.post_messages(KEY, new, client=CLIENT, revision=revision, now=T0)

    assert cutter.lost == 1
    assert counted(cut_store) == (3, 0)


def test_import_whose_answer_was_lost_does_not_bring_back_what_was_taken(
    cut_store: RedisStore,
    cutter: Cutter,
    own_redis: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    post(cut_store, 3)
    parcels = cut_store.export_messages(KEY, 10, now=T0)
    # The server knows the script from now on.
    cut_store.import_messages(KEY, parcels, now=T0)
    cut_store.delete_messages(KEY, listed(cut_store), now=T0)
    other = RedisStore(own_redis.uri)
    popped: list[str] = []

    def pop(attempt: float) -> None:
        popped.extend(ids_of(other.pop_messages(KEY, 2, now=T0)))

    monkeypatch.setattr("zaqar.storage.redis.patience.time.sleep", pop)
    cutter.cuts = 1
    cut_store.import_messages(KEY, parcels, now=T0)

    ids = [parcel.message.id for parcel in parcels]
    assert (popped, listed(other)) == (ids[:2], ids[2:])
    other.close()


def forget_scripts(server: RedisServer, other: RedisStore) -> None:
    server.ask("SCRIPT", "FLUSH")


def change_settings(server: RedisServer, other: RedisStore) -> None:
    set_delays(other, True, now=T0)


def delete_queue(server: RedisServer, other: RedisStore) -> None:
    other.delete_queue(KEY)


@pytest.mark.parametrize(
    "meanwhile", [None, forget_scripts, change_settings, delete_queue]
)
def test_post_whose_answer_was_lost_does_not_bring_back_what_was_taken(
    cut_store: RedisStore,
    cutter: Cutter,
    own_redis: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: Callable[[RedisServer, RedisStore], None] | None,
) -> None:
    other = RedisStore(own_redis.uri)
    post(cut_store)
    other.pop_messages(KEY, 9, now=T0)
    revision = cut_store.get_queue(KEY).revision
    new = draft()
    taken: list[str] = []

    def take_meanwhile(seconds: float) -> None:
        taken.extend(ids_of(other.pop_messages(KEY, 9, now=T0)))
        if meanwhile:
            meanwhile(own_redis, other)

    monkeypatch.setattr("zaqar.storage.redis.patience.time.sleep", take_meanwhile)
    cutter.cuts = 1
    cut_store.post_messages(KEY, [new], client=CLIENT, revision=revision, now=T0)

    assert taken == [new.id]
    assert listed(other) == []
    other.close()


def test_attempt_that_arrives_after_its_repetition_does_not_bring_back_what_was_taken(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that hung, or a network, may deliver what a client has given up on."""
    create(store)
    first: list[tuple[Any, ...]] = []
    ask = Pool.ask

    def remember(pool: Pool, command: tuple[Any, ...], **options: Any) -> Any:
        first.append(command)
        return ask(pool, command, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Pool, "ask", remember)
        ids = post(store, 2)
    assert ids_of(store.pop_messages(KEY, 9, now=T0)) == ids

    ask(store._client._nodes.pool(""), first[-1])

    assert counted(store) == (0, 0)


def test_claim_whose_answer_was_lost_gives_the_same_messages(
    cut_store: RedisStore, cutter: Cutter
) -> None:
    ids = post(cut_store, 5)
    revision = cut_store.get_queue(KEY).revision
    arguments: dict[str, Any] = {"ttl": 60, "grace": 60, "limit": 2, "now": T0}
    cut_store.create_claim(KEY, "one", revision=revision, **arguments)
    cutter.cuts = 1

    held = cut_store.create_claim(KEY, "two", revision=revision, **arguments)

    assert cutter.lost == 1
    assert ids_of(held) == ids[2:4]
    assert counted(cut_store) == (5, 4)


def test_pop_whose_answer_was_lost_takes_no_others(
    cut_store: RedisStore, cutter: Cutter
) -> None:
    ids = post(cut_store, 5)
    cut_store.pop_messages(KEY, 1, now=T0)
    cutter.cuts = 1

    unavailable(lambda: cut_store.pop_messages(KEY, 2, now=T0))

    assert listed(cut_store) == ids[3:]


@pytest.mark.parametrize("cuts", range(1, 9))
def test_creation_and_deletion_bear_lost_answers(
    cut_store: RedisStore, cutter: Cutter, cuts: int
) -> None:
    cutter.cuts = cuts
    assert cut_store.put_queue(KEY, {}, delays=False, revision="r", now=T0)
    assert cut_store.count_queues(KEY.project) == 1

    cutter.cuts = cuts
    cut_store.delete_queue(KEY)
    assert cut_store.count_queues(KEY.project) == 0


@pytest.mark.parametrize("cuts", range(1, 8))
def test_dead_letters_bear_lost_answers(
    cut_store: RedisStore, cutter: Cutter, cuts: int
) -> None:
    ids = post(cut_store, 3)
    rule = DeadLetter("dead", 1)
    claim_id, _ = claim(cut_store, dead_letter=rule)
    cut_store.release_claim(KEY, claim_id, now=T0)
    fresh = send(cut_store, [draft()])
    cutter.cuts = cuts

    _, held = claim(cut_store, dead_letter=rule)

    assert ids_of(held) == fresh
    dead = type(KEY)(KEY.project, "dead")
    assert listed(cut_store, dead) == ids
    assert counted(cut_store) == (1, 1)


# Processes


def post_on_both_sides_of_a_fork(uri: str) -> None:
    """Open a store, fork, and post with it in both processes."""
    store = RedisStore(uri)
    create(store)
    parent = os.getpid()
    child = os.fork()
    try:
        for _ in range(50):
            post(store)
    finally:
        if os.getpid() != parent:
            os._exit(sys.exc_info()[0] is not None)
    assert os.waitpid(child, 0)[1] == 0
    assert counted(store) == (100, 0)


def test_store_that_was_opened_before_a_fork_works_on_both_sides(
    own_redis: RedisServer,
) -> None:
    # In a process of its own: what forks must not have threads, as the tests have.
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=post_on_both_sides_of_a_fork, args=[own_redis.uri])
    process.start()
    process.join()

    assert process.exitcode == 0

# SPDX-License-Identifier: Apache-2.0
"""Operations on the service itself: ping, and the self-test of its stores."""

import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from typing import Any

import msgspec
from uuid_utils import uuid7

from zaqar.errors import PoolNotFound, StorageUnavailable, ZaqarError
from zaqar.model import NewMessage, Pool, QueueKey
from zaqar.service import Service, new_revision
from zaqar.storage.base import Store
from zaqar.storage.pooling.pools import VIRTUAL, Pools

SELF_TEST_MESSAGES = 100
# In the order in which they are tried.
OPERATIONS = (
    "create_queue",
    "post_messages",
    "claim_messages",
    "list_messages",
    "delete_messages",
    "delete_claim",
    "bulk_delete_messages",
    "delete_queue",
)
# Pools are tested so many at once: one that is down takes seconds to be found so.
AT_ONCE = 16
# Seconds after which a registry that has not answered is not waited for alone.
PATIENCE = 1.0
# What the pool is called that is not registered.
DEFAULT_POOL = "default"

OnFailure = Callable[[str, str, Exception], None]


class StepReport(msgspec.Struct, frozen=True):
    """How one operation of the self-test went; `ref` finds a failure in the log."""

    succeeded: bool
    seconds: float
    ref: str | None = None


class HealthReport(msgspec.Struct, frozen=True):
    """What the self-test found; operations in the order they were tried."""

    storage_reachable: bool
    operation_status: Mapping[str, StepReport]
    # What a pool can do by the directory, and what it can do now, if that differs.
    drift: tuple[tuple[str, ...], tuple[str, ...]] | None = None


class PoolsReport(msgspec.Struct, frozen=True):
    """What the self-tests of the pools found, by their names."""

    catalog_reachable: bool
    pools: Mapping[str, HealthReport]


def is_alive(service: Service) -> bool:
    """Say whether the message store answers and can write; with pools all of them."""
    return _works(service.store.ping)


def is_ready(service: Service) -> bool:
    """Say whether some requests can be served: one dead pool leaves the others."""
    pools = service.pools
    if pools is None:
        return is_alive(service)
    threads = ThreadPoolExecutor(AT_ONCE)
    try:
        asked = [threads.submit(_works, pools.registry.ping)]
        if wait(asked, PATIENCE).done and asked[0].result():
            return True
        asked += [threads.submit(_answers, pools, id) for id in _known_pools(pools)]
        return any(each.result() for each in as_completed(asked))
    finally:
        # Those that do not answer are not waited for.
        threads.shutdown(wait=False, cancel_futures=True)


def _known_pools(pools: Pools) -> list[str]:
    """Return the ids of the pools; none if the registry was never read."""
    try:
        return [id for _, id in pools.all()]
    except StorageUnavailable:
        return []


def _answers(pools: Pools, id: str) -> bool:
    try:
        return _works(pools.store(id).ping)
    except (StorageUnavailable, PoolNotFound):
        return False


def _works(ping: Callable[[], None]) -> bool:
    try:
        ping()
    except StorageUnavailable:
        return False
    return True


def pools_report(
    pools: Pools, now: Callable[[], float], on_failure: OnFailure
) -> PoolsReport:
    """Test each pool, all at once. `on_failure` is told the pool's name besides."""
    is_there = _works(pools.registry.ping)
    try:
        directory = pools.fresh() if is_there else pools.directory()
        known = {pool.name: pool for pool in directory.pools}
    except StorageUnavailable:
        known = {}
    if pools.virtual is not None:
        known.setdefault(DEFAULT_POOL, Pool(DEFAULT_POOL, VIRTUAL, "", 0))
    with ThreadPoolExecutor(AT_ONCE) as threads:
        tests: dict[str, Future[HealthReport]] = {
            name: threads.submit(_pool_report, pools, pool, now, on_failure)
            for name, pool in known.items()
        }
    return PoolsReport(is_there, {name: test.result() for name, test in tests.items()})


def _pool_report(
    pools: Pools, pool: Pool, now: Callable[[], float], on_failure: OnFailure
) -> HealthReport:
    def told(reference: str, name: str, error: Exception) -> None:
        on_failure(reference, f"{name} in pool {pool.name}", error)

    try:
        store = pools.store(pool.id)
        store.ping()
        capabilities = store.capabilities()
    except (StorageUnavailable, PoolNotFound) as error:
        # PERF: each operation would wait for it as long again.
        reference = str(uuid.uuid4())
        told(reference, "ping", error)
        failed = StepReport(False, 0.0, reference)
        return HealthReport(False, dict.fromkeys(OPERATIONS, failed))
    found = _test(store, now, told)
    if pool.id == VIRTUAL or capabilities == pool.capabilities:
        return found
    return msgspec.structs.replace(found, drift=(pool.capabilities, capabilities))


def report(service: Service, on_failure: OnFailure) -> HealthReport:
    """Try each operation on a throw-away queue of a throw-away project.

    `on_failure` is told the reference, the operation and the error of a failure.
    """
    return _test(service.store, service.now, on_failure)


def _test(
    store: Store, now: Callable[[], float], on_failure: OnFailure
) -> HealthReport:
    results: dict[str, StepReport] = {}
    for name, step in _self_test(store, now):
        started, reference = time.perf_counter(), None
        try:
            step()
        except ZaqarError as error:
            reference = str(uuid.uuid4())
            on_failure(reference, name, error)
        seconds = time.perf_counter() - started
        results[name] = StepReport(reference is None, seconds, reference)
    return HealthReport(_works(store.ping), results)


def _self_test(
    store: Store, now: Callable[[], float]
) -> list[tuple[str, Callable[[], Any]]]:
    key = QueueKey(f"health-{uuid.uuid4()}", "health")
    revision, claim = new_revision(), str(uuid7())
    messages = [
        NewMessage(str(uuid7()), b'{"health": true}', 60)
        for _ in range(SELF_TEST_MESSAGES)
    ]
    ids = [message.id for message in messages]
    steps: list[Callable[[], Any]] = [
        lambda: store.put_queue(key, {}, delays=False, revision=revision, now=now()),
        lambda: store.post_messages(
            key, messages, client="health", revision=revision, now=now()
        ),
        lambda: store.create_claim(
            key, claim, ttl=60, grace=60, limit=10, revision=revision, now=now()
        ),
        lambda: store.list_messages(key, limit=10, claimed=True, now=now()),
        lambda: store.delete_message(key, ids[0], claim=claim, now=now()),
        lambda: store.release_claim(key, claim, now=now()),
        lambda: store.delete_messages(key, ids, now=now()),
        lambda: store.delete_queue(key),
    ]
    return list(zip(OPERATIONS, steps, strict=True))

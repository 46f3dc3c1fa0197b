# SPDX-License-Identifier: Apache-2.0
"""The self-test tells what fails, and does not fail itself."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.model_store import ModelData, ModelStore
from zaqar.errors import QueueNotFound, StorageUnavailable
from zaqar.model import Metadata, QueueKey
from zaqar.operations import health
from zaqar.service import Service
from zaqar.storage.base import Store
from zaqar.storage.sqlite.store import SqliteStore

Serve = Callable[[Store], Service]
Failures = list[tuple[str, str, Exception]]


class NoNewQueues(ModelStore):
    """A store that cannot create queues, so all that needs one fails too."""

    def put_queue(self, key: QueueKey, metadata: Metadata, **more: Any) -> bool:
        raise StorageUnavailable("no room")


def report(service: Service) -> tuple[health.HealthReport, Failures]:
    failures: Failures = []
    return health.report(service, lambda *told: failures.append(told)), failures


def test_steps_that_fail_for_want_of_the_queue_are_told_as_failed(
    serve: Serve,
) -> None:
    found, failures = report(serve(NoNewQueues(ModelData())))

    steps = found.operation_status
    assert found.storage_reachable
    assert not steps["create_queue"].succeeded
    assert not steps["post_messages"].succeeded
    assert steps["delete_queue"].succeeded
    failed = {name: step.ref for name, step in steps.items() if not step.succeeded}
    assert failed == {name: reference for reference, name, _ in failures}


def test_locked_store_is_told_step_by_step(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "zaqar.db"
    store = SqliteStore(str(path), busy_timeout=0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as outsider:
        outsider.execute("BEGIN IMMEDIATE")

        found, failures = report(serve(store))

    store.close()
    assert not found.storage_reachable
    steps = found.operation_status
    assert not any(step.succeeded for step in steps.values())
    # Reading works, but there is no queue.
    others = {name: type(error) for _, name, error in failures}
    assert others.pop("list_messages") is QueueNotFound
    assert set(others.values()) == {StorageUnavailable}

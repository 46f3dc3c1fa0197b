# SPDX-License-Identifier: Apache-2.0
"""Operations on the service itself: ping, and the self-test of its store."""

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from uuid_utils import uuid7

from zaqar.errors import StorageUnavailable, ZaqarError
from zaqar.model import NewMessage, QueueKey
from zaqar.service import Service, new_revision

SELF_TEST_MESSAGES = 100


class StepReport(msgspec.Struct, frozen=True):
    """How one operation of the self-test went; `ref` finds a failure in the log."""

    succeeded: bool
    seconds: float
    ref: str | None = None


class HealthReport(msgspec.Struct, frozen=True):
    """What the self-test found; operations in the order they were tried."""

    storage_reachable: bool
    operation_status: Mapping[str, StepReport]


def is_alive(service: Service) -> bool:
    """Say whether the message store answers and can write."""
    try:
        service.store.ping()
    except StorageUnavailable:
        return False
    return True


def report(
    service: Service, on_failure: Callable[[str, str, Exception], None]
) -> HealthReport:
    """Try each operation on a throw-away queue of a throw-away project.

    `on_failure` is told the reference, the operation and the error of a failure.
    """
    results: dict[str, StepReport] = {}
    for name, step in _self_test(service):
        started, reference = time.perf_counter(), None
        try:
            step()
        except ZaqarError as error:
            reference = str(uuid.uuid4())
            on_failure(reference, name, error)
        seconds = time.perf_counter() - started
        results[name] = StepReport(reference is None, seconds, reference)
    return HealthReport(is_alive(service), results)


def _self_test(service: Service) -> list[tuple[str, Callable[[], Any]]]:
    store, now = service.store, service.now
    key = QueueKey(f"health-{uuid.uuid4()}", "health")
    revision, claim = new_revision(), str(uuid7())
    messages = [
        NewMessage(str(uuid7()), b'{"health": true}', 60)
        for _ in range(SELF_TEST_MESSAGES)
    ]
    ids = [message.id for message in messages]
    return [
        (
            "create_queue",
            lambda: store.put_queue(
                key, {}, delays=False, revision=revision, now=now()
            ),
        ),
        (
            "post_messages",
            lambda: store.post_messages(
                key, messages, client="health", revision=revision, now=now()
            ),
        ),
        (
            "claim_messages",
            lambda: store.create_claim(
                key, claim, ttl=60, grace=60, limit=10, revision=revision, now=now()
            ),
        ),
        (
            "list_messages",
            lambda: store.list_messages(key, limit=10, claimed=True, now=now()),
        ),
        (
            "delete_messages",
            lambda: store.delete_message(key, ids[0], claim=claim, now=now()),
        ),
        ("delete_claim", lambda: store.release_claim(key, claim, now=now())),
        ("bulk_delete_messages", lambda: store.delete_messages(key, ids, now=now())),
        ("delete_queue", lambda: store.delete_queue(key)),
    ]

# SPDX-License-Identifier: Apache-2.0
"""The commands on what subscribers did not take: list, replay."""

import time
from argparse import Namespace
from typing import Any

import msgspec

from zaqar.manage.output import Answer, table
from zaqar.model import QUEUES, TOPICS, Attempt, Delivery, QueueKey, space_of
from zaqar.storage.base import Store

PAGE = 200


def list_(store: Store, wanted: Namespace) -> Answer:
    """List the deliveries of a subscription that wait or have failed, and its log.

    Raises QueueNotFound, SubscriptionNotFound.
    """
    key, now = _key(wanted), store.clock()
    found: list[Delivery] = []
    marker: str | None = None
    while True:
        page = store.list_deliveries(
            key, wanted.subscription, marker=marker, limit=PAGE, now=now
        )
        found += page.items
        if len(page.items) < PAGE:
            break
        marker = page.marker
    attempts = store.list_attempts(key, wanted.subscription, now=now)
    document = {
        "deliveries": [_shown(each, now) for each in found],
        "attempts": [_told(each) for each in attempts],
    }
    rows = [
        (each["message_id"], each["state"], each["failures"], each["retry_in"])
        for each in document["deliveries"]
    ]
    log = [
        (
            time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(attempt.at)),
            attempt.message,
            attempt.delivered,
            attempt.status,
            f"{attempt.seconds:.3f}",
            attempt.error,
        )
        for attempt in attempts
    ]
    text = "\n".join(
        (
            table(("message_id", "state", "failures", "retry_in"), rows),
            "The last attempts (UTC):",
            table(("at", "message_id", "delivered", "status", "seconds", "error"), log),
        )
    )
    return Answer(document, text)


def replay(store: Store, wanted: Namespace) -> Answer:
    """Let failed deliveries be tried again, all or those of the messages named.

    Raises QueueNotFound, SubscriptionNotFound.
    """
    count = store.replay_deliveries(
        _key(wanted), wanted.subscription, wanted.message or None, now=store.clock()
    )
    return Answer({"replayed": count}, f"{count} deliveries are tried again.")


def _key(wanted: Namespace) -> QueueKey:
    kind = TOPICS if wanted.topic else QUEUES
    return QueueKey(space_of(wanted.project, kind), wanted.name)


def _shown(delivery: Delivery, now: float) -> dict[str, Any]:
    due = delivery.due
    return {
        "message_id": delivery.notice.id,
        "state": "failed" if due is None else "waiting",
        "failures": delivery.failures,
        "retry_in": None if due is None else max(0, round(due - now)),
    }


def _told(attempt: Attempt) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(attempt)
    return {"message_id": document.pop("message"), **document}

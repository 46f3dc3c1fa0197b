# SPDX-License-Identifier: Apache-2.0
"""Steps on subscriptions: add, get, list, replace, remove.

`outbox` is the number of the queue's outbox, None where nobody watches the queue.
"""

import sqlite3
from typing import Any

import msgspec

from zaqar.errors import (
    QueueNotFound,
    SubscriberExists,
    SubscriptionChanged,
    SubscriptionNotFound,
)
from zaqar.model import Page, QueueKey, Subscription

FIELDS = "id, subscriber, ttl, created, options, confirmed"

LIVE = f"SELECT {FIELDS} FROM subscriptions WHERE outbox = :outbox AND expires > :now"

COUNT = """
    SELECT count(*) FROM queues
    JOIN subscriptions ON subscriptions.outbox = queues.outbox
    WHERE project = ? AND expires > ?
"""

# One whose time is over makes room for its successor.
PUT = """
    INSERT OR REPLACE INTO subscriptions
    (outbox, id, subscriber, ttl, created, options, confirmed, expires)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""


def outbox_of(connection: sqlite3.Connection, key: QueueKey) -> int | None:
    """Return the number of the queue's outbox. Raises QueueNotFound."""
    found = connection.execute(
        "SELECT outbox FROM queues WHERE project = ? AND name = ?",
        (key.project, key.name),
    ).fetchone()
    if found is None:
        raise QueueNotFound(key.name)
    number: int | None = found[0]
    return number


def watched(connection: sqlite3.Connection, key: QueueKey) -> int:
    """Return the outbox of the queue, a new one if need be. Raises QueueNotFound."""
    outbox = outbox_of(connection, key)
    if outbox is not None:
        return outbox
    (number,) = connection.execute(
        "INSERT INTO outboxes (project, name) VALUES (?, ?) RETURNING number",
        (key.project, key.name),
    ).fetchone()
    connection.execute(
        "UPDATE queues SET outbox = ? WHERE project = ? AND name = ?",
        (number, key.project, key.name),
    )
    return int(number)


def add(
    connection: sqlite3.Connection, key: QueueKey, new: Subscription, now: float
) -> Subscription:
    """Store the subscription, or return the live one of its subscriber."""
    outbox = watched(connection, key)
    old = _of_subscriber(connection, outbox, new.subscriber)
    if old is not None:
        if old.expires > now:
            return old
        drop(connection, outbox, old.id)
    _put(connection, outbox, new)
    return new


def find(
    connection: sqlite3.Connection,
    key: QueueKey,
    outbox: int | None,
    id: str,
    now: float,
) -> Subscription:
    """Return a live subscription. Raises SubscriptionNotFound."""
    found = connection.execute(
        f"{LIVE} AND id = :id", {"outbox": outbox, "now": now, "id": id}
    ).fetchone()
    if found is None:
        raise SubscriptionNotFound(key.name, id)
    return decode(found)


def page(
    connection: sqlite3.Connection,
    outbox: int | None,
    marker: str | None,
    limit: int,
    now: float,
) -> Page[Subscription]:
    """Return live subscriptions behind the marker, by id."""
    found = connection.execute(
        f"{LIVE} AND id > :marker ORDER BY id LIMIT :limit",
        {"outbox": outbox, "now": now, "marker": marker or "", "limit": limit},
    )
    items = tuple(map(decode, found.fetchall()))
    return Page(items, items[-1].id if items else None)


def count(connection: sqlite3.Connection, project: str, now: float) -> int:
    """Return how many live subscriptions the project has."""
    (number,) = connection.execute(COUNT, (project, now)).fetchone()
    return int(number)


def replace(
    connection: sqlite3.Connection,
    key: QueueKey,
    new: Subscription,
    expect: Subscription,
    now: float,
) -> None:
    """Replace a live one, unless it changed.

    Raises SubscriptionNotFound, SubscriptionChanged, SubscriberExists.
    """
    outbox = outbox_of(connection, key)
    stored = find(connection, key, outbox, new.id, now)
    if stored == new:
        return
    if stored != expect:
        raise SubscriptionChanged(key.name, new.id)
    assert outbox is not None
    other = _of_subscriber(connection, outbox, new.subscriber)
    if other is not None and other.id != new.id:
        if other.expires > now:
            raise SubscriberExists(key.name, new.subscriber)
        drop(connection, outbox, other.id)
    _put(connection, outbox, new)


def drop(connection: sqlite3.Connection, outbox: int, id: str) -> None:
    """Remove a subscription with its deliveries and its log."""
    connection.execute(
        "DELETE FROM subscriptions WHERE outbox = ? AND id = ?", (outbox, id)
    )
    for table in ("deliveries", "attempts"):
        connection.execute(
            f"DELETE FROM {table} WHERE outbox = ? AND subscription = ?", (outbox, id)
        )


def drop_all(connection: sqlite3.Connection, outbox: int) -> None:
    """Remove all subscriptions of an outbox."""
    for table in ("subscriptions", "deliveries", "attempts"):
        connection.execute(f"DELETE FROM {table} WHERE outbox = ?", (outbox,))


def live(connection: sqlite3.Connection, outbox: int, now: float) -> list[Subscription]:
    found = connection.execute(LIVE, {"outbox": outbox, "now": now})
    return list(map(decode, found.fetchall()))


def decode(row: tuple[Any, ...]) -> Subscription:
    id, subscriber, ttl, created, options, confirmed = row
    return Subscription(
        id, subscriber, ttl, created, msgspec.json.decode(options), bool(confirmed)
    )


def _of_subscriber(
    connection: sqlite3.Connection, outbox: int, subscriber: str
) -> Subscription | None:
    found = connection.execute(
        f"SELECT {FIELDS} FROM subscriptions WHERE outbox = ? AND subscriber = ?",
        (outbox, subscriber),
    ).fetchone()
    return None if found is None else decode(found)


def _put(connection: sqlite3.Connection, outbox: int, new: Subscription) -> None:
    options = msgspec.json.encode(new.options).decode()
    connection.execute(
        PUT,
        (
            outbox,
            new.id,
            new.subscriber,
            new.ttl,
            new.created,
            options,
            new.confirmed,
            new.expires,
        ),
    )

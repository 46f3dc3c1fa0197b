# SPDX-License-Identifier: Apache-2.0
"""Steps on outboxes: notices are appended, leased, read and settled."""

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from itertools import starmap, takewhile
from typing import Any

import msgspec

from zaqar.errors import LeaseLost
from zaqar.model import (
    Attempt,
    Delivery,
    NewMessage,
    Notice,
    Page,
    QueueKey,
    Settled,
    Work,
)
from zaqar.storage.delivering import KEPT_ATTEMPTS, KEPT_FAILURES
from zaqar.storage.portions import Portion, Portions, in_turn
from zaqar.storage.sqlite import rows, subscription_steps
from zaqar.storage.sqlite.schema import NEVER

APPEND = """
    UPDATE outboxes SET due = min(due, ?), last = max(last, ?) WHERE number = ?
    RETURNING last, held
"""

DUE_AT = "UPDATE outboxes SET due = min(due, ?) WHERE number = ?"

# But not before an instant.
DUE_AGAIN = f"""
    UPDATE outboxes SET due = max(?2, min(
        coalesce((SELECT min(due) FROM notices WHERE outbox = ?1), {NEVER!r}),
        coalesce((SELECT min(due) FROM deliveries
                  WHERE outbox = ?1 AND due IS NOT NULL), {NEVER!r})
    )) WHERE number = ?1
"""

FREE = """
    SELECT number, project, name FROM outboxes
    WHERE due <= :now AND (
        holder = :holder AND held <= :renewed
        OR held <= :free AND project NOT IN (SELECT value FROM json_each(:without))
    )
    ORDER BY due LIMIT :limit
"""

NOTICES = """
    SELECT id, body, ttl, delay FROM notices WHERE outbox = ? AND due <= ?
    ORDER BY due, number LIMIT ?
"""

DELIVERIES = """
    SELECT subscription, id, body, ttl, delay, failures, due FROM deliveries
    WHERE outbox = :outbox AND subscription = :subscription
"""

NEW_DELIVERY = """
    INSERT INTO deliveries (outbox, subscription, id, body, ttl, delay, failures, due)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (outbox, subscription, id)
"""
ADD_DELIVERY = f"{NEW_DELIVERY} DO NOTHING"
PUT_DELIVERY = (
    f"{NEW_DELIVERY} DO UPDATE SET failures = excluded.failures, due = excluded.due"
)

# What failed before the last KEPT_FAILURES.
FORGET = """
    DELETE FROM deliveries WHERE number IN (
        SELECT number FROM deliveries
        WHERE outbox = ? AND subscription = ? AND due IS NULL
        ORDER BY id DESC LIMIT -1 OFFSET ?
    )
"""


def _owners(condition: str) -> str:
    """The SQL of the subscriptions that have deliveries of a kind.

    It steps from one to the next by index: many deliveries of one cost nothing.
    """
    first = (
        "SELECT min(subscription) FROM deliveries"
        f" WHERE outbox = :outbox AND {condition}"
    )
    return (
        f"WITH RECURSIVE owners (id) AS ({first} UNION ALL"
        f" SELECT ({first} AND subscription > owners.id) FROM owners"
        " WHERE owners.id IS NOT NULL)"
        " SELECT id FROM owners WHERE id IS NOT NULL"
    )


WAITING = _owners("due IS NOT NULL")
UNTRIED = _owners("failures = 0 AND due IS NOT NULL")


@lru_cache(maxsize=64)
def _insert(count: int) -> str:
    values = ", ".join(["(?, ?, ?, ?, ?, ?)"] * count)
    # A message that comes again after it was taken may not have been told yet.
    return (
        "INSERT INTO notices (outbox, due, id, ttl, delay, body)"
        f" VALUES {values} ON CONFLICT DO NOTHING"
    )


def append(
    connection: sqlite3.Connection,
    outbox: int,
    messages: Sequence[NewMessage],
    delays: bool,
    now: float,
) -> bool:
    """Store a notice of each message; say whether nobody holds the outbox."""
    delayed = [message.delay if delays else 0 for message in messages]
    due = now + min(delayed)
    last, held = connection.execute(APPEND, (due, now, outbox)).fetchone()
    for start in range(0, len(messages), 100):
        part = messages[start : start + 100]
        values: list[object] = []
        for delay, message in zip(delayed[start:], part, strict=False):
            due = now + delay if delay else last
            values += (outbox, due, message.id, message.ttl, delay, message.body)
        connection.execute(_insert(len(part)), values)
    return bool(held <= now)


def wanted(
    holder: str,
    seconds: float,
    limit: int,
    without: Collection[str],
    anew: bool,
    now: float,
) -> dict[str, Any]:
    """Return the values of FREE; one's own are held until `renewed` at most."""
    return {
        "holder": holder,
        "now": now,
        # A dispatcher asks ten times a second, and would write all it holds.
        "renewed": NEVER if anew else now + seconds / 2,
        "free": -NEVER if anew else now,
        "without": json.dumps(list(without)),
        "limit": limit,
    }


def lease(
    connection: sqlite3.Connection, wanted: dict[str, Any], until: float
) -> list[QueueKey]:
    """Take outboxes that have something due and are free."""
    keys = []
    for number, project, name in connection.execute(FREE, wanted).fetchall():
        _hold(connection, number, wanted["holder"], until)
        keys.append(QueueKey(project, name))
    return keys


def has_free(connection: sqlite3.Connection, wanted: dict[str, Any]) -> bool:
    """Say whether there is anything to lease."""
    return connection.execute(FREE, wanted | {"limit": 1}).fetchone() is not None


def read(
    connection: sqlite3.Connection,
    outbox: int | None,
    notices: int,
    deliveries: int,
    size: int,
    busy: Collection[str],
    now: float,
) -> Work:
    """Return what is due."""
    if outbox is None:
        return Work()
    subscriptions = subscription_steps.live(connection, outbox, now)
    ids = {subscription.id for subscription in subscriptions}
    told, found = Portion(size), connection.execute(NOTICES, (outbox, now, notices))
    # Row by row: what is left was not in memory.
    shown = takewhile(
        lambda notice: told.takes(len(notice.body)), starmap(Notice, found)
    )
    new = tuple(shown)
    owing = (ids & _these(connection, WAITING, outbox)).difference(busy)
    portions, waiting = Portions(size, len(owing)), list[Delivery]()
    for id in in_turn(owing, now):
        if portions.is_used_up:
            break
        due = connection.execute(
            f"{DELIVERIES} AND due <= :now ORDER BY due, number LIMIT :limit",
            {"outbox": outbox, "subscription": id, "now": now, "limit": deliveries},
        )
        for delivery in map(_delivery, due):
            if not portions.take(id, len(delivery.notice.body)):
                break
            waiting.append(delivery)
    return Work(
        new,
        tuple(waiting),
        tuple(subscriptions),
        frozenset(ids & _these(connection, UNTRIED, outbox)),
        told.cut or portions.cut,
    )


def settle(
    connection: sqlite3.Connection,
    key: QueueKey,
    holder: str,
    settled: Settled,
    seconds: float,
    now: float,
) -> None:
    """Store what became of the work. Raises LeaseLost."""
    held = connection.execute(
        "SELECT outboxes.number FROM queues"
        " JOIN outboxes ON outboxes.number = queues.outbox"
        " WHERE queues.project = ? AND queues.name = ? AND holder = ?",
        (key.project, key.name, holder),
    ).fetchone()
    if held is None:
        raise LeaseLost(key.name)
    (outbox,) = held
    ids = {each.id for each in subscription_steps.live(connection, outbox, now)}
    _put(connection, outbox, [d for d in settled.waiting if d.subscription in ids])
    connection.executemany(
        "DELETE FROM deliveries WHERE outbox = ? AND subscription = ? AND id = ?",
        [(outbox, *pair) for pair in settled.finished],
    )
    for id, attempts in settled.attempts.items():
        if id in ids:
            _log(connection, outbox, id, attempts)
    for part in rows.parts(list(settled.notices)):
        marks = ", ".join("?" * len(part))
        connection.execute(
            f"DELETE FROM notices WHERE outbox = ? AND id IN ({marks})", (outbox, *part)
        )
    connection.execute(DUE_AGAIN, (outbox, 0))
    _hold(connection, outbox, holder, now + seconds)


def release(
    connection: sqlite3.Connection, key: QueueKey, holder: str, now: float
) -> None:
    held = connection.execute(
        "UPDATE outboxes SET holder = '', held = 0 WHERE holder = ? AND number ="
        " (SELECT outbox FROM queues WHERE project = ? AND name = ?) RETURNING number",
        (holder, key.project, key.name),
    ).fetchall()
    # Those that wait already come before it.
    connection.executemany(DUE_AGAIN, [(outbox, now) for (outbox,) in held])


def release_idle(connection: sqlite3.Connection, holder: str, now: float) -> None:
    """Release those of a holder that have nothing due."""
    connection.execute(
        "UPDATE outboxes SET holder = '', held = 0 WHERE holder = ? AND due > ?",
        (holder, now),
    )


def add(connection: sqlite3.Connection, outbox: int | None, delivery: Delivery) -> None:
    """Let a delivery wait, if it is not there."""
    connection.execute(ADD_DELIVERY, _values(outbox, delivery))
    connection.execute(DUE_AT, (delivery.due, outbox))


def page(
    connection: sqlite3.Connection,
    outbox: int | None,
    subscription: str,
    marker: str | None,
    limit: int,
) -> Page[Delivery]:
    """Return deliveries of a subscription behind the marker, by message."""
    found = connection.execute(
        f"{DELIVERIES} AND id > :marker ORDER BY id LIMIT :limit",
        {
            "outbox": outbox,
            "subscription": subscription,
            "marker": marker or "",
            "limit": limit,
        },
    )
    items = tuple(map(_delivery, found.fetchall()))
    return Page(items, items[-1].notice.id if items else None)


def attempts(
    connection: sqlite3.Connection, outbox: int | None, subscription: str
) -> list[Attempt]:
    """Return the log of a subscription, oldest first."""
    found = connection.execute(
        "SELECT document FROM attempts WHERE outbox = ? AND subscription = ?",
        (outbox, subscription),
    ).fetchone()
    return [] if found is None else msgspec.json.decode(found[0], type=list[Attempt])


def replay(
    connection: sqlite3.Connection,
    outbox: int | None,
    subscription: str,
    messages: Sequence[str] | None,
    now: float,
) -> int:
    """Let failed deliveries wait again; return how many."""
    statement = (
        "UPDATE deliveries SET failures = 0, due = ?"
        " WHERE outbox = ? AND subscription = ? AND due IS NULL"
    )
    values = (now, outbox, subscription)
    if messages is None:
        count = connection.execute(statement, values).rowcount
    else:
        count = 0
        for part in rows.parts(list(dict.fromkeys(messages))):
            marks = ", ".join("?" * len(part))
            count += connection.execute(
                f"{statement} AND id IN ({marks})", (*values, *part)
            ).rowcount
    connection.execute(DUE_AT, (now, outbox))
    return count


def unwatch(connection: sqlite3.Connection, outbox: int) -> None:
    """Let posts pay nothing any more if the last subscription is gone."""
    left = connection.execute(
        "SELECT 1 FROM subscriptions WHERE outbox = ? LIMIT 1", (outbox,)
    ).fetchone()
    if left is None:
        connection.execute(
            "UPDATE queues SET outbox = NULL WHERE (project, name) ="
            " (SELECT project, name FROM outboxes WHERE number = ?)",
            (outbox,),
        )
        abandon(connection, outbox)


def abandon(connection: sqlite3.Connection, outbox: int) -> None:
    """Forget the outbox of no queue; the sweep empties it."""
    connection.execute("DELETE FROM outboxes WHERE number = ?", (outbox,))
    connection.execute("INSERT INTO old_outboxes VALUES (?)", (outbox,))


def _hold(
    connection: sqlite3.Connection, outbox: int, holder: str, until: float
) -> None:
    connection.execute(
        "UPDATE outboxes SET holder = ?, held = ? WHERE number = ?",
        (holder, until, outbox),
    )


def _these(connection: sqlite3.Connection, statement: str, outbox: int) -> set[str]:
    return {id for (id,) in connection.execute(statement, {"outbox": outbox})}


def _put(
    connection: sqlite3.Connection, outbox: int, deliveries: Iterable[Delivery]
) -> None:
    failed: set[str] = set()
    for delivery in deliveries:
        connection.execute(PUT_DELIVERY, _values(outbox, delivery))
        if delivery.due is None:
            failed.add(delivery.subscription)
    for subscription in failed:
        connection.execute(FORGET, (outbox, subscription, KEPT_FAILURES))


def _values(outbox: int | None, delivery: Delivery) -> tuple[Any, ...]:
    notice = delivery.notice
    told = (notice.id, notice.body, notice.ttl, notice.delay)
    return (outbox, delivery.subscription, *told, delivery.failures, delivery.due)


def _log(
    connection: sqlite3.Connection, outbox: int, id: str, new: Sequence[Attempt]
) -> None:
    known = [*attempts(connection, outbox, id), *new][-KEPT_ATTEMPTS:]
    connection.execute(
        "INSERT OR REPLACE INTO attempts (outbox, subscription, document)"
        " VALUES (?, ?, ?)",
        (outbox, id, msgspec.json.encode(known)),
    )


def _delivery(row: tuple[Any, ...]) -> Delivery:
    subscription, id, body, ttl, delay, failures, due = row
    return Delivery(subscription, Notice(id, body, ttl, delay), failures, due)

# SPDX-License-Identifier: Apache-2.0
"""Steps of the sweep: each a small transaction, so that nobody waits long for it."""

import sqlite3

from zaqar.storage.sqlite import outbox_steps, rows, subscription_steps
from zaqar.storage.sqlite.rows import Row

DUE = """
    SELECT number, revision, delays, total, claimed, wake FROM queues
    WHERE wake <= ? ORDER BY wake LIMIT 100
"""


def settle_due(connection: sqlite3.Connection, now: float) -> int | None:
    """Settle some queues; how much was collected, or None if none was due."""
    due = connection.execute(DUE, (now,)).fetchall()
    collected = changed = 0
    for row in map(Row._make, due):
        settled = rows.settle(connection, row, now)
        collected += settled.collected
        changed += settled.changed
        if changed >= rows.CHUNK:
            break
    return collected if due else None


def end_subscriptions(connection: sqlite3.Connection, now: float) -> int | None:
    """Remove some subscriptions that have ended; None if none has."""
    ended = connection.execute(
        "SELECT outbox, id FROM subscriptions WHERE expires <= ?"
        " ORDER BY expires LIMIT 100",
        (now,),
    ).fetchall()
    for outbox, id in ended:
        subscription_steps.drop(connection, outbox, id)
    for outbox in {outbox for outbox, _ in ended}:
        outbox_steps.unwatch(connection, outbox)
    return len(ended) or None


def empty_outboxes(connection: sqlite3.Connection) -> int | None:
    """Remove some of what is left of outboxes that are gone; None if nothing is."""
    old = connection.execute("SELECT outbox FROM old_outboxes LIMIT 1").fetchone()
    if old is None:
        return None
    subscription_steps.drop_all(connection, old[0])
    gone = connection.execute(
        "DELETE FROM notices WHERE number IN"
        " (SELECT number FROM notices WHERE outbox = ? LIMIT ?)",
        (*old, rows.CHUNK),
    ).rowcount
    if gone < rows.CHUNK:
        connection.execute("DELETE FROM old_outboxes WHERE outbox = ?", old)
    return 0


def drop_garbage(connection: sqlite3.Connection) -> int | None:
    """Remove some messages of queues that are gone; None if there is none."""
    garbage = connection.execute("SELECT queue FROM garbage LIMIT 1").fetchone()
    if garbage is None:
        return None
    gone = connection.execute(
        "DELETE FROM messages WHERE number IN"
        " (SELECT number FROM messages WHERE queue = ? LIMIT ?)",
        (*garbage, rows.CHUNK),
    ).rowcount
    if gone < rows.CHUNK:
        connection.execute("DELETE FROM claims WHERE queue = ?", garbage)
        connection.execute("DELETE FROM garbage WHERE queue = ?", garbage)
    return gone

# SPDX-License-Identifier: Apache-2.0
"""Steps of the sweep: each a small transaction, so that nobody waits long for it."""

import sqlite3

from zaqar.storage.sqlite import rows
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

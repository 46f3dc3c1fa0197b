# SPDX-License-Identifier: Apache-2.0
"""What the messages of a project come to: read alone, so nothing is settled for it."""

import sqlite3

from zaqar.model import Usage

# The counters of the queues, without what has expired in those not settled since.
COUNT = """
    SELECT coalesce(sum(total - CASE WHEN wake > ?2 THEN 0 ELSE (
        SELECT count(*) FROM messages WHERE queue = queues.number AND expires <= ?2
    ) END), 0), 0
    FROM queues WHERE project = ?1
"""

# NOTE: the length of a body is known without reading it.
COUNT_SIZES = """
    SELECT count(*), coalesce(sum(length(body)), 0)
    FROM queues JOIN messages ON messages.queue = queues.number
    WHERE project = ?1 AND expires > ?2
"""


def measure(
    connection: sqlite3.Connection, project: str, *, sizes: bool, now: float
) -> Usage:
    """Return how many live messages there are, and with `sizes` their bytes."""
    statement = COUNT_SIZES if sizes else COUNT
    return Usage(*connection.execute(statement, (project, now)).fetchone())

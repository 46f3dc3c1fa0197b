# SPDX-License-Identifier: Apache-2.0
"""Steps on queues: create, change, list, count, purge, remove."""

import sqlite3
from collections.abc import Mapping, Sequence
from itertools import islice

import msgspec

from zaqar.errors import QueueChanged
from zaqar.model import Landmark, Metadata, Page, Queue, QueueKey, QueueStats
from zaqar.storage.matching import matches
from zaqar.storage.sqlite import outbox_steps, rows
from zaqar.storage.sqlite.rows import Row
from zaqar.storage.sqlite.schema import CLAIMED, DELAYED, READY

CREATE = """
    INSERT INTO queues (project, name, revision, delays) VALUES (?, ?, ?, ?)
    ON CONFLICT DO NOTHING RETURNING number
"""

# Where the queue begins or ceases to delay, what is still within its delay is held back
# again, or shown.
TOGGLE = """
    UPDATE messages SET state = ? WHERE queue = ? AND visible IS NOT NULL AND state = ?
"""


def create(
    connection: sqlite3.Connection,
    key: QueueKey,
    metadata: Metadata,
    delays: bool,
    revision: str,
) -> bool:
    """Create the queue if it is absent; True if it has this revision afterwards."""
    new = connection.execute(
        CREATE, (key.project, key.name, revision, delays)
    ).fetchone()
    if new is None:
        row = rows.find(connection, key)
        return row is not None and row.revision == revision
    connection.execute(
        "INSERT INTO metadata (queue, document) VALUES (?, ?)",
        (new[0], _encode(metadata)),
    )
    return True


def replace(
    connection: sqlite3.Connection,
    key: QueueKey,
    row: Row,
    metadata: Metadata,
    delays: bool,
    revision: str,
    expect: str,
) -> None:
    """Replace the metadata of the queue. Raises QueueChanged."""
    if row.revision == revision:
        return
    if row.revision != expect:
        raise QueueChanged(rows.load(connection, key))
    connection.execute(
        "UPDATE queues SET revision = ?, delays = ? WHERE number = ?",
        (revision, delays, row.number),
    )
    connection.execute(
        "UPDATE metadata SET document = ? WHERE queue = ?",
        (_encode(metadata), row.number),
    )
    if delays != row.delays:
        states = (
            (DELAYED, row.number, READY) if delays else (READY, row.number, DELAYED)
        )
        connection.execute(TOGGLE, states)


def remove(connection: sqlite3.Connection, row: Row) -> None:
    """Remove the queue; what is too much for one transaction is left to the sweep."""
    (outbox,) = connection.execute(
        "DELETE FROM queues WHERE number = ? RETURNING outbox", (row.number,)
    ).fetchone()
    if outbox is not None:
        outbox_steps.abandon(connection, outbox)
    connection.execute("DELETE FROM metadata WHERE queue = ?", (row.number,))
    if row.total <= rows.CHUNK:
        connection.execute("DELETE FROM messages WHERE queue = ?", (row.number,))
        connection.execute("DELETE FROM claims WHERE queue = ?", (row.number,))
    else:
        connection.execute("INSERT INTO garbage VALUES (?)", (row.number,))


def purge(connection: sqlite3.Connection, row: Row) -> None:
    """Remove the messages that are not claimed."""
    if row.total - row.claimed <= rows.CHUNK:
        gone = connection.execute(
            f"DELETE FROM messages WHERE queue = ? AND state IN ({READY}, {DELAYED})",
            (row.number,),
        ).rowcount
        connection.execute(rows.COUNT, (-gone, 0, row.number))
    else:
        _move_out(connection, row)


def _move_out(connection: sqlite3.Connection, row: Row) -> None:
    """Give the queue a new number and take only what is claimed along.

    So a deep queue is purged in one step, and the sweep removes the rest.
    """
    values = connection.execute(
        "DELETE FROM queues WHERE number = ?"
        " RETURNING project, name, revision, delays, last_seq, claimed, claimed, wake,"
        " outbox",
        (row.number,),
    ).fetchone()
    number = connection.execute(
        "INSERT INTO queues"
        " (project, name, revision, delays, last_seq, total, claimed, wake, outbox)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING number",
        values,
    ).fetchone()[0]
    for statement in (
        f"UPDATE messages SET queue = ? WHERE queue = ? AND state = {CLAIMED}",
        "UPDATE claims SET queue = ? WHERE queue = ?",
        "UPDATE metadata SET queue = ? WHERE queue = ?",
    ):
        connection.execute(statement, (number, row.number))
    connection.execute("INSERT INTO garbage VALUES (?)", (row.number,))


def page(
    connection: sqlite3.Connection,
    project: str,
    marker: str | None,
    limit: int,
    name: str,
    match: Mapping[str, str | int],
) -> Page[Queue]:
    """Return a page of the project's queues."""
    clauses = ["project = ?", "name > ?"]
    values: list[str | int] = [project, marker or ""]
    if name:
        clauses.append("instr(name, ?) > 0")
        values.append(name)
    found = connection.execute(
        "SELECT name, document, revision, delays FROM queues"
        " JOIN metadata ON metadata.queue = queues.number"
        f" WHERE {' AND '.join(clauses)} ORDER BY name",
        values,
    )
    matching = (q for q in map(rows.decode, found) if matches(q.metadata, match))
    items = tuple(islice(matching, limit))
    found.close()
    return Page(items, items[-1].name if items else None)


def some(
    connection: sqlite3.Connection, project: str, names: Sequence[str]
) -> list[Queue]:
    """Return those of the queues that exist."""
    distinct = list(dict.fromkeys(names))
    found: list[Queue] = []
    for part in rows.parts(distinct):
        marks = ", ".join("?" * len(part))
        found += map(
            rows.decode,
            connection.execute(
                "SELECT name, document, revision, delays FROM queues"
                " JOIN metadata ON metadata.queue = queues.number"
                f" WHERE project = ? AND name IN ({marks})",
                (project, *part),
            ),
        )
    return found


def stats(connection: sqlite3.Connection, row: Row) -> QueueStats:
    """Return the counters and the two ends of the queue."""
    total, claimed, *ends = connection.execute(
        STATS, {"queue": row.number}
    ).fetchone() or (0, 0)
    if not total:
        return QueueStats()
    return QueueStats(total, claimed, Landmark(*ends[:2]), Landmark(*ends[2:]))


def _end(order: str) -> str:
    """The SQL of one end of a queue: the outermost of the ends of its states."""
    ends = (
        "SELECT * FROM (SELECT number, seq FROM messages"
        f" WHERE queue = :queue AND state = {state} ORDER BY seq {order} LIMIT 1)"
        for state in (READY, DELAYED, CLAIMED)
    )
    return (
        f"SELECT number FROM ({' UNION ALL '.join(ends)}) ORDER BY seq {order} LIMIT 1"
    )


STATS = f"""
    SELECT total, claimed, oldest.id, oldest.created, newest.id, newest.created
    FROM queues
    LEFT JOIN messages AS oldest ON oldest.number = ({_end("ASC")})
    LEFT JOIN messages AS newest ON newest.number = ({_end("DESC")})
    WHERE queues.number = :queue
"""


def _encode(metadata: Metadata) -> str:
    return msgspec.json.encode(metadata).decode()

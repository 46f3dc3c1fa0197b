# SPDX-License-Identifier: Apache-2.0
"""Queue rows: finding one, and settling what its time has changed.

Settling deletes expired messages, ends expired claims and shows messages whose delay is
over. It runs inside the step of whoever touches the queue first after `queues.wake`, so
the state of each message is exact wherever it is read, and no query compares instants.
"""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple, TypeVar

import msgspec

from zaqar.errors import QueueNotFound
from zaqar.model import Queue, QueueKey
from zaqar.storage.sqlite.schema import DELAYED, NEVER, READY

T = TypeVar("T")

# How many messages one transaction settles or removes: about 20 ms of work where they
# are small.
CHUNK = 500


class Row(NamedTuple):
    """The part of a queue's row that operations decide by."""

    number: int
    revision: str
    delays: int
    total: int
    claimed: int
    wake: float


FIND = """
    SELECT number, revision, delays, total, claimed, wake
    FROM queues WHERE project = ? AND name = ?
"""

DROP_EXPIRED = """
    DELETE FROM messages WHERE number IN (
        SELECT number FROM messages WHERE queue = ? AND expires <= ?
        ORDER BY expires LIMIT ?
    ) RETURNING claim
"""

EXPIRED_CLAIMS = """
    SELECT id FROM claims WHERE queue = ? AND expires <= ? ORDER BY expires LIMIT ?
"""

# A message that is released while its queue delays and its delay runs is held back.
FREE = f"""
    UPDATE messages SET
        claim = NULL,
        state = CASE WHEN ? AND visible IS NOT NULL THEN {DELAYED} ELSE {READY} END
    WHERE queue = ? AND claim = ?
"""

DROP_CLAIM = "DELETE FROM claims WHERE queue = ? AND id = ?"

DROP_EMPTY_CLAIM = """
    DELETE FROM claims WHERE queue = ?1 AND id = ?2 AND NOT EXISTS (
        SELECT 1 FROM messages WHERE queue = ?1 AND claim = ?2
    )
"""

SHOW_DELAYED = f"""
    UPDATE messages SET
        visible = NULL,
        state = CASE state WHEN {DELAYED} THEN {READY} ELSE state END
    WHERE number IN (
        SELECT number FROM messages WHERE queue = ? AND visible <= ?
        ORDER BY visible LIMIT ?
    )
"""

COUNT = """
    UPDATE queues SET total = total + ?, claimed = claimed + ? WHERE number = ?
"""

WAKE_AGAIN = f"""
    UPDATE queues SET wake = min(
        {NEVER!r},
        coalesce((SELECT min(expires) FROM messages WHERE queue = ?1), {NEVER!r}),
        coalesce((SELECT min(expires) FROM claims WHERE queue = ?1), {NEVER!r}),
        coalesce((SELECT min(visible) FROM messages
                  WHERE queue = ?1 AND visible IS NOT NULL), {NEVER!r})
    ) WHERE number = ?1
"""

WAKE_AT = "UPDATE queues SET wake = min(wake, ?) WHERE number = ?"


def find(connection: sqlite3.Connection, key: QueueKey) -> Row | None:
    row = connection.execute(FIND, (key.project, key.name)).fetchone()
    return None if row is None else Row._make(row)


def load(connection: sqlite3.Connection, key: QueueKey) -> Queue:
    """Return the queue with its metadata. Raises QueueNotFound."""
    row = connection.execute(
        """
        SELECT name, document, revision, delays
        FROM queues JOIN metadata ON metadata.queue = queues.number
        WHERE project = ? AND name = ?
        """,
        (key.project, key.name),
    ).fetchone()
    if row is None:
        raise QueueNotFound(key.name)
    return decode(row)


def decode(row: tuple[str, str, str, int]) -> Queue:
    name, document, revision, delays = row
    return Queue(name, msgspec.json.decode(document), revision, bool(delays))


class Settled(NamedTuple):
    """What a chunk of settling did, and whether that was all.

    `collected` are messages and claims that are gone; `changed` counts the messages
    that were freed or shown too.
    """

    collected: int
    changed: int
    done: bool


def settle(connection: sqlite3.Connection, row: Row, now: float) -> Settled:
    """Settle a chunk of what the queue's time has changed up to `now`."""
    expired = connection.execute(DROP_EXPIRED, (row.number, now, CHUNK)).fetchall()
    done = len(expired) < CHUNK
    claims = freed = shown = 0
    if done:
        claims, freed, done = _end_claims(connection, row, now)
    if done:
        shown = connection.execute(SHOW_DELAYED, (row.number, now, CHUNK)).rowcount
        done = shown < CHUNK
    holders = [claim for (claim,) in expired if claim is not None]
    claims += count_removed(connection, row, len(expired), holders)
    connection.execute(COUNT, (0, -freed, row.number))
    if done:
        connection.execute(WAKE_AGAIN, (row.number,))
    collected = len(expired) + claims
    return Settled(collected, collected + freed + shown, done)


def _end_claims(
    connection: sqlite3.Connection, row: Row, now: float
) -> tuple[int, int, bool]:
    """End expired claims; how many, how many messages that freed, and if it was all."""
    freed = 0
    claims = connection.execute(EXPIRED_CLAIMS, (row.number, now, CHUNK)).fetchall()
    for ended, (claim,) in enumerate(claims, start=1):
        freed += free_claim(connection, row, claim)
        if freed >= CHUNK:
            return ended, freed, False
    return len(claims), freed, len(claims) < CHUNK


def count_removed(
    connection: sqlite3.Connection, row: Row, removed: int, holders: list[str]
) -> int:
    """Count what was removed; `holders` are the claims of those that were claimed.

    A claim ends with its last message; returns how many did.
    """
    connection.execute(COUNT, (-removed, -len(holders), row.number))
    return sum(
        connection.execute(DROP_EMPTY_CLAIM, (row.number, claim)).rowcount
        for claim in set(holders)
    )


def free_claim(connection: sqlite3.Connection, row: Row, claim: str) -> int:
    """Remove a claim, set its messages free, and return how many they were."""
    connection.execute(DROP_CLAIM, (row.number, claim))
    return connection.execute(FREE, (row.delays, row.number, claim)).rowcount


def parts(items: list[T]) -> Iterator[list[T]]:
    """Cut a list so that one statement never has too many parameters."""
    for start in range(0, len(items), 500):
        yield items[start : start + 500]

# SPDX-License-Identifier: Apache-2.0
"""Steps on messages that come from another store, or are on their way to one."""

import sqlite3
from collections.abc import Sequence
from functools import lru_cache

from zaqar.model import Message, Parcel
from zaqar.storage.sqlite import rows
from zaqar.storage.sqlite.message_steps import FIELDS
from zaqar.storage.sqlite.rows import Row
from zaqar.storage.sqlite.schema import CLAIMED, DELAYED, READY

# Each state is read in order up to the limit.
ENDS = " UNION ALL ".join(
    f"SELECT * FROM (SELECT {FIELDS}, client, expires, seq FROM messages"
    f" WHERE queue = :queue AND state = {state} ORDER BY seq LIMIT :limit)"
    for state in (READY, DELAYED, CLAIMED)
)
EXPORT = f"{ENDS} ORDER BY seq LIMIT :limit"

# How many rows one statement inserts.
PART = 100


@lru_cache(maxsize=PART)
def _insert(count: int) -> str:
    values = ", ".join([f"(?, ?, {READY}, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)"] * count)
    return (
        "INSERT INTO messages (queue, seq, state, id, client, ttl, created, expires,"
        " claim_count, checksum, origin, origin_claims, body, moved)"
        f" VALUES {values} ON CONFLICT (queue, id) DO NOTHING"
    )


def export(connection: sqlite3.Connection, row: Row, limit: int) -> list[Parcel]:
    """Return the oldest messages of all states."""
    found = connection.execute(EXPORT, {"queue": row.number, "limit": limit})
    return [
        Parcel(Message(*fields), client, expires)
        for *fields, client, expires, _ in found.fetchall()
    ]


def receive(
    connection: sqlite3.Connection, row: Row, parcels: Sequence[Parcel], now: float
) -> None:
    """Append the messages that live and are not there yet."""
    alive = [parcel for parcel in parcels if parcel.expires > now]
    if not alive:
        return
    # Numbers that are not used do no harm.
    (last_seq,) = connection.execute(
        "UPDATE queues SET last_seq = last_seq + ? WHERE number = ? RETURNING last_seq",
        (len(alive), row.number),
    ).fetchone()
    seq, received = last_seq - len(alive), 0
    for start in range(0, len(alive), PART):
        part = alive[start : start + PART]
        values: list[object] = []
        for parcel in part:
            seq += 1
            values += (row.number, seq, *_values(parcel))
        received += connection.execute(_insert(len(part)), values).rowcount
    soonest = min(parcel.expires for parcel in alive)
    connection.execute(rows.COUNT, (received, 0, row.number))
    connection.execute(rows.WAKE_AT, (soonest, row.number))


def _values(parcel: Parcel) -> tuple[object, ...]:
    message = parcel.message
    return (
        message.id,
        parcel.client,
        message.ttl,
        message.created,
        parcel.expires,
        message.claim_count,
        message.checksum,
        message.origin,
        message.origin_claims,
        message.body,
    )

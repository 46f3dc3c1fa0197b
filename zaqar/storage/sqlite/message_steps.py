# SPDX-License-Identifier: Apache-2.0
"""Steps on messages: post, list, get, delete, pop."""

import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from functools import lru_cache

from zaqar.errors import ClaimDoesNotHoldMessage, MessageIsClaimed, QueueChanged
from zaqar.model import Message, NewMessage, Page, QueueKey
from zaqar.storage import places
from zaqar.storage.sqlite import outbox_steps, rows
from zaqar.storage.sqlite.rows import Row
from zaqar.storage.sqlite.schema import CLAIMED, DELAYED, READY

# In the order of the fields of Message.
FIELDS = "id, body, ttl, created, claim, claim_count, checksum, origin, origin_claims"

RESERVE = """
    UPDATE queues SET last_seq = last_seq + ?1, total = total + ?1
    WHERE project = ?2 AND name = ?3 AND revision = ?4
    RETURNING number, last_seq, delays, wake, outbox
"""

# A queue's messages that are ready, oldest first.
FIRST_READY = f"""
    SELECT {FIELDS}, seq, expires FROM messages
    WHERE queue = ? AND state = {READY} ORDER BY seq LIMIT ?
"""

# The time of a message id counts in milliseconds; posts of this window may have been
# numbered in another order than their ids were made.
ID_WINDOW_MS = 2000


# PERF: one statement of many rows takes half the time of as many statements.
@lru_cache(maxsize=64)
def _insert(count: int) -> str:
    values = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"] * count)
    return (
        "INSERT INTO messages (queue, client, created, seq, state, id, ttl, expires,"
        f" visible, checksum, body) VALUES {values}"
    )


def post(
    connection: sqlite3.Connection,
    key: QueueKey,
    messages: Sequence[NewMessage],
    client: str,
    revision: str,
    now: float,
) -> bool:
    """Append the messages; say whether an outbox that nobody holds got notices.

    Raises QueueNotFound, QueueChanged or, for a repeated post, sqlite3.IntegrityError.
    """
    reserved = connection.execute(
        RESERVE, (len(messages), key.project, key.name, revision)
    ).fetchone()
    if reserved is None:
        raise QueueChanged(rows.load(connection, key))
    number, last_seq, delays, wake, outbox = reserved
    first = last_seq - len(messages) + 1
    for start in range(0, len(messages), 100):
        part = messages[start : start + 100]
        values: list[object] = []
        for seq, message in enumerate(part, start=first + start):
            visible = now + message.delay if message.delay else None
            values += (
                number,
                client,
                now,
                seq,
                DELAYED if delays and visible else READY,
                message.id,
                message.ttl,
                now + message.ttl,
                visible,
                message.checksum,
                message.body,
            )
        connection.execute(_insert(len(part)), values)
    soonest = now + min(min(m.ttl, m.delay or m.ttl) for m in messages)
    if soonest < wake:
        connection.execute(rows.WAKE_AT, (soonest, number))
    if outbox is None:
        return False
    return outbox_steps.append(connection, outbox, messages, delays, now)


@lru_cache(maxsize=8)
def _page(states: tuple[int, ...], by_others: bool) -> str:
    """The SQL of a page over some states: each is read in order up to the limit."""
    others = " AND client <> :client" if by_others else ""
    parts = [
        f"SELECT {FIELDS}, seq FROM messages WHERE queue = :queue"
        f" AND state = {state} AND seq > :after{others} ORDER BY seq LIMIT :limit"
        for state in states
    ]
    if len(parts) == 1:
        return parts[0]
    union = " UNION ALL ".join(f"SELECT * FROM ({part})" for part in parts)
    return f"{union} ORDER BY seq LIMIT :limit"


def page(
    connection: sqlite3.Connection,
    row: Row,
    marker: str | None,
    limit: int,
    skip_client: str | None,
    claimed: bool,
    delayed: bool,
) -> Page[Message]:
    """Return the messages behind the marker."""
    after = _place(connection, row.number, marker)
    if after is None:
        return Page(delays=bool(row.delays))
    states = (READY,) + (CLAIMED,) * claimed + (DELAYED,) * delayed
    found = connection.execute(
        _page(states, skip_client is not None),
        {
            "queue": row.number,
            "after": after,
            "client": skip_client,
            "limit": limit,
        },
    ).fetchall()
    return Page(
        tuple([Message(*fields[:-1]) for fields in found]),
        str(found[-1][-1]) if found else None,
        bool(row.delays),
    )


def _place(
    connection: sqlite3.Connection, number: int, marker: str | None
) -> int | None:
    """Return the sequence number behind which listing goes on; None: nowhere."""
    if marker is None:
        return 0
    if marker.isascii() and marker.isdigit() and len(marker) < 19:
        return int(marker)
    found = connection.execute(
        "SELECT seq FROM messages WHERE queue = ? AND id = ?", (number, marker)
    ).fetchone()
    if found:
        return int(found[0])
    return _place_by_time(connection, number, marker)


def _place_by_time(connection: sqlite3.Connection, number: int, id: str) -> int | None:
    """Return a place at or before that of a message that is gone."""
    lost = places.message_id(id)
    if lost is None:
        return None
    (next_id,) = connection.execute(
        "SELECT min(id) FROM messages WHERE queue = ? AND id > ?", (number, id)
    ).fetchone()
    since = _shifted(lost, -ID_WINDOW_MS)
    until = _shifted(uuid.UUID(next_id or id), ID_WINDOW_MS)
    (near,) = connection.execute(
        "SELECT min(seq) FROM messages WHERE queue = ? AND id BETWEEN ? AND ?",
        (number, since, until),
    ).fetchone()
    # What was moved here stands behind younger ids.
    (moved,) = connection.execute(
        "SELECT min(seq) FROM messages WHERE queue = ? AND moved IS NOT NULL",
        (number,),
    ).fetchone()
    (last,) = connection.execute(
        "SELECT last_seq FROM queues WHERE number = ?", (number,)
    ).fetchone()
    return int(min(seq - 1 for seq in (near, moved, last + 1) if seq))


def _shifted(id: uuid.UUID, milliseconds: int) -> str:
    """Return the least id of a time that is so far from the id's own."""
    return str(uuid.UUID(int=max(0, (id.int >> 80) + milliseconds) << 80))


@lru_cache(maxsize=64)
def _by_ids(count: int, fields: str) -> str:
    marks = ", ".join("?" * count)
    return f"SELECT {fields} FROM messages WHERE queue = ? AND id IN ({marks})"


def get(connection: sqlite3.Connection, row: Row, ids: Sequence[str]) -> list[Message]:
    """Return those of the messages that are there, in the order asked."""
    found = {}
    for part in rows.parts(list(dict.fromkeys(ids))):
        for fields in connection.execute(
            _by_ids(len(part), FIELDS), (row.number, *part)
        ):
            found[fields[0]] = Message(*fields)
    return [found[id] for id in dict.fromkeys(ids) if id in found]


def delete(
    connection: sqlite3.Connection, row: Row, id: str, claim: str | None
) -> None:
    """Delete a message by the rules of claims (storage/base.py)."""
    found = connection.execute(
        "SELECT number, claim FROM messages WHERE queue = ? AND id = ?",
        (row.number, id),
    ).fetchone()
    if found is None:
        return
    number, holder = found
    if claim != holder:
        _refuse(connection, row, id, claim, holder)
    connection.execute("DELETE FROM messages WHERE number = ?", (number,))
    rows.count_removed(connection, row, 1, [] if holder is None else [holder])


def _refuse(
    connection: sqlite3.Connection,
    row: Row,
    id: str,
    claim: str | None,
    holder: str | None,
) -> None:
    if claim is None:
        raise MessageIsClaimed(id)
    if holder is not None and is_live(connection, row, claim):
        raise MessageIsClaimed(id)
    raise ClaimDoesNotHoldMessage(claim, id)


def is_live(connection: sqlite3.Connection, row: Row, claim: str) -> bool:
    """Say whether the claim holds any message (the queue is settled)."""
    return (
        connection.execute(
            "SELECT 1 FROM messages WHERE queue = ? AND claim = ? LIMIT 1",
            (row.number, claim),
        ).fetchone()
        is not None
    )


def delete_many(
    connection: sqlite3.Connection,
    row: Row,
    ids: Sequence[str],
    claims: Sequence[str] | None,
) -> None:
    """Delete messages; with claims, only if one of these holds each of them."""
    found: list[tuple[int, str, str | None]] = []
    for part in rows.parts(list(dict.fromkeys(ids))):
        found += connection.execute(
            _by_ids(len(part), "number, id, claim"), (row.number, *part)
        ).fetchall()
    if claims is not None:
        for _, id, holder in found:
            if holder not in claims:
                raise ClaimDoesNotHoldMessage(", ".join(claims), id)
    _drop(connection, (number for number, _, _ in found))
    holders = [holder for _, _, holder in found if holder is not None]
    rows.count_removed(connection, row, len(found), holders)


def _drop(connection: sqlite3.Connection, numbers: Iterable[int]) -> None:
    for part in rows.parts(list(numbers)):
        marks = ", ".join("?" * len(part))
        connection.execute(f"DELETE FROM messages WHERE number IN ({marks})", part)


def pop(connection: sqlite3.Connection, row: Row, limit: int) -> list[Message]:
    """Remove and return the oldest messages that are ready."""
    found = connection.execute(FIRST_READY, (row.number, limit)).fetchall()
    if not found:
        return []
    last_seq = found[-1][-2]
    connection.execute(
        f"DELETE FROM messages WHERE queue = ? AND state = {READY} AND seq <= ?",
        (row.number, last_seq),
    )
    connection.execute(rows.COUNT, (-len(found), 0, row.number))
    return [Message(*fields[:-2]) for fields in found]

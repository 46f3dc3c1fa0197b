# SPDX-License-Identifier: Apache-2.0
"""Steps on claims: create, get, renew, and moving dead letters."""

import sqlite3
import uuid
from typing import Any, NamedTuple

from zaqar.errors import ClaimNotFound
from zaqar.model import Claim, DeadLetter, Message, QueueKey
from zaqar.storage.sqlite import queue_steps, rows
from zaqar.storage.sqlite.message_steps import FIELDS, FIRST_READY, is_live
from zaqar.storage.sqlite.rows import Row
from zaqar.storage.sqlite.schema import CLAIMED, READY

HOLD = f"""
    UPDATE messages SET state = {CLAIMED}, claim = ?, claim_count = claim_count + ?
    WHERE queue = ? AND state = {READY} AND seq <= ?
"""

CLAIM_ROW = "INTO claims (queue, id, ttl, created, expires) VALUES (?, ?, ?, ?, ?)"

# Only where the claim would outlive the message. PERF: the plus sign keeps SQLite from
# going through all messages of the queue that expire early (1.3 ms instead of 0.1 ms).
EXTEND = """
    UPDATE messages SET ttl = ?, expires = ?
    WHERE queue = ? AND claim = ? AND +expires < ?
"""

HELD = f"""
    SELECT {FIELDS} FROM messages WHERE queue = ? AND claim = ? ORDER BY seq
"""

# Without bodies: many may be looked at, and none is shown.
NEXT_READY = f"""
    SELECT id, ttl, expires, claim_count, seq FROM messages
    WHERE queue = ? AND state = {READY} AND seq > ? ORDER BY seq LIMIT ?
"""

MOVE = f"""
    UPDATE OR IGNORE messages SET
        queue = ?, seq = ?, ttl = ?, expires = ?, origin = ?, origin_claims = ?,
        state = {READY}, visible = NULL, claim_count = 0, moved = 1
    WHERE queue = ? AND id = ?
"""


class Candidate(NamedTuple):
    """What decides whether a ready message is a dead letter, and moves with it."""

    id: str
    ttl: int
    expires: float
    claim_count: int
    seq: int


def create(
    connection: sqlite3.Connection,
    row: Row,
    claim: str,
    ttl: int,
    grace: int,
    limit: int,
    counted: bool,
    now: float,
) -> list[Message]:
    """Claim the oldest messages that are ready."""
    found = connection.execute(FIRST_READY, (row.number, limit)).fetchall()
    if not found:
        return held(connection, row, claim)
    values = (row.number, claim, ttl, now, now + ttl)
    try:
        connection.execute(f"INSERT {CLAIM_ROW}", values)
    except sqlite3.IntegrityError:
        if repeated := held(connection, row, claim):
            return repeated
        connection.execute(f"REPLACE {CLAIM_ROW}", values)
    last_seq = found[-1][-2]
    connection.execute(HOLD, (claim, counted, row.number, last_seq))
    connection.execute(
        "UPDATE queues SET claimed = claimed + ?, wake = min(wake, ?) WHERE number = ?",
        (len(found), now + ttl, row.number),
    )
    if min(fields[-1] for fields in found) < now + ttl:
        _extend(connection, row, claim, ttl, grace, now)
    return [_claimed(fields, claim, ttl, grace, counted, now) for fields in found]


def _claimed(
    fields: tuple[Any, ...], claim: str, ttl: int, grace: int, counted: bool, now: float
) -> Message:
    """The message as HOLD and EXTEND have just stored it."""
    id, body, message_ttl, created, _, claim_count, *rest, _, expires = fields
    if expires < now + ttl:
        message_ttl = ttl + grace
    return Message(id, body, message_ttl, created, claim, claim_count + counted, *rest)


def _extend(
    connection: sqlite3.Connection,
    row: Row,
    claim: str,
    ttl: int,
    grace: int,
    now: float,
) -> None:
    end = now + ttl
    connection.execute(EXTEND, (ttl + grace, end + grace, row.number, claim, end))


def held(connection: sqlite3.Connection, row: Row, claim: str) -> list[Message]:
    """Return the messages that the claim holds."""
    found = connection.execute(HELD, (row.number, claim)).fetchall()
    return [Message(*fields) for fields in found]


def get(connection: sqlite3.Connection, row: Row, key: QueueKey, claim: str) -> Claim:
    """Return the claim with its messages. Raises ClaimNotFound."""
    found = connection.execute(
        "SELECT id, ttl, created FROM claims WHERE queue = ? AND id = ?",
        (row.number, claim),
    ).fetchone()
    messages = held(connection, row, claim)
    if found is None or not messages:
        raise ClaimNotFound(key.name, claim)
    id, claim_ttl, created = found
    return Claim(id, claim_ttl, created, tuple(messages))


def renew(
    connection: sqlite3.Connection,
    row: Row,
    key: QueueKey,
    claim: str,
    ttl: int,
    grace: int,
    now: float,
) -> None:
    """Let the claim end at now + ttl. Raises ClaimNotFound."""
    if not is_live(connection, row, claim):
        raise ClaimNotFound(key.name, claim)
    connection.execute(
        "UPDATE claims SET ttl = ?, created = ?, expires = ?"
        " WHERE queue = ? AND id = ?",
        (ttl, now, now + ttl, row.number, claim),
    )
    connection.execute(rows.WAKE_AT, (now + ttl, row.number))
    _extend(connection, row, claim, ttl, grace, now)


def release(connection: sqlite3.Connection, row: Row, claim: str) -> None:
    """Set the claim's messages free."""
    freed = rows.free_claim(connection, row, claim)
    connection.execute(rows.COUNT, (0, -freed, row.number))


def move_dead(
    connection: sqlite3.Connection,
    key: QueueKey,
    row: Row,
    dead_letter: DeadLetter,
    limit: int,
    now: float,
) -> bool:
    """Move the dead letters among the next candidates of a claim.

    Afterwards the first `limit` ready messages may all be claimed. False if a chunk was
    moved and more may be left.
    """
    if dead_letter.queue == key.name:
        return True
    alive, after = 0, 0
    dead: list[Candidate] = []
    while alive < limit and len(dead) < rows.CHUNK:
        found = connection.execute(NEXT_READY, (row.number, after, limit)).fetchall()
        if not found:
            break
        for fields in found:
            candidate = Candidate._make(fields)
            after = candidate.seq
            if candidate.claim_count >= dead_letter.max_claims:
                dead.append(candidate)
            elif (alive := alive + 1) == limit:
                break
    if dead:
        _move(connection, key, row, dead_letter, dead, now)
    return len(dead) < rows.CHUNK


def _move(
    connection: sqlite3.Connection,
    key: QueueKey,
    row: Row,
    dead_letter: DeadLetter,
    dead: list[Candidate],
    now: float,
) -> None:
    target = QueueKey(key.project, dead_letter.queue)
    queue_steps.create(connection, target, {}, False, str(uuid.uuid4()))
    number, last_seq = connection.execute(
        """
        UPDATE queues SET last_seq = last_seq + ?1, total = total + ?1
        WHERE project = ?2 AND name = ?3 RETURNING number, last_seq
        """,
        (len(dead), target.project, target.name),
    ).fetchone()
    soonest = float("inf")
    for seq, message in enumerate(dead, start=last_seq - len(dead) + 1):
        ttl, expires = message.ttl, message.expires
        if dead_letter.ttl is not None:
            ttl, expires = dead_letter.ttl, now + dead_letter.ttl
        soonest = min(soonest, expires)
        moved = (number, seq, ttl, expires, key.name, message.claim_count)
        if not connection.execute(MOVE, (*moved, row.number, message.id)).rowcount:
            _drop_twin(connection, row.number, number, message.id)
    connection.execute(rows.WAKE_AT, (soonest, number))
    connection.execute(rows.COUNT, (-len(dead), 0, row.number))


def _drop_twin(
    connection: sqlite3.Connection, source: int, target: int, id: str
) -> None:
    """Remove a dead letter that was moved before and then posted once more."""
    connection.execute("DELETE FROM messages WHERE queue = ? AND id = ?", (source, id))
    connection.execute(rows.COUNT, (-1, 0, target))

# SPDX-License-Identifier: Apache-2.0
"""What is left after a run: by the API, by the counters and by the rows of the file.

Reads messages whose body is {"tag": ...}; judges nothing.
"""

import contextlib
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from launch import Answer, Caller
from ledger import Seen
from verdicts import Remains, StoredClaim


def seen(answer: Answer) -> list[Seen]:
    """List the messages of an answer, in its order."""
    return [
        Seen(
            message["id"],
            message["body"]["tag"],
            message.get("href", "").partition("?claim_id=")[2] or None,
        )
        for message in answer.document["messages"]
    ]


def inspect(
    path: Path, caller: Caller, queues: Iterable[str]
) -> tuple[dict[str, Remains], dict[str, StoredClaim]]:
    """Look at what is left, by the rows of the file and by the API."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        rows = dict(
            database.execute(
                "SELECT name, count(*) FROM messages JOIN queues"
                " ON messages.queue = queues.number GROUP BY name"
            )
        )
        held = database.execute(
            "SELECT claim, claims.created, claims.expires, messages.id FROM messages"
            " JOIN claims ON claims.queue = messages.queue AND claims.id = claim"
        ).fetchall()
    claims: dict[str, StoredClaim] = {}
    for claim, created, expires, id in held:
        claims.setdefault(claim, StoredClaim(created, expires, [])).messages.append(id)
    return {name: look_at(caller, name, rows.get(name, 0)) for name in queues}, claims


def look_at(caller: Caller, queue: str, rows: int) -> Remains:
    """Count and list a queue, again if a claim ended between the two."""
    for _ in range(5):
        before = stats(caller, queue)
        listed_at = time.time()
        listed = list_all(caller, queue)
        if stats(caller, queue) == before:
            break
    return Remains(
        listed, listed_at, before["total"], before["claimed"], before["free"], rows
    )


def stats(caller: Caller, queue: str) -> dict[str, Any]:
    """Return the counters of a queue."""
    counted: dict[str, Any] = caller.call("GET", f"/v2/queues/{queue}/stats").document
    return {name: counted["messages"][name] for name in ("total", "claimed", "free")}


def list_all(caller: Caller, queue: str) -> list[Seen]:
    """List all messages of a queue, page by page, claimed ones too."""
    found: list[Seen] = []
    path = f"/v2/queues/{queue}/messages?echo=true&include_claimed=true&limit=20"
    while True:
        answer = caller.call("GET", path)
        page = seen(answer)
        if not page:
            return found
        found += page
        path = answer.document["links"][0]["href"]


def check_file(path: Path) -> str:
    """Return what SQLite says of the soundness of the file: ok, or what is broken."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        rows = database.execute("PRAGMA integrity_check").fetchall()
    return "; ".join(text for (text,) in rows)

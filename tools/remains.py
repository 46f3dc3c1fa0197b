# SPDX-License-Identifier: Apache-2.0
"""What is left after a run: by the API, by the counters and by what is stored.

Reads messages whose body is {"tag": ...}; judges nothing.
"""

import time
from collections.abc import Iterable
from typing import Any

from launch import Answer, Caller
from ledger import Seen
from stores import Store
from verdicts import Remains, StoredClaim

from zaqar.model import QueueKey


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
    store: Store, caller: Caller, project: str, queues: Iterable[str]
) -> tuple[dict[str, Remains], dict[str, StoredClaim]]:
    """Look at what is left, in the store and by the API."""
    rows = store.rows([QueueKey(project, name) for name in queues])
    remains = {name: look_at(caller, name, rows[name]) for name in queues}
    held = {
        (QueueKey(project, name), seen.claim)
        for name, left in remains.items()
        for seen in left.listed
        if seen.claim
    }
    return remains, store.claims(held)


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

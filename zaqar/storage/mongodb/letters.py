# SPDX-License-Identifier: Apache-2.0
"""Moves dead letters to their queue, which may lie on another shard.

A message that is moved is LEAVING first: nobody can see it, and it knows where it goes
and the name of this move. Then it is posted there, and then it goes. Who finds one that
has been LEAVING for too long moves it again; a message that is there already with the
same name of the move is not posted once more.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

from zaqar.errors import QueueNotFound, StorageUnavailable
from zaqar.model import DeadLetter, QueueKey
from zaqar.storage.mongodb.counting import GOES, NOTHING, noted
from zaqar.storage.mongodb.documents import (
    CLAIMED,
    FREE,
    LEAVING,
    Document,
    key_of,
    name_of,
)
from zaqar.storage.mongodb.posting import Posting
from zaqar.storage.mongodb.reading import BY_ID

# After so many seconds somebody else takes over.
LEASE = 15.0
# After so many seconds a mover begins nothing more: what it posts then may have arrived
# and gone already.
IN_TIME = 5.0
CARRIED = ("ttl", "expires", "created", "client", "body", "checksum")


class Letters:
    """`create` makes a queue if it is absent."""

    def __init__(
        self,
        database: Any,
        posting: Posting,
        create: Callable[[QueueKey, float], object],
    ) -> None:
        self._messages = database.messages
        self._posting = posting
        self._create = create

    def send(
        self, name: str, dead: Sequence[Document], rule: DeadLetter, now: float
    ) -> None:
        """Move messages that were claimed too often."""
        move, begun = uuid4().hex, time.monotonic()
        wanted = {
            "queue": name,
            "_id": {"$in": [each["_id"] for each in dead]},
            "state": {"$lt": CLAIMED},
            "claims": {"$gte": rule.max_claims},
        }
        leaving = {"queue": rule.queue, "ttl": rule.ttl, "move": move}
        self._messages.update_many(
            wanted,
            [
                {
                    "$set": {
                        "state": LEAVING,
                        "due": now + LEASE,
                        "leaving": {"$literal": leaving},
                        "uncounted": noted(NOTHING),
                    }
                }
            ],
        )
        its = {"queue": name, "state": LEAVING, "leaving.move": move}
        letters = list(self._messages.find(its).sort("number", 1))
        self._carry(name, letters, begun, now)

    def resume(self, name: str, found: Sequence[Document], now: float) -> None:
        """Move messages again whose mover has died."""
        for each in found:
            mine = {"_id": each["_id"], "queue": name, "due": each["due"]}
            lease, begun = {"$set": {"due": now + LEASE}}, time.monotonic()
            letter = self._messages.find_one_and_update(
                mine | {"state": LEAVING}, lease
            )
            if letter is not None:
                self._carry(name, [letter], begun, now)

    def _carry(
        self, name: str, letters: Sequence[Document], begun: float, now: float
    ) -> None:
        """Post them and let them go; `begun` is before they were taken to be moved."""
        source = key_of(name)
        targets: dict[str, list[Document]] = defaultdict(list)
        for letter in letters:
            targets[letter["leaving"]["queue"]].append(letter)
        for target, theirs in targets.items():
            if time.monotonic() - begun > IN_TIME:
                raise StorageUnavailable("Moving dead letters takes too long.")
            self._post(QueueKey(source.project, target), source.name, theirs, now)
        ids = [letter["_id"] for letter in letters]
        left = {"queue": name, "_id": {"$in": ids}, "state": LEAVING}
        self._messages.update_many(left, GOES, hint=BY_ID)

    def _post(
        self, target: QueueKey, origin: str, letters: Sequence[Document], now: float
    ) -> None:
        name = name_of(target)
        arriving = [_arriving(name, letter, origin, now) for letter in letters]
        while True:
            try:
                self._posting.post_alone(name, arriving, now)
            except QueueNotFound:
                self._create(target, now)
            else:
                return


def _arriving(name: str, letter: Document, origin: str, now: float) -> Document:
    """Return a dead letter as its target stores it."""
    id = letter["_id"].removeprefix(letter["queue"])
    moved = {field: letter[field] for field in CARRIED if field in letter}
    leaving = letter["leaving"]
    if leaving["ttl"] is not None:
        moved |= {"ttl": leaving["ttl"], "expires": now + leaving["ttl"]}
    return moved | {
        "_id": name + id,
        "queue": name,
        "state": FREE,
        "due": moved["expires"],
        "origin": origin,
        "origin_claims": letter.get("claims", 0),
        "move": leaving["move"],
    }

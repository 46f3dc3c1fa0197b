# SPDX-License-Identifier: Apache-2.0
"""What the fault tool needs of a store: how it is configured, struck, and read
afterwards.

A store that is a server of its own can be killed, stopped for a while, and made to lose
connections in the middle of an answer (store_servers.py); a file cannot.
"""

import contextlib
import sqlite3
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from launch import Options, sqlite_file
from verdicts import StoredClaim

from zaqar.errors import ClaimNotFound
from zaqar.model import QueueKey


class Store(Protocol):
    """What the tool needs of a store."""

    # The sections of the service's configuration that name it.
    options: Options

    def rows(self, queues: Iterable[QueueKey]) -> Mapping[str, int]:
        """Count what is stored of each queue, past the API."""
        ...

    def claims(self, held: Iterable[tuple[QueueKey, str]]) -> dict[str, StoredClaim]:
        """Return those of these claims that are stored, also if nobody was told."""
        ...

    def check(self) -> str:
        """Return whether the store finds itself sound: ok, or what is broken."""
        ...

    def end(self) -> None: ...


class StoreServer(Store, Protocol):
    """A store that is a server, on a port that stays the same."""

    def kill(self) -> None: ...

    def start(self) -> None: ...

    def stop_for_a_while(self) -> None: ...

    def go_on(self) -> None: ...

    def cut(self, count: int) -> None:
        """Cut the next so many connections that get an answer, in its middle; none any
        more if 0."""
        ...

    def uncut(self) -> int:
        """Return how many of them are left to be cut."""
        ...


class SqliteFile:
    """A file, opened by the service itself."""

    def __init__(self, folder: Path, synchronous: str) -> None:
        self._path = folder / "messages.db"
        self.options = sqlite_file(folder, synchronous)

    def rows(self, queues: Iterable[QueueKey]) -> Mapping[str, int]:
        query = (
            "SELECT name, count(*) FROM messages JOIN queues"
            " ON messages.queue = queues.number GROUP BY name"
        )
        return {key.name: 0 for key in queues} | dict(self._ask(query))

    def claims(self, held: Iterable[tuple[QueueKey, str]]) -> dict[str, StoredClaim]:
        query = (
            "SELECT claim, claims.created, claims.expires, messages.id FROM messages"
            " JOIN claims ON claims.queue = messages.queue AND claims.id = claim"
        )
        claims: dict[str, StoredClaim] = {}
        for claim, created, expires, id in self._ask(query):
            stored = claims.setdefault(claim, StoredClaim(created, expires, []))
            stored.messages.append(id)
        return claims

    def check(self) -> str:
        return "; ".join(text for (text,) in self._ask("PRAGMA integrity_check"))

    def _ask(self, query: str) -> list[Any]:
        with contextlib.closing(sqlite3.connect(self._path)) as database:
            return database.execute(query).fetchall()

    def end(self) -> None:
        pass


def read_claims(
    store: Any, held: Iterable[tuple[QueueKey, str]]
) -> dict[str, StoredClaim]:
    """Read the claims through the driver, which knows when each was made."""
    claims = {}
    for key, id in held:
        # One may have ended since it was seen.
        with contextlib.suppress(ClaimNotFound):
            claim = store.get_claim(key, id, now=time.time())
            claims[id] = StoredClaim(
                claim.created,
                claim.created + claim.ttl,
                [message.id for message in claim.messages],
            )
    return claims

# SPDX-License-Identifier: Apache-2.0
"""The ledger of the fault tool: what clients meant to do, and what they were told.

Each client appends to a file of its own: a line before a request is sent, a line when
its answer is complete. A request without an answer is in doubt: it happened or it did
not. Knows nothing of HTTP, and nothing of what must hold.
"""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

# What became of a request beside the HTTP statuses.
UNKNOWN, NEVER_SENT = -1, 0

FOREVER = float("inf")


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """A message as an answer shows it; `tag` is what its producer wrote into it."""

    id: str
    tag: str
    claim: str | None = None


class Intent(msgspec.Struct, frozen=True, tag="intent", kw_only=True):
    """A request that is about to be sent."""

    number: int
    at: float
    operation: str
    queue: str
    tags: list[str] = []
    ids: list[str] = []
    claim: str = ""
    ttl: int = 0
    limit: int = 0


class Result(msgspec.Struct, frozen=True, tag="result", kw_only=True):
    """How it ended: a status, UNKNOWN or NEVER_SENT; and its header Retry-After."""

    number: int
    at: float
    status: int
    retry_after: str = ""
    ids: list[str] = []
    claim: str = ""
    messages: list[Seen] = []


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A request and its end: it took effect, if at all, in between."""

    operation: str
    queue: str
    sent: float
    done: float
    status: int
    retry_after: str = ""
    tags: list[str] = []
    ids: list[str] = []
    claim: str = ""
    ttl: int = 0
    limit: int = 0
    messages: list[Seen] = []

    @property
    def in_doubt(self) -> bool:
        return self.status == UNKNOWN or self.status >= 500

    @property
    def acknowledged(self) -> bool:
        return 200 <= self.status < 300


class Ledger:
    """Writes the file of one client; a line is in the file before its call returns."""

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(path, flags, 0o600)
        self._number = 0

    def intend(self, operation: str, queue: str, **facts: Any) -> int:
        """Write down a request before it is sent; its number."""
        self._number += 1
        now = time.time()
        self._write(
            Intent(
                number=self._number, at=now, operation=operation, queue=queue, **facts
            )
        )
        return self._number

    def conclude(self, number: int, status: int, **facts: Any) -> None:
        """Write down how it ended."""
        self._write(Result(number=number, at=time.time(), status=status, **facts))

    def close(self) -> None:
        os.close(self._file)

    def _write(self, line: Intent | Result) -> None:
        os.write(self._file, msgspec.json.encode(line) + b"\n")


def read(paths: Iterable[Path]) -> list[Event]:
    """Return the events of all clients, by the time they were sent."""
    events = [event for path in paths for event in _read_one(path)]
    return sorted(events, key=lambda event: event.sent)


def _read_one(path: Path) -> list[Event]:
    decoder = msgspec.json.Decoder(Intent | Result)
    intents: dict[int, Intent] = {}
    results: dict[int, Result] = {}
    for text in path.read_bytes().splitlines():
        line = decoder.decode(text)
        if isinstance(line, Intent):
            intents[line.number] = line
        else:
            results[line.number] = line
    return [_event(intent, results.get(intent.number)) for intent in intents.values()]


def _event(intent: Intent, result: Result | None) -> Event:
    return Event(
        operation=intent.operation,
        queue=intent.queue,
        sent=intent.at,
        done=result.at if result else FOREVER,
        status=result.status if result else UNKNOWN,
        retry_after=result.retry_after if result else "",
        tags=intent.tags,
        ids=(result.ids if result else []) or intent.ids,
        claim=(result.claim if result else "") or intent.claim,
        ttl=intent.ttl,
        limit=intent.limit,
        messages=result.messages if result else [],
    )

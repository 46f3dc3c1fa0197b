# SPDX-License-Identifier: Apache-2.0
"""The connections of a worker that wait for their clients: what for, and how long."""

import time
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

from zaqar.server.framing import Body, Chunks, body_of


class Phase(IntEnum):
    """What a client is waited for."""

    # For the first byte of a request; for its rest.
    IDLE = 1
    RECEIVING = 2
    # That it takes its answer; and that it closes too, after the last one.
    SENDING = 3
    CLOSING = 4


SECONDS = {
    Phase.IDLE: 75.0,
    Phase.RECEIVING: 30.0,
    Phase.SENDING: 60.0,
    Phase.CLOSING: 2.0,
}


class Connection:
    """A client's connection: what came and was not served, what was not sent yet.

    `whole` is false for a request that is handed over without its end, since it will be
    refused, or is cut off. `continued`: it was told to send its body.
    `keep`: another request may follow the answer. `ended`: the client sends no more.
    `watched`: the events that the poller reports of it; 0: it does not know it.
    """

    __slots__ = (
        *(
            "sock",
            "client",
            "server",
            "phase",
            "deadline",
            "held",
            "ended",
            "dropped",
            "watched",
        ),
        *("buffer", "request", "whole", "continued", "unsent", "keep"),
        *("_body", "_chunks"),
    )

    def __init__(self, sock: Any, client: Any, server: Any) -> None:
        sock.setblocking(False)
        self.sock, self.client, self.server = sock, client, server
        self.phase: Phase | None = None
        self.deadline = 0.0
        self.held = self.dropped = self.watched = 0
        self.buffer = bytearray()
        self.request, self.unsent = b"", memoryview(b"")
        self.whole, self.keep = True, False
        self.continued = self.ended = False
        self._body: Body | None = None
        self._chunks: Chunks | None = None

    def cut(self, limit: int) -> bool:
        """Take the first request out of the buffer, once all of it is there.

        Raises Unframed; its body may have `limit` bytes at most.
        """
        if self._body is None:
            self._body = body_of(self.buffer, limit)
            if self._body is None:
                return False
        start, length, _ = self._body
        if length is None:
            self._chunks = self._chunks or Chunks(start, limit)
            end = self._chunks.end(self.buffer)
            if end is None:
                return False
        else:
            end = start + length
            if len(self.buffer) < end:
                return False
        self._take(end, whole=True)
        return True

    def take_all(self) -> None:
        """Take all that is there for a request, whose end does not matter."""
        self._take(len(self.buffer), whole=False)

    def _take(self, end: int, *, whole: bool) -> None:
        self.request, self.whole = bytes(self.buffer[:end]), whole
        del self.buffer[:end]
        self._body = self._chunks = None

    @property
    def has_head(self) -> bool:
        return self._body is not None

    @property
    def asks(self) -> bool:
        """Whether the client waits to be told that its body is wanted."""
        return self._body is not None and self._body.asks and not self.continued


class Waiting:
    """All connections that wait, those of each phase in the order of their deadlines.

    `held` is what they hold: bytes.
    """

    def __init__(self) -> None:
        self._phases: dict[Phase, dict[Connection, None]] = {
            phase: {} for phase in Phase
        }
        self.held = 0

    def enter(self, connection: Connection, phase: Phase) -> None:
        connection.phase = phase
        connection.deadline = time.monotonic() + SECONDS[phase]
        self._phases[phase][connection] = None
        self.count(connection)

    def leave(self, connection: Connection) -> None:
        if connection.phase is not None:
            del self._phases[connection.phase][connection]
            connection.phase = None
            self.held -= connection.held
            connection.held = 0

    def count(self, connection: Connection) -> None:
        """Take account of what a connection holds now."""
        held = len(connection.buffer) + len(connection.unsent)
        self.held += held - connection.held
        connection.held = held

    def expired(self) -> Iterator[Connection]:
        """Return those that have waited too long; they have to leave meanwhile."""
        now = time.monotonic()
        for phase in Phase:
            while (first := self.oldest(phase)) and first.deadline <= now:
                yield first

    def oldest(self, *phases: Phase) -> Connection | None:
        """Return the one that waits longest in the first of the phases with any."""
        for phase in phases:
            for connection in self._phases[phase]:
                return connection
        return None

    def until_deadline(self, most: float) -> float:
        """Return the seconds until the next one has waited too long."""
        firsts = [first for phase in Phase if (first := self.oldest(phase))]
        soonest = min((first.deadline for first in firsts), default=None)
        if soonest is None:
            return most
        return min(most, max(soonest - time.monotonic(), 0.0))

    def hurry(self, phase: Phase, deadline: float) -> None:
        """Let none of a phase wait for longer than this."""
        for connection in self._phases[phase]:
            connection.deadline = min(connection.deadline, deadline)

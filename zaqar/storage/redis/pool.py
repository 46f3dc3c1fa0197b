# SPDX-License-Identifier: Apache-2.0
"""Connections to one server, shared by the threads of a process.

PERF: a command through this pool takes half the time of one through the client class of
redis-py; connecting and parsing are redis-py's.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from hiredis import pack_command
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    RedisError,
    ResponseError,
    TryAgainError,
)

# A connection that was idle for so many seconds is looked at before it is used: the
# server may have closed it.
IDLE_SECONDS = 0.02

Command = tuple[Any, ...]

# Refusals that older releases of redis-py tell apart in its own cluster client only.
OF_CLUSTERS: dict[str, Callable[[str], ResponseError]] = {
    "ASK": AskError,
    "CLUSTERDOWN": ClusterDownError,
    "MOVED": MovedError,
    "TRYAGAIN": TryAgainError,
}


class Connection(Protocol):
    """What is used of the connections of redis-py, which has no types for it."""

    def connect(self) -> None: ...

    def disconnect(self) -> None: ...

    def can_read(self, timeout: float) -> bool: ...

    def send_packed_command(self, packed: list[bytes], check_health: bool) -> None: ...

    def read_response(self) -> Any: ...


class Unreached(Exception):
    """Raised when there is no connection; nothing was sent. Carries the cause."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Pool:
    """Lends connections to one server; the last one given back is lent first.

    Safe across fork: a process uses only what it opened itself.
    """

    def __init__(self, make: Callable[[], Connection]) -> None:
        self._make = make
        self._idle: deque[tuple[Connection, float]] = deque()
        self._process = os.getpid()

    def ask(self, command: Command, *, asking: bool = False) -> Any:
        """Send a command and return its answer.

        Raises Unreached, ResponseError (the server refuses; it did nothing), or another
        RedisError (the answer was lost).
        """
        return self.ask_all([("ASKING",), command] if asking else [command])[-1]

    def ask_all(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one piece and return their answers, in order.

        Raises as `ask`, of several refusals the first.
        """
        connection = self._take()
        try:
            # PERF: packing through the connection takes more than twice as long.
            packed = b"".join([pack_command(command) for command in commands])
            connection.send_packed_command([packed], check_health=False)
            answers = [_answer(connection) for _ in commands]
        except BaseException:
            connection.disconnect()
            # The others lead to the same server.
            self.drop_idle()
            raise
        self._idle.append((connection, time.monotonic()))
        for answer in answers:
            if isinstance(answer, ResponseError):
                raise answer
        return answers

    def _take(self) -> Connection:
        if self._process != os.getpid():
            # SECURITY: what the parent opened is shared with it. It is not closed here:
            # closing TLS would speak on it.
            self._idle, self._process = deque(), os.getpid()
        while self._idle:
            try:
                connection, since = self._idle.pop()
            except IndexError:
                break
            if time.monotonic() - since < IDLE_SECONDS or _is_open(connection):
                return connection
            connection.disconnect()
        connection = self._make()
        try:
            connection.connect()
        except (RedisError, OSError) as error:
            connection.disconnect()
            raise Unreached(error) from None
        return connection

    def drop_idle(self) -> None:
        while self._idle:
            try:
                connection, _ = self._idle.pop()
            except IndexError:
                return
            connection.disconnect()


def _answer(connection: Connection) -> Any:
    """Return the next answer; a refusal too, for others may follow it."""
    try:
        return connection.read_response()
    except ResponseError as error:
        code, _, facts = str(error).partition(" ")
        kind = OF_CLUSTERS.get(code)
        return error if kind is None else kind(facts)


def _is_open(connection: Connection) -> bool:
    """Say whether the connection is usable; nothing may be waiting on it."""
    try:
        return not connection.can_read(0)
    except (RedisError, OSError):
        return False

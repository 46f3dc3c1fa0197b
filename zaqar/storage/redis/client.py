# SPDX-License-Identifier: Apache-2.0
"""Runs scripts and commands, and tries again where that is safe and in time.

The one place where errors of the library become ours.
"""

import re
import time
from collections.abc import Callable, Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any, TypeVar

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from zaqar.errors import StorageUnavailable
from zaqar.storage.redis.address import Address
from zaqar.storage.redis.nodes import Nodes, open_nodes
from zaqar.storage.redis.patience import Gate, Tries
from zaqar.storage.redis.pool import Command, Pool, Unreached

T = TypeVar("T")

# Refusals of a server that may work again later, also inside the error of a script.
REFUSALS = re.compile(
    r"\b(BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOAUTH|NOPERM|NOREPLICAS|OOM"
    r"|READONLY|TRYAGAIN|WRONGPASS|max number of clients)\b"
)
# With these the server did nothing and may be ready in a moment.
SOON = (BusyLoadingError, ClusterDownError, TryAgainError)


class Script:
    """A Lua script; the server knows it by its digest once it was loaded.

    `repeatable`: it may be sent again when its answer was lost. `base` (may be empty)
    and `shares`: pieces that stand before it.
    """

    def __init__(
        self, name: str, *shares: str, base: str = "common", repeatable: bool = True
    ) -> None:
        folder = files("zaqar.storage.redis") / "scripts"
        pieces = [folder / f"{piece}.lua" for piece in (base, *shares, name) if piece]
        self.text = "".join([piece.read_text() for piece in pieces])
        self.digest = sha1(self.text.encode()).hexdigest()
        self.repeatable = repeatable


class Client:
    """Speaks to the servers of one address; shared by threads, safe across fork."""

    def __init__(
        self, address: Address, *, max_reconnect_attempts: int, reconnect_sleep: float
    ) -> None:
        self._nodes: Nodes = open_nodes(address)
        self._attempts = max_reconnect_attempts
        self._sleep = reconnect_sleep
        self._is_cluster = address.cluster
        # Connecting and one answer.
        self._attempt_seconds = 2 * address.timeout
        # Nobody waits for a server that somebody has given up on just now.
        self._gate = Gate(self._nodes.place, self._attempt_seconds)

    def run(self, script: Script, key: str, *values: Any, attempts: int = -1) -> Any:
        """Run a script on the keys of one queue and return its reply."""
        # NOTE: the second key never exists. So a node of a cluster that has only some
        # of the keys, because their slot is moving, refuses the script (TRYAGAIN)
        # instead of running half of it.
        keys = (2, key, f"{key}:0") if self._is_cluster else (1, key)
        command = ("EVALSHA", script.digest, *keys, *values)
        return self._ask(key, command, script.repeatable, attempts, script)

    def ask(self, key: str, command: Command, *, attempts: int = -1) -> Any:
        """Send a command, which must bear repetition, to the server that has the key,
        and return its answer."""
        return self._ask(key, command, True, attempts)

    def _ask(
        self,
        key: str,
        command: Command,
        repeatable: bool,
        attempts: int = -1,
        script: Script | None = None,
    ) -> Any:
        asked: list[Pool] = []

        def attempt() -> Any:
            if asked:
                return _answer(asked.pop(), command, script, asking=True)
            try:
                return _answer(self._nodes.pool(key), command, script)
            except AskError as error:
                asked.append(self._nodes.asked(error))
                raise

        return self._attempted(key, attempt, repeatable, attempts)

    def ask_all(self, key: str, commands: Sequence[Command]) -> list[Any]:
        """Send commands on keys of one slot together; they must bear repetition."""
        return self._attempted(key, lambda: self._nodes.pool(key).ask_all(commands))

    def ask_each(self, commands: Sequence[tuple[str, Command]]) -> list[Any]:
        """Send commands, each with its key, together to each server; as `ask_all`."""

        def attempt() -> list[Any]:
            shares: dict[int, list[int]] = {}
            pools = [self._nodes.pool(key) for key, _ in commands]
            for place, pool in enumerate(pools):
                shares.setdefault(id(pool), []).append(place)
            answers: list[Any] = [None] * len(commands)
            for places in shares.values():
                share = [commands[place][1] for place in places]
                found = pools[places[0]].ask_all(share)
                for place, answer in zip(places, found, strict=True):
                    answers[place] = answer
            return answers

        # What one node of a cluster refuses says nothing of the others.
        is_one = bool(commands) and not self._is_cluster
        return self._attempted(commands[0][0] if is_one else None, attempt)

    def clock(self, key: str, *, attempts: int = -1) -> float:
        """Return the time of the server that has the key."""
        seconds, micros = self.ask(key, ("TIME",), attempts=attempts)
        return int(seconds) + int(micros) / 1e6

    def options(self, pattern: str) -> list[dict[bytes, bytes]] | None:
        """Return the options of each server that holds keys; None: one of them refuses
        to tell them."""

        def attempt() -> list[dict[bytes, bytes]] | None:
            try:
                answers = self.every_server(("CONFIG", "GET", pattern))
            except ResponseError as error:
                if isinstance(error, SOON):
                    raise
                return None
            return [dict(zip(told[::2], told[1::2], strict=True)) for told in answers]

        return self._attempted(None, attempt, limit=1)

    def every_server(self, command: Command) -> list[Any]:
        """Ask each server that holds keys, once. Raises Unreached or RedisError."""
        return [pool.ask(command) for pool in self._nodes.pools()]

    def close(self) -> None:
        self._nodes.close()

    def _attempted(
        self,
        key: str | None,
        attempt: Callable[[], T],
        repeatable: bool = True,
        limit: int = -1,
    ) -> T:
        is_open, began = self._gate.enter(key), time.monotonic()
        tries: Tries | None = None
        while True:
            try:
                result = attempt()
            except (RedisError, Unreached) as error:
                if tries is None:
                    tries = self._tries(limit, is_open, began)
                self._recover(error, key, tries, repeatable)
            else:
                self._gate.open(key)
                return result

    def _tries(self, limit: int, is_open: bool, began: float) -> Tries:
        attempts = self._attempts if limit < 0 else limit
        return Tries(
            # Who probes tries once more, for an idle connection proves nothing.
            attempts if is_open else min(attempts, 1),
            self._sleep,
            began=began,
            attempt_seconds=self._attempt_seconds,
            is_probe=not is_open,
            is_patient=limit < 0,
        )

    def _recover(
        self, error: Exception, key: str | None, tries: Tries, repeatable: bool
    ) -> None:
        """Return if the next attempt may begin; raise what the caller has to see."""
        if isinstance(error, MovedError | AskError) and tries.redirect():
            if isinstance(error, MovedError):
                self._nodes.moved(error)
            return
        cause = error.cause if isinstance(error, Unreached) else error
        if isinstance(cause, ResponseError) and not is_refusal(cause):
            self._gate.open(key)
            raise cause
        may_pass = self._may_pass(cause)
        # Without an answer it may have been done.
        may_repeat = repeatable or isinstance(error, (Unreached, ResponseError, *SOON))
        self._nodes.refresh()
        if may_pass and may_repeat and tries.wait():
            return
        if not may_pass:
            self._gate.open(key)
        elif tries.is_probe or (may_repeat and tries.is_patient):
            self._gate.shut(key, tries.began)
        raise StorageUnavailable(f"Redis does not work: {cause}.") from None

    def _may_pass(self, cause: Exception) -> bool:
        """Say whether another attempt may find another state of things."""
        if isinstance(cause, ReadOnlyError):
            return self._nodes.fails_over
        if isinstance(cause, AuthenticationError | OutOfMemoryError):
            return False
        return not isinstance(cause, ResponseError) or isinstance(cause, SOON)


def _answer(
    pool: Pool, command: Command, script: Script | None, *, asking: bool = False
) -> Any:
    """Send a command; load the script that it is for if the server has lost that."""
    for _ in range(3):
        try:
            return pool.ask(command, asking=asking)
        except NoScriptError:
            if script is None:
                raise
            pool.ask(("SCRIPT", "LOAD", script.text))
    raise StorageUnavailable("The store forgets its scripts.")


def is_refusal(error: ResponseError) -> bool:
    """Say whether the server cannot do it now; else the command is wrong."""
    known = (ReadOnlyError, OutOfMemoryError, AskError, MovedError, *SOON)
    return isinstance(error, known) or REFUSALS.search(str(error)) is not None

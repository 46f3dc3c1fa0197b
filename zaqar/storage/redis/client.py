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
from zaqar.storage.redis.pool import Command, Pool, Unreached

T = TypeVar("T")

# The contract asks for an answer within 10 s.
PATIENCE = 9.0
REDIRECTIONS = 16

# Refusals of a server that may work again later, also inside the error of a script.
REFUSALS = re.compile(
    r"\b(BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOAUTH|NOPERM|NOREPLICAS|OOM"
    r"|READONLY|TRYAGAIN|WRONGPASS|max number of clients)\b"
)
# With these the server did nothing and may be ready in a moment.
SOON = (BusyLoadingError, ClusterDownError, TryAgainError)


class Script:
    """A Lua script; the server knows it by its digest once it was loaded.

    `repeatable`: it may be sent again when its answer was lost. `is_told`: its first
    argument is "1" in that case, and else "0". `shares`: pieces that stand before it.
    """

    def __init__(
        self,
        name: str,
        *shares: str,
        repeatable: bool = True,
        is_told: bool = False,
    ) -> None:
        folder = files("zaqar.storage.redis") / "scripts"
        pieces = [folder / f"{piece}.lua" for piece in ("common", *shares, name)]
        self.text = "".join([piece.read_text() for piece in pieces])
        self.digest = sha1(self.text.encode()).hexdigest()
        self.repeatable = repeatable
        self.is_told = is_told


class Tries:
    """Counts the attempts of one call; waits longer before each."""

    def __init__(self, limit: int, sleep: float, attempt_seconds: float) -> None:
        self._left = limit
        self._sleep = sleep
        self._pause = 0.0
        self._deadline = time.monotonic() + PATIENCE - attempt_seconds
        self._redirections = REDIRECTIONS
        # Whether an answer was lost.
        self.lost = False

    def wait(self) -> bool:
        """Wait before the next attempt; False if there is none left."""
        left = self._deadline - time.monotonic()
        if self._left <= 0 or left <= 0:
            return False
        self._left -= 1
        time.sleep(min(self._pause, left))
        self._pause = self._pause * 2 or self._sleep
        return True

    def redirect(self) -> bool:
        """Say whether another redirection may be followed."""
        self._redirections -= 1
        return self._redirections >= 0


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
        # Nobody waits again for a server that somebody has given up on just now.
        self._is_down = False

    def run(self, script: Script, key: str, *values: Any) -> Any:
        """Run a script on the keys of one queue and return its reply."""
        # NOTE: the second key never exists. So a node of a cluster that has only some
        # of the keys, because their slot is moving, refuses the script (TRYAGAIN)
        # instead of running half of it.
        keys = (2, key, f"{key}:0") if self._is_cluster else (1, key)
        told, again = (("0",), ("1",)) if script.is_told else ((), ())
        command = ("EVALSHA", script.digest, *keys, *told, *values)
        repetition = None
        if script.repeatable:
            repetition = ("EVALSHA", script.digest, *keys, *again, *values)
        for _ in range(3):
            try:
                return self._ask(key, command, repetition)
            except NoScriptError:
                self.ask(key, ("SCRIPT", "LOAD", script.text))
        raise StorageUnavailable("The store forgets its scripts.")

    def ask(self, key: str, command: Command, *, attempts: int = -1) -> Any:
        """Send a command, which must bear repetition, to the server that has the key,
        and return its answer."""
        return self._ask(key, command, command, attempts)

    def _ask(
        self,
        key: str,
        command: Command,
        repetition: Command | None,
        attempts: int = -1,
    ) -> Any:
        asked: list[Pool] = []

        def attempt(lost: bool) -> Any:
            text = repetition if lost and repetition else command
            if asked:
                return asked.pop().ask(text, asking=True)
            try:
                return self._nodes.pool(key).ask(text)
            except AskError as error:
                asked.append(self._nodes.asked(error))
                raise

        return self._attempted(attempt, repetition is not None, attempts)

    def ask_all(self, key: str, commands: Sequence[Command]) -> list[Any]:
        """Send commands on keys of one slot together; they must bear repetition."""
        return self._attempted(lambda _: self._nodes.pool(key).ask_all(commands))

    def ask_each(self, commands: Sequence[tuple[str, Command]]) -> list[Any]:
        """Send commands, each with its key, together to each server; as `ask_all`."""

        def attempt(_: bool) -> list[Any]:
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

        return self._attempted(attempt)

    def every_server(self, command: Command) -> list[Any]:
        """Ask each server that holds keys, once. Raises Unreached or RedisError."""
        return [pool.ask(command) for pool in self._nodes.pools()]

    def close(self) -> None:
        self._nodes.close()

    def _attempted(
        self, attempt: Callable[[bool], T], repeatable: bool = True, limit: int = -1
    ) -> T:
        tries: Tries | None = None
        while True:
            try:
                result = attempt(tries is not None and tries.lost)
            except (RedisError, Unreached) as error:
                if tries is None:
                    attempts = self._attempts if limit < 0 else limit
                    tries = Tries(
                        min(attempts, 1) if self._is_down else attempts,
                        self._sleep,
                        self._attempt_seconds,
                    )
                self._recover(error, tries, repeatable)
            else:
                self._is_down = False
                return result

    def _recover(self, error: Exception, tries: Tries, repeatable: bool) -> None:
        """Return if the next attempt may begin; raise what the caller has to see."""
        if isinstance(error, NoScriptError):
            raise error
        if isinstance(error, MovedError | AskError) and tries.redirect():
            if isinstance(error, MovedError):
                self._nodes.moved(error)
            return
        cause = error.cause if isinstance(error, Unreached) else error
        if isinstance(cause, ResponseError) and not is_refusal(cause):
            raise cause
        may_pass = not isinstance(cause, AuthenticationError | OutOfMemoryError)
        if isinstance(cause, ReadOnlyError):
            may_pass = self._nodes.fails_over
        elif isinstance(cause, ResponseError) and not isinstance(cause, SOON):
            may_pass = False
        elif not isinstance(error, Unreached) and not isinstance(cause, SOON):
            # The answer was lost: perhaps it was done, perhaps not.
            may_pass = may_pass and repeatable
            tries.lost = True
        self._nodes.refresh()
        if not (may_pass and tries.wait()):
            self._is_down = may_pass
            raise StorageUnavailable(f"Redis does not work: {cause}.") from None


def is_refusal(error: ResponseError) -> bool:
    """Say whether the server cannot do it now; else the command is wrong."""
    known = (ReadOnlyError, OutOfMemoryError, AskError, MovedError, *SOON)
    return isinstance(error, known) or REFUSALS.search(str(error)) is not None

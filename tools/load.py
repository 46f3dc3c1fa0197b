# SPDX-License-Identifier: Apache-2.0
"""The clients of the fault tool: processes that call the API and keep ledgers of it.

They post, claim, delete, renew, release and pop; each writes down, outside the server,
what it meant to do and what it was told.
"""

import multiprocessing
import random
import signal
from collections.abc import Callable
from multiprocessing.synchronize import Event as Stop
from pathlib import Path
from typing import Any

from launch import BROKEN, Answer, Caller, CannotRun
from ledger import UNKNOWN, Event, Ledger, read
from remains import seen

PROJECT = "faults"
# Lost pops blur what may be missing, so only one queue is popped from.
POPPED = "popped"
QUEUES = ("claimed-1", "claimed-2", "claimed-3", POPPED)
MESSAGE_TTL = 86400
CLAIM_TTL = (60, 90)

fork = multiprocessing.get_context("fork")


class Client:
    """One process that calls the API and keeps a ledger of it."""

    def __init__(self, name: str, port: int, path: Path, seed: int, stop: Stop) -> None:
        self.name = name
        self.dice = random.Random(f"{seed}-{name}")
        self._caller = Caller(port, project=PROJECT)
        self._ledger = Ledger(path)
        self._stop = stop
        self._batch = 0

    def run(self, turn: "Callable[[Client], None]") -> None:
        """Take turns until told to stop."""
        while not self._stop.is_set():
            turn(self)

    def pause(self, shortest: float, longest: float) -> None:
        self._stop.wait(self.dice.uniform(shortest, longest))

    def post(self) -> None:
        queue, size = self.dice.choice(QUEUES), self.dice.choice((1, 5))
        self._batch += 1
        tags = [f"{self.name}-{self._batch:07d}-{place}" for place in range(size)]
        bodies = [{"body": {"tag": tag}, "ttl": MESSAGE_TTL} for tag in tags]
        self._ask("post", queue, "POST", "/messages", {"messages": bodies}, tags=tags)
        self.pause(0.0, 0.02)

    def pop(self) -> None:
        limit = self.dice.randint(1, 5)
        self._ask("pop", POPPED, "DELETE", f"/messages?pop={limit}", limit=limit)
        self.pause(0.01, 0.05)

    def consume(self) -> None:
        """Claim, handle for a short while, or a long one, and delete or give back."""
        queue, limit = self.dice.choice(QUEUES), self.dice.randint(1, 10)
        ttl = self.dice.randint(*CLAIM_TTL)
        answer = self._ask(
            "claim",
            queue,
            "POST",
            f"/claims?limit={limit}",
            {"ttl": ttl, "grace": 60},
            ttl=ttl,
            limit=limit,
        )
        if answer is None or answer.status != 201:
            return self.pause(0.0, 0.02)
        claim = answer.location.rpartition("/")[2]
        ids = [message.id for message in seen(answer)]
        if self.dice.random() < 0.05:
            self.pause(1.0, 4.0)
        fate = self.dice.random()
        if fate < 0.1:
            self._surely("release", queue, "DELETE", f"/claims/{claim}", claim=claim)
            return None
        if fate < 0.2 and not self._renew(queue, claim):
            return None
        if fate < 0.6:
            path = f"/messages?ids={','.join(ids)}"
            self._surely("bulk", queue, "DELETE", path, ids=ids, claim=claim)
            return None
        return self._delete_each(queue, claim, ids)

    def _renew(self, queue: str, claim: str) -> bool:
        ttl = self.dice.randint(*CLAIM_TTL)
        wish, path = {"ttl": ttl, "grace": 60}, f"/claims/{claim}"
        return self._surely("renew", queue, "PATCH", path, wish, claim=claim, ttl=ttl)

    def _delete_each(self, queue: str, claim: str, ids: list[str]) -> None:
        for id in ids:
            path = f"/messages/{id}?claim_id={claim}"
            if not self._surely("delete", queue, "DELETE", path, ids=[id], claim=claim):
                return

    def _surely(self, *request: Any, **facts: Any) -> bool:
        """Ask again when the answer was lost, or give up: clients do either."""
        while self._ask(*request, **facts) is None:
            if self._stop.is_set() or self.dice.random() < 0.5:
                return False
        return True

    def _ask(
        self,
        operation: str,
        queue: str,
        method: str,
        path: str,
        document: Any = None,
        **facts: Any,
    ) -> Answer | None:
        """Send a request, with its lines in the ledger; None if nobody answered."""
        try:
            self._caller.connect()
        except BROKEN:
            self.pause(0.005, 0.02)
            return None
        number = self._ledger.intend(operation, queue, **facts)
        try:
            answer = self._caller.call(method, f"/v2/queues/{queue}{path}", document)
        except BROKEN:
            self._ledger.conclude(number, UNKNOWN)
            return None
        retry_after = answer.headers.get("Retry-After") or ""
        self._ledger.conclude(
            number, answer.status, retry_after=retry_after, **told(operation, answer)
        )
        if answer.status >= 500:
            self.pause(0.05, 0.1)
            return None
        return answer


def told(operation: str, answer: Answer) -> dict[str, Any]:
    """Return what an answer says, for the ledger."""
    if operation == "post" and answer.status == 201:
        paths = answer.document["resources"]
        return {"ids": [path.rpartition("/")[2] for path in paths]}
    if operation == "claim" and answer.status == 201:
        claim = answer.location.rpartition("/")[2]
        return {"claim": claim, "messages": seen(answer)}
    if operation == "pop" and answer.status == 200:
        return {"messages": seen(answer)}
    return {}


class Load:
    """The client processes."""

    def __init__(self, folder: Path, port: int, seed: int) -> None:
        self._folder, self._port, self._seed = folder, port, seed
        self._stop = fork.Event()
        self._processes: list[Any] = []

    def start(self) -> None:
        for count, name, turn in (
            (2, "p", Client.post),
            (4, "c", Client.consume),
            (1, "x", Client.pop),
        ):
            for number in range(count):
                process = fork.Process(
                    target=self._serve_turns, args=(f"{name}{number}", turn)
                )
                process.start()
                self._processes.append(process)

    def _serve_turns(self, name: str, turn: Callable[[Client], None]) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        path = self._folder / f"{name}.ledger"
        Client(name, self._port, path, self._seed, self._stop).run(turn)

    def stop(self) -> list[Event]:
        """Let each client finish its turn; the events of all."""
        self._stop.set()
        for process in self._processes:
            process.join(30)
        dead = [process.exitcode for process in self._processes if process.exitcode]
        if dead:
            raise CannotRun(f"Clients failed with exit codes {dead}.")
        return read(self._folder.glob("*.ledger"))

    def end(self) -> None:
        for process in self._processes:
            process.kill()

# SPDX-License-Identifier: Apache-2.0
"""The measurements: all roles together, or one operation; alone or in turns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from zaqar.bench.fleet import Fleet, Load, Outcome, Report
from zaqar.bench.ledger import Verdict
from zaqar.bench.queues import Queues

CONSUMING = ("claim-delete", "claim-bulk", "pop")
READING = ("list", "stats", "get")
OPERATIONS = ("post", *CONSUMING, *READING, "relay")

FIRST_ROUND = 500  # messages, to learn how fast it goes
LARGEST_ROUND = 50_000
LONGEST_ROUND = 60.0  # seconds
ROUND = 1.5  # seconds that the rounds after the first should take
READABLE = 200  # messages that are there when reading is measured


class Measurement(Protocol):
    """Something that can be measured bit by bit."""

    def slice(self, seconds: float) -> Outcome:
        """Measure for about so many seconds."""
        ...


@dataclass(slots=True)
class OperationRun:
    """One operation by itself; what it needs is posted outside the measured time."""

    fleet: Fleet
    op: str
    connections: int
    rate: float = 0.0
    warmup: float = 0.0
    report: Report | None = None
    largest_round: int = LARGEST_ROUND
    per_second: float = 0.0  # messages that were consumed, in the last round
    filled: bool = False

    def slice(self, seconds: float) -> Outcome:
        """Measure for about so many seconds, on new connections."""
        self.fleet.disconnect()
        if self.op in CONSUMING:
            return self.consume(seconds)
        if self.op in READING and not self.filled:
            self.fill(READABLE)
            self.filled = True
        roles = ((self.op, self.connections),)
        load = Load(roles, seconds, self.warmup, rate=self.rate)
        return self.fleet.run(load, self.report)

    def consume(self, seconds: float) -> Outcome:
        """Fill and empty in rounds, measuring the emptying only."""
        if not self.per_second:
            self.round(FIRST_ROUND)
        total: Outcome | None = None
        spent = 0.0
        while spent < seconds:
            length = min(ROUND, seconds - spent)
            outcome = self.round(int(self.per_second * length) or 1)
            spent += max(outcome.tally.window.seconds, ROUND / 10)
            if total is None:
                total = outcome
            else:
                total.extend(outcome)
            if outcome.interrupted:
                break
        assert total is not None
        return total

    def round(self, count: int) -> Outcome:
        """Post some messages, then measure taking them."""
        count = min(max(count, self.connections * 20), self.largest_round)
        self.fill(count)
        roles = ((self.op, self.connections),)
        load = Load(roles, LONGEST_ROUND, budget=count, rate=self.rate)
        outcome = self.fleet.run(load, self.report)
        window = outcome.tally.window
        taken = window.messages["claim"] + window.messages["pop"]
        if window.seconds:
            self.per_second = max(taken / window.seconds, 1.0)
        return outcome

    def fill(self, count: int) -> None:
        """Post messages, unmeasured."""
        roles = (("fill", len(self.fleet.crew)),)
        self.fleet.run(Load(roles, LONGEST_ROUND, budget=count))


@dataclass(slots=True)
class RolesRun:
    """Producers, consumers and observers at the same time."""

    fleet: Fleet
    producers: int
    consumers: int
    observers: int
    rate: float = 0.0
    warmup: float = 0.0
    report: Report | None = None

    def slice(self, seconds: float) -> Outcome:
        """Load for so many seconds after the warm-up, on new connections."""
        self.fleet.disconnect()
        roles = (
            ("produce", self.producers),
            ("consume", self.consumers),
            ("observe", self.observers),
        )
        load = Load(roles, seconds, self.warmup, rate=self.rate)
        return self.fleet.run(load, self.report)

    def settle(self, queues: Queues, patience: float) -> Verdict | None:
        """Let the consumers empty the queues and judge what became of the messages."""
        if not self.consumers:
            return None
        roles = (("drain", self.consumers),)
        if patience and self.fleet.run(Load(roles, patience)).interrupted:
            return None
        ledger = self.fleet.ledger()
        verdict = ledger.verdict()
        if verdict.lost:
            queues.find_left(self.fleet.plan.work.run, ledger)
            verdict = ledger.verdict()
        return verdict


def turns(
    runs: Sequence[Measurement], seconds: float, slices: int
) -> Iterator[list[Outcome]]:
    """Measure several things in alternating slices; the last turn may lack some."""
    for _ in range(slices):
        outcomes: list[Outcome] = []
        for run in runs:
            outcomes.append(run.slice(seconds / slices))
            if outcomes[-1].interrupted:
                break
        yield outcomes
        if outcomes[-1].interrupted:
            return


def in_turns(runs: Sequence[Measurement], seconds: float, slices: int) -> list[Outcome]:
    """Measure several things in turns, under the same conditions; add the turns up."""
    totals: list[Outcome] = []
    for outcomes in turns(runs, seconds, slices):
        for total, outcome in zip(totals, outcomes, strict=False):
            total.extend(outcome)
        totals += outcomes[len(totals) :]
    return totals

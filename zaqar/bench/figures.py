# SPDX-License-Identifier: Apache-2.0
"""The figures that the service is judged by: costs in units, rates, effects of depth.

Knows what is measured and compared; starting servers and printing is not its business.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from zaqar.bench.fleet import Fleet, Load, Outcome
from zaqar.bench.queues import Client
from zaqar.bench.requests import Caller, Target
from zaqar.bench.runs import OperationRun, in_turns
from zaqar.bench.scripts import Work
from zaqar.bench.stores import Variant
from zaqar.bench.worker import Plan

Row = dict[str, Any]
Start = Callable[[Path], AbstractContextManager[Target]]  # with a folder
Tell = Callable[[str], None]

MESSAGE_SIZE = 256
WARMUP = 0.3
PROJECT = "figures"
DEEP_CLAIMED = 10_000
DEEP_QUEUES = 10_000  # beside the deep one
SMALL_ROUND = 500
FILLING = 600.0  # seconds at most for each part of a deep store


@dataclass(frozen=True)
class Effort:
    """How long and with how many connections each single figure is measured."""

    seconds: float
    slices: int
    connections: int
    tell: Tell


@dataclass(frozen=True)
class Subject:
    """A running service and the store that it is on."""

    target: Target
    variant: Variant


@dataclass(frozen=True)
class Shape:
    """An operation whose cost is measured; by message where `counted` names some."""

    name: str
    op: str
    section: str
    targets: dict[str, float]  # by store
    counted: str = ""
    batch: int = 1

    def target(self, store: str) -> float | None:
        """Return the units that are aimed at; `redis-socket` is held to `redis`."""
        return self.targets.get(store, self.targets.get(store.partition("-")[0]))


def aims(
    sqlite: float | None, redis: float, mongodb: float, relaxed: float | None = None
) -> dict[str, float]:
    """Return the units that are aimed at, by store."""
    found = {
        "sqlite": sqlite,
        "redis": redis,
        "mongodb": mongodb,
        "mongodb-relaxed": relaxed,
    }
    return {store: aim for store, aim in found.items() if aim is not None}


SHAPES = (
    Shape("post 1", "post", "post", aims(2.2, 1.75, 8, 5.5), "post"),
    Shape("post 10", "post", "post", aims(0.3, 0.25, 1.0, 0.7), "post", batch=10),
    Shape("claim 10, delete each", "claim-delete", "claim", aims(2.2, 1.9, 6), "claim"),
    Shape(
        "claim 10, bulk delete", "claim-bulk", "claim", aims(0.7, 0.42, 1.5), "claim"
    ),
    Shape("pop 10", "pop", "claim", aims(0.25, 0.2, 0.9), "pop"),
    Shape("list 10", "list", "read", aims(1.6, 1.8, 3.5)),
    Shape("stats", "stats", "read", aims(1.6, 1.6, 3)),
    Shape("producer to consumer", "relay", "relay", aims(None, 3.6, 14), "claim"),
)
SECTIONS = ("post", "claim", "read", "relay", "rates", "depth", "identity")
P99_TARGETS = {32: 50}
UNIT = Shape("unit", "post", "post", {})
DEEP_OPERATIONS = ("post", "claim-delete", "claim-bulk", "pop", "list", "stats", "get")
RATE_TARGETS = {
    ("FULL", 32): 50,
    ("FULL", 8): 40,
    ("NORMAL", 32): 60,
    ("NORMAL", 8): 60,
}


def measurement(
    stack: ExitStack,
    target: Target,
    op: str,
    connections: int,
    *,
    batch: int = 1,
    queue: str = "",
    headers: tuple[str, ...] = (),
) -> OperationRun:
    """Return one operation on one server, with a queue of its own unless named."""
    run = uuid4().hex[:8]
    work = Work(
        run=run,
        queues=(queue or f"figures-{run}",),
        message_size=MESSAGE_SIZE,
        batch=batch,
        claim_ttl=3600,
    )
    fleet = stack.enter_context(Fleet(Plan(target, work, PROJECT, headers)))
    return OperationRun(fleet, op, connections, warmup=WARMUP)


def cost(outcome: Outcome, counted: str = "") -> float:
    """Return microseconds of processor time by message, or by request."""
    window = outcome.tally.window
    count = window.messages[counted] if counted else window.requests.total()
    return (outcome.server_cpu or 0) / 1000 / (count or 1)


def rate(outcome: Outcome, counted: str = "") -> float:
    """Return messages, or requests, a second."""
    window = outcome.tally.window
    count = window.messages[counted] if counted else window.requests.total()
    return count / (window.seconds or 1)


def latency(outcome: Outcome, percent: float) -> float:
    """Return milliseconds of the slowest kind of request in the measurement."""
    held = outcome.tally.latency.values()
    return max((each.percentile(percent) for each in held), default=0) / 1e6


def failures(outcome: Outcome) -> int:
    return outcome.tally.failures()


def measure_cost(
    shape: Shape, bare: Target, subjects: Sequence[Subject], effort: Effort
) -> Row:
    """Measure what one shape costs everywhere, in units of a bare post of one."""
    effort.tell(f"cost of {shape.name}")
    with ExitStack() as stack:
        runs = [measurement(stack, bare, UNIT.op, effort.connections)]
        for target in (bare, *(subject.target for subject in subjects)):
            run = measurement(
                stack, target, shape.op, effort.connections, batch=shape.batch
            )
            runs.append(run)
        unit, same, *ours = in_turns(runs, effort.seconds, effort.slices)
    one, alike = cost(unit), cost(same)
    return {
        "name": shape.name,
        "per": "message" if shape.counted else "request",
        "unit_us": round(one, 1),
        "same_shape_us": round(alike, 1),
        "units": {
            subject.target.label: {
                "target": shape.target(subject.variant.store),
                "us": round(cost(outcome, shape.counted), 1),
                "units": round(cost(outcome, shape.counted) / one, 3),
                "same_shape_units": round(cost(outcome, shape.counted) / alike, 3),
                "per_second": round(rate(outcome, shape.counted)),
                "failures": failures(outcome),
            }
            for subject, outcome in zip(subjects, ours, strict=True)
        },
    }


def measure_rates(
    connections: int, bare: Target, subjects: Sequence[Subject], effort: Effort
) -> Row:
    """Measure how many single posts a second there can be."""
    effort.tell(f"rate with {connections} connections")
    with ExitStack() as stack:
        targets = (bare, *(subject.target for subject in subjects))
        runs = [measurement(stack, each, "post", connections) for each in targets]
        limit, *ours = in_turns(runs, effort.seconds, effort.slices)
    rows = {}
    for subject, outcome in zip(subjects, ours, strict=True):
        rows[subject.target.label] = {
            "per_second": round(rate(outcome)),
            "percent": round(100 * rate(outcome) / rate(limit), 1),
            "target_percent": RATE_TARGETS.get((subject.variant.setting, connections)),
            "p50_ms": round(latency(outcome, 50), 2),
            "p99_ms": round(latency(outcome, 99), 2),
            "failures": failures(outcome),
        }
    return {
        "connections": connections,
        "bare_per_second": round(rate(limit)),
        "bare_p99_ms": round(latency(limit, 99), 2),
        "target_p99_ms": P99_TARGETS.get(connections),
        "rates": rows,
    }


def make_deep(target: Target, messages: int) -> tuple[str, Row]:
    """Fill a store with messages, claims and queues; return the queue and its stats."""
    queue = f"deep-{uuid4().hex[:8]}"
    with ExitStack() as stack:
        fleet = measurement(stack, target, "post", 8, queue=queue).fleet
        for script, count in (
            ("make-queues", DEEP_QUEUES),
            ("fill", messages),
            ("hold", DEEP_CLAIMED),
        ):
            fleet.run(Load(((script, 8),), FILLING, budget=count))
    caller = Caller(target, PROJECT)
    with Client(caller, 10) as client:
        counts = ask(client, f"{caller.queue_path(queue)}/stats")["messages"]
        queues = ask(client, "/v2/queues?limit=1&with_count=true")["count"]
    names = ("total", "claimed")
    return queue, {name: counts[name] for name in names} | {"queues": queues}


def ask(client: Client, path: str) -> Row:
    return msgspec.json.decode(client.call("GET", path)[1], type=Row)


def measure_depth(folder: Path, start: Start, messages: int, effort: Effort) -> Row:
    """Compare a store of so many messages with one that is nearly empty."""
    rows = []
    folder.mkdir()
    with ExitStack() as stack:
        flat = stack.enter_context(start(folder / "flat"))
        deep = stack.enter_context(start(folder / "deep"))
        effort.tell(f"filling {deep.label} with {messages} messages")
        queue, stored = make_deep(deep, messages)
        for op in DEEP_OPERATIONS:
            effort.tell(f"depth: {op}")
            with ExitStack() as inner:
                runs = [
                    measurement(inner, target, op, effort.connections, queue=name)
                    for target, name in ((flat, ""), (deep, queue))
                ]
                for run in runs:
                    run.largest_round = SMALL_ROUND
                shallow, full = in_turns(runs, effort.seconds, effort.slices)
            rows.append(depth_row(op, shallow, full))
    return {"label": deep.label, "stored": stored, "operations": rows}


def depth_row(op: str, shallow: Outcome, full: Outcome) -> Row:
    """Return how much more the same costs in a deep store."""
    return {
        "name": op,
        "target": 1.3,
        "flat_us": round(cost(shallow), 1),
        "deep_us": round(cost(full), 1),
        "cost_ratio": round(cost(full) / (cost(shallow) or 1), 3),
        "flat_p50_ms": round(latency(shallow, 50), 2),
        "deep_p50_ms": round(latency(full, 50), 2),
        "latency_ratio": round(latency(full, 50) / (latency(shallow, 50) or 1), 3),
        "failures": failures(shallow) + failures(full),
    }

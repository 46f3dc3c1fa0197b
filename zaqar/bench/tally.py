# SPDX-License-Identifier: Apache-2.0
"""What one phase of a run measured, in one process or merged from several."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Self

from zaqar.bench.histogram import Histogram

EMPTY_CLAIM = "claim-empty"
SAMPLE = 200  # bytes kept of the first answer of each failure


@dataclass(slots=True)
class Window:
    """The measured part of a phase: between the warm-up and the end of the load."""

    seconds: float = 0.0
    requests: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    client_cpu: int = 0  # nanoseconds
    busiest: float = 0.0  # share of one processor, of the busiest process

    def merge(self, other: Self) -> None:
        self.seconds = max(self.seconds, other.seconds)
        self.requests.update(other.requests)
        self.messages.update(other.messages)
        self.client_cpu += other.client_cpu
        self.busiest = max(self.busiest, other.busiest)

    def extend(self, other: Self) -> None:
        """Add a window of another time, where `merge` adds one of another process."""
        seconds = self.seconds + other.seconds
        self.merge(other)
        self.seconds = seconds


class Tally:
    """Latencies, failures and counts. Latencies are those of answers below 400."""

    def __init__(self) -> None:
        self.latency: dict[str, Histogram] = {}
        self.end_to_end = Histogram()
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.troubles: Counter[tuple[str, str]] = Counter()
        self.samples: dict[str, str] = {}
        self.messages: Counter[str] = Counter()
        self.reconnects = 0
        self.window = Window()

    def record(self, op: str, status: int, took: int, body: bytes) -> None:
        """Count one answer."""
        if status == 204 and op == "claim":
            op = EMPTY_CLAIM
        if status >= 400:
            self.statuses[op, status] += 1
            name = f"{op} {status}"
            if name not in self.samples:
                self.samples[name] = body[:SAMPLE].decode("utf-8", "replace")
            return
        histogram = self.latency.get(op)
        if histogram is None:
            histogram = self.latency[op] = Histogram()
        histogram.record(took)

    def requests(self) -> Counter[str]:
        """Return how many requests of each operation were answered."""
        counts = Counter({op: held.count for op, held in self.latency.items()})
        for (op, _), count in self.statuses.items():
            counts[op] += count
        return counts

    def failures(self) -> int:
        return self.statuses.total() + self.troubles.total()

    def merge(self, other: Self) -> None:
        """Add what another process measured at the same time."""
        self.add_counts(other)
        self.window.merge(other.window)

    def extend(self, other: Self) -> None:
        """Add what was measured at another time."""
        self.add_counts(other)
        self.window.extend(other.window)

    def add_counts(self, other: Self) -> None:
        """Add everything but the window."""
        for op, histogram in other.latency.items():
            self.latency.setdefault(op, Histogram()).merge(histogram)
        self.end_to_end.merge(other.end_to_end)
        self.statuses.update(other.statuses)
        self.troubles.update(other.troubles)
        self.samples = other.samples | self.samples
        self.messages.update(other.messages)
        self.reconnects += other.reconnects

# SPDX-License-Identifier: Apache-2.0
"""Durations counted in logarithmic buckets: flat memory, error below 1.6 percent."""

from typing import Self

# Each power of two is cut into this many buckets.
STEPS_BITS = 6
STEPS = 1 << STEPS_BITS
LARGEST = (1 << 40) - 1  # nanoseconds: 18 minutes
BUCKETS = (40 - STEPS_BITS + 1) * STEPS


class Histogram:
    """Counts of whole, non-negative numbers (here: nanoseconds)."""

    __slots__ = ("counts", "largest", "total")

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.largest = 0
        self.total = 0

    def record(self, value: int) -> None:
        """Count one value; what is out of range is counted at the end of the range."""
        if value > self.largest:
            self.largest = value
        self.total += value
        shift = value.bit_length() - STEPS_BITS - 1
        if shift <= 0:
            self.counts[max(value, 0)] += 1
        elif value <= LARGEST:
            self.counts[(shift << STEPS_BITS) + (value >> shift)] += 1
        else:
            self.counts[-1] += 1

    def merge(self, other: Self) -> None:
        """Add the counts of another histogram to this one."""
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.largest = max(self.largest, other.largest)
        self.total += other.total

    @property
    def count(self) -> int:
        return sum(self.counts)

    @property
    def mean(self) -> float:
        return self.total / (self.count or 1)

    def percentile(self, percent: float) -> int:
        """Return the value that `percent` of the counted values do not exceed.

        That is the upper edge of a bucket, or the largest value; 0 when empty.
        """
        wanted = self.count * percent / 100
        seen = 0
        for index, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return min(upper_edge(index), self.largest)
        return self.largest


def upper_edge(index: int) -> int:
    """Return the largest value that is counted in a bucket."""
    if index < 2 * STEPS:
        return index
    shift = (index >> STEPS_BITS) - 1
    return ((index - (shift << STEPS_BITS) + 1) << shift) - 1

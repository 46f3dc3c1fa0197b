# SPDX-License-Identifier: Apache-2.0
"""Remembers which messages were stored and which came back, one bit for each.

A message is named by its producer and its counter, both small integers.
"""

from typing import Self

import msgspec

GROWTH = 4096  # bytes by which a bitmap grows
EXAMPLES = 10


class Bitmap:
    """A set of small integers per producer."""

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows: dict[int, bytearray] = {}

    def add(self, producer: int, number: int) -> bool:
        """Add one number; return False when it was there already."""
        row = self.rows.get(producer)
        if row is None:
            row = self.rows[producer] = bytearray(GROWTH)
        place = number >> 3
        if place >= len(row):
            row.extend(bytes(place - len(row) + GROWTH))
        mask = 1 << (number & 7)
        if row[place] & mask:
            return False
        row[place] |= mask
        return True

    def merge(self, other: Self) -> int:
        """Add another bitmap; return how many numbers both had."""
        both = 0
        for producer, theirs in other.rows.items():
            ours = self.row(producer)
            row = int.from_bytes(theirs, "little")
            both += (ours & row).bit_count()
            ours |= row
            size = (ours.bit_length() + 7) // 8
            self.rows[producer] = bytearray(ours.to_bytes(size, "little"))
        return both

    def row(self, producer: int) -> int:
        """Return the numbers of one producer as the bits of an integer."""
        return int.from_bytes(self.rows.get(producer, b""), "little")

    def __len__(self) -> int:
        return sum(self.row(producer).bit_count() for producer in self.rows)


class Verdict(msgspec.Struct, frozen=True):
    """What became of the messages whose posting was acknowledged.

    `left` were still in the queues at the end, so they are not lost. `duplicated`
    counts deliveries beyond the first. `lost_examples` reads `producer:counter`.
    """

    acknowledged: int
    delivered: int
    left: int
    lost: int
    duplicated: int
    lost_examples: tuple[str, ...] = ()


class Ledger:
    """The book of one process, or after merging that of the whole run."""

    def __init__(self) -> None:
        self.counters: dict[int, int] = {}
        self.acknowledged = Bitmap()
        self.delivered = Bitmap()
        self.left = Bitmap()
        self.duplicated = 0

    def reserve(self, producer: int, count: int) -> int:
        """Return the first of `count` numbers that this producer did not use yet."""
        first = self.counters.get(producer, 0)
        self.counters[producer] = first + count
        return first

    def acknowledge(self, producer: int, first: int, count: int) -> None:
        """Note that the service said it stored these messages."""
        for number in range(first, first + count):
            self.acknowledged.add(producer, number)

    def deliver(self, producer: int, number: int) -> None:
        """Note that a consumer received this message."""
        if not self.delivered.add(producer, number):
            self.duplicated += 1

    def merge(self, other: Self) -> None:
        """Add the book of another process."""
        self.acknowledged.merge(other.acknowledged)
        self.duplicated += other.duplicated
        self.duplicated += self.delivered.merge(other.delivered)

    def verdict(self) -> Verdict:
        """Judge. Messages without acknowledgement may be there or not: neither counts.

        They were refused, or the connection broke before the answer came.
        """
        lost = left = 0
        examples: list[str] = []
        for producer in self.acknowledged.rows:
            missing = self.acknowledged.row(producer) & ~self.delivered.row(producer)
            found = missing & self.left.row(producer)
            gone = missing & ~found
            left += found.bit_count()
            lost += gone.bit_count()
            while gone and len(examples) < EXAMPLES:
                lowest = gone & -gone
                examples.append(f"{producer}:{lowest.bit_length() - 1}")
                gone ^= lowest
        return Verdict(
            acknowledged=len(self.acknowledged),
            delivered=len(self.delivered),
            left=left,
            lost=lost,
            duplicated=self.duplicated,
            lost_examples=tuple(examples),
        )

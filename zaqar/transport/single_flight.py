# SPDX-License-Identifier: Apache-2.0
"""Lets those who want the same thing at the same time go one after the other."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec


class Flight(msgspec.Struct):
    """One thing that is wanted, and by how many."""

    turn: threading.Lock = msgspec.field(default_factory=threading.Lock)
    wanted: int = 0


class Flights:
    """What is wanted now, by key; keys that nobody wants any more are forgotten."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}
        self._counting = threading.Lock()

    @contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Wait until nobody else is here with this key."""
        with self._counting:
            flight = self._flights.setdefault(key, Flight())
            flight.wanted += 1
        try:
            with flight.turn:
                yield
        finally:
            with self._counting:
                flight.wanted -= 1
                if not flight.wanted:
                    del self._flights[key]

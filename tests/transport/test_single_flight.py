# SPDX-License-Identifier: Apache-2.0
"""Facts of what goes one after the other."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from zaqar.transport.single_flight import Flights

THREADS = 8


def test_of_many_who_want_the_same_one_does_the_work() -> None:
    flights, known, asked = Flights(), set[str](), []
    begin = threading.Barrier(THREADS)

    def want(key: str) -> None:
        begin.wait()
        with flights.alone(key):
            if key not in known:
                asked.append(key)
                known.add(key)

    with ThreadPoolExecutor(THREADS) as threads:
        [*threads.map(want, ["a", "b"] * (THREADS // 2))]

    assert sorted(asked) == ["a", "b"]


def test_who_wants_something_else_does_not_wait() -> None:
    flights = Flights()

    with flights.alone("a"), ThreadPoolExecutor(1) as threads:

        def enter() -> bool:
            with flights.alone("b"):
                return True

        assert threads.submit(enter).result(30)


def test_nothing_is_left_of_what_failed() -> None:
    flights = Flights()

    with pytest.raises(ValueError), flights.alone("a"):
        raise ValueError

    assert flights._flights == {}
    with flights.alone("a"):
        pass

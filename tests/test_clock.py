# SPDX-License-Identifier: Apache-2.0
"""Facts of the clock: what it takes for the store's time, and what for noise."""

import time
from uuid import UUID

import pytest

from zaqar import clock
from zaqar.clock import Clock
from zaqar.errors import StorageUnavailable

T0 = 1_800_000_000.0


class World:
    """A machine and a store, each with a clock; time passes only while it asks.

    `trips` are how long the next answers take, None is no answer; the last one stays.
    The answer is told after `share` of its trip.
    """

    def __init__(self) -> None:
        self.passed = 0.0
        self.ahead = 0.0
        self.trips: list[float | None] = [0.001]
        self.share = 0.5
        self.asked = 0

    def local(self) -> float:
        return T0 + self.passed

    def elapsed(self) -> float:
        return self.passed

    def ask(self) -> float:
        self.asked += 1
        trip = self.trips.pop(0) if len(self.trips) > 1 else self.trips[0]
        if trip is None:
            raise StorageUnavailable("It does not answer.")
        self.passed += trip * self.share
        told = T0 + self.passed + self.ahead
        self.passed += trip * (1 - self.share)
        return told


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def measured(world: World) -> Clock:
    return Clock(world.ask, world.local, world.elapsed)


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    told: list[str] = []
    monkeypatch.setattr(
        clock.LOG, "warning", lambda text, *values: told.append(text % values)
    )
    return told


def test_clock_is_the_local_one_until_it_is_measured(
    world: World, measured: Clock
) -> None:
    world.ahead = 600

    assert measured.now() == world.local()
    assert world.asked == 0


@pytest.mark.parametrize("ahead", [600.0, -600.0, 0.06, -0.06, 1.8e9, -1.7e9])
def test_measured_clock_tells_the_time_of_the_store(
    world: World, measured: Clock, ahead: float
) -> None:
    world.ahead = ahead

    assert measured.measure()

    assert measured.now() == pytest.approx(world.local() + ahead, abs=0.001)


def test_telling_the_time_does_not_ask_the_store(world: World, measured: Clock) -> None:
    measured.measure()
    asked = world.asked

    for _ in range(100):
        measured.now()

    assert world.asked == asked


@pytest.mark.parametrize("ahead", [0.0, 0.04, -0.04])
def test_small_difference_is_noise(world: World, measured: Clock, ahead: float) -> None:
    world.ahead = ahead

    measured.measure()

    assert measured.now() == world.local()


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("trip", [0.5, 4.0, 9.0])
def test_slow_answer_is_no_difference(
    world: World, measured: Clock, trip: float, share: float
) -> None:
    world.trips, world.share = [trip], share

    assert measured.measure()

    assert measured.now() == world.local()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_large_difference_is_seen_in_slow_answers_too(
    world: World, measured: Clock, share: float
) -> None:
    world.ahead, world.trips, world.share = 600, [4.0], share

    measured.measure()

    assert measured.now() == pytest.approx(world.local() + 600, abs=2)


def test_quickest_answer_counts(world: World, measured: Clock) -> None:
    world.ahead, world.trips, world.share = 600, [3.0, 0.002, 5.0], 0.0

    measured.measure()

    assert measured.offset == pytest.approx(600, abs=0.001)


def test_correction_does_not_follow_noise(world: World, measured: Clock) -> None:
    world.ahead = 600
    measured.measure()
    before = measured.offset

    for trip, share, ahead in [(2.0, 0, 600), (0.001, 0.5, 600.04), (2.0, 1, 599.9)]:
        world.trips, world.share, world.ahead = [trip], share, ahead
        measured.measure()

    assert measured.offset == before


def test_correction_follows_a_clock_that_moves(world: World, measured: Clock) -> None:
    for ahead in (600.0, 600.2, -30.0):
        world.ahead = ahead
        measured.measure()

        assert measured.offset == pytest.approx(ahead, abs=0.001)


def test_correction_ends_when_the_clock_is_right(world: World, measured: Clock) -> None:
    world.ahead = 600
    measured.measure()
    world.ahead = 0.01

    measured.measure()

    assert measured.now() == world.local()


@pytest.mark.parametrize("trips", [[None], [0.001, None], [0.001, 0.001, None]])
def test_store_that_does_not_answer_changes_nothing(
    world: World, measured: Clock, trips: list[float | None]
) -> None:
    world.ahead = 600
    measured.measure()
    world.ahead, world.trips = 0, trips

    assert not measured.measure()

    assert measured.offset == pytest.approx(600, abs=0.001)


def test_store_that_does_not_answer_is_asked_once(
    world: World, measured: Clock
) -> None:
    world.trips = [None]

    measured.measure()

    assert world.asked == 1


def test_wrong_clock_is_told_once(
    world: World, measured: Clock, warnings: list[str]
) -> None:
    world.ahead = 600
    measured.measure()
    measured.measure()
    world.ahead = 900
    measured.measure()

    assert len(warnings) == 1
    assert "600.0 s behind the store's" in warnings[0]


def test_clock_that_is_wrong_again_is_told_again(
    world: World, measured: Clock, warnings: list[str]
) -> None:
    for ahead in (-600, 0, -300):
        world.ahead = ahead
        measured.measure()

    assert len(warnings) == 2
    assert "300.0 s ahead of the store's" in warnings[1]


def test_small_correction_is_not_told(
    world: World, measured: Clock, warnings: list[str]
) -> None:
    world.ahead = 1.5

    measured.measure()

    assert measured.offset > 1
    assert not warnings


@pytest.mark.parametrize("ahead", [0, 600, -600])
def test_ids_have_the_time_of_the_store(ahead: float) -> None:
    corrected = Clock(lambda: time.time() + ahead)
    corrected.measure()

    ids = [UUID(corrected.new_id()) for _ in range(100)]

    assert {id.version for id in ids} == {7}
    assert len(set(ids)) == 100
    for id in ids:
        assert (id.int >> 80) / 1000 == pytest.approx(corrected.now(), abs=5)

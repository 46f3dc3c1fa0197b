# SPDX-License-Identifier: Apache-2.0
"""Facts of the rules: what a quota may say, and what a rate lets through."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaqar import quotas
from zaqar.errors import InvalidRequest
from zaqar.quotas import FIELDS, NONE, Quota, burst_of, made, read, take, write

RATES = st.floats(0.001, 1e5)
BURSTS = st.integers(1, 1000)


def test_nothing_is_limited_unless_said() -> None:
    assert made({}) == made(dict.fromkeys(FIELDS, -1)) == NONE
    assert not NONE.limits_something
    assert not Quota(burst=9).limits_something


@pytest.mark.parametrize("field", FIELDS)
def test_each_limit_is_one(field: str) -> None:
    quota = made({field: 7})

    assert getattr(quota, field) == 7
    assert quota.limits_something == (field != "burst")
    assert quota.limits_stored == (field in ("messages", "bytes"))


def test_fields_of_a_project_replace_the_defaults() -> None:
    defaults = made({"queues": 5, "messages": 9})

    assert made({"queues": -1, "bytes": 0}, defaults) == Quota(messages=9, bytes=0)
    assert made({}, defaults) == defaults


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("queues", -2),
        ("queues", 1.5),
        ("messages", 2**53 + 2),
        ("messages", math.nan),
        ("bytes", math.inf),
        ("burst", 0),
        ("requests_per_second", 0),
        ("requests_per_second", 0.0009),
        ("requests_per_second", math.nan),
        ("requests_per_second", math.inf),
        ("nosuch", 1),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(InvalidRequest, match=field):
        made({field: value})


@given(st.dictionaries(st.sampled_from(FIELDS), st.integers(1, 2**53)))
def test_what_is_written_is_read(row: dict[str, int]) -> None:
    assert read(write(row)) == row
    assert bool(write(row)) == bool(row)


def test_fields_of_later_releases_are_passed_over() -> None:
    assert read(b'{"queues": 3, "colours": 9}') == {"queues": 3}


@pytest.mark.parametrize("document", [b"{", b"[]", b'{"queues": "3"}', b"\xff", b"1"])
def test_another_document_is_refused(document: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read(document)


def test_a_burst_is_what_comes_in_a_second_unless_said() -> None:
    assert burst_of(Quota(requests_per_second=0.1)) == 1
    assert burst_of(Quota(requests_per_second=2.5)) == 3
    assert burst_of(Quota(requests_per_second=2.5, burst=1)) == 1


def taken(rate: float, burst: int, instants: Sequence[float], due: float = 0) -> int:
    """Return how many of the requests at these instants are taken."""
    count = 0
    for now in instants:
        due, early = take(due, now, rate, burst)
        count += early == 0
    return count


@given(RATES, BURSTS, st.lists(st.floats(0, 1e4), min_size=1, max_size=200))
def test_of_any_time_no_more_is_taken_than_the_rate_says(
    rate: float, burst: int, gaps: list[float]
) -> None:
    instants, now = [], 1e6
    for gap in gaps:
        # Near the interval, or no time at all.
        now += min(gap / rate, 1e4) / 100
        instants.append(now)
    elapsed = instants[-1] - instants[0]

    # One more for the noise of floats.
    assert taken(rate, burst, instants) <= burst + rate * elapsed + 1


@given(RATES, BURSTS)
def test_a_burst_is_taken_whole_and_then_no_more(rate: float, burst: int) -> None:
    assert taken(rate, burst, [50.0] * (burst + 5)) == burst


@given(st.floats(0.001, 1e4), BURSTS, st.integers(1, 50))
def test_who_waits_as_long_as_is_told_is_taken(
    rate: float, burst: int, count: int
) -> None:
    due, now = 0.0, 1000.0
    for _ in range(burst + count):
        due, early = take(due, now, rate, burst)
        now += early
        if early:
            due, early = take(due, now, rate, burst)
        assert not early


@given(
    st.one_of(st.floats(), st.just(math.nan), st.floats(1e9, 1e300)),
    RATES,
    BURSTS,
)
def test_whatever_was_remembered_a_project_waits_no_longer_than_one_interval(
    due: float, rate: float, burst: int
) -> None:
    _, early = take(due, 1000.0, rate, burst)

    assert 0 <= early <= 1 / rate + quotas.NOISE


@given(st.floats(0.01, 1000), BURSTS)
def test_after_a_pause_the_burst_is_there_again(rate: float, burst: int) -> None:
    first = [10.0] * burst
    again = [10.0 + burst / rate + 0.001] * burst

    assert taken(rate, burst, first + again) == 2 * burst

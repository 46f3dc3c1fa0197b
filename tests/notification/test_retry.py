# SPDX-License-Identifier: Apache-2.0
"""Facts of retries: which policy counts, the four phases, the four curves."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaqar.limits import BACKOFF_FUNCTIONS, MIN_DELAY_SPAN, check_retry_policy
from zaqar.notification.retry import (
    DEFAULT,
    RetryPolicy,
    chosen,
    curve_length,
    delay_before,
)


def delays(policy: RetryPolicy) -> list[int]:
    """Return all delays, one after the other."""
    found: list[int] = []
    while (delay := delay_before(policy, len(found) + 1)) is not None:
        found.append(delay)
    return found


def curve(function: str, low: int, high: int) -> list[int]:
    """Return the delays of the third phase alone."""
    return delays(RetryPolicy(0, 0, low, high, 0, function))


# The curves of the contract ----------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "low", "high", "expected"),
    [
        ("linear", 5, 30, [5, 10, 15, 20, 25]),
        ("linear", 10, 60, [10, 15, 20, 25, 30, 35, 40, 45, 50, 55]),
        ("arithmetic", 5, 30, [5, 7, 12, 20, 30]),
        ("arithmetic", 10, 60, [10, 11, 13, 16, 21, 26, 33, 41, 50, 60]),
        ("geometric", 5, 30, [5, 7, 12, 19, 30]),
        ("geometric", 10, 60, [10, 12, 14, 18, 22, 27, 33, 40, 49, 60]),
        ("exponential", 5, 30, [5, 7, 12, 19, 30]),
        ("exponential", 10, 60, [10, 12, 14, 18, 22, 27, 33, 40, 49, 60]),
        ("linear", 0, 12, [0, 5, 10]),
        ("arithmetic", 0, 10, [0, 10]),
        ("geometric", 0, 10, [1, 10]),
        ("exponential", 0, 10, [1, 10]),
    ],
)
def test_curve_is_that_of_the_contract(
    function: str, low: int, high: int, expected: list[int]
) -> None:
    assert curve(function, low, high) == expected


def test_the_default_policy_has_four_phases() -> None:
    assert delays(DEFAULT) == [0, 0, 0, 5, 5, 5, 5, 10, 15, 20, 25, 30, 30, 30]


def test_after_the_last_phase_there_is_no_more() -> None:
    assert delay_before(RetryPolicy(1, 0, 5, 30, 0), 7) is None
    assert delay_before(DEFAULT, 10**6) is None


numbers = st.integers(0, 8)
policies = st.builds(
    lambda quick, slow, low, span, last, function: RetryPolicy(
        quick, slow, low, low + span, last, function
    ),
    numbers,
    numbers,
    st.integers(0, 500),
    st.integers(MIN_DELAY_SPAN, 900),
    numbers,
    st.sampled_from(BACKOFF_FUNCTIONS),
)


@given(policies)
def test_delays_never_shrink_and_lie_within_the_bounds(policy: RetryPolicy) -> None:
    found = delays(policy)

    assert found == sorted(found)
    assert all(0 <= delay <= policy.maximum_delay for delay in found)


@given(policies)
def test_there_are_as_many_retries_as_the_phases_have(policy: RetryPolicy) -> None:
    phases = (
        policy.retries_with_no_delay
        + policy.minimum_delay_retries
        + policy.maximum_delay_retries
    )

    assert len(delays(policy)) == phases + curve_length(policy)


@given(policies)
def test_curve_begins_at_the_least_delay_and_reaches_the_greatest(
    policy: RetryPolicy,
) -> None:
    function, low = policy.retry_backoff_function, policy.minimum_delay
    found = curve(function, low, policy.maximum_delay)

    is_geometric = function in ("geometric", "exponential")
    assert found[0] == (max(low, 1) if is_geometric else low)
    if function == "linear":
        assert found[-1] < policy.maximum_delay <= found[-1] + 5
    else:
        assert found[-1] == policy.maximum_delay


@pytest.mark.parametrize("function", BACKOFF_FUNCTIONS)
def test_delays_as_large_as_integers_go_are_found_at_once(function: str) -> None:
    policy = RetryPolicy(2**62, 0, 0, 2**63 - 1, 3, function)

    assert delay_before(policy, 2**62) == 0
    assert delay_before(policy, 2**62 + 1) in (0, 1)
    last = delay_before(policy, 2**62 + curve_length(policy))
    assert last is not None and policy.maximum_delay - last <= 5
    assert delay_before(policy, 2**62 + curve_length(policy) + 3) == 2**63 - 1
    assert delay_before(policy, 2**62 + curve_length(policy) + 4) is None


# Which policy counts -----------------------------------------------------------------

ONE = {"retries_with_no_delay": 1}
TWO = {"retries_with_no_delay": 2}
OVERRIDE = {"ignore_subscription_override": True}


@pytest.mark.parametrize(
    ("subscription", "queue", "retries"),
    [
        (None, None, 3),
        ({}, {}, 3),
        (ONE, None, 1),
        (ONE, TWO, 1),
        (None, TWO, 2),
        ({}, TWO, 2),
        (ONE, TWO | OVERRIDE, 2),
        (ONE | OVERRIDE, TWO, 2),
        (ONE | OVERRIDE, None, 3),
        (ONE | OVERRIDE, {}, 3),
        (ONE | {"ignore_subscription_override": False}, TWO, 1),
    ],
)
def test_the_policy_that_counts(
    subscription: dict[str, Any] | None, queue: dict[str, Any] | None, retries: int
) -> None:
    assert chosen(subscription, queue).retries_with_no_delay == retries


def test_fields_of_two_policies_are_not_merged() -> None:
    found = chosen({"retries_with_no_delay": 1}, {"minimum_delay_retries": 7})

    assert found == RetryPolicy(1, 3, 5, 30, 3)


def test_all_fields_are_taken_and_others_ignored() -> None:
    policy = {
        "retries_with_no_delay": 1,
        "minimum_delay_retries": 2,
        "minimum_delay": 3,
        "maximum_delay": 40,
        "maximum_delay_retries": 5,
        "retry_backoff_function": "geometric",
        "whatever": 6,
    }
    check_retry_policy(policy)

    assert chosen(policy, None) == RetryPolicy(1, 2, 3, 40, 5, "geometric")

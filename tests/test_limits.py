# SPDX-License-Identifier: Apache-2.0
"""Facts of the pure checks: what each accepts, and that a refusal names the limit."""

from collections.abc import Callable
from typing import Any

import pytest

from zaqar import limits
from zaqar.errors import (
    BadInput,
    EmptyProject,
    InvalidBody,
    InvalidQueueName,
    InvalidRequest,
    WrongClientId,
)
from zaqar.limits import Limits

LIMITS = Limits()


@pytest.mark.parametrize(
    "name", ["a", "Z9", "_", "-", "a.b", "...", ".a", "fizz-bit_1.0", "x" * 64]
)
def test_queue_name_is_accepted(name: str) -> None:
    limits.check_queue_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "x" * 65,
        "a b",
        "a/b",
        "a\n",
        "a\x00",
        "a,b",
        "ä",
        "ａ",  # full-width a
        "а",  # Cyrillic a
        "q\u200b",
    ],
)
def test_queue_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidQueueName, match="1 to 64 characters"):
        limits.check_queue_name(name)


@pytest.mark.parametrize("project", ["p", "a/b", "ü", " ", "p" * 256])
def test_project_is_accepted(project: str) -> None:
    limits.check_project(project)


def test_empty_project_is_refused() -> None:
    with pytest.raises(EmptyProject):
        limits.check_project("")


def test_project_of_257_characters_is_refused() -> None:
    with pytest.raises(InvalidQueueName, match="256"):
        limits.check_project("p" * 257)


@pytest.mark.parametrize("length", [10, 36])
def test_client_id_may_have_its_extreme_lengths(length: int) -> None:
    limits.check_client_length("c" * length, LIMITS)


@pytest.mark.parametrize("length", [0, 9, 37])
def test_client_id_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(WrongClientId, match="10 to 36"):
        limits.check_client_length("c" * length, LIMITS)


# Check, its least and greatest value, the name of its field.
RANGES = [
    (limits.message_ttl, 60, 1209600, "ttl"),
    (limits.message_delay, 0, 900, "delay"),
    (limits.claim_ttl, 60, 43200, "ttl"),
    (limits.claim_grace, 60, 43200, "grace"),
]


@pytest.mark.parametrize(("check", "low", "high", "field"), RANGES)
def test_both_ends_of_a_range_are_accepted(
    check: Callable[[int, Limits], int], low: int, high: int, field: str
) -> None:
    assert check(low, LIMITS) == low
    assert check(high, LIMITS) == high


@pytest.mark.parametrize(("check", "low", "high", "field"), RANGES)
def test_values_outside_a_range_are_refused_by_name_and_limit(
    check: Callable[[int, Limits], int], low: int, high: int, field: str
) -> None:
    for value in (low - 1, high + 1, -(2**63), 2**63 - 1):
        with pytest.raises(
            InvalidRequest, match=f"{field} must be {low} to {high}, not {value}"
        ):
            check(value, LIMITS)


@pytest.mark.parametrize("value", [True, False, None, "5", 5.0, [5], {}])
def test_delay_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(InvalidBody, match="delay must be an integer"):
        limits.message_delay(value, LIMITS)


def test_an_absent_ttl_or_grace_of_a_claim_is_the_default() -> None:
    assert limits.claim_ttl(None, LIMITS) == 300
    assert limits.claim_grace(None, LIMITS) == 60


@pytest.mark.parametrize(
    ("asked", "maximum", "given"), [(None, 20, 10), (None, 5, 5), (1, 20, 1)]
)
def test_page_limit(asked: int | None, maximum: int, given: int) -> None:
    assert limits.page_limit(asked, "limit", maximum) == given


@pytest.mark.parametrize("asked", [0, -1, 21])
def test_page_limit_outside_its_range_is_refused(asked: int) -> None:
    with pytest.raises(InvalidRequest, match="limit must be 1 to 20"):
        limits.page_limit(asked, "limit", 20)


def test_a_size_may_equal_its_limit() -> None:
    limits.check_size("The body", 10, 10)


def test_a_size_above_its_limit_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="The body may have at most 10 bytes"):
        limits.check_size("The body", 11, 10)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, True), (2**70, True), (True, False), (1.0, False), ("1", False)],
)
def test_true_and_floats_are_no_integers(value: object, expected: bool) -> None:
    assert limits.is_integer(value) is expected


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"unknown": "ignored"},
        {"minimum_delay": 5, "maximum_delay": 15},
        {"retries_with_no_delay": 0, "retry_backoff_function": "geometric"},
        {"ignore_subscription_override": True},
    ],
)
def test_retry_policy_is_accepted(policy: dict[str, Any]) -> None:
    limits.check_retry_policy(policy)


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ([], "_retry_policy must be an object"),
        ("linear", "_retry_policy must be an object"),
        ({"minimum_delay": -1}, "minimum_delay"),
        ({"maximum_delay": "30"}, "maximum_delay"),
        ({"maximum_delay_retries": True}, "maximum_delay_retries"),
        ({"minimum_delay_retries": 1.5}, "minimum_delay_retries"),
        ({"retry_backoff_function": "cubic"}, "retry_backoff_function"),
        ({"retry_backoff_function": []}, "retry_backoff_function"),
        ({"ignore_subscription_override": 1}, "ignore_subscription_override"),
        ({"minimum_delay": 21}, "at least 10 more"),
        ({"maximum_delay": 14}, "at least 10 more"),
    ],
)
def test_retry_policy_is_refused_by_field(policy: Any, field: str) -> None:
    with pytest.raises(InvalidRequest, match=field):
        limits.check_retry_policy(policy)


def test_every_refusal_is_the_callers_mistake() -> None:
    with pytest.raises(BadInput):
        limits.check_range("pop", 0, 1, 20)

# SPDX-License-Identifier: Apache-2.0
"""When a delivery that failed is tried again, and when no more. Pure: no clock.

A policy has four phases: retries at once, after the least delay, along a curve from
the least to the greatest delay, after the greatest delay.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from zaqar.limits import RETRY_DEFAULTS

# Seconds between two delays of the linear curve; how many delays the others have
# follows from it too.
STEP = 5
# What is exact on paper ends below it in floats: 29.999… seconds are 30.
NEARLY = 1e-9


class RetryPolicy(msgspec.Struct, frozen=True):
    """How often and how late; delays are seconds."""

    retries_with_no_delay: int
    minimum_delay_retries: int
    minimum_delay: int
    maximum_delay: int
    maximum_delay_retries: int
    retry_backoff_function: str = "linear"


DEFAULT = msgspec.convert(RETRY_DEFAULTS, RetryPolicy)


def chosen(
    subscription: Mapping[str, Any] | None, queue: Mapping[str, Any] | None
) -> RetryPolicy:
    """Return the policy that counts, of the two that were checked when they were set.

    Fields are not merged: what the one does not say is the default, not the other's.
    """
    overrides = any(
        policy and policy.get("ignore_subscription_override")
        for policy in (subscription, queue)
    )
    fields = queue if overrides or not subscription else subscription
    if not fields:
        return DEFAULT
    known = {
        name: fields[name] for name in RetryPolicy.__struct_fields__ if name in fields
    }
    return msgspec.structs.replace(DEFAULT, **known)


def delay_before(policy: RetryPolicy, failures: int) -> int | None:
    """Return the seconds to wait after so many failures (>= 1); None: give up."""
    phases = (
        (policy.retries_with_no_delay, 0),
        (policy.minimum_delay_retries, policy.minimum_delay),
        (curve_length(policy), None),
        (policy.maximum_delay_retries, policy.maximum_delay),
    )
    number = failures
    for length, delay in phases:
        if number <= length:
            return _on_curve(policy, number) if delay is None else delay
        number -= length
    return None


def curve_length(policy: RetryPolicy) -> int:
    """Return how many delays the curve has."""
    span = policy.maximum_delay - policy.minimum_delay
    if policy.retry_backoff_function == "linear":
        # All that are less than the greatest delay.
        return -(-span // STEP)
    return span // STEP


def _on_curve(policy: RetryPolicy, number: int) -> int:
    """Return the delay with this number, from 1 on, in whole seconds."""
    low, high, length = (
        policy.minimum_delay,
        policy.maximum_delay,
        curve_length(policy),
    )
    if policy.retry_backoff_function == "linear":
        return low + STEP * (number - 1)
    if policy.retry_backoff_function == "arithmetic":
        # Differences grow evenly. All in integers: delays may be as large as those.
        return low + (high - low) * number * (number - 1) // (length * (length - 1))
    # Geometric and exponential are two ways to write one series. It cannot begin at 0.
    low = max(low, 1)
    return min(int(low * (high / low) ** ((number - 1) / (length - 1)) + NEARLY), high)

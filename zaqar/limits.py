# SPDX-License-Identifier: Apache-2.0
"""Pure checks of names, durations, sizes, paging; each names the field and the limit.

The numbers are options of the `[transport]` group (contract: names and limits).
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from zaqar.errors import (
    EmptyProject,
    InvalidBody,
    InvalidQueueName,
    InvalidRequest,
    InvalidTopicName,
    WrongClientId,
)

QUEUE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
NAME_RULE = (
    "has 1 to 64 characters, letters, digits, '_', '-' and '.', and is not '.' or '..'."
)
MAX_PROJECT = 256
# Of pools and flavors.
MAX_ADMIN_NAME = 64
MIN_TTL = 60
DEFAULT_PAGE = 10


class Limits(msgspec.Struct, frozen=True):
    """The limits of the service; the defaults are those of the contract."""

    max_queues_per_page: int = 20
    max_messages_per_page: int = 20
    max_subscriptions_per_page: int = 20
    max_pools_per_page: int = 20
    max_flavors_per_page: int = 20
    max_messages_per_claim_or_pop: int = 20
    max_queue_metadata: int = 65536
    max_messages_post_size: int = 262144
    max_message_ttl: int = 1209600
    max_message_delay: int = 900
    max_claim_ttl: int = 43200
    max_claim_grace: int = 43200
    default_message_ttl: int = 3600
    default_message_delay: int = 0
    default_claim_ttl: int = 300
    default_claim_grace: int = 60
    default_subscription_ttl: int = 3600
    client_id_uuid_safe: str = "strict"
    min_length_client_id: int = 10
    max_length_client_id: int = 36


def check_queue_name(name: str) -> None:
    """Raise InvalidQueueName unless clients can name the queue in a path.

    `.` and `..` are refused: clients and proxies take them for steps in the path.
    """
    if not _is_name(name):
        raise InvalidQueueName(f"A queue name {NAME_RULE}")


def check_topic_name(name: str) -> None:
    """Raise InvalidTopicName where a queue of this name could not be either."""
    if not _is_name(name):
        raise InvalidTopicName(f"A topic name {NAME_RULE}")


def _is_name(name: str) -> bool:
    return bool(QUEUE_NAME.fullmatch(name)) and name not in (".", "..")


def check_admin_name(noun: str, name: str) -> None:
    """Raise InvalidRequest unless it can be the name of a pool or a flavor.

    What is no text for a reader is refused, and what is a step in a path.
    """
    if (
        not 1 <= len(name) <= MAX_ADMIN_NAME
        or name in (".", "..")
        or "/" in name
        or not name.isprintable()
    ):
        raise InvalidRequest(
            f"The name of a {noun} has 1 to {MAX_ADMIN_NAME} characters, no '/' and no "
            "control characters, and is not '.' or '..'."
        )


def check_project(project: str) -> None:
    """Raise EmptyProject, or InvalidQueueName for an id of more than 256 characters."""
    if not project:
        raise EmptyProject("The X-Project-ID header must not be empty.")
    if len(project) > MAX_PROJECT:
        raise InvalidQueueName(
            f"The X-Project-ID header may have at most {MAX_PROJECT} characters."
        )
    # SECURITY: keys of other kinds than queues are told by it.
    if "\n" in project:
        raise InvalidQueueName("The X-Project-ID header must be one line.")


def check_client_length(client: str, limits: Limits) -> None:
    """Raise WrongClientId; used where client ids need not be UUIDs."""
    low, high = limits.min_length_client_id, limits.max_length_client_id
    if not low <= len(client) <= high:
        raise WrongClientId(
            f"The Client-ID header must have {low} to {high} characters."
        )


def check_range(field: str, value: int, low: int, high: int) -> int:
    """Return the value. Raises InvalidRequest."""
    if not low <= value <= high:
        raise InvalidRequest(f"{field} must be {low} to {high}, not {value}.")
    return value


def check_size(field: str, size: int, limit: int) -> None:
    """Raise InvalidRequest if a body has more bytes than allowed."""
    if size > limit:
        raise InvalidRequest(f"{field} may have at most {limit} bytes, not {size}.")


def is_integer(value: object) -> bool:
    """Say whether a JSON value is an integer; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


BACKOFF_FUNCTIONS = ("linear", "arithmetic", "geometric", "exponential")
RETRY_DEFAULTS: Mapping[str, int] = {
    "retries_with_no_delay": 3,
    "minimum_delay_retries": 3,
    "minimum_delay": 5,
    "maximum_delay": 30,
    "maximum_delay_retries": 3,
}
# The least difference between the two delays of a retry policy.
MIN_DELAY_SPAN = 10


def check_retry_policy(policy: Any) -> None:
    """Raise InvalidRequest unless it is a retry policy for notifications."""
    if not isinstance(policy, dict):
        raise InvalidRequest("_retry_policy must be an object.")
    numbers = dict(RETRY_DEFAULTS)
    for field in numbers:
        value = policy.get(field, numbers[field])
        if not is_integer(value) or value < 0:
            raise InvalidRequest(f"_retry_policy.{field} must be an integer >= 0.")
        numbers[field] = value
    if policy.get("retry_backoff_function", "linear") not in BACKOFF_FUNCTIONS:
        raise InvalidRequest(
            "_retry_policy.retry_backoff_function must be one of "
            f"{', '.join(BACKOFF_FUNCTIONS)}."
        )
    if not isinstance(policy.get("ignore_subscription_override", False), bool):
        raise InvalidRequest(
            "_retry_policy.ignore_subscription_override must be true or false."
        )
    if numbers["maximum_delay"] - numbers["minimum_delay"] < MIN_DELAY_SPAN:
        raise InvalidRequest(
            "_retry_policy.maximum_delay must be at least "
            f"{MIN_DELAY_SPAN} more than minimum_delay."
        )


def page_limit(value: int | None, field: str, maximum: int) -> int:
    """Return the page size to use. Raises InvalidRequest."""
    if value is None:
        return min(DEFAULT_PAGE, maximum)
    return check_range(field, value, 1, maximum)


def message_ttl(value: int, limits: Limits) -> int:
    return check_range("ttl", value, MIN_TTL, limits.max_message_ttl)


def message_delay(value: object, limits: Limits) -> int:
    """Return the delay. Raises InvalidBody for another type, InvalidRequest."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidBody("delay must be an integer.")
    return check_range("delay", value, 0, limits.max_message_delay)


def claim_ttl(value: int | None, limits: Limits) -> int:
    if value is None:
        return limits.default_claim_ttl
    return check_range("ttl", value, MIN_TTL, limits.max_claim_ttl)


def claim_grace(value: int | None, limits: Limits) -> int:
    if value is None:
        return limits.default_claim_grace
    return check_range("grace", value, MIN_TTL, limits.max_claim_grace)

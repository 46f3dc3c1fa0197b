# SPDX-License-Identifier: Apache-2.0
"""JSON documents of subscriptions and their deliveries to model and back."""

from collections.abc import Iterable
from typing import Any

from zaqar.errors import InvalidRequest, UnfitConfirmation, UnfitSubscriptionChange
from zaqar.limits import is_integer
from zaqar.model import Attempt, Delivery, Subscription
from zaqar.operations.subscriptions import Wish
from zaqar.transport.documents import age, parse

FIELDS = ("subscriber", "ttl", "options")

# Requests ---------------------------------------------------------------------------


def parse_subscription(body: bytes) -> Wish:
    """Return what is asked for; other keys are ignored.

    Raises InvalidBody, InvalidRequest.
    """
    if not body:
        raise InvalidRequest("The body with the subscription is missing.")
    given = parse(body)
    if not isinstance(given, dict):
        raise InvalidRequest("The body must be an object.")
    if not isinstance(given.get("subscriber"), str):
        raise InvalidRequest("subscriber must be a string.")
    _check_kinds(given)
    return Wish(*(given.get(field) for field in FIELDS))


def parse_change(body: bytes) -> Wish:
    """Return what is to be changed; null and other keys are ignored.

    Raises InvalidBody, InvalidRequest, UnfitSubscriptionChange.
    """
    if not body:
        raise InvalidRequest("The body with the changes is missing.")
    given = parse(body)
    if not isinstance(given, dict) or not any(field in given for field in FIELDS):
        raise UnfitSubscriptionChange(
            f"The body must be an object with one of {', '.join(FIELDS)}."
        )
    if not isinstance(given.get("subscriber"), str | None):
        raise UnfitSubscriptionChange("subscriber must be a string.")
    _check_kinds(given)
    return Wish(*(given.get(field) for field in FIELDS))


def _check_kinds(given: dict[str, Any]) -> None:
    if given.get("ttl") is not None and not is_integer(given["ttl"]):
        raise InvalidRequest("ttl must be an integer.")
    if not isinstance(given.get("options"), dict | None):
        raise InvalidRequest("options must be an object.")


def parse_confirmation(body: bytes) -> bool:
    """Return whether it is confirmed.

    Raises InvalidBody, InvalidRequest, UnfitConfirmation.
    """
    if not body:
        raise InvalidRequest("The body is missing: send confirmed, true or false.")
    given = parse(body)
    if not isinstance(given, dict):
        raise UnfitConfirmation("The body must be an object.")
    confirmed = given.get("confirmed")
    if not isinstance(confirmed, bool):
        raise InvalidRequest("confirmed must be true or false.")
    return confirmed


def parse_replay(body: bytes) -> list[str] | None:
    """Return the messages whose deliveries are to be replayed; None: all.

    Raises InvalidBody, InvalidRequest.
    """
    if not body:
        return None
    given = parse(body)
    ids = given.get("message_ids") if isinstance(given, dict) else given
    if ids is None:
        return None
    if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids):
        raise InvalidRequest("message_ids must be a list of ids.")
    return ids


# Answers ----------------------------------------------------------------------------


def subscription(shown: Subscription, source: str, now: float) -> dict[str, Any]:
    """Return the document; clients need each of these keys (integrations: 4)."""
    return {
        "id": shown.id,
        "source": source,
        "subscriber": shown.subscriber,
        "ttl": shown.ttl,
        "age": age(shown.created, now),
        "options": shown.options,
        "confirmed": shown.confirmed,
    }


def delivery(shown: Delivery, now: float) -> dict[str, Any]:
    waits = {} if shown.due is None else {"retry_in": max(0, round(shown.due - now))}
    return {
        "message_id": shown.notice.id,
        "state": "failed" if shown.due is None else "waiting",
        "failures": shown.failures,
        **waits,
    }


def attempts(shown: Iterable[Attempt], now: float) -> list[dict[str, Any]]:
    return [
        {
            "message_id": attempt.message,
            "age": age(attempt.at, now),
            "seconds": round(attempt.seconds, 3),
            "delivered": attempt.delivered,
            "status": attempt.status,
            "error": attempt.error,
        }
        for attempt in shown
    ]

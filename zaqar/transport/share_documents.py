# SPDX-License-Identifier: Apache-2.0
"""JSON documents of signed URLs to model and back."""

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from zaqar.errors import InvalidRequest
from zaqar.operations.sharing import Share
from zaqar.signing import Terms
from zaqar.transport import documents

# What of a queue can be shared.
KINDS = ("messages", "claims", "subscriptions")
FIELDS = ("paths", "methods", "expires")
# What HTTP takes for a method.
METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def parse_share(body: bytes, queue_path: str) -> tuple[Share, tuple[str, ...]]:
    """Return what is asked for, and the kinds that it is of.

    Raises InvalidBody, InvalidRequest.
    """
    value = documents.parse(body)
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be an object.")
    for field in value:
        if field not in FIELDS:
            raise InvalidRequest(
                f"The body may have {', '.join(FIELDS)}, not {json.dumps(field)}."
            )
    kinds = _texts(value, "paths", KINDS.__contains__, f"of {', '.join(KINDS)}")
    methods = _texts(value, "methods", METHOD.fullmatch, "of names of methods")
    kinds = kinds or KINDS[:1]
    return Share(
        tuple(f"{queue_path}/{kind}" for kind in kinds),
        methods or ("GET",),
        _moment(value.get("expires")),
    ), kinds


def _texts(
    document: dict[str, Any], field: str, fits: Callable[[str], Any], what: str
) -> tuple[str, ...]:
    """Return a list of texts; null counts as absent. Raises InvalidRequest."""
    texts = document.get(field)
    if texts is None:
        return ()
    if not isinstance(texts, list):
        raise InvalidRequest(f"{field} must be a list {what}.")
    for text in texts:
        if not isinstance(text, str) or not fits(text):
            raise InvalidRequest(
                f"{field} must be a list {what}; it holds {json.dumps(text)[:100]}."
            )
    return tuple(texts)


def _moment(text: Any) -> datetime | None:
    """Return an instant; without an offset it is in UTC. Raises InvalidRequest."""
    if text is None:
        return None
    # A year alone, or digits without any mark, are rather a mistake than a date.
    if isinstance(text, str) and text.isascii() and DATE.match(text):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            pass
        else:
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    raise InvalidRequest(
        "expires must be an ISO 8601 time like 2030-01-31T12:00:00 or "
        "2030-01-31T12:00:00+01:00."
    )


def shared(terms: Terms, signature: str) -> dict[str, str | Sequence[str]]:
    return {
        "paths": terms.paths,
        "methods": terms.methods,
        "project": terms.project,
        "expires": terms.expires,
        "signature": signature,
    }

# SPDX-License-Identifier: Apache-2.0
"""JSON documents to model and back; the only place that knows how they look.

Those of pools and flavors are in `pool_documents`.

Message bodies are checked to be JSON and kept as text: neither built into objects nor
encoded again on their way out.
"""

import json
import re
import time
from collections.abc import Iterable
from typing import Any

import msgspec

from zaqar.errors import InvalidBody, InvalidRequest
from zaqar.limits import is_integer
from zaqar.model import Claim, Landmark, Message, QueueStats
from zaqar.operations.claims import Wish
from zaqar.operations.health import HealthReport, PoolsReport
from zaqar.operations.messages import Draft

encode = msgspec.json.encode

INT64 = range(-(2**63), 2**63)
MAX_DEPTH = 512
TOO_DEEP = f"The body is nested more than {MAX_DEPTH} deep."

# Requests ---------------------------------------------------------------------------

_decode_any = msgspec.json.Decoder().decode
# An integer beyond 64 bits has at least 19 digits; without such a run there is none.
_many_digits = re.compile(rb"\d{19}").search


def parse(body: bytes) -> Any:
    """Return the JSON value. Raises InvalidBody.

    Refused besides what is no JSON: text that is not UTF-8, NaN and infinities,
    integers beyond 64 bits, nesting too deep to be handled, and a value that is neither
    an object nor an array. Of a key that is given twice the last value holds.
    """
    try:
        value = _decode_any(body)
    except RecursionError:
        raise InvalidBody(TOO_DEEP) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidBody(f"The body is not valid JSON: {error}.") from None
    if not isinstance(value, dict | list):
        raise InvalidBody("The body must be a JSON object or array.")
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        _check_depth(value)
    if _many_digits(body):
        _check_integers(body)
    return value


def _check_depth(value: Any) -> None:
    """Raise InvalidBody for nesting that other code could not go through.

    A fixed limit: how deep a decoder gets depends on the stack that is left to it.
    """
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise InvalidBody(TOO_DEEP)


def _check_integers(body: bytes) -> None:
    def checked(digits: str) -> int:
        if len(digits) > 20 or int(digits) not in INT64:
            raise InvalidBody("The body has an integer of more than 64 bits.")
        return 0

    json.loads(body, parse_int=checked)


def parse_object(body: bytes) -> dict[str, Any]:
    """Return a JSON object. Raises InvalidBody."""
    value = parse(body)
    if not isinstance(value, dict):
        raise InvalidBody("The body must be a JSON object.")
    return value


# Types are checked by hand: a decoder would refuse the first of two equal keys though
# the last one holds.
class _Post(msgspec.Struct):
    messages: msgspec.Raw


class _PostedMessage(msgspec.Struct):
    body: msgspec.Raw
    ttl: Any = msgspec.UNSET
    delay: Any = msgspec.UNSET


_decode_post = msgspec.json.Decoder(_Post).decode
_decode_messages = msgspec.json.Decoder(list[_PostedMessage]).decode


def parse_post(body: bytes) -> list[Draft]:
    """Return the messages of a post. Raises InvalidBody, InvalidRequest."""
    value = parse(body)
    if isinstance(value, list) or "messages" not in value:
        raise InvalidRequest('The body must be an object with the key "messages".')
    try:
        posted = _decode_messages(_decode_post(body).messages)
    except msgspec.ValidationError as error:
        raise InvalidBody(f"In messages: {error}.") from None
    return [_draft(index, message) for index, message in enumerate(posted)]


def _draft(index: int, message: _PostedMessage) -> Draft:
    ttl = message.ttl
    if ttl is msgspec.UNSET:
        ttl = None
    elif not is_integer(ttl):
        raise InvalidBody(f"messages[{index}].ttl must be an integer.")
    return Draft(bytes(message.body), ttl, message.delay)


def parse_claim(body: bytes) -> Wish:
    """Return what is asked of a claim; null counts as absent. Raises InvalidBody."""
    value = parse_object(body)
    for field in Wish.__struct_fields__:
        if value.get(field) is not None and not is_integer(value[field]):
            raise InvalidBody(f"{field} must be an integer.")
    return Wish(value.get("ttl"), value.get("grace"), value.get("limit"))


RESOURCE_TYPES = ("messages", "subscriptions")


def parse_purge(body: bytes) -> tuple[str, ...]:
    """Return what is to be purged. Raises InvalidBody, InvalidRequest."""
    if not body:
        return RESOURCE_TYPES
    types = parse_object(body).get("resource_types")
    if not isinstance(types, list):
        raise InvalidRequest("resource_types must be a list.")
    for kind in types:
        if kind not in RESOURCE_TYPES:
            raise InvalidRequest(
                f"resource_types may hold {' and '.join(RESOURCE_TYPES)}, "
                f"not {json.dumps(kind)}."
            )
    return tuple(types)


# Answers ----------------------------------------------------------------------------


class MessageDocument(msgspec.Struct, omit_defaults=True):
    """A message as shown. Clients take no other key (integrations: rule 1)."""

    id: str
    href: str
    ttl: int
    age: int
    body: msgspec.Raw
    checksum: str | None = None


class PoppedDocument(msgspec.Struct):
    """A popped message as shown: without a link, for it is gone."""

    id: str
    ttl: int
    age: int
    body: msgspec.Raw
    claim_count: int
    claim_id: str | None = None
    checksum: str | msgspec.UnsetType = msgspec.UNSET


def age(created: float, now: float) -> int:
    """Return whole seconds since `created`; 0 where clocks differ."""
    return int(now - created) if now > created else 0


def message(shown: Message, messages_path: str, now: float) -> MessageDocument:
    """Return the document; `messages_path` is the path of the queue's messages."""
    href = f"{messages_path}/{shown.id}"
    if shown.claim is not None:
        # Nothing may follow: clients read the claim id behind the last "=".
        href = f"{href}?claim_id={shown.claim}"
    return MessageDocument(
        shown.id,
        href,
        shown.ttl,
        age(shown.created, now),
        msgspec.Raw(shown.body),
        shown.checksum,
    )


def messages(
    shown: Iterable[Message], messages_path: str, now: float
) -> list[MessageDocument]:
    """Return the documents of several messages."""
    return [message(item, messages_path, now) for item in shown]


def popped(shown: Iterable[Message], now: float) -> dict[str, Any]:
    return {
        "messages": [
            PoppedDocument(
                item.id,
                item.ttl,
                age(item.created, now),
                msgspec.Raw(item.body),
                item.claim_count,
                checksum=item.checksum or msgspec.UNSET,
            )
            for item in shown
        ]
    }


def claim(shown: Claim, path: str, messages_path: str, now: float) -> dict[str, Any]:
    return {
        "age": age(shown.created, now),
        "ttl": shown.ttl,
        "href": path,
        "messages": messages(shown.messages, messages_path, now),
    }


def stats(shown: QueueStats, messages_path: str, now: float) -> dict[str, Any]:
    numbers: dict[str, Any] = {
        "claimed": shown.claimed,
        "free": shown.total - shown.claimed,
        "total": shown.total,
    }
    if shown.oldest and shown.newest:
        numbers["oldest"] = _landmark(shown.oldest, messages_path, now)
        numbers["newest"] = _landmark(shown.newest, messages_path, now)
    return {"messages": numbers}


def _landmark(shown: Landmark, messages_path: str, now: float) -> dict[str, Any]:
    return {
        "href": f"{messages_path}/{shown.id}",
        "age": age(shown.created, now),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(shown.created)),
    }


def health(shown: HealthReport) -> dict[str, Any]:
    document: dict[str, Any] = {
        "storage_reachable": shown.storage_reachable,
        "operation_status": shown.operation_status,
    }
    if shown.drift is not None:
        registered, now = shown.drift
        document["capabilities"] = {"registered": registered, "now": now}
    return document


def pools_health(shown: PoolsReport) -> dict[str, Any]:
    pools = {name: health(report) for name, report in shown.pools.items()}
    return {**pools, "catalog_reachable": shown.catalog_reachable}

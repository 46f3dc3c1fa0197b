# SPDX-License-Identifier: Apache-2.0
"""What queue metadata means: reserved keys, their bounds and defaults, and patches."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from zaqar.errors import (
    InvalidBody,
    InvalidQueueName,
    InvalidRequest,
    MetadataKeyNotFound,
)
from zaqar.limits import (
    MIN_TTL,
    Limits,
    check_queue_name,
    check_range,
    check_retry_policy,
    check_size,
    is_integer,
)
from zaqar.model import DeadLetter, Metadata

POST_SIZE = "_max_messages_post_size"
MESSAGE_TTL = "_default_message_ttl"
MESSAGE_DELAY = "_default_message_delay"
DEAD_LETTER_QUEUE = "_dead_letter_queue"
DEAD_LETTER_TTL = "_dead_letter_queue_messages_ttl"
MAX_CLAIM_COUNT = "_max_claim_count"
ENCRYPTION = "_enable_encrypt_messages"
FLAVOR = "_flavor"
RETRY_POLICY = "_retry_policy"
# Those that are shown of a topic that does not have them.
TOPIC_KEYS = (POST_SIZE, MESSAGE_TTL, MESSAGE_DELAY)

INT64_MAX = 2**63 - 1


class QueueSettings(msgspec.Struct, frozen=True):
    """What a queue's metadata and the service's defaults come to."""

    max_post_size: int
    message_ttl: int
    message_delay: int
    dead_letter: DeadLetter | None
    encrypts: bool = False

    @property
    def delays(self) -> bool:
        return self.message_delay > 0


def settings_of(metadata: Metadata, limits: Limits) -> QueueSettings:
    """Return the settings that valid metadata asks for."""
    shown = shown_metadata(metadata, limits)
    dead_letter = None
    if shown[DEAD_LETTER_QUEUE] and shown[MAX_CLAIM_COUNT]:
        dead_letter = DeadLetter(
            shown[DEAD_LETTER_QUEUE], shown[MAX_CLAIM_COUNT], shown[DEAD_LETTER_TTL]
        )
    return QueueSettings(
        shown[POST_SIZE],
        shown[MESSAGE_TTL],
        shown[MESSAGE_DELAY],
        dead_letter,
        shown[ENCRYPTION],
    )


def defaults(limits: Limits) -> dict[str, Any]:
    """Return what is shown of a queue whose reserved keys are not set."""
    return {
        POST_SIZE: limits.max_messages_post_size,
        MESSAGE_TTL: limits.default_message_ttl,
        MESSAGE_DELAY: limits.default_message_delay,
        DEAD_LETTER_QUEUE: None,
        DEAD_LETTER_TTL: None,
        MAX_CLAIM_COUNT: None,
        ENCRYPTION: False,
    }


def shown_metadata(metadata: Metadata, limits: Limits) -> dict[str, Any]:
    """Return the metadata with the default of each reserved key that is not set.

    A stored value that is null, 0, false or empty counts as not set (contract).
    """
    return {
        **metadata,
        **{key: metadata.get(key) or value for key, value in defaults(limits).items()},
    }


def shown_topic(metadata: Metadata, limits: Limits) -> dict[str, Any]:
    """Return the metadata of a topic, which has fewer defaults (contract: topics)."""
    known = defaults(limits)
    return {**metadata, **{k: metadata.get(k) or known[k] for k in TOPIC_KEYS}}


def check_metadata(metadata: Metadata, limits: Limits) -> None:
    """Raise InvalidRequest if a reserved key has a value that it cannot have."""
    for key, check in CHECKS.items():
        value = metadata.get(key)
        if value is not None:
            check(key, value, limits)


Check = Callable[[str, Any, Limits], None]


def _integer(low: int, high: Callable[[Limits], int]) -> Check:
    def check(key: str, value: Any, limits: Limits) -> None:
        if not is_integer(value):
            raise InvalidRequest(f"{key} must be an integer.")
        check_range(key, value, low, high(limits))

    return check


def _queue_name(key: str, value: Any, limits: Limits) -> None:
    if not isinstance(value, str):
        raise InvalidRequest(f"{key} must be a queue name.")
    try:
        check_queue_name(value)
    except InvalidQueueName as error:
        raise InvalidRequest(f"{key}: {error}") from None


def _text(key: str, value: Any, limits: Limits) -> None:
    if not isinstance(value, str):
        raise InvalidRequest(f"{key} must be a string.")


def _boolean(key: str, value: Any, limits: Limits) -> None:
    if not isinstance(value, bool):
        raise InvalidRequest(f"{key} must be true or false.")


CHECKS: Mapping[str, Check] = {
    POST_SIZE: _integer(1, lambda limits: limits.max_messages_post_size),
    MESSAGE_TTL: _integer(MIN_TTL, lambda limits: limits.max_message_ttl),
    MESSAGE_DELAY: _integer(0, lambda limits: limits.max_message_delay),
    DEAD_LETTER_QUEUE: _queue_name,
    DEAD_LETTER_TTL: _integer(MIN_TTL, lambda limits: limits.max_message_ttl),
    MAX_CLAIM_COUNT: _integer(1, lambda limits: INT64_MAX),
    ENCRYPTION: _boolean,
    FLAVOR: _text,
    RETRY_POLICY: lambda key, value, limits: check_retry_policy(value),
}

# The patch dialect --------------------------------------------------------------------


class Change(msgspec.Struct, frozen=True):
    """One operation of a patch: add, replace or remove `key`."""

    op: str
    key: str
    value: Any = None


_POINTER = re.compile(r"/([^/]+)/([^/]+)")
_BAD_ESCAPE = re.compile(r"~(?![01])")


def parse_patch(document: Any) -> list[Change]:
    """Return the operations of a patch document. Raises InvalidBody."""
    if not isinstance(document, list):
        raise InvalidBody("The patch must be an array of operations.")
    return [_change(index, item) for index, item in enumerate(document)]


def _change(index: int, item: Any) -> Change:
    where = f"Operation {index} of the patch"
    if not isinstance(item, dict):
        raise InvalidBody(f"{where} must be an object.")
    op = item.get("op")
    if op not in ("add", "remove", "replace"):
        raise InvalidBody(f"{where}: op must be add, remove or replace.")
    if op != "remove" and "value" not in item:
        raise InvalidBody(f"{where}: value is missing.")
    return Change(op, _key(where, item.get("path")), item.get("value"))


def _key(where: str, path: Any) -> str:
    pointer = _POINTER.fullmatch(path) if isinstance(path, str) else None
    if pointer is None or _BAD_ESCAPE.search(path):
        raise InvalidBody(f"{where}: path must be a JSON pointer /metadata/<key>.")
    root, key = (
        part.replace("~1", "/").replace("~0", "~") for part in pointer.groups()
    )
    if root.lower() != "metadata":
        raise InvalidBody(f"{where}: path must begin with /metadata/.")
    return key


def patched(metadata: Metadata, changes: Sequence[Change], limits: Limits) -> Metadata:
    """Return the metadata after all changes.

    Raises MetadataKeyNotFound where a change needs a key that is not stored, and
    InvalidBody where a reserved key gets a value that it cannot have.
    """
    result = dict(metadata)
    # What may be named without being stored: what is shown can be replaced, and
    # removing a reserved key only brings its default back.
    nameable = {"replace": defaults(limits), "remove": CHECKS}
    for change in changes:
        if change.op != "add" and not (
            change.key in result or change.key in nameable[change.op]
        ):
            raise MetadataKeyNotFound(change.key)
        if change.op == "remove":
            result.pop(change.key, None)
        else:
            result[change.key] = change.value
    try:
        size = len(msgspec.json.encode(result))
        check_size("The metadata", size, limits.max_queue_metadata)
        check_metadata(result, limits)
    except InvalidRequest as error:
        raise InvalidBody(str(error)) from None
    return result

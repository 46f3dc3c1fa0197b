# SPDX-License-Identifier: Apache-2.0
"""Facts of queue metadata: reserved keys, their defaults, and the patch dialect."""

from typing import Any

import pytest

from zaqar.errors import InvalidBody, InvalidRequest, MetadataKeyNotFound
from zaqar.limits import Limits
from zaqar.model import DeadLetter
from zaqar.queue_settings import (
    Change,
    QueueSettings,
    check_metadata,
    parse_patch,
    patched,
    settings_of,
    shown_metadata,
)

LIMITS = Limits()
DEFAULTS = {
    "_max_messages_post_size": 262144,
    "_default_message_ttl": 3600,
    "_default_message_delay": 0,
    "_dead_letter_queue": None,
    "_dead_letter_queue_messages_ttl": None,
    "_max_claim_count": None,
    "_enable_encrypt_messages": False,
}


def test_empty_metadata_comes_to_the_services_defaults() -> None:
    assert settings_of({}, LIMITS) == QueueSettings(262144, 3600, 0, None)


def test_reserved_keys_come_to_settings() -> None:
    metadata = {
        "_max_messages_post_size": 1000,
        "_default_message_ttl": 120,
        "_default_message_delay": 30,
        "_dead_letter_queue": "dead",
        "_max_claim_count": 3,
        "_dead_letter_queue_messages_ttl": 90,
        "_enable_encrypt_messages": True,
    }

    settings = settings_of(metadata, LIMITS)

    assert settings == QueueSettings(1000, 120, 30, DeadLetter("dead", 3, 90), True)
    assert settings.delays


@pytest.mark.parametrize(
    "metadata", [{"_dead_letter_queue": "dead"}, {"_max_claim_count": 3}]
)
def test_dead_letters_need_a_queue_and_a_count(metadata: dict[str, Any]) -> None:
    assert settings_of(metadata, LIMITS).dead_letter is None


def test_absent_reserved_keys_are_shown_with_their_defaults() -> None:
    assert shown_metadata({"color": "red"}, LIMITS) == {**DEFAULTS, "color": "red"}


@pytest.mark.parametrize("unset", [None, 0, False, ""])
@pytest.mark.parametrize("key", DEFAULTS)
def test_a_reserved_value_that_says_nothing_shows_the_default(
    key: str, unset: object
) -> None:
    assert shown_metadata({key: unset}, LIMITS)[key] == DEFAULTS[key]


def test_a_user_value_that_says_nothing_is_shown_as_it_is() -> None:
    assert shown_metadata({"color": None, "size": 0}, LIMITS)["size"] == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("_max_messages_post_size", 1),
        ("_max_messages_post_size", 262144),
        ("_default_message_ttl", 60),
        ("_default_message_ttl", 1209600),
        ("_default_message_delay", 0),
        ("_default_message_delay", 900),
        ("_dead_letter_queue", "dead.letters"),
        ("_dead_letter_queue_messages_ttl", 60),
        ("_max_claim_count", 1),
        ("_max_claim_count", 2**63 - 1),
        ("_enable_encrypt_messages", False),
        ("_enable_encrypt_messages", True),
        ("_flavor", "gold"),
        ("_retry_policy", {"minimum_delay": 1}),
        ("_anything", {"else": ["is", "kept"]}),
        *((key, None) for key in DEFAULTS),
    ],
)
def test_metadata_is_accepted(key: str, value: object) -> None:
    check_metadata({key: value}, LIMITS)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("_max_messages_post_size", 0),
        ("_max_messages_post_size", 262145),
        ("_max_messages_post_size", "1000"),
        ("_max_messages_post_size", True),
        ("_default_message_ttl", 59),
        ("_default_message_ttl", 1209601),
        ("_default_message_ttl", 60.0),
        ("_default_message_ttl", 0),
        ("_default_message_delay", -1),
        ("_default_message_delay", 901),
        ("_default_message_delay", False),
        ("_dead_letter_queue", ""),
        ("_dead_letter_queue", ".."),
        ("_dead_letter_queue", "a b"),
        ("_dead_letter_queue", 5),
        ("_dead_letter_queue_messages_ttl", 59),
        ("_max_claim_count", 0),
        ("_max_claim_count", 2**63),
        ("_max_claim_count", "3"),
        ("_enable_encrypt_messages", 1),
        ("_enable_encrypt_messages", "yes"),
        ("_flavor", 1),
        ("_retry_policy", []),
    ],
)
def test_metadata_is_refused_by_key(key: str, value: object) -> None:
    with pytest.raises(InvalidRequest, match=key):
        check_metadata({key: value}, LIMITS)


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/metadata/color", "color"),
        ("/METADATA/color", "color"),
        ("/metadata/a~1b", "a/b"),
        ("/metadata/a~0b", "a~b"),
        ("/metadata/~01", "~1"),
        ("/metadata/ ", " "),
    ],
)
def test_pointer_of_a_patch(path: str, key: str) -> None:
    assert parse_patch([{"op": "remove", "path": path}]) == [Change("remove", key)]


@pytest.mark.parametrize(
    "path",
    [
        None,
        5,
        "",
        "metadata/color",
        "/metadata",
        "/metadata/",
        "/metadata//color",
        "/metadata/color/",
        "/metadata/a/b",
        "/data/color",
        "/metadata/a~2",
        "/metadata/a~",
    ],
)
def test_another_pointer_is_refused(path: object) -> None:
    with pytest.raises(InvalidBody, match="Operation 0 of the patch"):
        parse_patch([{"op": "remove", "path": path}])


@pytest.mark.parametrize(
    "document",
    [
        {},
        "add",
        [5],
        [{}],
        [{"op": "test", "path": "/metadata/a", "value": 1}],
        [{"op": ["add"], "path": "/metadata/a", "value": 1}],
        [{"op": "add", "path": "/metadata/a"}],
        [{"op": "replace", "path": "/metadata/a"}],
    ],
)
def test_another_document_is_refused(document: object) -> None:
    with pytest.raises(InvalidBody):
        parse_patch(document)


def test_an_empty_patch_and_values_of_remove_are_fine() -> None:
    assert parse_patch([]) == []
    remove = {"op": "remove", "path": "/metadata/a", "value": 1}
    assert parse_patch([remove]) == [Change("remove", "a", 1)]


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        ({}, [Change("add", "a", 1)], {"a": 1}),
        ({"a": 1}, [Change("add", "a", 2)], {"a": 2}),
        ({"a": 1}, [Change("replace", "a", None)], {"a": None}),
        ({"a": 1, "b": 2}, [Change("remove", "a")], {"b": 2}),
        ({}, [Change("add", "a", 1), Change("replace", "a", 2)], {"a": 2}),
        ({"a": 1}, [Change("remove", "a"), Change("add", "a", 3)], {"a": 3}),
        # Reserved keys are shown as defaults, so they can be replaced and removed.
        ({}, [Change("remove", "_max_claim_count")], {}),
        (
            {},
            [Change("replace", "_default_message_ttl", 90)],
            {"_default_message_ttl": 90},
        ),
    ],
)
def test_patch(
    before: dict[str, Any], changes: list[Change], after: dict[str, Any]
) -> None:
    given = dict(before)

    assert patched(before, changes, LIMITS) == after

    assert before == given


@pytest.mark.parametrize(
    ("op", "key"),
    [
        ("replace", "color"),
        ("remove", "color"),
        # Not shown by default, so there is nothing to replace.
        ("replace", "_flavor"),
        ("replace", "_retry_policy"),
    ],
)
def test_a_key_that_is_not_stored_cannot_be_changed(op: str, key: str) -> None:
    with pytest.raises(MetadataKeyNotFound) as raised:
        patched({}, [Change(op, key, "x")], LIMITS)

    assert raised.value.key == key


@pytest.mark.parametrize("key", [*DEFAULTS, "_flavor", "_retry_policy"])
def test_removing_a_reserved_key_that_is_not_stored_is_fine(key: str) -> None:
    assert patched({}, [Change("remove", key)], LIMITS) == {}


def test_a_bad_reserved_value_is_a_bad_body() -> None:
    with pytest.raises(InvalidBody, match="_default_message_ttl"):
        patched({}, [Change("add", "_default_message_ttl", 1)], LIMITS)

# SPDX-License-Identifier: Apache-2.0
"""Facts of the JSON documents: what is accepted, and how things are shown."""

import json
from typing import Any

import msgspec
import pytest

from zaqar.errors import InvalidBody, InvalidRequest
from zaqar.model import Claim, Landmark, Message, QueueStats
from zaqar.operations.claims import Wish
from zaqar.operations.messages import Draft
from zaqar.transport import documents

NOW = 1000.9
PATH = "/v2/queues/q/messages"


def shown(document: Any) -> Any:
    """Return the document as a client reads it."""
    return json.loads(documents.encode(document))


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b' {"a": 1}\n',
        '{"ü": "\U0001f600"}'.encode(),
        b'{"a": 9223372036854775807}',
        b'{"a": -9223372036854775808}',
        b'{"a": "99999999999999999999"}',
        b'{"a": 1.0e300}',
        b'{"a": 0.12345678901234567890}',
    ],
)
def test_json_is_accepted(body: bytes) -> None:
    assert documents.parse(body) == json.loads(body)


def test_of_a_key_given_twice_the_last_value_holds() -> None:
    assert documents.parse(b'{"a": 1, "a": 2}') == {"a": 2}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"a": 1}}',
        b'{"a": 1,}',
        b"{'a': 1}",
        b'{"a": 01}',
        b'{"a": "\n"}',
        b"null",
        b"true",
        b"5",
        b'"text"',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        '{"a": 1}'.encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b'{"a": 9223372036854775808}',
        b'{"a": -9223372036854775809}',
        b'{"a": [{"b": 18446744073709551616}]}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": ' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
    ],
)
def test_other_text_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidBody):
        documents.parse(body)


@pytest.mark.parametrize("escape", ["\\ud800", "\\udc00", "\\ud800x", "\\udfff\\ud800"])
def test_half_of_a_surrogate_pair_is_refused(escape: str) -> None:
    with pytest.raises(InvalidBody):
        documents.parse(b'{"a": "%s"}' % escape.encode())


def test_an_array_is_no_object() -> None:
    with pytest.raises(InvalidBody, match="must be a JSON object"):
        documents.parse_object(b"[]")


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"0",
        b'""',
        b"[1, 2]",
        b'{"a" : 1.50, "a" : 2}',
        b'"\\u00fc \\/"',
        '"ü"'.encode(),
        b"1e5",
    ],
)
def test_a_message_body_is_kept_byte_for_byte(body: bytes) -> None:
    drafts = documents.parse_post(b'{"messages": [{"body":  %s }]}' % body)

    assert drafts == [Draft(body)]


def test_ttl_and_delay_are_read_and_other_keys_ignored() -> None:
    body = b'{"messages": [{"body": 1, "ttl": 60, "delay": 5, "x": 1}], "y": 2}'

    assert documents.parse_post(body) == [Draft(b"1", 60, 5)]


@pytest.mark.parametrize("delay", [b"null", b'"5"', b"-1", b"true"])
def test_a_delay_is_not_judged_before_the_queue_is_known(delay: bytes) -> None:
    body = b'{"messages": [{"body": 1, "delay": %s}]}' % delay

    assert documents.parse_post(body)[0].delay == json.loads(delay)


@pytest.mark.parametrize("body", [b"[]", b"{}", b'[{"body": 1}]', b'{"message": []}'])
def test_a_post_without_messages_breaks_a_rule(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="messages"):
        documents.parse_post(body)


@pytest.mark.parametrize(
    "messages",
    [
        b"null",
        b"{}",
        b'"text"',
        b"[1]",
        b"[null]",
        b"[[]]",
        b'[{"ttl": 60}]',
        b'[{"body": 1, "ttl": null}]',
        b'[{"body": 1, "ttl": "60"}]',
        b'[{"body": 1, "ttl": 60.0}]',
        b'[{"body": 1, "ttl": true}]',
        b'[{"body": 1}, {"body": 2, "ttl": []}]',
    ],
)
def test_messages_of_a_wrong_kind_are_a_bad_body(messages: bytes) -> None:
    with pytest.raises(InvalidBody):
        documents.parse_post(b'{"messages": %s}' % messages)


@pytest.mark.parametrize(
    ("body", "wish"),
    [
        (b"{}", Wish()),
        (b'{"ttl": 60}', Wish(60)),
        (b'{"ttl": 60, "grace": 90, "limit": 5}', Wish(60, 90, 5)),
        (b'{"ttl": null, "grace": null}', Wish()),
        (b'{"other": 1}', Wish()),
    ],
)
def test_claim_document(body: bytes, wish: Wish) -> None:
    assert documents.parse_claim(body) == wish


@pytest.mark.parametrize(
    "body", [b"[]", b'{"ttl": "60"}', b'{"grace": 60.0}', b'{"ttl": true}', b"{"]
)
def test_another_claim_document_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidBody):
        documents.parse_claim(body)


@pytest.mark.parametrize(
    ("body", "types"),
    [
        (b"", ("messages", "subscriptions")),
        (b'{"resource_types": []}', ()),
        (b'{"resource_types": ["messages"]}', ("messages",)),
        (
            b'{"resource_types": ["subscriptions", "messages"]}',
            ("subscriptions", "messages"),
        ),
    ],
)
def test_purge_document(body: bytes, types: tuple[str, ...]) -> None:
    assert documents.parse_purge(body) == types


@pytest.mark.parametrize(
    "value", [b"null", b'"messages"', b'["queues"]', b"[1]", b"[null]", b"[[]]", b"{}"]
)
def test_other_resource_types_break_a_rule(value: bytes) -> None:
    with pytest.raises(InvalidRequest, match="resource_types"):
        documents.parse_purge(b'{"resource_types": %s}' % value)


def test_purge_without_its_key_breaks_a_rule() -> None:
    with pytest.raises(InvalidRequest, match="resource_types"):
        documents.parse_purge(b"{}")


def test_a_message_is_shown_with_exactly_these_keys() -> None:
    message = Message("m1", b'{"a":  1}', 60, 900.0, claim_count=2, origin="q0")

    document = documents.message(message, PATH, NOW)

    assert shown(document) == {
        "id": "m1",
        "href": f"{PATH}/m1",
        "ttl": 60,
        "age": 100,
        "body": {"a": 1},
    }
    assert b'{"a":  1}' in documents.encode(document)


def test_a_claimed_message_names_its_claim_at_the_end_of_its_link() -> None:
    message = Message("m1", b"1", 60, 900.0, claim="c1", checksum="MD5:0")

    document = shown(documents.message(message, PATH, NOW))

    assert document["href"] == f"{PATH}/m1?claim_id=c1"
    assert document["checksum"] == "MD5:0"


def test_a_popped_message_has_its_count_and_no_link() -> None:
    message = Message("m1", b"1", 60, 900.0, claim_count=2)

    assert shown(documents.popped([message], NOW)) == {
        "messages": [
            {
                "id": "m1",
                "ttl": 60,
                "age": 100,
                "body": 1,
                "claim_count": 2,
                "claim_id": None,
            }
        ]
    }


def test_a_popped_message_keeps_its_checksum() -> None:
    message = Message("m1", b"1", 60, 900.0, checksum="MD5:0")

    assert shown(documents.popped([message], NOW))["messages"][0]["checksum"] == "MD5:0"


def test_a_claim_is_shown_with_its_messages() -> None:
    claim = Claim("c1", 300, 990.0, (Message("m1", b"1", 60, 900.0, claim="c1"),))

    document = shown(documents.claim(claim, "/v2/queues/q/claims/c1", PATH, NOW))

    assert (document["age"], document["ttl"]) == (10, 300)
    assert document["href"] == "/v2/queues/q/claims/c1"
    assert [message["id"] for message in document["messages"]] == ["m1"]


@pytest.mark.parametrize(
    ("created", "age"), [(1000.0, 0), (999.9, 1), (0.0, 1000), (2000.0, 0)]
)
def test_age_is_in_whole_seconds_and_never_negative(created: float, age: int) -> None:
    assert documents.age(created, NOW) == age


def test_stats_of_an_empty_queue_have_no_landmarks() -> None:
    assert shown(documents.stats(QueueStats(), PATH, NOW)) == {
        "messages": {"claimed": 0, "free": 0, "total": 0}
    }


def test_stats_show_the_oldest_and_the_newest_message() -> None:
    stats = QueueStats(3, 1, Landmark("m1", 0.0), Landmark("m3", 999.0))

    document = shown(documents.stats(stats, PATH, NOW))

    assert document["messages"] == {
        "claimed": 1,
        "free": 2,
        "total": 3,
        "oldest": {
            "href": f"{PATH}/m1",
            "age": 1000,
            "created": "1970-01-01T00:00:00Z",
        },
        "newest": {"href": f"{PATH}/m3", "age": 1, "created": "1970-01-01T00:16:39Z"},
    }


def test_absent_is_not_null() -> None:
    assert (
        documents.parse_post(b'{"messages": [{"body": 1}]}')[0].delay is msgspec.UNSET
    )

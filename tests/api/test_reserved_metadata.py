# SPDX-License-Identifier: Apache-2.0
"""The reserved keys of a queue's metadata: types, bounds, null, and what they do."""

from typing import Any

import pytest

from tests.api.test_queues import DEFAULTS
from tests.api.wire import INVALID_BODY, INVALID_REQUEST, Api, assert_error

GOOD: list[tuple[str, Any]] = [
    ("_max_messages_post_size", 1),
    ("_max_messages_post_size", 262144),
    ("_default_message_ttl", 60),
    ("_default_message_ttl", 1209600),
    ("_default_message_delay", 0),
    ("_default_message_delay", 900),
    ("_dead_letter_queue", "dead"),
    ("_dead_letter_queue", "a.b-c_D"),
    ("_dead_letter_queue_messages_ttl", 60),
    ("_dead_letter_queue_messages_ttl", 1209600),
    ("_max_claim_count", 1),
    ("_max_claim_count", 1000),
    ("_enable_encrypt_messages", False),
    ("_flavor", "any"),
    ("_retry_policy", {}),
    ("_retry_policy", {"minimum_delay": 0, "maximum_delay": 10}),
    ("_retry_policy", {"maximum_delay": 15}),
    ("_retry_policy", {"minimum_delay": 20}),
    ("_retry_policy", {"unknown": "key", "retries_with_no_delay": 0}),
    (
        "_retry_policy",
        {
            "retries_with_no_delay": 1,
            "minimum_delay_retries": 2,
            "minimum_delay": 3,
            "maximum_delay": 40,
            "maximum_delay_retries": 5,
            "retry_backoff_function": "geometric",
            "ignore_subscription_override": True,
        },
    ),
]
NOT_INTEGERS: list[Any] = ["60", 60.0, 60.5, True, False, [60], {"a": 60}, ""]
BAD: list[tuple[str, Any]] = [
    *(
        (key, value)
        for key in (
            "_max_messages_post_size",
            "_default_message_ttl",
            "_default_message_delay",
            "_dead_letter_queue_messages_ttl",
            "_max_claim_count",
        )
        for value in [*NOT_INTEGERS, -1]
    ),
    ("_max_messages_post_size", 0),
    ("_max_messages_post_size", 262145),
    ("_default_message_ttl", 0),
    ("_default_message_ttl", 59),
    ("_default_message_ttl", 1209601),
    ("_default_message_delay", 901),
    ("_dead_letter_queue_messages_ttl", 0),
    ("_dead_letter_queue_messages_ttl", 59),
    ("_dead_letter_queue_messages_ttl", 1209601),
    ("_max_claim_count", 0),
    ("_dead_letter_queue", ""),
    ("_dead_letter_queue", "a b"),
    ("_dead_letter_queue", "a/b"),
    ("_dead_letter_queue", "a\n"),
    ("_dead_letter_queue", "x" * 65),
    ("_dead_letter_queue", 1),
    ("_dead_letter_queue", ["dead"]),
    ("_enable_encrypt_messages", "true"),
    ("_enable_encrypt_messages", 1),
    ("_enable_encrypt_messages", 0),
    ("_enable_encrypt_messages", []),
    ("_flavor", 1),
    ("_flavor", ["f"]),
    ("_retry_policy", []),
    ("_retry_policy", "x"),
    ("_retry_policy", 1),
    ("_retry_policy", {"minimum_delay": 10, "maximum_delay": 19}),
    ("_retry_policy", {"maximum_delay": 14}),
    ("_retry_policy", {"minimum_delay": 21}),
    ("_retry_policy", {"retries_with_no_delay": -1}),
    ("_retry_policy", {"minimum_delay_retries": "1"}),
    ("_retry_policy", {"maximum_delay_retries": 1.0}),
    ("_retry_policy", {"minimum_delay": True}),
    ("_retry_policy", {"retry_backoff_function": "fast"}),
    ("_retry_policy", {"retry_backoff_function": 1}),
    ("_retry_policy", {"ignore_subscription_override": 1}),
]


@pytest.mark.parametrize(("key", "value"), GOOD)
def test_good_value_is_kept(api: Api, key: str, value: Any) -> None:
    assert api.put("/v2/queues/q", {key: value}).status == 201

    assert api.get("/v2/queues/q").json == DEFAULTS | {key: value}


@pytest.mark.parametrize(("key", "value"), GOOD)
def test_good_value_can_be_patched_in(api: Api, key: str, value: Any) -> None:
    api.create("q")

    answer = api.patch_queue(
        "q", {"op": "add", "path": f"/metadata/{key}", "value": value}
    )

    assert (answer.status, answer.json) == (200, DEFAULTS | {key: value})


@pytest.mark.parametrize(("key", "value"), BAD)
def test_bad_value_is_refused_and_named(api: Api, key: str, value: Any) -> None:
    answer = api.put("/v2/queues/q", {key: value})

    assert_error(answer, *INVALID_REQUEST)
    assert key in answer.description
    assert api.queues() == []


@pytest.mark.parametrize(("key", "value"), BAD)
def test_bad_value_is_refused_in_a_patch(api: Api, key: str, value: Any) -> None:
    api.create("q", a=1)

    answer = api.patch_queue(
        "q",
        {"op": "add", "path": "/metadata/b", "value": 2},
        {"op": "add", "path": f"/metadata/{key}", "value": value},
    )

    assert_error(answer, *INVALID_BODY)
    assert key in answer.description
    assert api.get("/v2/queues/q").json == DEFAULTS | {"a": 1}


@pytest.mark.parametrize("key", sorted({*DEFAULTS, "_retry_policy", "_flavor"}))
def test_null_equals_unset(api: Api, key: str) -> None:
    assert api.put("/v2/queues/q", {key: None}).status == 201

    shown = api.get("/v2/queues/q").json
    assert {k: shown[k] for k in DEFAULTS} == DEFAULTS
    assert shown.get(key) == DEFAULTS.get(key)


@pytest.mark.parametrize(
    ("key", "below", "above"),
    [
        ("_max_messages_post_size", "1", "262144"),
        ("_default_message_ttl", "60", "1209600"),
        ("_default_message_delay", "0", "900"),
        ("_dead_letter_queue_messages_ttl", "60", "1209600"),
    ],
)
def test_bounds_are_named(api: Api, key: str, below: str, above: str) -> None:
    description = api.put("/v2/queues/q", {key: 10**9}).description

    assert below in description
    assert above in description


# What they do -------------------------------------------------------------------------


def test_queue_limits_the_size_of_a_post(api: Api) -> None:
    document = {"messages": [{"body": "x" * 32}]}  # 60 bytes
    api.create("q", _max_messages_post_size=60)

    assert api.post("/v2/queues/q/messages", document).status == 201

    document["messages"][0]["body"] += "x"
    answer = api.post("/v2/queues/q/messages", document)
    assert_error(answer, *INVALID_REQUEST)
    assert "60" in answer.description
    assert api.stats("q")["total"] == 1


def test_queue_gives_a_ttl_to_messages_without_one(api: Api) -> None:
    api.create("q", _default_message_ttl=77)

    api.send("q", "a")
    api.send("q", "b", ttl=100)

    assert [m["ttl"] for m in api.listing("q").json["messages"]] == [77, 100]


def test_change_of_a_default_holds_for_the_next_post(api: Api) -> None:
    path = "/metadata/_default_message_ttl"
    for ttl in (100, 200, 300, 400, 500, 600):
        api.patch_queue("q", {"op": "add", "path": path, "value": ttl})
        api.send("q", ttl)

    messages = api.listing("q").json["messages"]

    assert all(message["ttl"] == message["body"] for message in messages)

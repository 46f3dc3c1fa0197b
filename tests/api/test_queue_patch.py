# SPDX-License-Identifier: Apache-2.0
"""PATCH of a queue: the JSON-patch dialect."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.api.test_queues import DEFAULTS
from tests.api.wire import INVALID_BODY, PATCH_TYPE, Api, assert_error


def patch(api: Api, raw: str | bytes | None, kind: str = PATCH_TYPE) -> Any:
    return api.patch("/v2/queues/q", raw=raw, headers={"Content-Type": kind})


def add(key: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "path": f"/metadata/{key}", "value": value}


def replace(key: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": f"/metadata/{key}", "value": value}


def remove(key: str) -> dict[str, Any]:
    return {"op": "remove", "path": f"/metadata/{key}"}


def test_patch_answers_the_whole_metadata(api: Api) -> None:
    api.create("q", a=1)

    answer = api.patch_queue("q", add("b", [2]))

    assert (answer.status, answer.json) == (200, DEFAULTS | {"a": 1, "b": [2]})
    assert api.get("/v2/queues/q").json == answer.json


def test_add_sets_a_key_that_is_there(api: Api) -> None:
    api.create("q", a=1)

    assert api.patch_queue("q", add("a", 2)).json["a"] == 2


def test_replace_needs_a_key_that_is_stored(api: Api) -> None:
    api.create("q", a=1)

    assert api.patch_queue("q", replace("a", 2)).json["a"] == 2
    answer = api.patch_queue("q", replace("b", 2))
    assert_error(answer, 409, "Resource conflict")
    assert "b" in answer.description


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("_max_messages_post_size", 100),
        ("_default_message_ttl", 100),
        ("_default_message_delay", 1),
        ("_dead_letter_queue", "d"),
        ("_dead_letter_queue_messages_ttl", 100),
        ("_max_claim_count", 1),
        ("_enable_encrypt_messages", False),
    ],
)
def test_replace_sets_a_reserved_key_that_is_only_shown(
    api: Api, key: str, value: Any
) -> None:
    api.create("q")

    assert api.patch_queue("q", replace(key, value)).json == DEFAULTS | {key: value}


@pytest.mark.parametrize("key", ["_flavor", "_retry_policy"])
def test_replace_refuses_a_reserved_key_that_is_not_shown(api: Api, key: str) -> None:
    api.create("q")

    answer = api.patch_queue("q", replace(key, {} if key == "_retry_policy" else "f"))

    assert_error(answer, 409, "Resource conflict")


def test_remove_needs_a_key_that_is_stored(api: Api) -> None:
    api.create("q", a=1)

    assert "a" not in api.patch_queue("q", remove("a")).json
    assert_error(api.patch_queue("q", remove("a")), 409, "Resource conflict")


@pytest.mark.parametrize("key", [*DEFAULTS, "_flavor", "_retry_policy"])
def test_remove_of_an_unset_reserved_key_is_fine(api: Api, key: str) -> None:
    api.create("q")

    answer = api.patch_queue("q", remove(key))

    assert (answer.status, answer.json) == (200, DEFAULTS)


def test_remove_of_a_reserved_key_restores_its_default(api: Api) -> None:
    api.create("q", _default_message_ttl=100)

    assert api.patch_queue("q", remove("_default_message_ttl")).json == DEFAULTS


def test_value_in_a_remove_is_tolerated(api: Api) -> None:
    api.create("q", a=1)

    assert "a" not in api.patch_queue("q", remove("a") | {"value": 5}).json


def test_unknown_keys_of_an_operation_are_tolerated(api: Api) -> None:
    assert api.patch_queue("q", add("a", 1) | {"extra": 1}).status == 200


def test_operations_are_applied_in_order(api: Api) -> None:
    answer = api.patch_queue(
        "q", add("a", 1), replace("a", 2), add("b", 1), remove("b"), add("c", 3)
    )

    assert answer.json == DEFAULTS | {"a": 2, "c": 3}


def test_all_operations_are_done_or_none(api: Api) -> None:
    api.create("q", a=1)

    answer = api.patch_queue("q", add("b", 1), remove("a"), replace("nobody", 1))

    assert_error(answer, 409, "Resource conflict")
    assert api.get("/v2/queues/q").json == DEFAULTS | {"a": 1}


def test_empty_patch_changes_nothing(api: Api) -> None:
    api.create("q", a=1)

    answer = api.patch_queue("q")

    assert (answer.status, answer.json) == (200, DEFAULTS | {"a": 1})


def test_pointer_escapes_are_understood(api: Api) -> None:
    answer = api.patch_queue("q", add("a~1b~0c", 1), add("~01", 2))

    assert answer.json == DEFAULTS | {"a/b~c": 1, "~1": 2}


@pytest.mark.parametrize("root", ["metadata", "Metadata", "METADATA"])
def test_first_part_of_a_path_has_no_case(api: Api, root: str) -> None:
    operation = {"op": "add", "path": f"/{root}/a", "value": 1}

    assert api.patch_queue("q", operation).json["a"] == 1


def test_patch_creates_an_absent_queue(api: Api) -> None:
    answer = api.patch_queue("q", add("a", 1))

    assert (answer.status, answer.json) == (200, DEFAULTS | {"a": 1})
    assert api.queues() == ["q"]
    assert api.put("/v2/queues/q").status == 204


@pytest.mark.parametrize(
    "operation", [remove("a"), replace("a", 1), {"op": "test", "path": "/metadata/a"}]
)
def test_patch_that_fails_creates_no_queue(api: Api, operation: dict[str, Any]) -> None:
    assert api.patch_queue("q", operation).status in (400, 409)

    assert api.queues() == []


@pytest.mark.parametrize("value", [None, 0, "", [], {}, "ü", 2**63 - 1, {"a": [None]}])
def test_value_may_be_any_json(api: Api, value: Any) -> None:
    answer = api.patch_queue("q", add("a", value))

    assert answer.json["a"] == value


# Media type ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "application/json",
        "application/json-patch+json",
        "application/openstack-messaging-v2.1-json-patch",
        "text/plain",
    ],
)
def test_other_media_type_is_refused(api: Api, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}

    answer = api.patch("/v2/queues/q", raw="[]", headers=headers)

    assert_error(answer, 415, "415 Unsupported Media Type")
    assert api.queues() == []


def test_charset_does_not_make_another_media_type(api: Api) -> None:
    answer = patch(api, "[]", f"{PATCH_TYPE}; charset=utf-8")

    assert answer.status in (200, 415)


# Bad documents ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        None,
        "",
        "{}",
        '{"op": "add", "path": "/metadata/a", "value": 1}',
        "5",
        "null",
        '"x"',
        "[",
        "[1]",
        '["x"]',
        "[null]",
        "[[]]",
        '[{"op": "add", "path": "/metadata/a", "value": NaN}]',
        '[{"op": "add", "path": "/metadata/a", "value": 9223372036854775808}]',
        '[{"op": "add", "path": "/metadata/a"}]',
        '[{"op": "replace", "path": "/metadata/a"}]',
        '[{"op": "add", "value": 1}]',
        '[{"path": "/metadata/a", "value": 1}]',
        '[{"op": "move", "path": "/metadata/a", "from": "/metadata/b"}]',
        '[{"op": "copy", "path": "/metadata/a", "from": "/metadata/b"}]',
        '[{"op": "test", "path": "/metadata/a", "value": 1}]',
        '[{"op": "ADD", "path": "/metadata/a", "value": 1}]',
        '[{"op": null, "path": "/metadata/a", "value": 1}]',
        '[{"op": ["add"], "path": "/metadata/a", "value": 1}]',
        '[{"op": {}, "path": "/metadata/a", "value": 1}]',
    ],
)
def test_bad_document_is_refused(api: Api, raw: str | None) -> None:
    api.create("q", a=1)

    assert_error(patch(api, raw), *INVALID_BODY)
    assert api.get("/v2/queues/q").json == DEFAULTS | {"a": 1}


@pytest.mark.parametrize("op", ["add", "replace", "remove"])
@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "a",
        "metadata/a",
        "/metadata",
        "/metadata/",
        "/metadata//",
        "/metadata/a/",
        "/metadata/a/b",
        "//metadata/a",
        "/meta/a",
        "/metadatas/a",
        "/metadata/a~",
        "/metadata/a~2",
        "/metadata/~~0",
        " /metadata/a",
        5,
        None,
        True,
        ["/metadata/a"],
        {"a": 1},
    ],
)
def test_bad_path_is_refused(api: Api, op: str, path: Any) -> None:
    api.create("q", a=1)

    answer = api.patch_queue("q", {"op": op, "path": path, "value": 1})

    assert_error(answer, *INVALID_BODY)
    assert api.get("/v2/queues/q").json == DEFAULTS | {"a": 1}


def test_patch_may_have_65536_bytes_and_no_more(api: Api) -> None:
    frame = json.dumps([add("a", "")])
    fits = json.dumps([add("a", "x" * (65536 - len(frame)))])
    assert len(fits) == 65536

    assert patch(api, fits).status == 200

    answer = patch(api, fits + " ")
    assert_error(answer, *INVALID_BODY)
    assert "65536" in answer.description


def test_patches_do_not_let_metadata_grow_beyond_its_limit(api: Api) -> None:
    api.create("q", a="x" * 40_000)
    before = api.get("/v2/queues/q").json

    answer = api.patch_queue("q", add("b", "x" * 30_000))

    assert_error(answer, *INVALID_BODY)
    assert "65536" in answer.description
    assert api.get("/v2/queues/q").json == before
    assert api.patch_queue("q", replace("a", 1), add("b", "x" * 30_000)).status == 200


def test_patches_may_let_metadata_grow_to_its_limit(api: Api) -> None:
    api.create("q", a="x" * 40_000)
    rest = 65536 - len(json.dumps({"a": "x" * 40_000, "b": ""}, separators=(",", ":")))

    over = api.patch_queue("q", add("b", "x" * (rest + 1)))
    fits = api.patch_queue("q", add("b", "x" * rest))

    assert_error(over, *INVALID_BODY)
    assert fits.status == 200


def test_patches_at_the_same_time_are_all_kept(api: Api) -> None:
    api.create("q")

    with ThreadPoolExecutor(8) as pool:
        answers = [
            *pool.map(lambda n: api.patch_queue("q", add(f"k{n}", n)), range(40))
        ]

    assert {answer.status for answer in answers} == {200}
    kept = api.get("/v2/queues/q").json
    assert {f"k{n}" for n in range(40)} <= kept.keys()

# SPDX-License-Identifier: Apache-2.0
"""One queue: create, get, delete, stats, purge."""

import json

import pytest

from tests.api.wire import (
    INVALID_BODY,
    INVALID_REQUEST,
    OTHER_CLIENT,
    Api,
    assert_error,
)

DEFAULTS = {
    "_max_messages_post_size": 262144,
    "_default_message_ttl": 3600,
    "_default_message_delay": 0,
    "_dead_letter_queue": None,
    "_dead_letter_queue_messages_ttl": None,
    "_max_claim_count": None,
    "_enable_encrypt_messages": False,
}


# Create -------------------------------------------------------------------------------


def test_created_queue_is_found_at_its_location(api: Api) -> None:
    created = api.put("/v2/queues/q", {"colour": "red"})

    assert (created.status, created.body) == (201, b"")
    assert created.headers["Location"] == "/v2/queues/q"
    assert api.get(created.headers["Location"]).json == {"colour": "red"} | DEFAULTS


def test_queue_that_exists_is_not_changed_by_put(api: Api) -> None:
    api.create("q", a=1)

    again = api.put("/v2/queues/q", {"a": 2, "b": 3})

    assert (again.status, again.body) == (204, b"")
    assert again.headers["Location"] == "/v2/queues/q"
    assert api.get("/v2/queues/q").json == {"a": 1} | DEFAULTS


def test_body_of_a_put_is_checked_although_the_queue_exists(api: Api) -> None:
    api.create("q")

    assert_error(api.put("/v2/queues/q", raw="["), *INVALID_BODY)
    answer = api.put("/v2/queues/q", {"_default_message_ttl": 1})
    assert_error(answer, *INVALID_REQUEST)


@pytest.mark.parametrize("raw", [None, b"", b"{}", b" {} ", b"\n{\n}\n"])
def test_queue_can_be_created_without_metadata(api: Api, raw: bytes | None) -> None:
    assert api.put("/v2/queues/q", raw=raw).status == 201
    assert api.get("/v2/queues/q").json == DEFAULTS


def test_unknown_metadata_is_kept_as_it_is(api: Api) -> None:
    metadata = {
        "name": "q",
        "description": "für Ä ☃ 🐟",
        "_unknown": {"a": [1, 2.5, None, True, "x"]},
        "": "empty key",
        "nested": {"deep": [[[]]]},
        "big": 2**63 - 1,
        "small": -(2**63),
        "ids": "2",
        "null": None,
    }

    api.put("/v2/queues/q", metadata)

    assert api.get("/v2/queues/q").json == metadata | DEFAULTS


def test_metadata_is_not_escaped_to_ascii(api: Api) -> None:
    api.put("/v2/queues/q", raw='{"k": "\\u00fc"}')

    assert '"ü"'.encode() in api.get("/v2/queues/q").body


def test_metadata_may_have_65536_bytes_and_no_more(api: Api) -> None:
    fits = json.dumps({"a": "x" * (65536 - len('{"a": ""}'))})
    assert len(fits) == 65536

    assert api.put("/v2/queues/fits", raw=fits).status == 201
    assert_error(api.put("/v2/queues/over", raw=fits + " "), *INVALID_REQUEST)
    assert api.queues() == ["fits"]


def test_limit_of_metadata_is_named(api: Api) -> None:
    answer = api.put("/v2/queues/q", {"a": "x" * 65536})

    assert "65536" in answer.description


# Get, head, delete --------------------------------------------------------------------


def test_absent_queue_answers_with_the_defaults(api: Api) -> None:
    answer = api.get("/v2/queues/nobody")

    assert (answer.status, answer.json) == (200, DEFAULTS)


def test_head_tells_whether_a_queue_exists(api: Api) -> None:
    api.create("q")

    assert api.request("HEAD", "/v2/queues/q").status == 204
    assert api.request("HEAD", "/v2/queues/nobody").status == 404


def test_deleted_queue_is_gone_with_its_messages(api: Api) -> None:
    api.create("q", a=1)
    api.send("q", 1, 2)
    claim = api.claim("q", 1).claim

    assert api.delete("/v2/queues/q").status == 204

    assert api.queues() == []
    assert "a" not in api.get("/v2/queues/q").json
    assert api.get(f"/v2/queues/q/claims/{claim}").status == 404
    api.create("q")
    assert api.listing("q", include_claimed="true").json["messages"] == []
    assert api.stats("q")["total"] == 0


def test_absent_queue_can_be_deleted(api: Api) -> None:
    assert api.delete("/v2/queues/nobody").status == 204


def test_queue_of_another_project_is_not_touched(api: Api) -> None:
    api.create("q", a=1)
    other = api.as_project()

    assert "a" not in other.get("/v2/queues/q").json
    assert other.request("HEAD", "/v2/queues/q").status == 404
    assert other.delete("/v2/queues/q").status == 204
    assert other.put("/v2/queues/q").status == 201

    assert api.get("/v2/queues/q").json["a"] == 1


# Names --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["q", "A-Z_a.z0", "x" * 64, "0", "-", "_", "a.b.c", "messages", "...", "..a"],
)
def test_legal_name(api: Api, name: str) -> None:
    assert api.put(f"/v2/queues/{name}").status == 201
    assert api.queues() == [name]


@pytest.mark.parametrize(
    "path", ["x" * 65, "a%20b", "a~b", "a%2Cb", "a:b", "%C3%A4", "a+b", "a%25", "(a)"]
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_illegal_name_is_refused(api: Api, method: str, path: str) -> None:
    answer = api.request(method, f"/v2/queues/{path}")

    assert_error(answer, 400, "Invalid queue identification")
    assert "64" in answer.description


def test_name_is_percent_decoded_before_it_is_checked(api: Api) -> None:
    assert api.put("/v2/queues/%61%2Eb").status == 201

    assert api.queues() == ["a.b"]


def test_names_differ_by_case(api: Api) -> None:
    assert api.put("/v2/queues/a").status == 201
    assert api.put("/v2/queues/A").status == 201

    assert api.queues() == ["A", "a"]


# Stats --------------------------------------------------------------------------------


def test_stats_of_an_absent_queue_are_zeros(api: Api) -> None:
    assert api.stats("nobody") == {"claimed": 0, "free": 0, "total": 0}
    assert api.queues() == []


def test_stats_of_an_empty_queue_have_no_oldest_and_newest(api: Api) -> None:
    api.create("q")

    assert api.stats("q") == {"claimed": 0, "free": 0, "total": 0}


def test_stats_count_free_and_claimed_messages(api: Api) -> None:
    first, *_, last = api.send("q", 1, 2, 3)
    api.claim("q", 1)

    stats = api.stats("q")

    assert (stats["claimed"], stats["free"], stats["total"]) == (1, 2, 3)
    assert stats["oldest"]["href"] == f"/v2/queues/q/messages/{first}"
    assert stats["newest"]["href"] == f"/v2/queues/q/messages/{last}"
    assert set(stats["oldest"]) == set(stats["newest"]) == {"href", "age", "created"}


def test_stats_follow_release_and_delete(api: Api) -> None:
    ids = api.send("q", 1, 2)
    claim = api.claim("q").claim
    assert api.stats("q")["claimed"] == 2

    api.delete(f"/v2/queues/q/claims/{claim}")
    assert api.stats("q")["claimed"] == 0

    api.delete("/v2/queues/q/messages", ids=",".join(ids))
    assert api.stats("q") == {"claimed": 0, "free": 0, "total": 0}


# Purge --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [None, {"resource_types": ["messages"]},
     {"resource_types": ["messages", "subscriptions"]},
     {"resource_types": ["messages", "messages"]}],
)  # fmt: skip
def test_purge_removes_messages(api: Api, body: object) -> None:
    api.send("q", 1, 2, 3)

    answer = api.post("/v2/queues/q/purge", body)

    assert (answer.status, answer.body) == (204, b"")
    assert api.stats("q")["total"] == 0
    assert api.queues() == ["q"]


@pytest.mark.parametrize(
    "body", [{"resource_types": []}, {"resource_types": ["subscriptions"]}]
)
def test_purge_of_other_things_leaves_messages(api: Api, body: object) -> None:
    api.send("q", 1)

    assert api.post("/v2/queues/q/purge", body).status == 204
    assert api.stats("q")["total"] == 1


def test_purge_leaves_what_a_live_claim_holds(api: Api) -> None:
    held, _ = api.send("q", 1, 2)
    claim = api.claim("q", 1).claim

    api.post("/v2/queues/q/purge")

    assert api.get(f"/v2/queues/q/claims/{claim}").ids == [held]
    assert api.stats("q")["total"] == 1


def test_purge_removes_more_than_a_page(api: Api) -> None:
    for _ in range(3):
        api.send("q", *range(30))

    api.post("/v2/queues/q/purge")

    assert api.stats("q")["total"] == 0


def test_purge_of_an_absent_queue_does_not_create_it(api: Api) -> None:
    assert api.post("/v2/queues/nobody/purge").status == 204
    assert api.queues() == []


def test_purge_reaches_no_other_project(api: Api) -> None:
    api.send("q", 1)

    assert api.as_project().post("/v2/queues/q/purge").status == 204

    assert api.stats("q")["total"] == 1


@pytest.mark.parametrize(
    "body",
    [{}, {"resource_types": ["queues"]}, {"resource_types": "messages"},
     {"resource_types": 5}, {"resource_types": None}, {"resource_types": {}},
     {"resource_types": [["messages"]]}, {"resource_types": [1]},
     {"resource_types": ["messages", "bogus"]}],
)  # fmt: skip
def test_purge_of_unknown_things_is_refused(api: Api, body: object) -> None:
    api.send("q", 1)

    answer = api.post("/v2/queues/q/purge", body)

    assert_error(answer, *INVALID_REQUEST)
    assert "resource_types" in answer.description
    assert api.stats("q")["total"] == 1


@pytest.mark.parametrize("raw", ["{", "[]", "5", "null", '"messages"'])
def test_purge_body_that_is_no_object_is_refused(api: Api, raw: str) -> None:
    api.send("q", 1)

    assert_error(api.post("/v2/queues/q/purge", raw=raw), *INVALID_BODY)
    assert api.stats("q")["total"] == 1


# Lazy queues --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "", 200),
        ("HEAD", "", 404),
        ("DELETE", "", 204),
        ("GET", "/stats", 200),
        ("POST", "/purge", 204),
        ("GET", "/messages", 200),
        ("GET", "/messages?echo=true&include_claimed=true", 200),
        ("GET", "/messages?ids=a,b", 404),
        ("GET", "/messages/a", 404),
        ("DELETE", "/messages/a", 204),
        ("DELETE", "/messages/a?claim_id=c", 204),
        ("DELETE", "/messages?ids=a,b", 204),
        ("DELETE", "/messages?pop=2", 200),
        ("POST", "/claims", 204),
        ("GET", "/claims/c", 404),
        ("DELETE", "/claims/c", 204),
    ],
)
def test_reading_below_an_absent_queue_is_no_error_and_creates_nothing(
    api: Api, method: str, path: str, status: int
) -> None:
    answer = api.request(method, f"/v2/queues/nobody{path}")

    assert answer.status == status
    assert api.queues() == []


def test_empty_answers_have_the_form_that_clients_need(api: Api) -> None:
    empty = {"messages": [], "links": []}

    assert api.get("/v2/queues/nobody/messages").json == empty
    assert api.get("/v2/queues").json == {"queues": [], "links": []}
    assert api.delete("/v2/queues/nobody/messages", pop=1).json == {"messages": []}
    claimed = api.post("/v2/queues/nobody/claims")
    assert (claimed.status, claimed.body) == (204, b"")
    assert "Location" not in claimed.headers


def test_a_post_creates_its_queue(api: Api) -> None:
    api.send("q", 1)

    assert api.queues() == ["q"]
    assert api.get("/v2/queues/q").json == DEFAULTS
    assert api.put("/v2/queues/q", {"a": 1}).status == 204


def test_a_post_that_is_refused_creates_no_queue(api: Api) -> None:
    api.post("/v2/queues/q/messages", {"messages": [{"body": 1, "ttl": 1}]})

    assert api.queues() == []


def test_queue_that_was_deleted_by_another_client_is_made_again_by_a_post(
    api: Api,
) -> None:
    for _ in range(4):  # Each worker process has seen the queue.
        api.send("q", 1)
    api.as_client(OTHER_CLIENT).delete("/v2/queues/q")

    api.send("q", "new")

    assert api.listing("q").bodies == ["new"]

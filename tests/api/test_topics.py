# SPDX-License-Identifier: Apache-2.0
"""Topics: queues of another name space, which only tell their subscribers."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.api.conformance import CheckedApi
from tests.api.signed import Guest
from tests.api.wire import (
    INVALID_REQUEST,
    NO_ROUTE,
    NOT_FOUND,
    PATCH_TYPE,
    Answer,
    Api,
    assert_error,
)
from tests.servers import Server
from tests.stores import on_each_store

DEFAULTS = {
    "_max_messages_post_size": 262144,
    "_default_message_ttl": 3600,
    "_default_message_delay": 0,
}
ABSENT = {"messages": {"claimed": 0, "free": 0, "total": 0}}
MESSAGES = "/v2/topics/t/messages"


@pytest.fixture
def api(server: Server) -> Api:
    return CheckedApi(server.address)


def post(api: Api, *bodies: Any, **more: Any) -> Answer:
    answer = api.post(
        MESSAGES, {"messages": [{"body": body, **more} for body in bodies]}
    )
    assert answer.status == 201, answer
    return answer


def patch(api: Api, *operations: dict[str, Any], topic: str = "t") -> Answer:
    headers = {"Content-Type": PATCH_TYPE}
    return api.patch(f"/v2/topics/{topic}", list(operations), headers=headers)


def names(answer: Answer) -> list[str]:
    assert answer.status == 200, answer
    return [topic["name"] for topic in answer.json["topics"]]


# Metadata -----------------------------------------------------------------------------


@on_each_store
def test_topic_is_created_once(api: Api) -> None:
    created, again = (
        api.put("/v2/topics/t", {"a": 1}),
        api.put("/v2/topics/t", {"a": 2}),
    )

    assert (created.status, again.status) == (201, 204)
    assert created.headers["Location"] == "/v2/topics/t"
    assert api.get("/v2/topics/t").json == {"a": 1} | DEFAULTS
    assert api.request("HEAD", "/v2/topics/t").status == 204


@on_each_store
def test_absent_topic_reads_as_an_empty_one(api: Api) -> None:
    assert api.get("/v2/topics/t").json == DEFAULTS
    assert api.request("HEAD", "/v2/topics/t").status == 404
    assert api.get("/v2/topics/t/stats").json == ABSENT
    assert api.get(MESSAGES).json == {"messages": [], "links": []}
    assert api.delete(MESSAGES, pop=1).json == {"messages": []}
    assert api.post("/v2/topics/t/purge").status == 204
    assert api.delete("/v2/topics/t").status == 204
    assert names(api.get("/v2/topics")) == []


@on_each_store
def test_metadata_is_patched(api: Api) -> None:
    api.put("/v2/topics/t", {"a": 1})

    answer = patch(
        api,
        {"op": "replace", "path": "/metadata/a", "value": 2},
        {"op": "add", "path": "/metadata/_default_message_ttl", "value": 77},
    )

    assert answer.json == {"a": 2} | DEFAULTS | {"_default_message_ttl": 77}
    assert api.get("/v2/topics/t").json == answer.json
    missing = patch(api, {"op": "remove", "path": "/metadata/b"})
    assert_error(missing, 409, "Resource conflict")
    wrong = api.patch("/v2/topics/t", [])
    assert_error(wrong, 415, "415 Unsupported Media Type")


@pytest.mark.parametrize("name", ["a%20b", "x" * 65, "%C3%A9", "..", "a%0A"])
@pytest.mark.parametrize("below", ["", "/stats", "/messages", "/subscriptions"])
def test_bad_name_is_refused(api: Api, name: str, below: str) -> None:
    answer = api.get(f"/v2/topics/{name}{below}")

    assert_error(answer, 400, "Invalid topic identification")
    assert "64" in answer.description


def test_bad_metadata_is_refused(api: Api) -> None:
    answer = api.put("/v2/topics/t", {"_default_message_ttl": 1})

    assert_error(answer, *INVALID_REQUEST)
    assert "_default_message_ttl" in answer.description
    assert names(api.get("/v2/topics")) == []


# List ---------------------------------------------------------------------------------


@on_each_store
def test_topics_are_listed_in_pages_by_name(api: Api) -> None:
    for name in ("c", "a", "d", "b"):
        api.put(f"/v2/topics/{name}", {"n": name})

    first = api.get("/v2/topics", limit=3, detailed="true")
    second = api.get(first.next)

    assert (names(first), names(second)) == (["a", "b", "c"], ["d"])
    assert first.next.startswith("/v2/topics?")
    assert first.json["topics"][0] == {
        "name": "a",
        "href": "/v2/topics/a",
        "metadata": {"n": "a"} | DEFAULTS,
    }
    assert api.get(second.next).json == {"topics": [], "links": []}


@on_each_store
def test_topics_are_filtered_by_name_and_metadata_and_not_counted(api: Api) -> None:
    api.put("/v2/topics/news", {"n": 1})
    api.put("/v2/topics/newest", {"n": 2})
    api.put("/v2/topics/other", {"n": 1})

    assert names(api.get("/v2/topics", name="new")) == ["newest", "news"]
    assert names(api.get("/v2/topics", n=1)) == ["news", "other"]
    counted = api.get("/v2/topics", with_count="true")
    assert names(counted) == ["newest", "news", "other"]
    assert "count" not in counted.json


# Messages -----------------------------------------------------------------------------


@on_each_store
def test_post_makes_the_topic_and_answers_with_its_paths(api: Api) -> None:
    answer = post(api, "one", {"two": 2}, ttl=300)

    assert all(href.startswith(f"{MESSAGES}/") for href in answer.json["resources"])
    assert answer.headers["Location"].startswith("/v2/topics/t/messages")
    assert names(api.get("/v2/topics")) == ["t"]
    listed = api.get(MESSAGES, echo="true", limit=1)
    assert listed.bodies == ["one"]
    assert listed.json["messages"][0]["href"] == answer.json["resources"][0]
    assert listed.next.startswith(f"{MESSAGES}?")
    assert api.get(listed.next).bodies == [{"two": 2}]
    assert api.get(answer.json["resources"][1]).json["body"] == {"two": 2}


@on_each_store
def test_messages_are_got_deleted_and_popped(api: Api) -> None:
    first, second, *_, fourth = post(api, 1, 2, 3, 4).ids

    assert api.get(MESSAGES, ids=f"{second},{first}").bodies == [2, 1]
    assert api.delete(f"{MESSAGES}/{first}").status == 204
    assert_error(api.get(f"{MESSAGES}/{first}"), *NOT_FOUND)
    assert api.delete(MESSAGES, ids=second).status == 204
    assert api.delete(MESSAGES, pop=1).bodies == [3]
    assert api.get(MESSAGES, echo="true").ids == [fourth]


@on_each_store
def test_settings_of_a_topic_hold_for_its_posts(api: Api) -> None:
    api.put("/v2/topics/t", {"_default_message_ttl": 99, "_max_messages_post_size": 60})

    [id] = post(api, 1).ids
    answer = api.post(MESSAGES, {"messages": [{"body": "x" * 60}]})

    assert api.get(f"{MESSAGES}/{id}").json["ttl"] == 99
    assert_error(answer, *INVALID_REQUEST)
    assert "60" in answer.description


@on_each_store
def test_stats_count_and_purge_empties(api: Api) -> None:
    api.put("/v2/topics/t")
    assert api.get("/v2/topics/t/stats").json == {"messages": {"total": 0}}

    hrefs = post(api, 1, 2).json["resources"]
    stats = api.get("/v2/topics/t/stats").json["messages"]
    assert stats.keys() == {"total", "oldest", "newest"}
    assert stats["total"] == 2
    assert [stats["oldest"]["href"], stats["newest"]["href"]] == hrefs

    assert api.post("/v2/topics/t/purge").status == 204
    assert api.get("/v2/topics/t/stats").json == {"messages": {"total": 0}}


@on_each_store
def test_topic_and_queue_of_one_name_have_nothing_in_common(api: Api) -> None:
    api.create("t", of="queue")
    api.put("/v2/topics/t", {"of": "topic"})
    api.send("t", "to the queue")
    [id] = post(api, "to the topic").ids
    path = "/v2/queues/t/subscriptions"
    api.post(path, {"subscriber": "mailto:ada@example.org"})

    assert api.get("/v2/queues/t").json["of"] == "queue"
    assert api.get("/v2/topics/t").json["of"] == "topic"
    assert api.listing("t").bodies == ["to the queue"]
    assert api.get(MESSAGES, echo="true").bodies == ["to the topic"]
    assert_error(api.get(f"/v2/queues/t/messages/{id}"), *NOT_FOUND)
    assert api.get("/v2/topics/t/subscriptions").json["subscriptions"] == []

    api.delete("/v2/topics/t")
    assert api.queues() == ["t"]
    assert api.listing("t").bodies == ["to the queue"]
    assert len(api.get(path).json["subscriptions"]) == 1
    api.put("/v2/topics/t")
    api.delete("/v2/queues/t")
    assert (api.queues(), names(api.get("/v2/topics"))) == ([], ["t"])


# What there is not --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/topics/t/claims"),
        ("POST", "/v2/topics/t/share"),
        ("GET", "/v1.1/topics"),
        ("PUT", "/v1.1/topics/t"),
    ],
)
def test_nobody_claims_or_shares_topics_and_v1_1_has_none(
    api: Api, method: str, path: str
) -> None:
    assert_error(api.request(method, path), *NO_ROUTE)


def test_signatures_open_no_topic(api: Api) -> None:
    post(api, 1)

    answer = Guest.forged(api, MESSAGES).request("GET", MESSAGES)

    assert_error(answer, *NO_ROUTE)


def test_each_call_asks_for_its_rule(api_of: Callable[..., Api]) -> None:
    rules = ("get_all", "create", "get", "update", "delete", "stats", "purge")
    api = api_of(policy={f"topics:{rule}": "role:reader" for rule in rules})
    one = "/v2/topics/t"

    for method, path in [
        ("GET", "/v2/topics"),
        ("PUT", one),
        ("GET", one),
        ("HEAD", one),
        ("GET", f"{one}/stats"),
        ("POST", f"{one}/purge"),
        ("DELETE", one),
    ]:
        refused = api.request(method, path)
        allowed = api.request(method, path, headers={"X-Roles": "reader"})
        assert refused.status == 403, (method, path, refused)
        assert allowed.status in (200, 201, 204), (method, path, allowed)
    change = [{"op": "add", "path": "/metadata/a", "value": 1}]
    assert patch(api, *change).status == 403
    assert api.put("/v2/queues/q").status == 201

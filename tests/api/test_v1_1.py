# SPDX-License-Identifier: Apache-2.0
"""API v1.1: what it does otherwise than v2, and one queue seen through both."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.api.conformance import CheckedApi
from tests.api.wire import (
    INVALID_BODY,
    INVALID_PARAMETER,
    INVALID_REQUEST,
    NO_ROUTE,
    NOT_FOUND,
    PATCH_TYPE,
    Api,
    assert_error,
)
from tests.servers import Server
from tests.stores import on_each_store

OLD, NEW = "/v1.1", "/v2"
QUEUE = f"{OLD}/queues/q"
MESSAGES = f"{QUEUE}/messages"
BARE = {"Client-ID": None, "X-Project-ID": None}
BOTH_WAYS = pytest.mark.parametrize(("one", "other"), [(OLD, NEW), (NEW, OLD)])
LATE = {"_default_message_delay": 300}


@pytest.fixture
def old(api: Api) -> Api:
    """A client that speaks v1.1."""
    return api.in_version(OLD)


# Discovery ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1.1", "/v1.1/", "/v1.1/ping"])
@pytest.mark.parametrize("headers", [BARE, {"Client-ID": "x", "X-Project-ID": ""}])
def test_discovery_looks_at_no_header(
    api: Api, path: str, headers: dict[str, str | None]
) -> None:
    answer = api.get(path, headers=headers)

    assert answer.status == (204 if path.endswith("ping") else 200)


def test_version_list_begins_with_the_deprecated_version(api: Api) -> None:
    old, new = api.get("/", headers=BARE).json["versions"]

    assert new["id"] == "2"
    assert old == {
        "id": "1.1",
        "status": "DEPRECATED",
        "updated": "2016-7-29T02:22:47Z",
        "media-types": [
            {
                "base": "application/json",
                "type": "application/vnd.openstack.messaging-v1_1+json",
            }
        ],
        "links": [{"href": "/v1.1/", "rel": "self"}],
    }
    assert api.get("/v1.1").json["version"] == old


def test_home_document_has_the_resources_of_this_version_only(api: Api) -> None:
    answer = api.get("/v1.1/")

    resources = {
        name.removeprefix("rel/"): resource
        for name, resource in answer.json["resources"].items()
    }
    assert answer.headers["Cache-Control"] == "max-age=86400"
    assert answer.body == api.get("/v1.1").body
    assert set(resources) == {
        *("queues", "queue", "queue_stats"),
        *("messages", "post_messages", "messages_delete", "message_delete"),
        *("claim", "post_claim", "patch_claim", "delete_claim", "ping"),
        *("pools", "pool", "flavors", "flavor", "health"),
    }
    # As recorded, though it can be got too.
    assert resources["queue"]["hints"]["allow"] == ["PUT", "DELETE"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_ping_answers_without_a_body(api: Api, method: str) -> None:
    answer = api.request(method, "/v1.1/ping")

    assert (answer.status, answer.body) == (204, b"")


def test_health_asks_for_no_role(api: Api) -> None:
    answer = api.get("/v1.1/health")

    assert answer.status == 200
    assert answer.json["storage_reachable"] is True


# What is not offered ------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PATCH", "HEAD", "POST"])
def test_queue_has_no_other_methods(api: Api, method: str) -> None:
    answer = api.request(method, QUEUE, raw=b"[]", headers={"Content-Type": PATCH_TYPE})

    assert answer.status == 405
    assert answer.headers["Allow"] == "DELETE, GET, PUT, OPTIONS"
    assert api.queues() == []


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path",
    [
        f"{QUEUE}/purge",
        f"{QUEUE}/share",
        f"{QUEUE}/subscriptions",
        f"{QUEUE}/subscriptions/s/confirm",
        "/v1.1/topics",
        "/v1.1/topics/t/messages",
        "/v1.1/bogus",
        "/v1.0/queues",
    ],
)
def test_what_only_v2_has_is_no_route(api: Api, method: str, path: str) -> None:
    assert_error(api.request(method, path), *NO_ROUTE)


# Queues -------------------------------------------------------------------------------


def test_queue_shows_only_what_is_stored(old: Api) -> None:
    assert old.get(QUEUE).json == {}

    created = old.put(QUEUE, {"a": 1, "_default_message_ttl": 100})

    assert (created.status, created.headers["Location"]) == (201, QUEUE)
    assert old.get(QUEUE).json == {"a": 1, "_default_message_ttl": 100}
    assert old.put(QUEUE, {"b": 1}).status == 204
    assert old.get(QUEUE).json == {"a": 1, "_default_message_ttl": 100}
    assert old.delete(QUEUE).status == 204
    assert old.get(QUEUE).json == {}


def test_absent_queue_is_no_error(old: Api) -> None:
    assert old.listing("q").json == {"messages": [], "links": []}
    assert old.stats("q") == {"claimed": 0, "free": 0, "total": 0}
    assert old.claim("q").status == 204
    assert old.delete(MESSAGES, pop=1).json == {"messages": []}
    assert old.delete(QUEUE).status == 204
    assert old.queues() == []


@pytest.mark.parametrize(
    "metadata",
    [
        {"_default_message_ttl": 59},
        {"_default_message_delay": 901},
        {"_max_messages_post_size": 262145},
        {"_max_claim_count": "1"},
    ],
)
def test_reserved_metadata_is_checked(old: Api, metadata: dict[str, Any]) -> None:
    assert_error(old.put(QUEUE, metadata), *INVALID_REQUEST)
    assert old.queues() == []


def test_list_of_queues_ignores_what_v2_knows_besides(old: Api) -> None:
    for name in ("a", "b"):
        old.create(name, k=name)

    page = old.get(
        "/v1.1/queues?name=a&with_count=nonsense&k=a&limit=5&detailed=true&x=y"
    )

    assert page.json["queues"] == [
        {"name": "a", "href": "/v1.1/queues/a", "metadata": {"k": "a"}},
        {"name": "b", "href": "/v1.1/queues/b", "metadata": {"k": "b"}},
    ]
    assert "count" not in page.json
    path, _, query = page.next.partition("?")
    assert path == "/v1.1/queues"
    assert set(query.split("&")) == {"marker=b", "limit=5", "detailed=true"}
    assert old.get(page.next).json == {"queues": [], "links": []}


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("limit=0", INVALID_REQUEST),
        ("limit=21", INVALID_REQUEST),
        ("limit=x", INVALID_PARAMETER),
        ("detailed=x", INVALID_PARAMETER),
    ],
)
def test_parameters_that_are_read_are_checked(
    old: Api, query: str, error: tuple[int, str]
) -> None:
    assert_error(old.get(f"/v1.1/queues?{query}"), *error)


# Messages -----------------------------------------------------------------------------


@on_each_store
def test_posts_ignore_the_ttl_delay_and_size_of_the_queue(old: Api) -> None:
    old.create("q", _default_message_ttl=100, _max_messages_post_size=20, **LATE)

    [first] = old.send("q", "a body of more than twenty bytes")
    [second] = old.send("q", "mine", ttl=200)

    assert old.listing("q").ids == [first, second]
    assert [m["ttl"] for m in old.listing("q").json["messages"]] == [3600, 200]
    assert old.claim("q").ids == [first, second]


@pytest.mark.parametrize("delay", [0, 300, -1, 10**6, "soon", None, [], {}, 1.5, True])
@pytest.mark.parametrize("metadata", [{}, LATE], ids=["plain", "late"])
def test_delay_is_never_read(old: Api, metadata: dict[str, int], delay: Any) -> None:
    old.create("q", **metadata)

    old.send("q", "now", delay=delay)

    assert old.delete(MESSAGES, pop=1).bodies == ["now"]


def test_defaults_of_the_service_hold_but_for_its_delay(
    api_of: Callable[..., Api],
) -> None:
    api = api_of(
        {"transport": {"default_message_ttl": 120, "default_message_delay": 300}}
    )

    api.in_version(OLD).send("q", "old")
    api.in_version(NEW).send("q", "new")

    [message] = api.in_version(OLD).listing("q").json["messages"]
    assert (message["body"], message["ttl"]) == ("old", 120)


def test_post_has_the_size_limit_of_the_service(old: Api) -> None:
    frame = '{"messages": [{"body": "%s"}]}'
    room = 262144 - len(frame % "")

    fits = old.post(MESSAGES, raw=frame % ("x" * room))
    too_large = old.post(MESSAGES, raw=frame % ("x" * (room + 1)))

    assert fits.status == 201
    assert_error(too_large, *INVALID_REQUEST)
    assert old.stats("q")["total"] == 1


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({}, INVALID_REQUEST),
        ({"messages": []}, INVALID_REQUEST),
        ([{"body": 1}], INVALID_REQUEST),
        ({"messages": [{"body": 1, "ttl": 59}]}, INVALID_REQUEST),
        ({"messages": [{"body": 1, "ttl": 1209601}]}, INVALID_REQUEST),
        ({"messages": [{"body": 1}, {"ttl": 60}]}, INVALID_BODY),
        ({"messages": [{"body": 1, "ttl": "60"}]}, INVALID_BODY),
        ({"messages": {"body": 1}}, INVALID_BODY),
    ],
)
def test_bad_post_is_refused_and_creates_nothing(
    old: Api, document: Any, error: tuple[int, str]
) -> None:
    assert_error(old.post(MESSAGES, document), *error)
    assert old.queues() == []


def test_list_hides_what_is_delayed_and_knows_no_parameter_for_it(api: Api) -> None:
    old, new = api.in_version(OLD), api.in_version(NEW)
    new.create("q", **LATE)
    new.send("q", "late")
    old.send("q", "now")

    page = old.get(f"{MESSAGES}?echo=true&include_delayed=true")

    assert page.bodies == ["now"]
    assert "include_delayed" not in page.next
    assert old.get(f"{MESSAGES}?echo=true&include_delayed=nonsense").status == 200
    assert new.listing("q", include_delayed="true").bodies == ["late", "now"]


def test_pages_carry_their_parameters_on(old: Api) -> None:
    old.send("q", *range(5))
    path, found = f"{MESSAGES}?limit=2&echo=true&include_claimed=false", []

    while page := old.get(path).json["messages"]:
        found += [message["body"] for message in page]
        path = old.get(path).next
        assert set(path.partition("?")[2].split("&")) > {
            "limit=2",
            "echo=true",
            "include_claimed=false",
        }

    assert found == [*range(5)]


def test_messages_are_deleted_with_the_ids_of_their_claims(
    api_of: Callable[..., Api],
) -> None:
    api = api_of({"transport": {"message_delete_with_claim_id": True}})
    old = api.in_version(OLD)
    old.send("q", 1, 2)
    claimed = old.claim("q")
    ids = ",".join(claimed.ids)

    without = old.delete(MESSAGES, ids=ids)
    wrong = old.delete(MESSAGES, ids=ids, claim_ids="bogus")
    right = old.delete(MESSAGES, ids=ids, claim_ids=claimed.claim)

    assert_error(without, *INVALID_REQUEST)
    assert_error(wrong, 400, "Unable to delete")
    assert right.status == 204
    assert old.stats("q")["total"] == 0


def test_claim_ids_mean_nothing_where_they_are_not_needed(old: Api) -> None:
    [id] = old.send("q", 1)

    assert old.delete(MESSAGES, ids=id, claim_ids="bogus").status == 204
    assert old.stats("q")["total"] == 0


# One queue, two versions --------------------------------------------------------------


def hrefs(api: Api) -> list[str]:
    """Return each path that answers about the queue `q` give in this version.

    There are two messages; one of them is claimed meanwhile.
    """
    base = f"{api.version}/queues/q"
    posted = api.post(f"{base}/messages", {"messages": [{"body": 1}, {"body": 2}]})
    claimed = api.claim("q", 1)
    claim = api.get(claimed.headers["Location"]).json
    listed = api.listing("q", include_claimed="true")
    stats = api.stats("q")
    return [
        api.put(base).headers["Location"],
        *(queue["href"] for queue in api.get(f"{api.version}/queues").json["queues"]),
        api.get(f"{api.version}/queues").next,
        posted.headers["Location"],
        *posted.json["resources"],
        claimed.headers["Location"],
        claim["href"],
        *(m["href"] for m in [*claimed.json["messages"], *claim["messages"]]),
        *(m["href"] for m in listed.json["messages"]),
        listed.next,
        *(m["href"] for m in api.get(posted.headers["Location"]).json["messages"]),
        *(api.get(href).json["href"] for href in posted.json["resources"]),
        stats["oldest"]["href"],
        stats["newest"]["href"],
    ]


@pytest.mark.parametrize("version", [OLD, NEW])
def test_paths_are_of_the_version_that_asks(api: Api, version: str) -> None:
    found = hrefs(api.in_version(version))

    assert len(found) == 19
    assert [href for href in found if not href.startswith(f"{version}/queues")] == []


@on_each_store
@BOTH_WAYS
def test_message_of_one_version_is_claimed_and_deleted_in_the_other(
    server: Server, one: str, other: str
) -> None:
    producer = CheckedApi(server.address, version=one)
    consumer = producer.as_client().in_version(other)
    ids = producer.send("q", "a", "b", "c")

    claimed = consumer.claim("q", 2)

    assert (claimed.ids, claimed.bodies) == (ids[:2], ["a", "b"])
    base = f"{other}/queues/q"
    assert claimed.headers["Location"] == f"{base}/claims/{claimed.claim}"
    assert [m["href"] for m in claimed.json["messages"]] == [
        f"{base}/messages/{id}?claim_id={claimed.claim}" for id in ids[:2]
    ]
    for message in claimed.json["messages"]:
        assert consumer.delete(message["href"]).status == 204
    assert consumer.delete(f"{base}/messages", pop=5).bodies == ["c"]
    assert producer.stats("q")["total"] == 0


@on_each_store
@BOTH_WAYS
def test_claim_of_one_version_is_renewed_and_released_in_the_other(
    server: Server, one: str, other: str
) -> None:
    mine = CheckedApi(server.address, version=one)
    yours = mine.in_version(other)
    ids = mine.send("q", 1, 2)
    claimed = mine.claim("q", ttl=100, grace=60)
    path = f"{other}/queues/q/claims/{claimed.claim}"

    seen = yours.get(path).json
    renewed = yours.patch(path, {"ttl": 500, "grace": 60})

    assert (seen["href"], seen["ttl"]) == (path, 100)
    assert [message["id"] for message in seen["messages"]] == ids
    assert renewed.status == 204
    assert mine.get(claimed.headers["Location"]).json["ttl"] == 500
    message = f"{other}/queues/q/messages/{ids[0]}"
    assert_error(yours.delete(message), 403, "Unable to delete")
    assert yours.delete(message, claim_id=claimed.claim).status == 204
    assert yours.delete(path).status == 204
    assert_error(mine.get(claimed.headers["Location"]), *NOT_FOUND)
    assert mine.claim("q").ids == ids[1:]


def test_metadata_set_through_v1_1_holds_for_posts_through_v2(api: Api) -> None:
    old, new = api.in_version(OLD), api.in_version(NEW)
    old.create("q", _default_message_ttl=100, _max_messages_post_size=100, **LATE)

    new.send("q", "late")
    new.send("q", "now", delay=0)

    assert [m["ttl"] for m in new.listing("q").json["messages"]] == [100]
    assert old.delete(MESSAGES, pop=5).bodies == ["now"]
    large = {"messages": [{"body": "x" * 100}]}
    assert_error(new.post("/v2/queues/q/messages", large), *INVALID_REQUEST)
    assert new.get("/v2/queues/q").json["_max_messages_post_size"] == 100


def test_metadata_changed_through_v2_is_shown_through_v1_1(api: Api) -> None:
    api.in_version(OLD).create("q", a=1)

    api.patch_queue("q", {"op": "add", "path": "/metadata/b", "value": [2]})

    assert api.get(QUEUE).json == {"a": 1, "b": [2]}


@on_each_store
@BOTH_WAYS
def test_dead_letters_do_not_care_which_version_claims(
    server: Server, one: str, other: str
) -> None:
    api = CheckedApi(server.address, version=one)
    api.create("q", _max_claim_count=1, _dead_letter_queue="dead")
    api.send("q", "poison")

    claimed = api.claim("q")
    assert api.delete(claimed.headers["Location"]).status == 204
    assert api.in_version(other).claim("q").status == 204

    assert api.in_version(other).claim("dead").bodies == ["poison"]


# The switch ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/v1.1", "/v1.1/", "/v1.1/ping", "/v1.1/health", "/v1.1/queues", QUEUE, MESSAGES],
)
def test_version_that_is_switched_off_is_not_there(
    api_of: Callable[..., Api], path: str
) -> None:
    api = api_of({"DEFAULT": {"enable_deprecated_api_versions": ""}})

    for method in ("GET", "PUT", "POST", "OPTIONS"):
        assert_error(api.request(method, path), *NO_ROUTE)
        assert_error(api.request(method, path, headers=BARE), *NO_ROUTE)
    assert [entry["id"] for entry in api.get("/").json["versions"]] == ["2"]
    assert api.in_version(NEW).queues() == []

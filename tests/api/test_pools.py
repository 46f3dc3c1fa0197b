# SPDX-License-Identifier: Apache-2.0
"""Pools on the wire: what may be registered, what is shown, who may ask."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
import redis

from tests.api.conformance import CheckedApi
from tests.api.wire import (
    INVALID_BODY,
    INVALID_PARAMETER,
    INVALID_REQUEST,
    NO_ROUTE,
    NOT_FOUND,
    Answer,
    Api,
    assert_error,
    quoted,
)
from tests.functional.test_faults import wait_until
from tests.pooled import Admin

CONFLICT = (409, "Resource conflict")
UNFIT = (400, "Unable to create pool")
FULL = {"synchronous": "FULL"}


def uri() -> str:
    return f"sqlite:///pools/{uuid4().hex}.db"


def form(**changes: Any) -> dict[str, Any]:
    """Return a pool that can be registered, with changes; None: without the key."""
    whole = {"uri": uri(), "weight": 1} | changes
    return {key: value for key, value in whole.items() if value is not None}


# Registering -------------------------------------------------------------------------


def test_pool_is_shown_as_it_was_registered(admin: Admin) -> None:
    given = form(weight=7, flavor="gold", options=FULL)

    answer = admin.put("/v2/pools/p", given)

    assert (answer.status, answer.body) == (201, b"")
    assert answer.headers["Location"] == "/v2/pools/p"
    shown = {"name": "p", "href": "/v2/pools/p", **given}
    assert admin.get("/v2/pools/p", detailed="true").json == shown
    del shown["options"]
    assert admin.get("/v2/pools/p").json == shown


def test_pool_without_a_flavor_has_none(admin: Admin) -> None:
    admin.register("p")

    assert admin.get("/v2/pools/p", detailed="true").json["flavor"] is None
    assert admin.get("/v2/pools/p", detailed="true").json["options"] == {}


def test_pool_that_is_replaced_keeps_its_queues(admin: Admin) -> None:
    place = uri()
    admin.register("p", uri=place)
    admin.send("q", 1)

    admin.register("p", uri=place, weight=9)

    assert admin.listing("q").bodies == [1]
    assert [pool["weight"] for pool in admin.pools()] == [9]


def test_replaced_pool_loses_what_is_not_given(admin: Admin) -> None:
    admin.register("p", flavor="f", options=FULL)

    admin.register("p")

    [pool] = admin.pools()
    assert (pool["flavor"], pool["options"]) == (None, {})


@pytest.mark.parametrize("name", ["é", "a b", "x" * 64, "...", "a%2F", "pool?#&", "😀"])
def test_names_are_free_within_their_limits(admin: Admin, name: str) -> None:
    path = f"/v2/pools/{quoted(name)}"

    answer = admin.put(path, form())

    assert answer.status == 201, answer
    assert answer.headers["Location"] == path
    assert admin.get(path).json["name"] == name
    assert admin.get(path).json["href"] == path


@pytest.mark.parametrize("name", ["x" * 65, ".", "..", "\x00", "a\nb"])
def test_name_beyond_its_limits_is_refused(admin: Admin, name: str) -> None:
    answer = admin.put(f"/v2/pools/{quoted(name)}", form())

    assert_error(answer, *INVALID_REQUEST)
    assert "1 to 64 characters" in answer.description
    assert admin.pools() == []


BAD: list[tuple[str, Any, str]] = [
    ("uri", 1, "uri must be a string"),
    ("uri", True, "uri must be a string"),
    ("uri", [], "uri must be a string"),
    ("uri", "", "uri: its scheme must be one of sqlite, redis"),
    ("uri", "sqlite:///" + "x" * 246, "uri may have at most 255 characters, not 256"),
    ("uri", "http://h", "uri: its scheme"),
    ("uri", "sqlite:////etc/passwd", "below the data folder"),
    ("uri", "sqlite:///../x.db", "below the data folder"),
    ("uri", "sqlite://x", "uri: write sqlite:///path"),
    ("uri", "sqlite:///a\x00b", "control characters"),
    ("uri", "sqlite:///a\nb", "control characters"),
    ("uri", "sqlite:///x.db?a=1", "takes no parameters"),
    ("uri", "redis://[", "uri"),
    ("uri", "redis://:cret@127.0.0.1:1", "uri: its store does not work"),
    ("uri", "redis://:***@127.0.0.1", "its password is hidden"),
    ("uri", "mongodb://a/?tlsCertificateKeyFilePassword=***&w=1", "hidden"),
    ("weight", "1", "weight must be an integer"),
    ("weight", True, "weight must be an integer"),
    ("weight", 1.0, "weight must be an integer"),
    ("weight", -1, "weight must be 0 to 4294967295"),
    ("weight", 2**32, "weight must be 0 to 4294967295"),
    ("flavor", 1, "flavor must be a string"),
    ("flavor", "x" * 256, "flavor may have at most 255"),
    ("options", [], "options must be an object"),
    ("options", "x", "options must be an object"),
    ("options", {"nosuch": 1}, "options: nosuch is none of synchronous"),
    ("options", {"synchronous": "OFF"}, "options: synchronous"),
    ("options", {"synchronous": None}, "options: synchronous must be"),
    ("options", {"synchronous": {}}, "options: synchronous must be"),
    ("options", {"uri": "sqlite:///x.db"}, "options: uri is none of"),
]


@pytest.mark.parametrize(("field", "value", "told"), BAD)
def test_bad_field_is_refused_and_named_and_nothing_is_stored(
    admin: Admin, field: str, value: Any, told: str
) -> None:
    admin.register("old", flavor="f")
    before = admin.pools()

    answers = [
        admin.put("/v2/pools/new", form(**{field: value})),
        admin.put("/v2/pools/old", form(**{field: value})),
        admin.patch("/v2/pools/old", {field: value}),
        admin.put("/v1.1/pools/new", form(**{field: value})),
    ]

    for answer in answers:
        assert_error(answer, *INVALID_BODY)
        assert told in answer.description, answer
        assert "cret" not in answer.description
    assert admin.pools() == before


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({}, "uri is missing"),
        (form(uri=None), "uri is missing"),
        (form(weight=None), "weight is missing"),
        (form() | {"name": "p"}, "name is none of uri, weight, flavor, options"),
        ([], "object"),
        (None, "JSON"),
    ],
)
@pytest.mark.parametrize("version", ["/v1.1", "/v2"])
def test_incomplete_pool_is_refused(
    admin: Admin, version: str, document: Any, told: str
) -> None:
    answer = admin.put(f"{version}/pools/p", document)

    assert_error(answer, *INVALID_BODY)
    assert told in answer.description
    assert admin.pools() == []


@pytest.mark.parametrize("weight", [0, 2**32 - 1])
def test_limits_of_the_weight_are_allowed(admin: Admin, weight: int) -> None:
    admin.register("p", weight=weight)

    assert admin.pools()[0]["weight"] == weight


def test_uri_of_another_pool_is_a_conflict_however_it_is_written(admin: Admin) -> None:
    place = uri()
    admin.register("a", uri=place)
    admin.register("b")

    for other in (place, place.replace("///", "///./")):
        for answer in (
            admin.put("/v2/pools/c", form(uri=other)),
            admin.patch("/v2/pools/b", {"uri": other}),
        ):
            assert_error(answer, *CONFLICT)
            assert "pool a" in answer.description
    assert [pool["name"] for pool in admin.pools()] == ["a", "b"]


def test_pools_without_a_flavor_and_those_of_one_are_alike(admin: Admin) -> None:
    admin.register("a")
    admin.register("f", flavor="f", options=FULL)

    for answer in (
        admin.put("/v2/pools/b", form(options=FULL)),
        admin.put("/v2/pools/b", form(flavor="f")),
        admin.patch("/v2/pools/a", {"flavor": "f"}),
        admin.patch("/v2/pools/f", {"flavor": ""}),
    ):
        assert_error(answer, *UNFIT)
        assert "DURABILITY" in answer.description
    admin.register("b", flavor="f", options=FULL)


def test_uri_whose_store_can_do_less_is_refused(admin: Admin) -> None:
    admin.register("a", options=FULL)
    admin.register("b", options=FULL)

    answer = admin.patch("/v2/pools/b", {"uri": uri(), "options": {}})

    assert_error(answer, *UNFIT)
    assert admin.pools()[1]["options"] == FULL


# Changing ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"weight": 0}, {"weight": 0}),
        ({"weight": 5, "name": "x", "nosuch": 1}, {"weight": 5}),
        ({"flavor": "g"}, {"flavor": "g"}),
        ({"flavor": ""}, {"flavor": None}),
        ({"options": FULL}, {"options": FULL}),
        ({"options": {}, "weight": 3}, {"options": {}, "weight": 3}),
    ],
)
def test_only_what_is_given_is_changed(
    admin: Admin, change: dict[str, Any], expected: dict[str, Any]
) -> None:
    admin.register("p", flavor="f", weight=9)
    before = admin.get("/v2/pools/p", detailed="true").json

    answer = admin.patch("/v2/pools/p", change)

    after = admin.get("/v2/pools/p", detailed="true").json
    assert after == before | expected
    assert answer.status == 200
    assert answer.json == {key: after[key] for key in after if key != "options"}


@pytest.mark.parametrize("document", [{}, {"name": "x"}, [], None, "x"])
def test_patch_without_anything_to_change_is_refused(
    admin: Admin, document: Any
) -> None:
    admin.register("p")

    assert_error(admin.patch("/v2/pools/p", document), *INVALID_BODY)


def test_weight_of_a_pool_that_is_down_can_be_changed(
    admin: Admin, own_redis: Any
) -> None:
    admin.register("p", uri=own_redis.uri)
    own_redis.kill()

    assert admin.patch("/v2/pools/p", {"weight": 0}).status == 200
    refused = admin.patch("/v2/pools/p", {"uri": own_redis.uri})

    assert_error(refused, *INVALID_BODY)
    assert "its store does not work" in refused.description


def test_pool_that_does_not_exist_is_not_found(admin: Admin) -> None:
    assert_error(admin.get("/v2/pools/p"), *NOT_FOUND)
    assert_error(admin.patch("/v2/pools/p", {"weight": 1}), *NOT_FOUND)
    assert admin.delete("/v2/pools/p").status == 204


def test_pool_is_deleted_with_its_queues(admin: Admin) -> None:
    admin.register("p")
    admin.send("q", 1)

    assert admin.delete("/v2/pools/p").status == 204
    admin.register("p")

    # Each worker looks at the pools anew every few seconds.
    wait_until(
        lambda: all(not admin.listing("q").json["messages"] for _ in range(8)), 20
    )
    assert not admin.queues()


def test_last_pool_of_a_flavor_stays(admin: Admin) -> None:
    admin.register("a")
    admin.register("b")
    admin.put("/v2/flavors/f", {"pool_list": ["a", "b"]})

    assert admin.delete("/v2/pools/a").status == 204
    assert_error(admin.delete("/v2/pools/b"), 403, "Unable to delete")
    admin.delete("/v2/flavors/f")
    assert admin.delete("/v2/pools/b").status == 204


# Showing -----------------------------------------------------------------------------


def test_pools_are_listed_by_name_in_pages(admin: Admin) -> None:
    names = ["a", "b", "c", "é"]
    for name in reversed(names):
        admin.register(name)

    path, found = "/v2/pools?limit=3", []
    while (page := admin.get(path)).json["pools"]:
        assert page.headers["Content-Location"] == path
        found += page.json["pools"]
        path = page.next

    assert [pool["name"] for pool in found] == names
    assert all("options" not in pool for pool in found)
    assert "limit=3" in path
    behind = admin.get("/v2/pools", marker="bb", detailed="true").json["pools"]
    assert [(pool["name"], pool["options"]) for pool in behind] == [
        ("c", {}),
        ("é", {}),
    ]


@pytest.mark.parametrize("noun", ["pools", "flavors"])
@pytest.mark.parametrize("version", ["/v1.1", "/v2"])
def test_page_limits_hold(admin: Admin, version: str, noun: str) -> None:
    path = f"{version}/{noun}"

    assert admin.get(path, limit=20).json == {noun: [], "links": []}
    for limit in (0, 21, -1):
        assert_error(admin.get(path, limit=limit), *INVALID_REQUEST)
    assert_error(admin.get(path, limit="x"), *INVALID_PARAMETER)
    assert_error(admin.get(path, detailed="maybe"), *INVALID_PARAMETER)


def test_passwords_are_shown_nowhere(
    admin: Admin, redis_uri: str, servers: Callable[..., Any]
) -> None:
    # Its default user takes any password.
    place = f"{redis_uri}&dbid=9".replace("redis://", "redis://default:s3cret@")

    admin.register("p", uri=place)

    masked = place.replace("s3cret", "***")
    shown: list[Answer] = [
        admin.get("/v2/pools/p"),
        admin.get("/v2/pools", detailed="true"),
        admin.get("/v1.1/pools/p"),
        admin.patch("/v2/pools/p", {"weight": 4}),
        admin.put("/v2/pools/other", form(uri=place)),
        admin.get("/v2/health"),
    ]
    assert shown[0].json["uri"] == masked
    assert all("s3cret" not in answer.body.decode() for answer in shown)
    assert_error(admin.put("/v2/pools/p", form(uri=masked)), *INVALID_BODY)
    admin.send("q", 1)
    server = servers(
        {"DEFAULT": {"pooling": True}, "server": {"workers": 2, "threads": 4}}
    )
    assert "s3cret" not in server.output()


# Who may -----------------------------------------------------------------------------

ROUTES = ["/pools", "/pools/p", "/flavors", "/flavors/f"]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("version", ["/v1.1", "/v2"])
def test_routes_exist_only_with_admin_mode_and_pooling(
    api_of: Callable[..., Api], version: str, path: str
) -> None:
    for options in (
        {"DEFAULT": {"pooling": False}},
        {"DEFAULT": {"pooling": True, "admin_mode": False}},
    ):
        answer = api_of(options).get(version + path, headers={"X-Roles": "admin"})

        assert (answer.status, answer.title) == NO_ROUTE


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/pools", False),
        ("GET", "/pools/p", False),
        ("PUT", "/pools/p", False),
        ("PATCH", "/pools/p", False),
        ("DELETE", "/pools/p", False),
        ("GET", "/flavors", True),
        ("GET", "/flavors/f", True),
        ("PUT", "/flavors/f", False),
        ("PATCH", "/flavors/f", False),
        ("DELETE", "/flavors/f", False),
    ],
)
def test_tenants_may_look_at_flavors_and_no_more(
    admin: Admin, method: str, path: str, allowed: bool
) -> None:
    tenant = CheckedApi(admin.address)

    answer = tenant.request(method, f"/v2{path}")

    assert (answer.status == 403) != allowed
    # Admin mode of v1.1 is for those who reach the port.
    assert tenant.request(method, f"/v1.1{path}").status != 403


# v1.1 --------------------------------------------------------------------------------


def test_v1_1_does_not_look_at_the_flavor_of_a_pool(admin: Admin) -> None:
    place = uri()
    assert admin.put("/v1.1/pools/p", form(uri=place, flavor="f")).status == 201
    assert admin.pools()[0]["flavor"] is None

    admin.patch("/v2/pools/p", {"flavor": "g"})
    assert admin.put("/v1.1/pools/p", form(uri=place, weight=2)).status == 201
    assert_error(admin.patch("/v1.1/pools/p", {"flavor": "h"}), *INVALID_BODY)
    answer = admin.patch("/v1.1/pools/p", {"flavor": "h", "weight": 3})

    assert (answer.status, answer.body) == (200, b"")
    [pool] = admin.pools()
    assert (pool["flavor"], pool["weight"]) == ("g", 3)


# Health ------------------------------------------------------------------------------


def test_pool_that_is_down_is_told_and_leaves_the_service_ready(
    admin: Admin, own_redis: Any
) -> None:
    admin.register("a")
    admin.register("down", uri=own_redis.uri, flavor="f")
    assert admin.get("/v2/ping").status == 204
    own_redis.kill()

    for version in ("/v1.1", "/v2"):
        answer = admin.get(f"{version}/health")

        assert answer.status == 200
        found = answer.json
        assert found.keys() == {"catalog_reachable", "a", "down"}
        assert found["catalog_reachable"] is True
        assert found["a"]["storage_reachable"] is True
        assert found["down"]["storage_reachable"] is False
        steps = found["down"]["operation_status"]
        assert steps.keys() == found["a"]["operation_status"].keys()
        assert not any(step["succeeded"] for step in steps.values())
    # Each worker looks at the pools anew every few seconds.
    wait_until(lambda: all(admin.get("/v2/ping").status == 503 for _ in range(8)), 20)
    assert admin.get("/readyz").status == 204


def test_health_tells_what_a_pool_does_not_promise_any_more(
    admin: Admin, own_redis: Any
) -> None:
    admin.register("p", uri=own_redis.uri)
    assert "capabilities" not in admin.get("/v2/health").json["p"]

    redis.Redis(port=own_redis.port).config_set("appendfsync", "no")

    told = admin.get("/v2/health").json["p"]["capabilities"]
    assert "DURABILITY" in told["registered"]
    assert set(told["registered"]) - set(told["now"]) == {"DURABILITY"}

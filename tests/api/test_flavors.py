# SPDX-License-Identifier: Apache-2.0
"""Flavors on the wire: of which pools they are made, whose they are, what they do."""

from typing import Any
from uuid import uuid4

import pytest

from tests.api.test_pools import FULL
from tests.api.wire import (
    INVALID_BODY,
    INVALID_REQUEST,
    NOT_FOUND,
    assert_error,
    quoted,
)
from tests.pooled import Admin

UNFIT = (400, "Unable to create")
# Of the files that the tests have for pools; those with FULL have DURABILITY besides.
PLAIN = ["FIFO", "CLAIMS", "AOD"]
SAFE = ["FIFO", "CLAIMS", "DURABILITY", "AOD"]


@pytest.fixture
def stocked(admin: Admin) -> Admin:
    """Pools a and b without a flavor; s and t, which are durable, have one."""
    admin.register("a")
    admin.register("b")
    admin.register("s", flavor="spare", options=FULL)
    admin.register("t", flavor="spare", options=FULL)
    return admin


def make(admin: Admin, name: str, *pools: str) -> None:
    answer = admin.put(f"/v2/flavors/{name}", {"pool_list": pools})
    assert answer.status == 201, answer


def flavor_of_each(admin: Admin) -> dict[str, str | None]:
    return {pool["name"]: pool["flavor"] for pool in admin.pools()}


# Making ------------------------------------------------------------------------------


def test_flavor_is_made_of_the_pools_that_are_named(stocked: Admin) -> None:
    answer = stocked.put("/v2/flavors/f", {"pool_list": ["b", "a", "b"]})

    assert (answer.status, answer.body) == (201, b"")
    assert answer.headers["Location"] == "/v2/flavors/f"
    assert stocked.get("/v2/flavors/f").json == {
        "name": "f",
        "href": "/v2/flavors/f",
        "pool_list": ["a", "b"],
        "capabilities": PLAIN,
    }
    assert flavor_of_each(stocked) == {"a": "f", "b": "f", "s": "spare", "t": "spare"}


def test_flavor_that_is_made_again_has_the_new_pools_only(stocked: Admin) -> None:
    make(stocked, "f", "a", "b")

    make(stocked, "f", "s")

    assert flavor_of_each(stocked) == {"a": None, "b": None, "s": "f", "t": "spare"}
    assert stocked.get("/v2/flavors/f").json["capabilities"] == SAFE


def test_capabilities_beside_a_list_are_not_looked_at(stocked: Admin) -> None:
    for given in ({}, {"GOLD": "yes"}, ["DURABILITY"]):
        document = {"pool_list": ["a"], "capabilities": given}

        assert stocked.put("/v2/flavors/f", document).status == 201

    assert stocked.get("/v2/flavors/f").json["capabilities"] == PLAIN


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({}, "pool_list must be given"),
        ({"capabilities": {}}, "pool_list must be given"),
        ({"capabilities": []}, "pool_list must be given"),
        ({"pool_list": None}, "pool_list must be given"),
        ({"pool_list": "a"}, "pool_list must be an array"),
        ({"pool_list": {"a": 1}}, "pool_list must be an array"),
        ({"pool_list": ["a", 1]}, "pool_list must be an array"),
        ({"pool_list": ["a"], "name": "f"}, "name is none of pool_list, capabilities"),
        ({"pool_list": ["a"], "capabilities": 1}, "capabilities must be an object"),
        ({"capabilities": "FIFO"}, "capabilities must be an object"),
        ({"capabilities": ["FIFO", 1]}, "capabilities must be an object"),
        ({"capabilities": {"FIFO": 1}}, "FIFO must be true or false"),
        ({"capabilities": {"FIFO": None}}, "FIFO must be true or false"),
        ({"capabilities": ["GOLD", "fifo"]}, "GOLD, fifo is none of FIFO, CLAIMS"),
        ([], "object"),
        (None, "JSON"),
    ],
)
def test_bad_flavor_is_refused_and_nothing_is_stored(
    stocked: Admin, document: Any, told: str
) -> None:
    before = flavor_of_each(stocked)

    answer = stocked.put("/v2/flavors/f", document)

    assert_error(answer, *INVALID_BODY)
    assert told in answer.description
    assert stocked.flavors() == []
    assert flavor_of_each(stocked) == before


@pytest.mark.parametrize(
    ("pools", "told"),
    [
        ([], "at least one pool"),
        (["a", "nosuch"], "nosuch does not exist"),
        (["a", "s"], "has the capabilities FIFO, CLAIMS, DURABILITY, AOD"),
    ],
)
def test_flavor_of_unfit_pools_is_refused(
    stocked: Admin, pools: list[str], told: str
) -> None:
    before = flavor_of_each(stocked)

    answer = stocked.put("/v2/flavors/f", {"pool_list": pools})

    assert_error(answer, *UNFIT)
    assert told in answer.description
    assert stocked.flavors() == []
    assert flavor_of_each(stocked) == before


@pytest.mark.parametrize("name", ["x" * 65, ".", "..", "\x00"])
@pytest.mark.parametrize("version", ["/v1.1", "/v2"])
def test_name_beyond_its_limits_is_refused(
    stocked: Admin, version: str, name: str
) -> None:
    document = {"pool_list": ["a"]} if version == "/v2" else {"capabilities": {}}

    answer = stocked.put(f"{version}/flavors/{quoted(name)}", document)

    assert_error(answer, *INVALID_REQUEST)
    assert "flavor has 1 to 64 characters" in answer.description


# Wishes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "pools"),
    [
        (["DURABILITY"], ["c", "d"]),
        ({"DURABILITY": True}, ["c", "d"]),
        ({"DURABILITY": True, "HIGH_THROUGHPUT": False}, ["c", "d"]),
        ({"DURABILITY": False}, ["a", "b"]),
        ({"FIFO": True, "DURABILITY": False}, ["a", "b"]),
    ],
)
def test_wish_takes_every_pool_that_fulfils_it_and_has_no_other_flavor(
    stocked: Admin, wish: Any, pools: list[str]
) -> None:
    # Pools without a flavor that differ: theirs was removed.
    for name in ("c", "d"):
        stocked.register(name, flavor="x", options=FULL)
    make(stocked, "x", "c", "d")
    stocked.delete("/v2/flavors/x")

    answer = stocked.put("/v2/flavors/f", {"capabilities": wish})

    assert answer.status == 201, answer
    assert stocked.get("/v2/flavors/f").json["pool_list"] == pools
    assert flavor_of_each(stocked)["s"] == "spare"


def test_wish_that_no_pool_fulfils_is_refused(stocked: Admin) -> None:
    for wish in (["HIGH_THROUGHPUT"], {"FIFO": False}, ["DURABILITY"]):
        answer = stocked.put("/v2/flavors/f", {"capabilities": wish})

        assert_error(answer, *UNFIT)
        assert "fulfils the wish" in answer.description
    assert stocked.flavors() == []


def test_wish_that_leaves_a_choice_says_what_it_leaves(stocked: Admin) -> None:
    make(stocked, "x", "s")
    stocked.delete("/v2/flavors/x")

    answer = stocked.put("/v2/flavors/f", {"capabilities": ["FIFO"]})

    assert_error(answer, *UNFIT)
    assert "a has FIFO, CLAIMS, AOD;" in answer.description
    assert "s has FIFO, CLAIMS, DURABILITY, AOD" in answer.description


def test_wish_can_be_renewed_when_there_are_new_pools(stocked: Admin) -> None:
    stocked.put("/v2/flavors/f", {"capabilities": ["FIFO"]})
    stocked.register("c")

    stocked.put("/v2/flavors/f", {"capabilities": ["FIFO"]})

    assert stocked.get("/v2/flavors/f").json["pool_list"] == ["a", "b", "c"]


# Changing ----------------------------------------------------------------------------


def test_patch_gives_a_flavor_exactly_these_pools(stocked: Admin) -> None:
    make(stocked, "f", "a")

    answer = stocked.patch("/v2/flavors/f", {"pool_list": ["b"], "other": 1})

    assert answer.status == 200
    assert answer.json == stocked.get("/v2/flavors/f").json
    assert answer.json["pool_list"] == ["b"]
    assert flavor_of_each(stocked)["a"] is None


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({"pool_list": ["nosuch"]}, (400, "updatefail")),
        ({"pool_list": []}, UNFIT),
        ({"pool_list": ["a", "s"]}, UNFIT),
        ({"pool_list": "a"}, INVALID_BODY),
        ({"capabilities": ["FIFO"]}, INVALID_BODY),
        ({}, INVALID_BODY),
        (None, INVALID_BODY),
    ],
)
def test_bad_patch_is_refused_and_nothing_is_changed(
    stocked: Admin, document: Any, error: tuple[int, str]
) -> None:
    make(stocked, "f", "a")

    assert_error(stocked.patch("/v2/flavors/f", document), *error)

    assert stocked.get("/v2/flavors/f").json["pool_list"] == ["a"]


def test_flavor_that_does_not_exist_is_not_found(stocked: Admin) -> None:
    assert_error(stocked.get("/v2/flavors/f"), *NOT_FOUND)
    assert_error(stocked.patch("/v2/flavors/f", {"pool_list": ["a"]}), *NOT_FOUND)
    assert_error(stocked.patch("/v1.1/flavors/f", {"capabilities": {}}), *NOT_FOUND)
    assert stocked.delete("/v2/flavors/f").status == 204


def test_pools_of_a_deleted_flavor_lose_it_and_its_queues_go_on(stocked: Admin) -> None:
    make(stocked, "f", "a")
    stocked.create("q", _flavor="f")

    assert stocked.delete("/v2/flavors/f").status == 204

    assert flavor_of_each(stocked)["a"] is None
    stocked.send("q", 1)
    assert stocked.listing("q").bodies == [1]


# What they are for -------------------------------------------------------------------


def test_every_worker_knows_a_new_flavor_at_once(stocked: Admin) -> None:
    for round_ in range(6):
        make(stocked, f"f{round_}", "a")
        for number in range(4):
            stocked.create(f"q{round_}-{number}", _flavor=f"f{round_}")
        stocked.delete(f"/v2/flavors/f{round_}")
        for number in range(4):
            answer = stocked.put(
                f"/v2/queues/r{round_}-{number}", {"_flavor": f"f{round_}"}
            )
            assert_error(answer, *INVALID_REQUEST)


def test_queue_in_an_unknown_flavor_is_refused(stocked: Admin) -> None:
    answer = stocked.put("/v2/queues/q", {"_flavor": "nosuch"})

    assert_error(answer, *INVALID_REQUEST)
    assert "_flavor: nosuch does not exist" in answer.description
    assert stocked.queues() == []


# Whose they are ----------------------------------------------------------------------


def test_flavors_are_those_of_the_project(stocked: Admin) -> None:
    make(stocked, "f", "a")
    other = stocked.as_project()

    assert other.flavors() == []
    assert_error(other.get("/v2/flavors/f"), *NOT_FOUND)
    assert_error(other.patch("/v2/flavors/f", {"pool_list": ["b"]}), *NOT_FOUND)
    assert_error(other.put("/v2/queues/q", {"_flavor": "f"}), *INVALID_REQUEST)
    assert other.delete("/v2/flavors/f").status == 204

    assert stocked.get("/v2/flavors/f").json["pool_list"] == ["a"]


def test_flavors_are_listed_by_name_in_pages(stocked: Admin) -> None:
    names = ["f", "g", "h"]
    for name in reversed(names):
        stocked.put(f"/v1.1/flavors/{name}", {})
    make(stocked, "g", "a")

    path, found = "/v2/flavors?limit=2", []
    while (page := stocked.get(path).json)["flavors"]:
        found += page["flavors"]
        path = page["links"][0]["href"]

    assert found == [
        {"name": "f", "href": "/v2/flavors/f"},
        {"name": "g", "href": "/v2/flavors/g", "pool_list": ["a"]},
        {"name": "h", "href": "/v2/flavors/h"},
    ]
    [last] = stocked.get("/v2/flavors", marker="ga", detailed="true").json["flavors"]
    assert last["capabilities"] == []


# v1.1 --------------------------------------------------------------------------------


def test_v1_1_keeps_the_object_that_is_given(stocked: Admin) -> None:
    given = {"capabilities": {"anything": [1, {"é": None}]}, "more": 1}

    answer = stocked.put("/v1.1/flavors/f", given)

    assert (answer.status, answer.body) == (201, b"")
    assert answer.headers["Location"] == "/v1.1/flavors/f"
    plain = {"name": "f", "href": "/v1.1/flavors/f"}
    detailed = plain | {"capabilities": given["capabilities"]}
    assert stocked.get("/v1.1/flavors/f").json == plain
    assert stocked.get("/v1.1/flavors/f", detailed="true").json == detailed
    assert stocked.get("/v1.1/flavors").json["flavors"] == [plain]
    assert stocked.get("/v1.1/flavors", detailed="1").json["flavors"] == [detailed]
    assert stocked.get("/v2/flavors/f").json["pool_list"] == []


def test_v1_1_changes_the_object_and_not_the_pools(stocked: Admin) -> None:
    make(stocked, "f", "a")

    for method in ("PUT", "PATCH"):
        given = {"capabilities": {"by": method}}
        answer = stocked.request(method, "/v1.1/flavors/f", given)

        assert answer.body == b""
        shown = stocked.get("/v1.1/flavors/f", detailed="true").json
        assert shown["capabilities"] == {"by": method}
    assert stocked.get("/v2/flavors/f").json["pool_list"] == ["a"]


@pytest.mark.parametrize("document", [{"capabilities": []}, {"capabilities": None}, []])
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_v1_1_refuses_what_is_no_object(
    stocked: Admin, method: str, document: Any
) -> None:
    answer = stocked.request(method, "/v1.1/flavors/f", document)

    assert_error(answer, *INVALID_BODY)
    assert_error(stocked.patch("/v1.1/flavors/f", {}), *INVALID_BODY)
    assert stocked.flavors() == []


def test_flavor_without_pools_has_no_room_for_queues(stocked: Admin) -> None:
    name = f"f-{uuid4().hex}"
    stocked.put(f"/v1.1/flavors/{name}", {})

    answer = stocked.put("/v2/queues/q", {"_flavor": name})

    assert_error(answer, 503, "Service temporarily unavailable")
    stocked.register("new", flavor=name)
    stocked.create("q", _flavor=name)

# SPDX-License-Identifier: Apache-2.0
"""The list of queues: order, paging, filters, count."""

from collections.abc import Iterator

import pytest

from tests.api.test_queues import DEFAULTS
from tests.api.wire import (
    INVALID_PARAMETER,
    INVALID_REQUEST,
    Answer,
    Api,
    assert_error,
)


def names(answer: Answer) -> list[str]:
    assert answer.status == 200, answer
    return [queue["name"] for queue in answer.json["queues"]]


def pages(api: Api, path: str) -> Iterator[list[str]]:
    while page := names(answer := api.get(path)):
        yield page
        path = answer.next


def test_queues_are_listed_by_name_in_byte_order(api: Api) -> None:
    for name in ["b", "a.b", "B", "a", "a-b", "_", "0", "a_b"]:
        api.create(name)

    assert names(api.get("/v2/queues")) == sorted(
        ["b", "a.b", "B", "a", "a-b", "_", "0", "a_b"]
    )


def test_entry_has_name_and_href_only(api: Api) -> None:
    api.create("q", a=1)

    [entry] = api.get("/v2/queues").json["queues"]

    assert entry == {"name": "q", "href": "/v2/queues/q"}


def test_detailed_entries_have_metadata_with_reserved_keys(api: Api) -> None:
    api.create("q", a=1, _default_message_ttl=100)

    [entry] = api.get("/v2/queues", detailed="true").json["queues"]

    metadata = {"a": 1} | DEFAULTS | {"_default_message_ttl": 100}
    assert entry == {"name": "q", "href": "/v2/queues/q", "metadata": metadata}


def test_page_has_ten_queues_unless_told_otherwise(api: Api) -> None:
    made = [f"q{n:02}" for n in range(25)]
    for name in made:
        api.create(name)

    assert names(api.get("/v2/queues")) == made[:10]
    assert names(api.get("/v2/queues", limit=20)) == made[:20]
    assert [*pages(api, "/v2/queues")] == [made[:10], made[10:20], made[20:]]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_paging_shows_each_queue_once(api: Api, limit: int) -> None:
    made = ["a", "a.b", "b", "c", "d"]
    for name in made:
        api.create(name)

    seen = [name for page in pages(api, f"/v2/queues?limit={limit}") for name in page]

    assert seen == made


def test_links_are_empty_when_the_page_is(api: Api) -> None:
    api.create("q")

    last = api.get(api.get("/v2/queues").next)

    assert last.json == {"queues": [], "links": []}


def test_next_link_keeps_the_parameters_of_the_request(api: Api) -> None:
    for name in ("aa", "ab", "ac", "b"):
        api.create(name, colour="red")

    path = "/v2/queues?limit=1&detailed=True&name=a&colour=red"
    answers = [api.get(path)]
    while answers[-1].json["queues"]:
        answers.append(api.get(answers[-1].next))

    assert [names(answer) for answer in answers] == [["aa"], ["ab"], ["ac"], []]
    assert all("metadata" in a.json["queues"][0] for a in answers[:-1])
    assert "detailed=true" in answers[0].next


def test_filter_values_survive_in_the_next_link(api: Api) -> None:
    odd = "a b&c=d/ü?#%"
    for name in ("a", "b"):
        api.create(name, **{"k y&": odd})
    api.create("c")

    first = api.get("/v2/queues", limit=1, **{"k y&": odd})

    assert names(first) == ["a"]
    assert names(api.get(first.next)) == ["b"]


def test_marker_need_not_exist(api: Api) -> None:
    for name in ("a", "c"):
        api.create(name)

    assert names(api.get("/v2/queues", marker="b")) == ["c"]
    assert names(api.get("/v2/queues", marker="~")) == []
    assert names(api.get("/v2/queues", marker="no such/\x00 name é")) == []


@pytest.mark.parametrize("limit", [0, -1, 21, 2**63, 2**64])
def test_limit_out_of_range_is_refused(api: Api, limit: int) -> None:
    answer = api.get("/v2/queues", limit=limit)

    assert_error(answer, *INVALID_REQUEST)
    assert "limit" in answer.description
    assert "20" in answer.description


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "x"),
        ("limit", "1.5"),
        ("limit", "1e1"),
        ("limit", "1_0"),
        ("limit", "٣"),
        ("detailed", "TRUE"),
        ("detailed", "FALSE"),
        ("detailed", "2"),
        ("with_count", "maybe"),
    ],
)
def test_parameter_of_the_wrong_type_is_refused(
    api: Api, name: str, value: str
) -> None:
    answer = api.get("/v2/queues", **{name: value})

    assert_error(answer, *INVALID_PARAMETER)
    assert name in answer.description


@pytest.mark.parametrize("word", ["true", "True", "t", "yes", "y", "1", "on"])
def test_words_for_true(api: Api, word: str) -> None:
    api.create("q")

    assert "metadata" in api.get("/v2/queues", detailed=word).json["queues"][0]


@pytest.mark.parametrize("word", ["false", "False", "f", "no", "n", "0", "off", ""])
def test_words_for_false(api: Api, word: str) -> None:
    api.create("q")

    [entry] = api.get("/v2/queues", detailed=word).json["queues"]
    assert "metadata" not in entry


@pytest.mark.parametrize("query", ["limit=", "limit=&marker=", "detailed=&with_count="])
def test_empty_parameter_is_absent(api: Api, query: str) -> None:
    api.create("q")

    assert names(api.get(f"/v2/queues?{query}")) == ["q"]


@pytest.mark.parametrize("query", ["limit=x&limit=2", "limit=5,1,2", "limit=1&limit=2"])
def test_last_value_of_a_parameter_wins(api: Api, query: str) -> None:
    for name in ("a", "b", "c"):
        api.create(name)

    assert names(api.get(f"/v2/queues?{query}")) == ["a", "b"]


# Filters ------------------------------------------------------------------------------


@pytest.fixture
def coloured(api: Api) -> Api:
    api.create("red1", colour="red", size=1, text="1")
    api.create("red2", colour="red", size=2, text="01")
    api.create("blue1", colour="blue", size=1, flag=True)
    api.create("none")
    return api


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("name=red", ["red1", "red2"]),
        ("name=1", ["blue1", "red1"]),
        ("name=e1", ["blue1"]),
        ("name=RED", []),
        ("name=.*", []),
        ("name=[", []),
        ("name=%25", []),
        ("name=_", []),
        ("colour=red", ["red1", "red2"]),
        ("colour=re", []),
        ("size=1", ["blue1", "red1"]),
        ("colour=red&size=2", ["red2"]),
        ("colour=red&size=3", []),
        ("name=1&colour=red", ["red1"]),
        ("bogus=1", []),
        ("text=1", []),
    ],
)
def test_filter(coloured: Api, query: str, expected: list[str]) -> None:
    assert names(coloured.get(f"/v2/queues?{query}")) == expected


def test_filters_work_on_any_page(api: Api) -> None:
    for n in range(30):
        api.create(f"q{n:02}", even=n % 2)

    seen = [name for page in pages(api, "/v2/queues?even=1&limit=4") for name in page]

    assert seen == [f"q{n:02}" for n in range(1, 30, 2)]


def test_count_tells_all_queues_of_the_project(coloured: Api) -> None:
    answer = coloured.get("/v2/queues", with_count="true", limit=1, name="blue")

    assert answer.json["count"] == 4
    assert type(answer.json["count"]) is int


def test_count_is_left_out_when_it_is_zero_or_not_asked_for(api: Api) -> None:
    assert "count" not in api.get("/v2/queues", with_count="true").json

    api.create("q")

    assert "count" not in api.get("/v2/queues").json
    assert "count" not in api.get("/v2/queues", with_count="false").json

# SPDX-License-Identifier: Apache-2.0
"""Listing messages: paging, markers, and what is hidden."""

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.api.wire import (
    INVALID_PARAMETER,
    INVALID_REQUEST,
    OTHER_CLIENT,
    Answer,
    Api,
    assert_error,
)

LIST = "/v2/queues/q/messages"


def pages(api: Api, path: str) -> Iterator[Answer]:
    while (answer := api.get(path)).json["messages"]:
        yield answer
        path = answer.next
    assert answer.json == {"messages": [], "links": []}


def bodies(api: Api, path: str) -> list[object]:
    return [body for page in pages(api, path) for body in page.bodies]


def test_page_has_ten_messages_unless_told_otherwise(api: Api) -> None:
    api.send("q", *range(25))

    assert api.listing("q").bodies == [*range(10)]
    assert api.listing("q", limit=20).bodies == [*range(20)]
    assert bodies(api, f"{LIST}?echo=true") == [*range(25)]


@pytest.mark.parametrize("limit", [1, 2, 7, 20])
def test_paging_shows_each_message_once(api: Api, limit: int) -> None:
    api.send("q", *range(15))

    assert bodies(api, f"{LIST}?echo=true&limit={limit}") == [*range(15)]


@pytest.mark.parametrize("limit", [1, 3, 10])
def test_paging_by_the_id_of_the_last_message_shows_each_message_once(
    api: Api, limit: int
) -> None:
    ids = api.send("q", *range(12))

    seen: list[str] = []
    while page := api.listing(
        "q", limit=limit, **(seen and {"marker": seen[-1]}) or {}
    ).ids:
        seen += page

    assert seen == ids


def test_marker_of_a_page_outlives_its_messages(api: Api) -> None:
    ids = api.send("q", *range(6))
    page = api.listing("q", limit=3)

    api.delete(LIST, ids=",".join(ids[:4]))

    assert api.get(page.next).bodies == [4, 5]


def test_marker_that_is_the_id_of_a_deleted_message_goes_on_behind_it(api: Api) -> None:
    ids = api.send("q", *range(3))
    api.send("q", *range(3, 6))
    api.delete(f"{LIST}/{ids[1]}")

    seen = api.listing("q", marker=ids[1]).bodies

    # Rather repeating than skipping, but never everything again and again.
    assert seen[-4:] == [2, 3, 4, 5]


@pytest.mark.parametrize(
    "marker",
    ["bogus", "-1", "99999999999999999999", "x" * 3000, "ä", "\x00", "1.5", "../..",
     "00000000-0000-0000-0000-000000000000"],
)  # fmt: skip
def test_unknown_marker_gives_an_empty_page(api: Api, marker: str) -> None:
    api.send("q", 1, 2)

    answer = api.listing("q", marker=marker)

    assert (answer.status, answer.json["messages"]) == (200, [])


def test_last_page_may_have_a_link_and_the_page_behind_it_is_empty(api: Api) -> None:
    api.send("q", 1)

    last = api.listing("q")

    assert api.get(last.next).json == {"messages": [], "links": []}


def test_reader_at_the_end_sees_what_is_posted_later(api: Api) -> None:
    api.send("q", 1)
    end = api.listing("q").next
    assert api.get(end).bodies == []

    api.send("q", 2)

    assert api.get(end).bodies == [2]


def test_next_link_keeps_the_parameters_of_the_request(api: Api) -> None:
    api.send("q", 1, 2, 3)
    api.claim("q", 2)

    query = "?limit=1&echo=True&include_claimed=yes&bogus=1"
    first = api.get(LIST + query)

    link = urlsplit(first.next)
    parameters = parse_qs(link.query)
    assert link.path == LIST
    assert set(parameters) - {"include_delayed"} == {
        "limit",
        "echo",
        "include_claimed",
        "marker",
    }
    assert parameters["echo"] == parameters["include_claimed"] == ["true"]
    assert bodies(api, LIST + query) == [1, 2, 3]


def test_plain_queue_adds_include_delayed_to_its_links(api: Api) -> None:
    api.send("q", 1)

    link = parse_qs(urlsplit(api.listing("q").next).query)

    assert link["include_delayed"] == ["true"]


def test_links_keep_the_path_as_it_was_sent(api: Api) -> None:
    api.send("q", 1)

    answer = api.get("/v2/queues/%71/messages?echo=true")

    assert urlsplit(answer.next).path in ("/v2/queues/%71/messages", LIST)
    assert api.get(answer.next).status == 200


# What is hidden -----------------------------------------------------------------------


def test_own_messages_are_hidden_unless_echo_is_asked_for(api: Api) -> None:
    other = api.as_client(OTHER_CLIENT)
    api.send("q", "mine")
    other.send("q", "theirs")

    assert api.get(LIST).bodies == ["theirs"]
    assert other.get(LIST).bodies == ["mine"]
    assert api.get(LIST, echo="false").bodies == ["theirs"]
    assert api.get(LIST, echo="true").bodies == ["mine", "theirs"]


def test_claimed_messages_are_hidden_unless_asked_for(api: Api) -> None:
    api.send("q", 1, 2)
    claim = api.claim("q", 1).claim

    assert api.listing("q").bodies == [2]
    shown = api.listing("q", include_claimed="true").json["messages"]
    assert [message["body"] for message in shown] == [1, 2]
    assert shown[0]["href"].endswith(f"?claim_id={claim}")
    assert "claim_id" not in shown[1]["href"]


def test_page_is_filled_after_hiding(api: Api) -> None:
    other = api.as_client(OTHER_CLIENT)
    for n in range(40):
        (other if n % 4 == 3 else api).send("q", n)

    assert api.get(LIST, limit=3).bodies == [3, 7, 11]
    assert bodies(api, f"{LIST}?limit=3") == [*range(3, 40, 4)]


def test_empty_page_means_the_end_although_much_is_hidden(api: Api) -> None:
    api.send("q", *range(300))
    api.as_client(OTHER_CLIENT).send("q", "last")

    assert api.get(LIST, limit=1).bodies == ["last"]


def test_delayed_messages_are_hidden_unless_asked_for(api: Api) -> None:
    api.create("q", _default_message_delay=300)
    api.send("q", "later")
    api.send("q", "now", delay=0)

    assert api.listing("q").bodies == ["now"]
    assert api.listing("q", include_delayed="true").bodies == ["later", "now"]


def test_a_queue_that_stops_delaying_shows_everything(api: Api) -> None:
    api.create("q", _default_message_delay=300)
    api.send("q", "later")
    path = "/metadata/_default_message_delay"

    api.patch_queue("q", {"op": "replace", "path": path, "value": 0})

    assert api.listing("q").bodies == ["later"]
    assert api.claim("q").bodies == ["later"]


@pytest.mark.parametrize("delay", [0, 900])
def test_delay_may_reach_its_bounds(api: Api, delay: int) -> None:
    api.create("q", _default_message_delay=1)

    assert api.send("q", 1, delay=delay)


@pytest.mark.parametrize("delay", [-1, 901])
def test_delay_out_of_range_is_refused(api: Api, delay: int) -> None:
    api.create("q", _default_message_delay=1)

    answer = api.post(LIST, {"messages": [{"body": 1, "delay": delay}]})

    assert_error(answer, *INVALID_REQUEST)
    assert "delay" in answer.description
    assert "900" in answer.description
    assert api.stats("q")["total"] == 0


@pytest.mark.parametrize("delay", [None, "1", 1.0, True])
def test_delay_that_is_no_integer_is_refused(api: Api, delay: object) -> None:
    api.create("q", _default_message_delay=1)

    answer = api.post(LIST, {"messages": [{"body": 1, "delay": delay}]})

    assert_error(answer, 400, "Invalid request body")
    assert "delay" in answer.description


def test_delayed_messages_count_as_free(api: Api) -> None:
    api.create("q", _default_message_delay=300)
    api.send("q", 1)

    stats = api.stats("q")

    assert (stats["claimed"], stats["free"], stats["total"]) == (0, 1, 1)
    assert stats["oldest"] == stats["newest"]


# Parameters ---------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, -1, 21, 10**30])
def test_limit_out_of_range_is_refused(api: Api, limit: int) -> None:
    assert_error(api.get(LIST, limit=limit), *INVALID_REQUEST)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "x"),
        ("limit", "0x1"),
        ("limit", "1.0"),
        ("echo", "TRUE"),
        ("echo", "maybe"),
        ("include_claimed", "2"),
        ("include_delayed", "-"),
    ],
)
def test_parameter_of_the_wrong_type_is_refused(
    api: Api, name: str, value: str
) -> None:
    answer = api.get(LIST, **{name: value})

    assert_error(answer, *INVALID_PARAMETER)
    assert name in answer.description


def test_unknown_and_empty_parameters_are_ignored(api: Api) -> None:
    api.send("q", 1)

    assert api.get(f"{LIST}?echo=true&bogus=x&limit=&marker=&a&&=b").bodies == [1]

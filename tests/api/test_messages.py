# SPDX-License-Identifier: Apache-2.0
"""Posting messages, getting them by their ids, deleting and popping them."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.api.wire import (
    INVALID_BODY,
    INVALID_PARAMETER,
    INVALID_REQUEST,
    NOT_FOUND,
    Api,
    assert_error,
)

POST = "/v2/queues/q/messages"
UNABLE = "Unable to delete"
BODIES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1.5,
    2**63 - 1,
    -(2**63),
    "",
    "text",
    'ü☃🐟\u0000\u001f"\\/',
    [],
    {},
    [[[]]],
    {"": {"a": [None, {"b": 1e-7}]}},
]


# Post ---------------------------------------------------------------------------------


def test_posted_ids_are_answered_in_order(api: Api) -> None:
    answer = api.post(POST, {"messages": [{"body": n} for n in range(5)]})

    ids = answer.ids
    assert answer.status == 201
    assert answer.json == {"resources": [f"{POST}/{name}" for name in ids]}
    assert answer.headers["Location"] == f"{POST}?ids={','.join(ids)}"
    assert len(set(ids)) == 5
    assert [api.get(f"{POST}/{name}").json["body"] for name in ids] == [*range(5)]


def test_location_gives_the_messages_back(api: Api) -> None:
    answer = api.post(POST, {"messages": [{"body": "a"}, {"body": "b"}]})

    assert api.get(answer.headers["Location"]).bodies == ["a", "b"]


def test_location_leaves_ids_out_when_they_would_be_too_long(api: Api) -> None:
    answer = api.post(POST, {"messages": [{"body": n} for n in range(1000)]})

    assert answer.status == 201
    assert len(answer.ids) == 1000
    assert answer.headers["Location"] == POST


def test_many_messages_fit_in_one_post(api: Api) -> None:
    document = {"messages": [{"body": n} for n in range(5000)]}

    assert api.post(POST, document).status == 201
    assert api.stats("q")["total"] == 5000


@pytest.mark.parametrize("body", BODIES)
def test_body_may_be_any_json(api: Api, body: Any) -> None:
    [name] = api.send("q", body)

    shown = [
        api.get(f"{POST}/{name}").json["body"],
        *api.listing("q").bodies,
        *api.get(POST, ids=name).bodies,
        *api.claim("q").bodies,
    ]
    assert [json.dumps(x) for x in shown] == [json.dumps(body)] * 4


@pytest.mark.parametrize(
    "text",
    [
        '{"b":1, "a" : 2}',
        "1.0",
        "1e2",
        "-0",
        "-0.0",
        "0.10",
        '"\\u00fc"',
        '"ü"',
        '"\\ud83d\\ude00"',
        '"\\/"',
        "[1,\n\t2]",
        "123456789012345678",
    ],
)
def test_body_comes_back_in_the_text_that_was_posted(api: Api, text: str) -> None:
    answer = api.post(POST, raw=f'{{"messages": [{{"body": {text}}}]}}')

    assert answer.status == 201
    got = api.get(f"{POST}/{answer.ids[0]}").body
    assert text.encode() in got
    assert text.encode() in api.listing("q").body
    assert text.encode() in api.delete(POST, pop=1).body


def test_other_keys_of_documents_and_messages_are_ignored(api: Api) -> None:
    message = {"body": 1, "id": "mine", "age": -5, "claim": {}, "ttl": 60}

    answer = api.post(POST, {"messages": [message], "more": [1], "queue": "other"})

    assert answer.status == 201
    [shown] = api.listing("q").json["messages"]
    assert shown == {
        "id": answer.ids[0],
        "href": answer.json["resources"][0],
        "ttl": 60,
        "age": shown["age"],
        "body": 1,
    }


def test_ttl_and_age_are_integers(api: Api) -> None:
    api.send("q", 1)

    [shown] = api.listing("q").json["messages"]

    assert type(shown["age"]) is int
    assert (type(shown["ttl"]), shown["ttl"]) == (int, 3600)


@pytest.mark.parametrize("ttl", [60, 1209600])
def test_ttl_may_reach_its_bounds(api: Api, ttl: int) -> None:
    api.send("q", 1, ttl=ttl)

    assert api.listing("q").json["messages"][0]["ttl"] == ttl


@pytest.mark.parametrize("ttl", [59, 0, -1, 1209601, 2**62])
def test_ttl_out_of_range_is_refused(api: Api, ttl: int) -> None:
    answer = api.post(POST, {"messages": [{"body": 1, "ttl": ttl}]})

    assert_error(answer, *INVALID_REQUEST)
    for word in ("ttl", "60", "1209600"):
        assert word in answer.description
    assert api.queues() == []


@pytest.mark.parametrize("ttl", [None, "60", 60.0, True, [60], {}])
def test_ttl_that_is_no_integer_is_refused(api: Api, ttl: Any) -> None:
    answer = api.post(POST, {"messages": [{"body": 1, "ttl": ttl}]})

    assert_error(answer, *INVALID_BODY)
    assert "ttl" in answer.description
    assert api.queues() == []


@pytest.mark.parametrize("delay", [901, -1, "x", None, 1.5])
def test_delay_is_ignored_on_a_queue_that_does_not_delay(api: Api, delay: Any) -> None:
    api.send("q", 1, delay=delay)

    assert api.delete(POST, pop=1).bodies == [1]


@pytest.mark.parametrize("raw", ['{"messages": []}', "{}", "[]", '[{"body": 1}]'])
def test_post_without_messages_is_refused(api: Api, raw: str) -> None:
    answer = api.post(POST, raw=raw)

    assert_error(answer, *INVALID_REQUEST)
    assert "messages" in answer.description
    assert api.queues() == []


@pytest.mark.parametrize(
    "raw",
    [
        None,
        "",
        "null",
        "5",
        '"x"',
        "{",
        '{"messages": {}}',
        '{"messages": {"body": 1}}',
        '{"messages": "x"}',
        '{"messages": null}',
        '{"messages": 5}',
        '{"messages": ["x"]}',
        '{"messages": [null]}',
        '{"messages": [[{"body": 1}]]}',
        '{"messages": [{}]}',
        '{"messages": [{"ttl": 60}]}',
        '{"messages": [{"body": 1}, {"Body": 1}]}',
    ],
)
def test_malformed_post_is_refused(api: Api, raw: str | None) -> None:
    assert_error(api.post(POST, raw=raw), *INVALID_BODY)
    assert api.queues() == []


def test_one_bad_message_refuses_all(api: Api) -> None:
    api.create("q")

    answer = api.post(POST, {"messages": [{"body": 1}, {"body": 2, "ttl": 1}]})

    assert answer.status == 400
    assert api.stats("q")["total"] == 0


def test_post_may_have_262144_bytes_and_no_more(api: Api) -> None:
    frame = '{"messages": [{"body": ""}]}'
    fits = frame.replace('""', '"' + "x" * (262144 - len(frame)) + '"')
    assert len(fits) == 262144

    assert api.post(POST, raw=fits).status == 201

    answer = api.post(POST, raw=fits + " ")
    assert_error(answer, *INVALID_REQUEST)
    assert "262144" in answer.description
    assert api.stats("q")["total"] == 1


def test_size_is_counted_in_bytes_and_not_in_characters(api: Api) -> None:
    assert (
        api.post(POST, raw='{"messages": [{"body": "' + "ü" * 131072 + '"}]}').status
        == 400
    )


def test_messages_keep_their_order_over_posts(api: Api) -> None:
    for start in range(0, 60, 6):
        api.send("q", *range(start, start + 6))

    first = api.listing("q", limit=20)
    second = api.get(first.next)
    third = api.get(second.next)

    assert first.bodies + second.bodies + third.bodies == [*range(60)]


# Get ----------------------------------------------------------------------------------


def test_message_is_shown_with_these_keys_only(api: Api) -> None:
    [name] = api.send("q", "a")
    keys = {"id", "href", "ttl", "age", "body"}

    assert set(api.get(f"{POST}/{name}").json) == keys
    assert set(api.listing("q").json["messages"][0]) == keys
    assert set(api.get(POST, ids=name).json["messages"][0]) == keys
    assert set(api.claim("q").json["messages"][0]) == keys


@pytest.mark.parametrize(
    "name", ["x", "-1", "0", "a,b", "%20", "x" * 2000, "%C3%A4", ".."]
)
def test_unknown_message_is_not_found(api: Api, name: str) -> None:
    api.send("q", 1)

    assert_error(api.get(f"{POST}/{name}"), *NOT_FOUND)


def test_message_is_got_whatever_its_state(api: Api) -> None:
    api.create("q", _default_message_delay=300)
    delayed, ready = api.post(
        POST, {"messages": [{"body": "delayed"}, {"body": "ready", "delay": 0}]}
    ).ids
    claim = api.claim("q").claim

    assert api.get(f"{POST}/{delayed}").json["body"] == "delayed"
    got = api.get(f"{POST}/{ready}").json
    assert got["href"] == f"{POST}/{ready}?claim_id={claim}"
    assert api.get(POST, ids=f"{ready},{delayed}").bodies == ["ready", "delayed"]


def test_claimed_href_can_be_used_as_it_is(api: Api) -> None:
    api.send("q", 1)
    [message] = api.claim("q").json["messages"]

    assert api.get(message["href"]).json["body"] == 1
    assert api.delete(message["href"]).status == 204
    assert api.stats("q")["total"] == 0


def test_released_message_shows_no_claim(api: Api) -> None:
    [name] = api.send("q", 1)
    claim = api.claim("q").claim
    api.delete(f"/v2/queues/q/claims/{claim}")

    assert api.get(f"{POST}/{name}").json["href"] == f"{POST}/{name}"


@pytest.mark.parametrize("form", ["ids={0},{2}", "ids={0}&ids={2}", "ids={0}%2C{2}"])
def test_ids_are_comma_separated_or_repeated(api: Api, form: str) -> None:
    ids = api.send("q", "a", "b", "c")

    assert api.get(f"{POST}?{form.format(*ids)}").bodies == ["a", "c"]


def test_ids_are_answered_as_asked_and_once(api: Api) -> None:
    a, b, c = api.send("q", "a", "b", "c")

    answer = api.get(POST, ids=f"{c},{a},bogus,{c},{b},{a}")

    assert answer.bodies == ["c", "a", "b"]
    assert "links" not in answer.json


def test_other_parameters_are_ignored_beside_ids(api: Api) -> None:
    [name] = api.send("q", "a")

    answer = api.get(POST, ids=name, limit=999, marker="x", echo="maybe")

    assert answer.bodies == ["a"]


def test_empty_ids_mean_a_plain_list(api: Api) -> None:
    api.send("q", "a")

    answer = api.get(f"{POST}?ids=&echo=true")

    assert answer.bodies == ["a"]
    assert answer.json["links"]


def test_ids_that_are_all_unknown_are_not_found(api: Api) -> None:
    api.send("q", "a")

    assert_error(api.get(POST, ids="bogus,other"), *NOT_FOUND)


def test_twenty_ids_may_be_asked_for_and_no_more(api: Api) -> None:
    ids = api.send("q", *range(21))

    assert api.get(POST, ids=",".join(ids[:20])).bodies == [*range(20)]
    answer = api.get(POST, ids=",".join(ids))
    assert_error(answer, *INVALID_REQUEST)
    assert "20" in answer.description


def test_ids_of_another_queue_or_project_do_not_exist(api: Api) -> None:
    [name] = api.send("q", 1)
    api.create("other")
    stranger = api.as_project()
    stranger.create("q")

    for who, path in ((api, "/v2/queues/other/messages"), (stranger, POST)):
        assert who.get(f"{path}/{name}").status == 404
        assert who.get(path, ids=name).status == 404
        assert who.delete(f"{path}/{name}").status == 204
        assert who.delete(path, ids=name).status == 204
        assert who.get(path, marker=name, echo="true").json["messages"] == []
    assert api.stats("q")["total"] == 1


# Delete one ---------------------------------------------------------------------------


def test_deleted_message_is_gone(api: Api) -> None:
    name, _ = api.send("q", 1, 2)

    answer = api.delete(f"{POST}/{name}")

    assert (answer.status, answer.body) == (204, b"")
    assert api.get(f"{POST}/{name}").status == 404
    assert api.delete(f"{POST}/{name}").status == 204
    assert api.listing("q").bodies == [2]


@pytest.fixture
def claims(api: Api) -> dict[str, str]:
    """Messages `held` and `free`, claims `own`, `other` and `dead`."""
    held, elsewhere, once, free = api.send("q", "held", "elsewhere", "once", "free")
    own, other, dead = (api.claim("q", 1).claim for _ in range(3))
    api.delete(f"/v2/queues/q/claims/{dead}")
    return {
        "held": held,
        "free": free,
        "absent": "no-such-message",
        "own": own,
        "other": other,
        "dead": dead,
        "unknown": "00000000-0000-0000-0000-000000000000",
        "malformed": "b?o=gus",
        "elsewhere": elsewhere,
        "once": once,
    }


DELETE_TABLE = [
    ("free", None, 204),
    ("free", "other", 400),
    ("free", "dead", 400),
    ("free", "unknown", 400),
    ("free", "malformed", 400),
    ("held", None, 403),
    ("held", "own", 204),
    ("held", "other", 403),
    ("held", "dead", 400),
    ("held", "unknown", 400),
    ("held", "malformed", 400),
    ("absent", None, 204),
    ("absent", "own", 204),
    ("absent", "other", 204),
    ("absent", "dead", 204),
    ("absent", "unknown", 204),
    ("absent", "malformed", 204),
]


@pytest.mark.parametrize(("message", "claim", "status"), DELETE_TABLE)
def test_delete_obeys_the_claim(
    api: Api, claims: dict[str, str], message: str, claim: str | None, status: int
) -> None:
    query = {} if claim is None else {"claim_id": claims[claim]}

    answer = api.delete(f"{POST}/{claims[message]}", **query)

    assert answer.status == status
    if status != 204:
        assert_error(answer, status, UNABLE)
    gone = status == 204 and message != "absent"
    assert api.stats("q")["total"] == (3 if gone else 4)


def test_empty_claim_id_is_no_claim_id(api: Api) -> None:
    [name] = api.send("q", 1)

    assert api.delete(f"{POST}/{name}?claim_id=").status == 204


def test_delete_of_one_message_leaves_the_others_of_its_claim(api: Api) -> None:
    first, second = api.send("q", 1, 2)
    claim = api.claim("q").claim

    api.delete(f"{POST}/{first}", claim_id=claim)

    assert api.get(f"/v2/queues/q/claims/{claim}").ids == [second]


# Delete many --------------------------------------------------------------------------


def test_bulk_delete_ignores_claims_and_unknown_ids(api: Api) -> None:
    ids = api.send("q", 1, 2, 3)
    api.claim("q", 1)

    answer = api.delete(POST, ids=f"{ids[0]},bogus,{ids[2]},{ids[2]}")

    assert (answer.status, answer.body) == (204, b"")
    assert api.listing("q", include_claimed="true").bodies == [2]


@pytest.mark.parametrize("form", ["ids={0},{2}", "ids={0}&ids={2}"])
def test_ids_to_delete_are_comma_separated_or_repeated(api: Api, form: str) -> None:
    ids = api.send("q", "a", "b", "c")

    assert api.delete(f"{POST}?{form.format(*ids)}").status == 204
    assert api.listing("q").bodies == ["b"]


@pytest.mark.parametrize("query", ["", "?ids=", "?pop=", "?ids=&pop=", "?claim_ids=c"])
def test_delete_needs_ids_or_pop(api: Api, query: str) -> None:
    api.send("q", 1)

    answer = api.delete(POST + query)

    assert_error(answer, *INVALID_REQUEST)
    assert "ids" in answer.description
    assert "pop" in answer.description
    assert api.stats("q")["total"] == 1


def test_ids_and_pop_together_are_refused(api: Api) -> None:
    [name] = api.send("q", 1)

    assert_error(api.delete(POST, ids=name, pop=1), *INVALID_REQUEST)
    assert api.stats("q")["total"] == 1


def test_twenty_ids_may_be_deleted_and_no_more(api: Api) -> None:
    ids = api.send("q", *range(21))

    assert_error(api.delete(POST, ids=",".join(ids)), *INVALID_REQUEST)
    assert api.stats("q")["total"] == 21
    assert api.delete(POST, ids=",".join(ids[:20])).status == 204
    assert api.stats("q")["total"] == 1


# Pop ----------------------------------------------------------------------------------


def test_pop_takes_the_oldest_away(api: Api) -> None:
    ids = api.send("q", "a", "b", "c")

    answer = api.delete(POST, pop=2)

    assert answer.status == 200
    assert answer.json == {
        "messages": [
            {
                "id": message["id"],
                "age": message["age"],
                "ttl": 3600,
                "body": body,
                "claim_id": None,
                "claim_count": 0,
            }
            for message, body in zip(answer.json["messages"], "ab", strict=True)
        ]
    }
    assert answer.ids == ids[:2]
    assert api.listing("q").bodies == ["c"]


def test_pop_leaves_claimed_and_delayed_messages(api: Api) -> None:
    api.create("q", _default_message_delay=300)
    api.send("q", "delayed")
    api.send("q", "claimed", "ready", delay=0)
    api.claim("q", 1)

    assert api.delete(POST, pop=20).bodies == ["ready"]
    assert api.delete(POST, pop=20).json == {"messages": []}
    assert api.stats("q")["total"] == 2


def test_pop_shows_what_any_client_posted(api: Api) -> None:
    api.send("q", 1)

    assert api.delete(POST, pop=1).bodies == [1]


@pytest.mark.parametrize("pop", [0, -1, 21, 2**63])
def test_pop_out_of_range_is_refused(api: Api, pop: int) -> None:
    api.send("q", 1)

    answer = api.delete(POST, pop=pop)

    assert_error(answer, *INVALID_REQUEST)
    assert "20" in answer.description
    assert api.stats("q")["total"] == 1


@pytest.mark.parametrize("pop", ["x", "1.0", "1x", "true"])
def test_pop_that_is_no_integer_is_refused(api: Api, pop: str) -> None:
    assert_error(api.delete(POST, pop=pop), *INVALID_PARAMETER)


def test_a_message_is_popped_by_one_caller_only(api: Api) -> None:
    api.send("q", *range(100))

    with ThreadPoolExecutor(8) as pool:
        answers = [*pool.map(lambda _: api.delete(POST, pop=3), range(40))]

    popped = [body for answer in answers for body in answer.bodies]
    assert sorted(popped) == [*range(100)]

# SPDX-License-Identifier: Apache-2.0
"""Claims: create, get, renew, release; and dead letter queues."""

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

CLAIMS = "/v2/queues/q/claims"
MESSAGES = "/v2/queues/q/messages"

NOT_INTEGERS: list[Any] = ["60", 60.0, True, [60], {}]


# Create -------------------------------------------------------------------------------


def test_claim_takes_the_oldest_messages(api: Api) -> None:
    ids = api.send("q", *range(5))

    answer = api.post(CLAIMS, {"ttl": 100, "grace": 100}, limit=3)

    claim = answer.claim
    assert answer.status == 201
    assert answer.headers["Location"] == f"{CLAIMS}/{claim}"
    assert set(answer.json) == {"messages"}
    assert answer.bodies == [0, 1, 2]
    assert [message["href"] for message in answer.json["messages"]] == [
        f"{MESSAGES}/{name}?claim_id={claim}" for name in ids[:3]
    ]


def test_claim_without_a_body_has_the_defaults(api: Api) -> None:
    api.send("q", *range(12))

    answer = api.post(CLAIMS)

    assert len(answer.ids) == 10
    assert api.get(f"{CLAIMS}/{answer.claim}").json["ttl"] == 300


@pytest.mark.parametrize(
    "body",
    [{}, {"ttl": None, "grace": None}, {"ttl": None}, {"grace": None}, {"limit": None}],
)
def test_null_is_absent(api: Api, body: dict[str, None]) -> None:
    api.send("q", 1)

    answer = api.post(CLAIMS, body)

    assert answer.status == 201
    assert api.get(f"{CLAIMS}/{answer.claim}").json["ttl"] == 300


@pytest.mark.parametrize("ttl", [60, 43200])
@pytest.mark.parametrize("grace", [60, 43200])
def test_ttl_and_grace_may_reach_their_bounds(api: Api, ttl: int, grace: int) -> None:
    api.send("q", 1)

    answer = api.post(CLAIMS, {"ttl": ttl, "grace": grace})

    assert answer.status == 201
    assert api.get(f"{CLAIMS}/{answer.claim}").json["ttl"] == ttl


@pytest.mark.parametrize("key", ["ttl", "grace"])
@pytest.mark.parametrize("value", [59, 0, -1, 43201, 2**62])
def test_ttl_and_grace_out_of_range_are_refused(api: Api, key: str, value: int) -> None:
    api.send("q", 1)

    answer = api.post(CLAIMS, {key: value})

    assert_error(answer, *INVALID_REQUEST)
    for word in (key, "60", "43200"):
        assert word in answer.description
    assert api.stats("q")["claimed"] == 0


@pytest.mark.parametrize("key", ["ttl", "grace"])
@pytest.mark.parametrize("value", NOT_INTEGERS)
def test_ttl_and_grace_that_are_no_integers_are_refused(
    api: Api, key: str, value: Any
) -> None:
    api.send("q", 1)

    answer = api.post(CLAIMS, {key: value})

    assert_error(answer, *INVALID_BODY)
    assert key in answer.description
    assert api.stats("q")["claimed"] == 0


@pytest.mark.parametrize("raw", ["[]", "5", "null", '"x"', "{", "[1]", '{"ttl": NaN}'])
def test_malformed_claim_is_refused(api: Api, raw: str) -> None:
    api.send("q", 1)

    assert_error(api.post(CLAIMS, raw=raw), *INVALID_BODY)
    assert api.stats("q")["claimed"] == 0


def test_bad_claim_is_refused_although_there_is_nothing_to_claim(api: Api) -> None:
    assert_error(api.post(CLAIMS, {"ttl": 1}), *INVALID_REQUEST)
    assert_error(api.post(CLAIMS, raw="{"), *INVALID_BODY)


def test_other_keys_of_a_claim_are_ignored(api: Api) -> None:
    api.send("q", 1)

    assert api.post(CLAIMS, {"id": "mine", "messages": 5, "age": "x"}).status == 201


@pytest.mark.parametrize("limit", [0, -1, 21])
def test_limit_out_of_range_is_refused(api: Api, limit: int) -> None:
    api.send("q", 1)

    answer = api.post(CLAIMS, limit=limit)

    assert_error(answer, *INVALID_REQUEST)
    assert "limit" in answer.description
    assert "20" in answer.description


def test_limit_that_is_no_integer_is_refused(api: Api) -> None:
    assert_error(api.post(CLAIMS, limit="x"), *INVALID_PARAMETER)


def test_limit_of_the_body_is_honoured(api: Api) -> None:
    api.send("q", *range(12))

    assert len(api.post(CLAIMS, {"limit": 2}).ids) == 2


def test_limit_of_the_query_wins_over_that_of_the_body(api: Api) -> None:
    api.send("q", *range(12))

    assert len(api.post(CLAIMS, {"limit": 2}, limit=3).ids) == 3


@pytest.mark.parametrize("limit", [0, 21, -1])
def test_limit_of_the_body_has_the_same_bounds(api: Api, limit: int) -> None:
    api.send("q", 1)

    assert_error(api.post(CLAIMS, {"limit": limit}), *INVALID_REQUEST)
    assert api.stats("q")["claimed"] == 0


def test_nothing_to_claim_is_204_without_location(api: Api) -> None:
    api.send("q", 1)
    api.claim("q")

    answer = api.claim("q")

    assert (answer.status, answer.body) == (204, b"")
    assert "Location" not in answer.headers


def test_claim_ignores_who_posted(api: Api) -> None:
    api.send("q", "mine")

    assert api.claim("q").bodies == ["mine"]


def test_claim_skips_delayed_messages(api: Api) -> None:
    api.create("q", _default_message_delay=300)
    api.send("q", "later")
    api.send("q", "now", delay=0)

    assert api.claim("q").bodies == ["now"]
    assert api.claim("q").status == 204


def test_a_message_is_in_one_live_claim_only(api: Api) -> None:
    api.send("q", *range(120))

    with ThreadPoolExecutor(8) as pool:
        answers = [*pool.map(lambda _: api.claim("q", 3), range(60))]

    claimed = [b for a in answers if a.status == 201 for b in a.bodies]
    assert sorted(claimed) == [*range(120)]
    assert api.stats("q")["claimed"] == 120


def test_released_claim_does_not_free_the_messages_of_another(api: Api) -> None:
    api.send("q", "a", "b", "c")
    first = api.claim("q", 1).claim
    api.claim("q", 1)

    api.delete(f"{CLAIMS}/{first}")

    assert api.claim("q").bodies == ["a", "c"]


def test_message_that_would_expire_during_its_claim_lives_longer(api: Api) -> None:
    [name] = api.send("q", 1, ttl=75)

    answer = api.post(CLAIMS, {"ttl": 120, "grace": 60})

    assert answer.json["messages"][0]["ttl"] == 180
    api.delete(f"{CLAIMS}/{answer.claim}")
    assert api.get(f"{MESSAGES}/{name}").json["ttl"] == 180


def test_message_that_lives_longer_than_its_claim_keeps_its_ttl(api: Api) -> None:
    api.send("q", 1, ttl=600)

    answer = api.post(CLAIMS, {"ttl": 120, "grace": 43200})

    assert answer.json["messages"][0]["ttl"] == 600


# Get ----------------------------------------------------------------------------------


def test_claim_shows_its_messages(api: Api) -> None:
    api.send("q", "a", "b")
    created = api.post(CLAIMS, {"ttl": 100, "grace": 60})

    shown = api.get(created.headers["Location"])

    assert set(shown.json) == {"age", "ttl", "messages", "href"}
    assert shown.json["ttl"] == 100
    assert shown.json["href"] == created.headers["Location"]
    assert [m["href"] for m in shown.json["messages"]] == [
        m["href"] for m in created.json["messages"]
    ]


@pytest.mark.parametrize(
    "claim", ["x", "00000000-0000-0000-0000-000000000000", "%20", "a" * 500, "%C3%A4"]
)
def test_unknown_claim_is_not_found(api: Api, claim: str) -> None:
    api.send("q", 1)

    assert_error(api.get(f"{CLAIMS}/{claim}"), *NOT_FOUND)
    answer = api.patch(f"{CLAIMS}/{claim}", {"ttl": 60})
    assert_error(answer, *NOT_FOUND)
    assert api.delete(f"{CLAIMS}/{claim}").status == 204


def test_claim_of_another_queue_or_project_does_not_exist(api: Api) -> None:
    api.send("q", 1)
    claim = api.claim("q").claim
    api.send("other", 1)
    stranger = api.as_project()
    stranger.send("q", 1)

    for who, path in ((api, "/v2/queues/other/claims"), (stranger, CLAIMS)):
        assert who.get(f"{path}/{claim}").status == 404
        assert who.patch(f"{path}/{claim}", {}).status == 404
        assert who.delete(f"{path}/{claim}").status == 204
    assert api.stats("q")["claimed"] == 1


def test_claim_without_messages_is_gone(api: Api) -> None:
    [name] = api.send("q", 1)
    claim = api.claim("q").claim

    api.delete(f"{MESSAGES}/{name}", claim_id=claim)

    assert api.get(f"{CLAIMS}/{claim}").status == 404
    assert api.patch(f"{CLAIMS}/{claim}", {}).status == 404


# Renew and release --------------------------------------------------------------------


def test_renewed_claim_has_its_new_ttl(api: Api) -> None:
    api.send("q", 1)
    claim = api.claim("q", ttl=100).claim

    answer = api.patch(f"{CLAIMS}/{claim}", {"ttl": 200, "grace": 60})

    assert (answer.status, answer.body) == (204, b"")
    assert api.get(f"{CLAIMS}/{claim}").json["ttl"] == 200


@pytest.mark.parametrize("body", [{}, {"ttl": None, "grace": None}])
def test_renewal_without_values_means_the_defaults(
    api: Api, body: dict[str, None]
) -> None:
    api.send("q", 1)
    claim = api.claim("q", ttl=100).claim

    assert api.patch(f"{CLAIMS}/{claim}", body).status == 204

    assert api.get(f"{CLAIMS}/{claim}").json["ttl"] == 300


def test_renewal_lets_messages_live_longer(api: Api) -> None:
    api.send("q", 1, ttl=150)
    claim = api.claim("q", ttl=60).claim

    api.patch(f"{CLAIMS}/{claim}", {"ttl": 1000, "grace": 500})

    [message] = api.get(f"{CLAIMS}/{claim}").json["messages"]
    assert message["ttl"] == 1500


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (None, INVALID_BODY),
        ("", INVALID_BODY),
        ("[]", INVALID_BODY),
        ("null", INVALID_BODY),
        ("{", INVALID_BODY),
        ('{"ttl": "60"}', INVALID_BODY),
        ('{"ttl": true}', INVALID_BODY),
        ('{"grace": 60.0}', INVALID_BODY),
        ('{"ttl": 59}', INVALID_REQUEST),
        ('{"ttl": 43201}', INVALID_REQUEST),
        ('{"grace": 59}', INVALID_REQUEST),
        ('{"grace": 43201}', INVALID_REQUEST),
    ],
)
def test_bad_renewal_is_refused(
    api: Api, raw: str | None, error: tuple[int, str]
) -> None:
    api.send("q", 1)
    claim = api.claim("q", ttl=100).claim

    assert_error(api.patch(f"{CLAIMS}/{claim}", raw=raw), *error)
    assert api.get(f"{CLAIMS}/{claim}").json["ttl"] == 100


def test_released_messages_are_free_in_their_old_place(api: Api) -> None:
    api.send("q", "a", "b", "c")
    claim = api.claim("q", 1).claim

    answer = api.delete(f"{CLAIMS}/{claim}")

    assert (answer.status, answer.body) == (204, b"")
    assert api.get(f"{CLAIMS}/{claim}").status == 404
    assert api.listing("q").bodies == ["a", "b", "c"]
    assert api.delete(f"{CLAIMS}/{claim}").status == 204


# Dead letters -------------------------------------------------------------------------


def exhaust(api: Api, times: int) -> None:
    """Claim and release what the queue has."""
    for _ in range(times):
        answer = api.claim("q")
        assert answer.status == 201, answer
        api.delete(f"{CLAIMS}/{answer.claim}")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_message_is_moved_when_it_was_claimed_often_enough(
    api: Api, count: int
) -> None:
    api.create("q", _dead_letter_queue="dead", _max_claim_count=count)
    [name] = api.send("q", {"a": 1}, ttl=500)
    exhaust(api, count)

    assert api.claim("q").status == 204

    [moved] = api.listing("dead").json["messages"]
    assert moved == {
        "id": name,
        "href": f"/v2/queues/dead/messages/{name}",
        "ttl": 500,
        "age": moved["age"],
        "body": {"a": 1},
    }
    assert api.stats("q")["total"] == 0
    assert api.queues() == ["dead", "q"]


def test_dead_letter_is_free_at_once(api: Api) -> None:
    api.create("q", _dead_letter_queue="dead", _max_claim_count=1)
    api.send("q", 1)
    exhaust(api, 1)
    api.claim("q")

    assert api.claim("dead").bodies == [1]


def test_dead_letter_gets_the_ttl_that_is_set_for_it(api: Api) -> None:
    api.create(
        "q",
        _dead_letter_queue="dead",
        _max_claim_count=1,
        _dead_letter_queue_messages_ttl=1000,
    )
    api.send("q", 1, ttl=500)
    exhaust(api, 1)
    api.claim("q")

    assert api.listing("dead").json["messages"][0]["ttl"] == 1000


def test_dead_letters_do_not_use_up_the_limit(api: Api) -> None:
    api.create("q", _dead_letter_queue="dead", _max_claim_count=1)
    api.send("q", *range(5))
    exhaust(api, 1)
    api.send("q", "fresh", "more")

    assert api.claim("q", 2).bodies == ["fresh", "more"]
    assert api.listing("dead").bodies == [*range(5)]


def test_dead_letters_stand_at_the_end_of_their_queue(api: Api) -> None:
    api.create("q", _dead_letter_queue="dead", _max_claim_count=1)
    api.send("q", "old")
    api.send("dead", "there before")
    exhaust(api, 1)
    api.claim("q")

    assert api.listing("dead").bodies == ["there before", "old"]


def test_renewal_neither_counts_nor_resets_the_count(api: Api) -> None:
    api.create("q", _dead_letter_queue="dead", _max_claim_count=2)
    api.send("q", 1)
    for _ in range(2):
        claim = api.claim("q").claim
        assert api.patch(f"{CLAIMS}/{claim}", {}).status == 204
        api.delete(f"{CLAIMS}/{claim}")

    assert api.claim("q").status == 204
    assert api.stats("dead")["total"] == 1


def test_pop_shows_how_often_a_message_was_claimed(api: Api) -> None:
    api.create("q", _dead_letter_queue="dead", _max_claim_count=5)
    api.send("q", 1)
    exhaust(api, 2)

    [message] = api.delete(MESSAGES, pop=1).json["messages"]

    assert message["claim_count"] == 2


@pytest.mark.parametrize(
    "metadata", [{"_max_claim_count": 1}, {"_dead_letter_queue": "dead"}]
)
def test_claims_are_not_counted_without_both_keys(
    api: Api, metadata: dict[str, Any]
) -> None:
    api.create("q", **metadata)
    api.send("q", 1)
    exhaust(api, 3)

    assert api.delete(MESSAGES, pop=1).json["messages"][0]["claim_count"] == 0
    assert "dead" not in api.queues()


def test_queue_that_names_itself_moves_nothing(api: Api) -> None:
    api.create("q", _dead_letter_queue="q", _max_claim_count=1)
    api.send("q", 1)

    exhaust(api, 3)

    assert api.listing("q").bodies == [1]


def test_dead_letter_queue_may_have_one_itself(api: Api) -> None:
    api.create("q", _dead_letter_queue="second", _max_claim_count=1)
    api.create("second", _dead_letter_queue="third", _max_claim_count=1)
    api.send("q", 1)
    exhaust(api, 1)
    api.claim("q")

    claim = api.claim("second").claim
    api.delete(f"/v2/queues/second/claims/{claim}")
    assert api.claim("second").status == 204

    assert api.listing("third").bodies == [1]


def test_dead_letters_stay_in_their_project(api: Api) -> None:
    stranger = api.as_project()
    api.create("q", _dead_letter_queue="dead", _max_claim_count=1)
    api.send("q", 1)
    exhaust(api, 1)
    api.claim("q")

    assert stranger.queues() == []
    assert stranger.stats("dead")["total"] == 0

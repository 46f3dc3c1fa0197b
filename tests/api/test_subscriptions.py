# SPDX-License-Identifier: Apache-2.0
"""Subscriptions: create, list, get, change, confirm, delete, deliveries.

Nobody is told here; `tests/functional/test_notifications.py` has servers that deliver.
"""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.api.conformance import CheckedApi
from tests.api.signed import Guest, shared
from tests.api.wire import (
    INVALID_BODY,
    INVALID_PARAMETER,
    INVALID_REQUEST,
    NO_ROUTE,
    NOT_FOUND,
    Answer,
    Api,
    assert_error,
)
from tests.servers import Server
from tests.stores import on_each_store

LIST = "/v2/queues/q/subscriptions"
MAIL = "mailto:ada@example.org"
HOOK = "https://192.0.43.8/hook"
UNFIT_CHANGE = (400, "Unable to update subscription")
UNFIT_CONFIRMATION = (400, "Unable to confirm subscription")
CONFLICT = (409, "Resource conflict")
HEAT_TTL = 220367260800
LAST_SECOND = 253402300799
KINDS = pytest.mark.parametrize("kind", ["queues", "topics"])


@pytest.fixture
def api(server: Server) -> Api:
    return CheckedApi(server.address)


def subscribe(api: Api, subscriber: str = MAIL, path: str = LIST, **more: Any) -> str:
    """Subscribe and return the path of the subscription."""
    answer = api.post(path, {"subscriber": subscriber, **more})
    assert answer.status == 201, answer
    return f"{path}/{answer.json['subscription_id']}"


def subscribers(answer: Answer) -> list[str]:
    assert answer.status == 200, answer
    return [each["subscriber"] for each in answer.json["subscriptions"]]


def confirm(api: Api, path: str, confirmed: bool = True) -> None:
    answer = api.put(f"{path}/confirm", {"confirmed": confirmed})
    assert answer.status == 204, answer


# Create -------------------------------------------------------------------------------


@on_each_store
@KINDS
def test_subscription_is_shown_as_it_was_made(api: Api, kind: str) -> None:
    path = f"/v2/{kind}/q/subscriptions"
    options = {"from": "Ada", "deep": [{"é": 1.5}], "_retry_policy": {}}

    answer = api.post(path, {"subscriber": HOOK, "ttl": 60, "options": options})

    assert answer.status == 201
    assert answer.headers["Location"] == path
    id = answer.json["subscription_id"]
    shown = api.get(f"{path}/{id}").json
    assert shown.pop("age") >= 0
    assert shown == {
        "id": id,
        "source": "q",
        "subscriber": HOOK,
        "ttl": 60,
        "options": options,
        "confirmed": False,
    }
    [listed] = api.get(path).json["subscriptions"]
    assert listed.pop("age") >= 0
    assert listed == shown
    assert [each["name"] for each in api.get(f"/v2/{kind}").json[kind]] == ["q"]


@on_each_store
@pytest.mark.parametrize("ttl", [60, 2**36, HEAT_TTL])
def test_ttl_may_be_as_long_as_clients_send_it(api: Api, ttl: int) -> None:
    assert api.get(subscribe(api, ttl=ttl)).json["ttl"] == ttl


@on_each_store
def test_null_is_the_default(api: Api) -> None:
    shown = api.get(subscribe(api, ttl=None, options=None, more="ignored")).json

    assert (shown["ttl"], shown["options"]) == (3600, {})


@pytest.mark.parametrize("ttl", [LAST_SECOND, 2**63 - 1, 59, 0, -1, 60.0, "60", True])
def test_bad_ttl_is_refused(api: Api, ttl: Any) -> None:
    path = subscribe(api, ttl=120)

    made = api.post(LIST, {"subscriber": HOOK, "ttl": ttl})
    changed = api.patch(path, {"ttl": ttl})

    for answer in (made, changed):
        assert_error(answer, *INVALID_REQUEST)
        assert "ttl" in answer.description
    assert api.get(path).json["ttl"] == 120


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"ttl": 60},
        {"subscriber": None},
        {"subscriber": ""},
        {"subscriber": 5},
        {"subscriber": [MAIL]},
        {"subscriber": "ada@example.org"},
        {"subscriber": "ftp://example.org/"},
        {"subscriber": "://"},
        {"subscriber": "http://"},
        {"subscriber": "http://127.0.0.1/"},
        {"subscriber": "trust+http://169.254.169.254/"},
        {"subscriber": "trust+https://192.0.43.8/"},
        {"subscriber": MAIL, "options": []},
        {"subscriber": MAIL, "options": "x"},
        {"subscriber": MAIL, "options": {"_retry_policy": 1}},
        {"subscriber": MAIL, "options": {"_retry_policy": {"minimum_delay": -1}}},
        {"subscriber": MAIL, "options": {"filter": {"a": 1}}},
        {"subscriber": HOOK, "options": {"post_data": 1}},
        {"subscriber": HOOK, "options": {"post_headers": {"Host": "x"}}},
        {"subscriber": HOOK, "options": {"secret": ""}},
        [],
        [{"subscriber": MAIL}],
    ],
)
def test_bad_subscription_is_refused_and_makes_no_queue(
    api: Api, document: Any
) -> None:
    answer = api.post(LIST, document)

    assert_error(answer, *INVALID_REQUEST)
    assert answer.description
    assert api.queues() == []


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", INVALID_REQUEST),
        (b"{", INVALID_BODY),
        (b"null", INVALID_BODY),
        (b"5", INVALID_BODY),
        (b"\xff", INVALID_BODY),
        (b'{"subscriber": "mailto:a@b.c", "ttl": NaN}', INVALID_BODY),
        (b'{"subscriber": "mailto:a@b.c", "ttl": 9223372036854775808}', INVALID_BODY),
    ],
)
def test_bad_document_is_refused_everywhere(
    api: Api, raw: bytes, error: tuple[int, str]
) -> None:
    path = subscribe(api)
    before = api.get(LIST).json["subscriptions"]

    assert_error(api.post(LIST, raw=raw), *error)
    assert_error(api.patch(path, raw=raw), *error)
    assert_error(api.put(f"{path}/confirm", raw=raw), *error)
    if raw:
        assert_error(api.post(f"{path}/deliveries", raw=raw), *error)

    [after] = api.get(LIST).json["subscriptions"]
    assert [after | {"age": before[0]["age"]}] == before


@pytest.mark.parametrize("scheme", ["MAILTO", "Mailto"])
def test_case_of_the_scheme_does_not_count(api: Api, scheme: str) -> None:
    assert api.get(subscribe(api, f"{scheme}:ada@example.org")).status == 200


def test_only_schemes_of_the_configuration_may_subscribe(
    api_of: Callable[..., Api],
) -> None:
    api = api_of({"transport": {"subscriber_types": "https"}})

    answer = api.post(LIST, {"subscriber": MAIL})

    assert_error(answer, *INVALID_REQUEST)
    assert "https" in answer.description
    assert api.post(LIST, {"subscriber": HOOK}).status == 201


# The same subscriber again ------------------------------------------------------------


@on_each_store
def test_same_subscriber_keeps_its_subscription_until_it_has_confirmed(
    api: Api,
) -> None:
    path = subscribe(api, ttl=120, options={"a": 1})

    assert subscribe(api, ttl=600, options={"b": 2}) == path
    shown = api.get(path).json
    assert (shown["ttl"], shown["options"]) == (120, {"a": 1})

    confirm(api, path)
    again = api.post(LIST, {"subscriber": MAIL})
    assert_error(again, *CONFLICT)
    assert again.headers["Location"] == LIST

    confirm(api, path, confirmed=False)
    assert subscribe(api) == path
    assert len(api.get(LIST).json["subscriptions"]) == 1


@on_each_store
def test_subscriber_is_one_of_its_queue_and_project(api: Api) -> None:
    other, stranger = "/v2/queues/r/subscriptions", api.as_project()
    topic = "/v2/topics/q/subscriptions"

    ids = {
        subscribe(api).rpartition("/")[2],
        subscribe(api, path=other).rpartition("/")[2],
        subscribe(api, path=topic).rpartition("/")[2],
        subscribe(stranger).rpartition("/")[2],
    }

    assert len(ids) == 4
    for id in ids:
        found = [
            of.get(f"{path}/{id}").status
            for of, path in [(api, LIST), (api, other), (api, topic), (stranger, LIST)]
        ]
        assert sorted(found) == [200, 404, 404, 404]


# List ---------------------------------------------------------------------------------


@on_each_store
@KINDS
def test_pages_follow_the_order_of_creation(api: Api, kind: str) -> None:
    path = f"/v2/{kind}/q/subscriptions"
    known = [f"mailto:{n}@example.org" for n in (3, 1, 4, 5, 9)]
    for subscriber in known:
        subscribe(api, subscriber, path)

    found, page = [], api.get(path, limit=2)
    while page.json["subscriptions"]:
        assert len(page.json["subscriptions"]) <= 2
        assert page.next.startswith(f"{path}?") and "limit=2" in page.next
        found += subscribers(page)
        page = api.get(page.next)

    assert found == known
    assert page.json == {"subscriptions": [], "links": []}


@on_each_store
@pytest.mark.parametrize("marker", ["x", "%00", str(uuid.UUID(int=2**127)), "5"])
def test_page_behind_an_unknown_marker_is_empty(api: Api, marker: str) -> None:
    subscribe(api)

    answer = api.get(f"{LIST}?marker={marker}")

    assert (answer.status, answer.json) == (200, {"subscriptions": [], "links": []})


@on_each_store
def test_who_deletes_what_it_lists_meets_every_subscription(api: Api) -> None:
    known = [f"mailto:{n}@example.org" for n in range(5)]
    for subscriber in known:
        subscribe(api, subscriber)

    found, page = [], api.get(LIST, limit=2)
    while page.json["subscriptions"]:
        for each in page.json["subscriptions"]:
            found.append(each["subscriber"])
            api.delete(f"{LIST}/{each['id']}")
        page = api.get(page.next)

    assert found == known


@on_each_store
def test_absent_queue_has_no_subscriptions(api: Api) -> None:
    assert api.get(LIST).json == {"subscriptions": [], "links": []}
    assert api.get(f"{LIST}/{uuid.uuid4()}").status == 404
    assert api.delete(f"{LIST}/{uuid.uuid4()}").status == 204
    assert api.queues() == []


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("limit=0", INVALID_REQUEST),
        ("limit=21", INVALID_REQUEST),
        ("limit=x", INVALID_PARAMETER),
    ],
)
def test_bad_limit_is_refused(api: Api, query: str, error: tuple[int, str]) -> None:
    path = subscribe(api)

    assert_error(api.get(f"{LIST}?{query}"), *error)
    assert_error(api.get(f"{path}/deliveries?{query}"), *error)


# One ----------------------------------------------------------------------------------


@on_each_store
def test_absent_subscription_is_not_found(api: Api) -> None:
    subscribe(api)

    for id in ("x", str(uuid.uuid4()), "%00", "a%20b"):
        path = f"{LIST}/{id}"
        assert_error(api.get(path), *NOT_FOUND)
        assert_error(api.patch(path, {"ttl": 60}), *NOT_FOUND)
        assert_error(api.put(f"{path}/confirm", {"confirmed": True}), *NOT_FOUND)
        assert_error(api.get(f"{path}/deliveries"), *NOT_FOUND)
        assert_error(api.post(f"{path}/deliveries"), *NOT_FOUND)
        assert api.delete(path).status == 204


@on_each_store
def test_deleted_subscription_is_gone(api: Api) -> None:
    path, kept = subscribe(api), subscribe(api, HOOK)

    assert [api.delete(path).status, api.delete(path).status] == [204, 204]

    assert api.get(path).status == 404
    assert subscribers(api.get(LIST)) == [HOOK]
    assert subscribe(api) not in (path, kept)


@on_each_store
@KINDS
def test_queue_takes_its_subscriptions_along(api: Api, kind: str) -> None:
    path = subscribe(api, path=f"/v2/{kind}/q/subscriptions")

    assert api.delete(f"/v2/{kind}/q").status == 204
    assert api.put(f"/v2/{kind}/q").status == 201

    assert api.get(path).status == 404
    assert subscribers(api.get(f"/v2/{kind}/q/subscriptions")) == []


@on_each_store
def test_purge_takes_what_it_is_told(api: Api) -> None:
    subscribe(api)
    api.send("q", 1)

    api.post("/v2/queues/q/purge", {"resource_types": ["messages"]})
    assert (api.stats("q")["total"], subscribers(api.get(LIST))) == (0, [MAIL])

    api.send("q", 1)
    api.post("/v2/queues/q/purge", {"resource_types": ["subscriptions"]})
    assert (api.stats("q")["total"], subscribers(api.get(LIST))) == (1, [])

    subscribe(api)
    api.post("/v2/queues/q/purge")
    assert (api.stats("q")["total"], subscribers(api.get(LIST))) == (0, [])


# Change -------------------------------------------------------------------------------


@on_each_store
@pytest.mark.parametrize(
    "change",
    [
        {"subscriber": HOOK},
        {"ttl": 600},
        {"options": {"b": 2}},
        {"subscriber": HOOK, "ttl": HEAT_TTL, "options": {}},
        {"subscriber": MAIL, "other": 1},
    ],
)
def test_only_what_is_named_changes(api: Api, change: dict[str, Any]) -> None:
    path = subscribe(api, ttl=120, options={"a": 1})
    before = api.get(path).json
    before.pop("age")

    answer = api.patch(path, change)

    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["Location"] == path
    after = api.get(path).json
    assert after.pop("age") >= 0
    known = {k: v for k, v in change.items() if k != "other"}
    assert after == before | known


@on_each_store
def test_null_and_confirmed_change_nothing(api: Api) -> None:
    """The command line sends null for what was not given."""
    path = subscribe(api, ttl=120, options={"a": 1})

    answer = api.patch(
        path, {"subscriber": None, "ttl": None, "options": None, "confirmed": True}
    )

    assert answer.status == 204
    shown = api.get(path).json
    assert (shown["subscriber"], shown["ttl"]) == (MAIL, 120)
    assert (shown["options"], shown["confirmed"]) == ({"a": 1}, False)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({}, UNFIT_CHANGE),
        ({"confirmed": True}, UNFIT_CHANGE),
        ([], UNFIT_CHANGE),
        ([{"ttl": 60}], UNFIT_CHANGE),
        ({"subscriber": 1}, UNFIT_CHANGE),
        ({"subscriber": ""}, INVALID_REQUEST),
        ({"subscriber": "ftp://example.org/"}, INVALID_REQUEST),
        ({"subscriber": "http://127.0.0.1/"}, INVALID_REQUEST),
        ({"subscriber": "trust+https://192.0.43.8/"}, INVALID_REQUEST),
        ({"options": []}, INVALID_REQUEST),
        ({"options": {"_retry_policy": {"minimum_delay": "x"}}}, INVALID_REQUEST),
    ],
)
def test_bad_change_is_refused(api: Api, change: Any, error: tuple[int, str]) -> None:
    path = subscribe(api, ttl=120)

    answer = api.patch(path, change)

    assert_error(answer, *error)
    assert answer.description
    assert (api.get(path).json["subscriber"], api.get(path).json["ttl"]) == (MAIL, 120)


@on_each_store
def test_subscriber_of_another_subscription_cannot_be_taken(api: Api) -> None:
    path = subscribe(api)
    subscribe(api, HOOK)

    assert_error(api.patch(path, {"subscriber": HOOK}), *CONFLICT)

    assert subscribers(api.get(LIST)) == [MAIL, HOOK]


# Confirm ------------------------------------------------------------------------------


@on_each_store
@KINDS
def test_subscription_is_confirmed_and_not(api: Api, kind: str) -> None:
    path = subscribe(api, path=f"/v2/{kind}/q/subscriptions")

    for confirmed in (True, True, False):
        answer = api.put(f"{path}/confirm", {"confirmed": confirmed, "more": 1})
        assert (answer.status, answer.headers["Location"]) == (204, f"{path}/confirm")
        assert api.get(path).json["confirmed"] is confirmed


@on_each_store
def test_subscription_is_not_confirmed_below_another_queue(api: Api) -> None:
    path = subscribe(api)
    elsewhere = path.replace("/q/", "/r/")
    api.create("r")

    assert_error(api.put(f"{elsewhere}/confirm", {"confirmed": True}), *NOT_FOUND)

    assert api.get(path).json["confirmed"] is False


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({}, INVALID_REQUEST),
        ({"confirmed": None}, INVALID_REQUEST),
        ({"confirmed": 1}, INVALID_REQUEST),
        ({"confirmed": "true"}, INVALID_REQUEST),
        ([], UNFIT_CONFIRMATION),
        ([True], UNFIT_CONFIRMATION),
    ],
)
def test_bad_confirmation_is_refused(
    api: Api, document: Any, error: tuple[int, str]
) -> None:
    path = subscribe(api)

    assert_error(api.put(f"{path}/confirm", document), *error)

    assert api.get(path).json["confirmed"] is False


# Deliveries ---------------------------------------------------------------------------


@on_each_store
@KINDS
def test_who_was_told_of_nothing_has_no_deliveries(api: Api, kind: str) -> None:
    path = subscribe(api, path=f"/v2/{kind}/q/subscriptions")

    answer = api.get(f"{path}/deliveries", limit=20)

    assert answer.json == {"deliveries": [], "attempts": [], "links": []}
    for document in (None, {}, {"message_ids": None}, {"message_ids": ["x"]}, []):
        assert api.post(f"{path}/deliveries", document).json == {"replayed": 0}


@on_each_store
def test_question_to_a_subscriber_waits_to_be_delivered(
    servers: Callable[..., Server],
) -> None:
    server = servers({"notification": {"require_confirmation": True}})
    api = CheckedApi(server.address)
    path = subscribe(api)
    subscribe(api)
    confirm(api, path, confirmed=False)

    first = api.get(f"{path}/deliveries", limit=2)
    second = api.get(first.next)

    waiting = first.json["deliveries"] + second.json["deliveries"]
    assert len({each["message_id"] for each in waiting}) == 3
    assert [each["state"] for each in waiting] == ["waiting"] * 3
    assert [each["failures"] for each in waiting] == [0] * 3
    assert api.get(second.next).json["deliveries"] == []


@pytest.mark.parametrize("ids", [5, "x", [1], {"message_ids": 1}])
def test_bad_replay_is_refused(api: Api, ids: Any) -> None:
    path = subscribe(api)
    document = ids if isinstance(ids, dict) else {"message_ids": ids}

    assert_error(api.post(f"{path}/deliveries", document), *INVALID_REQUEST)


# Who may ------------------------------------------------------------------------------


def test_each_call_asks_for_its_rule(api_of: Callable[..., Api]) -> None:
    rules = ("get_all", "create", "get", "update", "delete", "confirm")
    policy = {f"subscription:{rule}": "role:reader" for rule in rules}
    api, one = api_of(policy=policy), f"{LIST}/x"

    for method, path, document in [
        ("GET", LIST, None),
        ("POST", LIST, {"subscriber": MAIL}),
        ("GET", one, None),
        ("PATCH", one, {"ttl": 60}),
        ("DELETE", one, None),
        ("PUT", f"{one}/confirm", {"confirmed": True}),
        ("GET", f"{one}/deliveries", None),
        ("POST", f"{one}/deliveries", None),
    ]:
        refused = api.request(method, path, document)
        allowed = api.request(method, path, document, headers={"X-Roles": "reader"})
        assert_error(refused, 403, "Not authorized")
        assert allowed.status in (200, 201, 204, 404), (method, path, allowed)


@on_each_store
def test_guest_with_a_signed_url_subscribes(api: Api) -> None:
    answer = shared(
        api, paths=["subscriptions"], methods=["GET", "POST", "PATCH", "DELETE"]
    )
    guest = Guest.of(api, answer)

    made = guest.request("POST", LIST, {"subscriber": MAIL})
    path = f"{LIST}/{made.json['subscription_id']}"

    assert made.status == 201
    assert subscribers(guest.request("GET", LIST)) == [MAIL]
    assert guest.request("PATCH", path, {"ttl": 120}).status == 204
    assert guest.request("GET", path).json["ttl"] == 120
    assert_error(guest.request("PUT", f"{path}/confirm", {}), *NO_ROUTE)
    assert_error(guest.request("GET", "/v2/queues/q/messages"), *NO_ROUTE)
    assert guest.request("DELETE", path).status == 204


@on_each_store
@KINDS
def test_subscriber_confirms_with_its_signature_and_does_nothing_else(
    api: Api, kind: str
) -> None:
    path = subscribe(api, path=f"/v2/{kind}/q/subscriptions")
    other = subscribe(api, HOOK, path=f"/v2/{kind}/q/subscriptions")
    guest = Guest.forged(api, f"{path}/confirm", methods=("PUT",))

    assert_error(guest.request("GET", path), *NO_ROUTE)
    assert_error(guest.request("PATCH", path, {"ttl": 60}), *NO_ROUTE)
    refused = guest.request("PUT", f"{other}/confirm", {"confirmed": True})
    assert_error(refused, *NO_ROUTE)
    answer = guest.request("PUT", f"{path}/confirm", {"confirmed": True})

    assert answer.status == 204
    assert api.get(path).json["confirmed"] is True
    assert api.get(other).json["confirmed"] is False

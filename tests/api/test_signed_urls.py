# SPDX-License-Identifier: Apache-2.0
"""Signed URLs: what can be shared, and what the guest may do with it."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import pytest

from tests.api.signed import EXPIRES, Guest, shared
from tests.api.wire import (
    INVALID_BODY,
    INVALID_REQUEST,
    NO_ROUTE,
    NOT_FOUND,
    Api,
    assert_error,
)
from tests.servers import SECRET_KEY, Server
from tests.stores import on_each_store
from zaqar.keys import Key
from zaqar.signing import Terms, instant, sign

SHARE = "/v2/queues/q/share"
MESSAGES, CLAIMS = "/v2/queues/q/messages", "/v2/queues/q/claims"
KINDS = ["messages", "claims", "subscriptions"]


# Sharing -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wish", [{}, {"paths": [], "methods": [], "expires": None}, {"paths": None}]
)
def test_messages_may_be_read_for_a_day_by_default(
    api: Api, wish: dict[str, Any]
) -> None:
    answer = shared(api, **wish)

    assert answer.status == 200
    assert answer.headers.get_content_type() == "application/json"
    assert answer.json["paths"] == [MESSAGES]
    assert answer.json["methods"] == ["GET"]
    assert answer.json["project"] == api.project
    assert abs(instant(answer.json["expires"]) - time.time() - 86400) < 60
    assert set(answer.json) == {"paths", "methods", "project", "expires", "signature"}


def test_answer_is_signed_as_the_contract_says(api: Api) -> None:
    document = shared(
        api, paths=KINDS, methods=["PUT", "GET"], expires="2999-01-01"
    ).json

    paths = tuple(f"/v2/queues/q/{kind}" for kind in sorted(KINDS))
    terms = Terms(paths, ("GET", "PUT"), api.project, EXPIRES)
    assert document.pop("signature") == sign(terms, Key("any", SECRET_KEY))
    assert Terms(**{k: tuple(v) if isinstance(v, list) else v
                    for k, v in document.items()}) == terms  # fmt: skip


def test_queue_need_not_exist_and_does_not_then(api: Api) -> None:
    assert shared(api, "absent").json["paths"] == ["/v2/queues/absent/messages"]
    assert api.queues() == []


def test_what_is_named_twice_is_signed_once(api: Api) -> None:
    document = shared(api, paths=["claims"] * 2, methods=["GET", "GET"]).json

    assert (document["paths"], document["methods"]) == ([CLAIMS], ["GET"])


@pytest.mark.parametrize(
    ("expires", "shown"),
    [
        ("2999-01-01T00:00:00", "2999-01-01T00:00:00"),
        ("2999-01-01T00:00:00Z", "2999-01-01T00:00:00"),
        ("2999-01-01T01:30:00+01:30", "2999-01-01T00:00:00"),
        ("2998-12-31T23:00:00-01:00", "2999-01-01T00:00:00"),
        ("2999-01-01T00:00:00.516560", "2999-01-01T00:00:00"),
        ("2999-01-01 00:00:00", "2999-01-01T00:00:00"),
        ("2999-01-01T00:00", "2999-01-01T00:00:00"),
        ("2999-01-01", "2999-01-01T00:00:00"),
        ("9999-12-31T23:59:59", "9999-12-31T23:59:59"),
    ],
)
def test_end_is_shown_in_utc(api: Api, expires: str, shown: str) -> None:
    assert shared(api, expires=expires).json["expires"] == shown


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        ({"expires": "2001-01-01T00:00:00"}, "expires"),
        ({"expires": "0001-01-01T00:00:00+23:00"}, "expires"),
        ({"expires": "9999-12-31T23:59:59-23:00"}, "expires"),
        ({"expires": "tomorrow"}, "expires"),
        ({"expires": ""}, "expires"),
        ({"expires": "29990101"}, "expires"),
        ({"expires": "2999"}, "expires"),
        ({"expires": "2999-13-01"}, "expires"),
        ({"expires": "٢٩٩٩-01-01"}, "expires"),
        ({"expires": 32472144000}, "expires"),
        ({"expires": 1.5}, "expires"),
        ({"expires": True}, "expires"),
        ({"expires": ["2999-01-01"]}, "expires"),
        ({"expires": {}}, "expires"),
        ({"paths": "messages"}, "paths"),
        ({"paths": ""}, "paths"),
        ({"paths": {}}, "paths"),
        ({"paths": 0}, "paths"),
        ({"paths": ["share"]}, "paths"),
        ({"paths": ["messages", "Claims"]}, "Claims"),
        ({"paths": [""]}, "paths"),
        ({"paths": [None]}, "paths"),
        ({"paths": ["../other/messages"]}, "paths"),
        ({"paths": [["messages"]]}, "paths"),
        ({"methods": "GET"}, "methods"),
        ({"methods": {"GET": 1}}, "methods"),
        ({"methods": [1]}, "methods"),
        ({"methods": [""]}, "methods"),
        ({"methods": ["GET,DELETE"]}, "methods"),
        ({"methods": [r"GET\np2"]}, "methods"),
        ({"methods": ["GET\n"]}, "methods"),
        ({"methods": ["GÉT"]}, "methods"),
        ({"path": ["messages"]}, "path"),
        ({"project_id": "p2"}, "project_id"),
    ],
)
def test_bad_wish_is_refused_by_its_field(
    api: Api, wish: dict[str, Any], named: str
) -> None:
    answer = shared(api, **wish)

    assert_error(answer, *INVALID_REQUEST)
    assert named in answer.description


def test_any_name_may_be_a_method(api: Api) -> None:
    assert shared(api, methods=["brew", "GET"]).json["methods"] == ["GET", "brew"]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [("", INVALID_BODY), ("{", INVALID_BODY), ("1", INVALID_BODY),
     ("null", INVALID_BODY), ("[]", INVALID_REQUEST), ('["paths"]', INVALID_REQUEST)],
)  # fmt: skip
def test_body_is_an_object(api: Api, raw: str, expected: tuple[int, str]) -> None:
    assert_error(api.post(SHARE, raw=raw or None), *expected)


def test_without_a_key_nothing_is_shared_and_no_signature_is_valid(
    api_of: Callable[..., Api],
) -> None:
    api = api_of({"signed_url": {"secret_key": ""}})
    guest = Guest.forged(api, MESSAGES, key="")

    assert_error(shared(api), *INVALID_REQUEST)
    assert "secret_key" in shared(api).description
    assert_error(guest.request("GET", MESSAGES), *NO_ROUTE)


def test_a_project_that_could_be_taken_for_two_fields_can_share_nothing(
    api: Api,
) -> None:
    odd = api.as_project(rf"{api.project}\n{EXPIRES}")

    assert_error(shared(odd), *INVALID_REQUEST)


def test_there_is_no_share_in_the_older_version(api: Api) -> None:
    assert_error(api.post("/v1.1/queues/q/share", {}), *NO_ROUTE)


# Use ---------------------------------------------------------------------------------


@on_each_store
def test_guest_posts_reads_claims_and_deletes(server: Server) -> None:
    owner = Api(server.address)
    wish = {"paths": KINDS, "methods": ["GET", "POST", "PATCH", "DELETE"]}
    guest = Guest.of(owner, shared(owner, **wish))

    posted = guest.request("POST", MESSAGES, {"messages": [{"body": n} for n in "abc"]})
    first, *_ = posted.ids
    echo = {"echo": "true"}

    assert owner.listing("q").bodies == ["a", "b", "c"]
    assert guest.request("GET", MESSAGES, **echo).bodies == ["a", "b", "c"]
    assert guest.request("GET", f"{MESSAGES}/{first}").json["body"] == "a"
    assert guest.request("GET", MESSAGES, ids=",".join(posted.ids)).ids == posted.ids
    claim = guest.request("POST", CLAIMS, {}, limit=1)
    path = claim.headers["Location"]
    assert guest.request("GET", path).bodies == claim.bodies == ["a"]
    assert guest.request("PATCH", path, {"ttl": 60}).status == 204
    [message] = claim.json["messages"]
    assert guest.request("DELETE", message["href"]).status == 204
    assert guest.request("DELETE", path).status == 204
    assert guest.request("DELETE", MESSAGES, pop=5).bodies == ["b", "c"]


def test_guest_needs_a_client_id_and_is_that_client(api: Api) -> None:
    guest = Guest.of(api, shared(api, methods=["GET", "POST"]))
    guest.request("POST", MESSAGES, {"messages": [{"body": 1}]})

    bare = guest.request("GET", MESSAGES, headers={"Client-ID": None})

    assert_error(bare, 400, "Missing header value")
    assert guest.request("GET", MESSAGES).bodies == []
    assert api.get(MESSAGES).bodies == [1]


def test_order_of_the_signed_lists_is_free(api: Api) -> None:
    guest = Guest.of(
        api, shared(api, paths=["messages", "claims"], methods=["GET", "A"])
    )

    turned = {"URL-Paths": f"{MESSAGES},{CLAIMS}", "URL-Methods": "GET,A"}

    assert guest.request("GET", MESSAGES, headers=turned).status == 200


def test_tenant_header_names_the_signed_project_too(api: Api) -> None:
    guest = Guest.of(api, shared(api))
    tenant = {"X-Project-ID": None, "X-Tenant-Id": api.project}

    assert guest.request("GET", MESSAGES, headers=tenant).status == 200
    # The other header wins, for the signature as for the rest.
    both = {"X-Project-ID": "other", "X-Tenant-Id": api.project}
    assert_error(guest.request("GET", MESSAGES, headers=both), *NO_ROUTE)


@pytest.mark.parametrize("method", ["POST", "DELETE", "HEAD", "PUT", "PATCH"])
def test_method_that_is_not_signed_is_refused(api: Api, method: str) -> None:
    guest = Guest.of(api, shared(api))

    assert guest.request(method, MESSAGES, {}).status == 404


def test_signed_method_that_the_path_does_not_have_is_405(api: Api) -> None:
    guest = Guest.of(api, shared(api, methods=["PUT"]))

    answer = guest.request("PUT", MESSAGES, {})

    assert_error(answer, 405, "405 Method Not Allowed")


@pytest.mark.parametrize(
    "changes",
    [
        {"URL-Expires": None},
        {"URL-Expires": ""},
        {"URL-Expires": "2999-01-01T00:00:01"},
        {"URL-Expires": "2999-01-01T00:00:00Z"},
        {"URL-Methods": None},
        {"URL-Methods": ""},
        {"URL-Methods": "get"},
        {"URL-Methods": "GET,GET"},
        {"URL-Methods": "GET,POST"},
        {"URL-Methods": "GET,"},
        {"URL-Methods": '["GET"]'},
        {"URL-Paths": None},
        {"URL-Paths": ""},
        {"URL-Paths": "/"},
        {"URL-Paths": ".*"},
        {"URL-Paths": "/v2/queues/q"},
        {"URL-Paths": f"{MESSAGES},{MESSAGES}"},
        {"URL-Paths": f"{MESSAGES},"},
        {"URL-Paths": f"{MESSAGES}/"},
        {"URL-Paths": "%2Fv2%2Fqueues%2Fq%2Fmessages"},
        {"URL-Signature": ""},
        {"URL-Signature": "0" * 64},
        {"URL-Signature": "é"},
        {"X-Project-ID": None},
        {"X-Project-ID": ""},
        {"X-Project-ID": "other"},
    ],
)
def test_changed_header_is_refused(api: Api, changes: dict[str, str | None]) -> None:
    guest = Guest.of(api, shared(api, expires=EXPIRES))

    assert guest.request("GET", MESSAGES).status == 200
    assert_error(guest.request("GET", MESSAGES, headers=changes), *NO_ROUTE)


def test_signature_ends(api: Api) -> None:
    soon = datetime.fromtimestamp(time.time() + 2, UTC).isoformat()
    guest = Guest.of(api, shared(api, expires=soon))
    first = guest.request("GET", MESSAGES).status

    past = Guest.forged(api, MESSAGES, expires="2020-01-01T00:00:00")

    assert first == 200
    assert_error(past.request("GET", MESSAGES), *NO_ROUTE)


def test_signature_of_another_queue_or_project_opens_nothing(api: Api) -> None:
    other = api.as_project()
    other.send("q", "theirs")
    api.send("xzy", "mine")
    dotted = Guest.of(api, shared(api, "x.y"))

    assert_error(dotted.request("GET", "/v2/queues/xzy/messages"), *NO_ROUTE)
    guest = Guest.of(api, shared(api))
    theirs = {"X-Project-ID": other.project}
    assert_error(guest.request("GET", MESSAGES, headers=theirs), *NO_ROUTE)
    assert guest.request("GET", MESSAGES).bodies == []


def test_ids_of_another_queue_or_project_are_not_there_for_a_guest(api: Api) -> None:
    other = api.as_project()
    [theirs], [mine] = other.send("q", "theirs"), api.send("r", "mine")
    claim = api.claim("r").claim
    wish = {"paths": ["messages", "claims"], "methods": ["GET", "DELETE", "PATCH"]}
    guest = Guest.of(api, shared(api, **wish))

    for number in (theirs, mine):
        assert_error(guest.request("GET", f"{MESSAGES}/{number}"), *NOT_FOUND)
        assert guest.request("DELETE", f"{MESSAGES}/{number}").status == 204
        assert guest.request("DELETE", MESSAGES, ids=number).status == 204
    assert_error(guest.request("GET", f"{CLAIMS}/{claim}"), *NOT_FOUND)
    assert guest.request("DELETE", f"{CLAIMS}/{claim}").status == 204

    assert other.listing("q").bodies == ["theirs"]
    assert api.listing("r", include_claimed="true").bodies == ["mine"]
    assert api.get(f"/v2/queues/r/claims/{claim}").bodies == ["mine"]


CLOSED = [
    ("POST", "/v2/queues/q/share"),
    ("GET", "/v2/queues/q"),
    ("PUT", "/v2/queues/q"),
    ("PATCH", "/v2/queues/q"),
    ("DELETE", "/v2/queues/q"),
    ("GET", "/v2/queues/q/stats"),
    ("POST", "/v2/queues/q/purge"),
    ("GET", "/v2/queues"),
    ("GET", "/v2/health"),
    ("GET", "/v2/pools"),
    ("PUT", "/v2/pools/p"),
    ("GET", "/v2/flavors"),
    ("DELETE", "/v2/flavors/f"),
    ("GET", "/v1.1/queues/q/messages"),
    ("POST", "/v1.1/queues/q/messages"),
    ("POST", "/v1.1/queues/q/claims"),
    ("GET", "/v1.1/pools"),
    ("GET", "/v1.1/health"),
]


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_other_routes_take_no_signature_at_all(
    api_of: Callable[..., Api], method: str, path: str
) -> None:
    """Not even one that is made with the key for just this path."""
    api = api_of({"DEFAULT": {"pooling": True}})
    guest = Guest.forged(api, path, "/v2", "/v1.1")

    answer = guest.request(method, path, {}, headers={"X-Roles": "admin"})

    assert_error(answer, *NO_ROUTE)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/queues/%71/messages",
        "/v2/queues/q%2fmessages",
        "/v2/queues/q%2Fmessages",
        "/v2/queues/other%2f..%2fq/messages",
        "/v2/queues/q/messages/",
        "/v2/queues/q/messages//",
        "/v2/queues//q/messages",
        "//v2/queues/q/messages",
        "/v2/queues/q/messages/..",
        "/v2/queues/q/messages/.",
        "/v2/queues/q/messages/%2e%2e",
        "/v2/queues/q/messages/../claims",
        "/v2/queues/./q/messages",
        "/v2/queues/Q/messages",
        "/V2/queues/q/messages",
        "/v2/queues/q/Messages",
        "/v2/topics/q/messages",
        "/v2/queues/q;x/messages",
        "/v2/queues/q/messages/%00",
        "/v2/queues/q/messages/é",
    ],
)
def test_path_in_another_spelling_is_refused(
    api_of: Callable[..., Api], engine: str, path: str
) -> None:
    api = api_of({"server": {"engine": engine}})
    guest = Guest.of(api, shared(api))

    answer = guest.request("GET", path.replace("é", "%C3%A9"))

    if engine == "granian" and unquote(path) == MESSAGES:
        # The engine does not tell how it was written, here and wherever a path leads.
        assert answer.status == 200
    else:
        assert_error(answer, *NO_ROUTE)


def test_both_engines_let_the_same_guests_in(
    api_of: Callable[..., Api], engine: str
) -> None:
    api = api_of({"server": {"engine": engine}})
    guest = Guest.of(api, shared(api, methods=["GET", "POST"], expires=EXPIRES))

    posted = guest.request("POST", MESSAGES, {"messages": [{"body": "x"}]})
    refused = [
        guest.request("DELETE", MESSAGES, pop=1),
        guest.request("GET", MESSAGES, headers={"URL-Expires": None}),
        guest.request("GET", MESSAGES, headers={"URL-Signature": ""}),
        guest.request("GET", CLAIMS),
    ]

    assert posted.status == 201
    assert api.listing("q").bodies == ["x"]
    for answer in refused:
        assert_error(answer, *NO_ROUTE)


# Policy ------------------------------------------------------------------------------

WORKERS_ONLY = {
    "messages:get_all": "role:worker",
    "messages:get": "role:worker",
    "messages:delete": "!",
    "queues:share": "role:worker or role:clerk",
}


def with_role(api: Api, role: str, **wish: Any) -> Any:
    return api.post(SHARE, wish, headers={"X-Roles": role})


def test_signature_grants_what_it_says_whatever_the_policy_is(
    api_of: Callable[..., Api],
) -> None:
    api = api_of(policy=WORKERS_ONLY)
    guest = Guest.of(api, with_role(api, "worker"))

    assert_error(api.get(MESSAGES), 403, "Not authorized")
    assert guest.request("GET", MESSAGES).status == 200
    everything = Guest.forged(api, MESSAGES)
    assert everything.request("DELETE", f"{MESSAGES}/x").status == 204


def test_nobody_shares_what_they_may_not_do(api_of: Callable[..., Api]) -> None:
    api = api_of(policy=WORKERS_ONLY)

    assert_error(shared(api), 403, "Not authorized")
    assert_error(with_role(api, "clerk"), 403, "Not authorized")
    assert with_role(api, "clerk", methods=["POST"]).status == 200
    answer = with_role(api, "worker", methods=["GET", "DELETE"])
    assert_error(answer, 403, "Not authorized")
    claims = {"paths": ["claims"], "methods": ["GET", "DELETE"]}
    assert with_role(api, "worker", **claims).status == 200


def test_roles_that_a_guest_claims_open_nothing(api_of: Callable[..., Api]) -> None:
    api = api_of(policy=WORKERS_ONLY)
    guest = Guest.of(api, with_role(api, "worker"))
    roles = {"X-Roles": "admin,worker"}

    assert_error(guest.request("POST", SHARE, {}, headers=roles), *NO_ROUTE)
    assert_error(guest.request("GET", "/v2/health", headers=roles), *NO_ROUTE)


# Keys --------------------------------------------------------------------------------


def test_keys_are_replaced_without_breaking_what_is_signed(
    api_of: Callable[..., Api],
) -> None:
    new = {"secret_key": "n" * 32, "key_id": "2026-11"}
    old = f"2026-05:{SECRET_KEY}"
    before = api_of()
    announced = api_of({"signed_url": {"previous_keys": f"2026-11:{'n' * 32}"}})
    during = api_of({"signed_url": {**new, "previous_keys": old}})
    after = api_of({"signed_url": new})
    lent, lent_anew = shared(before).json, shared(during).json

    def outcomes(lent: dict[str, Any]) -> list[int]:
        document = dict(lent)
        signature = document.pop("signature")
        terms = Terms(**document)
        return [
            Guest(api, terms, signature).request("GET", MESSAGES).status
            for api in (before, announced, during, after)
        ]

    assert outcomes(lent) == [200, 200, 200, 404]
    assert outcomes(lent_anew) == [404, 200, 200, 200]
    assert len(lent_anew["signature"]) == len(lent["signature"]) == 64


def test_request_log_names_the_key_of_a_signed_request(
    servers: Callable[..., Server],
) -> None:
    server = servers({"signed_url": {"key_id": "2026-12"}})
    api = Api(server.address)
    guest = Guest.of(api, shared(api))
    guest.request("GET", MESSAGES)
    guest.request("GET", MESSAGES, headers={"URL-Expires": None})
    api.get(MESSAGES)

    lines = [
        line
        for text in server.output().splitlines()
        if text.startswith("{") and (line := json.loads(text))["project"] == api.project
    ]

    assert [line.get("signed_by") for line in lines] == [None, "2026-12", None, None]
    assert "signed_by" not in lines[0]
    assert SECRET_KEY not in server.output()
    assert guest.signature not in server.output()

# SPDX-License-Identifier: Apache-2.0
"""Request headers: what is needed and understood, and which failure comes first."""

import uuid

import pytest

from tests.api.wire import (
    CLIENT,
    INVALID_BODY,
    INVALID_PARAMETER,
    NO_ROUTE,
    PATCH_TYPE,
    Api,
    assert_error,
)

QUEUES = "/v2/queues"
NAMED = (
    ("GET", "/v2/queues"),
    ("GET", "/v2/queues/q"),
    ("HEAD", "/v2/queues/q"),
    ("PUT", "/v2/queues/q"),
    ("PATCH", "/v2/queues/q"),
    ("DELETE", "/v2/queues/q"),
    ("GET", "/v2/queues/q/stats"),
    ("POST", "/v2/queues/q/purge"),
    ("POST", "/v2/queues/q/share"),
    ("GET", "/v2/queues/q/messages"),
    ("POST", "/v2/queues/q/messages"),
    ("DELETE", "/v2/queues/q/messages"),
    ("GET", "/v2/queues/q/messages/m"),
    ("DELETE", "/v2/queues/q/messages/m"),
    ("POST", "/v2/queues/q/claims"),
    ("GET", "/v2/queues/q/claims/c"),
    ("PATCH", "/v2/queues/q/claims/c"),
    ("DELETE", "/v2/queues/q/claims/c"),
)
# What v1.1 has too.
NAMED += tuple(
    (method, path.replace("/v2", "/v1.1"))
    for method, path in NAMED
    if method not in ("HEAD", "PATCH") or "/claims/" in path
    if not path.endswith(("/purge", "/share"))
)
HEADER_FAILURES = [
    ({"Client-ID": None}, "Missing header value"),
    ({"Client-ID": ""}, "Wrong UUID value"),
    ({"Client-ID": "abc"}, "Wrong UUID value"),
    ({"Client-ID": CLIENT + "0"}, "Wrong UUID value"),
    ({"X-Project-ID": None}, "Project-Id Missing"),
    ({"X-Project-ID": ""}, "Empty project header not allowed"),
    ({"X-Project-ID": "x" * 257}, "Invalid queue identification"),
]


@pytest.mark.parametrize(("method", "path"), NAMED)
@pytest.mark.parametrize(("headers", "title"), HEADER_FAILURES)
def test_bad_identity_header_is_refused_on_every_route(
    api: Api, method: str, path: str, headers: dict[str, str | None], title: str
) -> None:
    answer = api.request(method, path, headers=headers)

    assert answer.status == 400
    if method != "HEAD":
        assert_error(answer, 400, title)


# Identity -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelling",
    [
        CLIENT,
        CLIENT.upper(),
        CLIENT.replace("-", ""),
        "{" + CLIENT + "}",
        CLIENT.replace("-", "").upper(),
    ],
)
def test_spellings_of_a_uuid_are_one_client(api: Api, spelling: str) -> None:
    api.send("q", 1)

    mine = api.get("/v2/queues/q/messages", headers={"Client-ID": spelling})

    assert mine.json["messages"] == []


@pytest.mark.parametrize(
    "client",
    [
        "0x_381af922b9e11e3b1917186130073",
        "3381af92_2b9e_11e3_b191_71861300734c",
        "+381af922b9e11e3b191718613007344",
        " 381af922b9e11e3b191718613007344",
    ],
)
def test_what_python_takes_for_hexadecimal_is_no_client_id(
    api: Api, client: str
) -> None:
    answer = api.get("/v2/queues", headers={"Client-ID": client})

    assert_error(answer, 400, "Wrong UUID value")


@pytest.mark.parametrize("name", ["X-PROJECT-ID", "x-project-id", "X-Project-Id"])
def test_header_names_have_no_case(api: Api, name: str) -> None:
    api.create("q")

    answer = api.get(QUEUES, headers={"X-Project-ID": None, name: api.project})

    assert [queue["name"] for queue in answer.json["queues"]] == ["q"]


def test_tenant_id_is_taken_where_no_project_id_is_sent(api: Api) -> None:
    api.create("q")

    tenant = {"X-Project-ID": None, "X-Tenant-Id": api.project}

    assert len(api.get(QUEUES, headers=tenant).json["queues"]) == 1


def test_project_id_wins_over_tenant_id(api: Api) -> None:
    api.create("q")

    answer = api.get(QUEUES, headers={"X-Tenant-Id": uuid.uuid4().hex})

    assert len(answer.json["queues"]) == 1


def test_project_id_may_have_256_characters(api: Api) -> None:
    project = (uuid.uuid4().hex * 8)[:256]

    assert api.as_project(project).put("/v2/queues/q").status == 201
    assert api.as_project(project[:-1]).queues() == []


def test_project_id_may_be_any_text(api: Api) -> None:
    odd = f"{api.project}/../{{%}}'\";--\xe9"

    other = api.as_project(odd)

    assert other.put("/v2/queues/q").status == 201
    assert other.queues() == ["q"]
    assert api.queues() == []


def test_projects_and_dotted_queues_do_not_run_into_each_other(api: Api) -> None:
    plain, dotted = api.as_project(api.project), api.as_project(api.project + ".b")

    plain.create("b.c", a=1)

    assert plain.queues() == ["b.c"]
    assert dotted.queues() == []
    assert "a" not in dotted.get("/v2/queues/c").json


# Accept -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "",
        "*/*",
        "application/*",
        "application/json",
        "application/json;q=0.1",
        "application/*;q=0.5",
        "text/html, application/json;q=0.9",
        "application/xml, */*;q=0.1",
        "application/json; charset=utf-8",
    ],
)
def test_accept_that_includes_json_is_fine(api: Api, accept: str | None) -> None:
    headers = {} if accept is None else {"Accept": accept}

    assert api.get(QUEUES, headers=headers).status == 200


@pytest.mark.parametrize(
    "accept", ["text/html", "application/json;q=0", "image/*", "application/yaml"]
)
def test_accept_that_excludes_json_is_refused(api: Api, accept: str) -> None:
    answer = api.get(QUEUES, headers={"Accept": accept})

    assert answer.status == 406


@pytest.mark.parametrize("accept", ["application/xml", "text/xml"])
def test_errors_are_xml_for_a_client_that_takes_only_xml(api: Api, accept: str) -> None:
    answer = api.get(QUEUES, headers={"Accept": accept})

    assert answer.status == 406
    assert answer.body.startswith(
        b'<?xml version="1.0" encoding="UTF-8"?><error><title>'
    )
    assert b"<title>406 Not Acceptable</title>" in answer.body


def test_error_has_no_body_for_a_client_that_takes_neither(api: Api) -> None:
    assert api.get(QUEUES, headers={"Accept": "text/html"}).body == b""


def test_errors_vary_by_accept(api: Api) -> None:
    answer = api.get(QUEUES, limit=0)

    assert answer.headers["Vary"] == "Accept"


# Content-Type -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [None, "", "text/plain", "application/json", "application/json; charset=utf-8",
     "application/octet-stream", "nonsense"],
)  # fmt: skip
def test_content_type_of_a_body_is_ignored(api: Api, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}

    assert api.put("/v2/queues/q", {"a": 1}, headers=headers).status == 201
    assert api.get("/v2/queues/q").json["a"] == 1


@pytest.mark.parametrize(
    "kind",
    ["application/x-www-form-urlencoded", "Application/X-WWW-Form-UrlEncoded"],
)
def test_a_form_is_refused(api: Api, kind: str) -> None:
    answer = api.put("/v2/queues/q", {}, headers={"Content-Type": kind})

    assert_error(answer, 400, "Invalid Content-Type")
    assert api.queues() == []


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_content_type_without_a_body_does_no_harm(api: Api, method: str) -> None:
    answer = api.request(
        method, "/v2/queues/q", headers={"Content-Type": "application/json"}
    )

    assert answer.status in (200, 204)


# What comes back ----------------------------------------------------------------------


def test_every_request_gets_an_id_of_its_own(api: Api) -> None:
    ids = [
        api.get(path).headers["x-openstack-request-id"]
        for path in (QUEUES, "/", QUEUES)
    ]

    assert len(set(ids)) == 3
    for name in ids:
        assert str(uuid.UUID(name.removeprefix("req-"))) == name.removeprefix("req-")


def test_request_id_of_the_client_is_not_taken_over(api: Api) -> None:
    mine = f"req-{uuid.uuid4()}"

    answer = api.get(QUEUES, headers={"X-OpenStack-Request-ID": mine})

    assert answer.headers["x-openstack-request-id"] != mine


def test_extra_spec_header_is_ignored(api: Api) -> None:
    answer = api.get(QUEUES, headers={"Extra-Spec": "anything", "X-Project-ID": None})

    assert_error(answer, 400, "Project-Id Missing")


@pytest.mark.parametrize("signature", ["", "00", "deadbeef" * 8])
def test_a_signature_that_is_not_valid_lets_nobody_in(api: Api, signature: str) -> None:
    answer = api.get("/v2/queues/q/messages", headers={"URL-Signature": signature})

    assert_error(answer, *NO_ROUTE)


# Order --------------------------------------------------------------------------------

# Each entry repairs the failure that the entry before is refused for.
FAILURES: list[tuple[str, str, dict[str, str | None], tuple[int, str]]] = [
    ("POST", "/v2/queues/bad%20name/bogus", {}, NO_ROUTE),
    ("PUT", "/v2/queues/bad%20name/stats", {"URL-Signature": "00"}, NO_ROUTE),
    (
        "PUT",
        "/v2/queues/bad%20name/stats",
        {"URL-Signature": None},
        (400, "Invalid Content-Type"),
    ),
    (
        "PUT",
        "/v2/queues/bad%20name/stats",
        {"Content-Type": "text/plain"},
        (406, "406 Not Acceptable"),
    ),
    (
        "PUT",
        "/v2/queues/bad%20name/stats",
        {"Accept": "*/*"},
        (400, "Wrong UUID value"),
    ),
    (
        "PUT",
        "/v2/queues/bad%20name/stats",
        {"Client-ID": CLIENT},
        (400, "Project-Id Missing"),
    ),
    (
        "PUT",
        "/v2/queues/bad%20name/stats",
        {"X-Project-ID": "p"},
        (400, "Invalid queue identification"),
    ),
    ("PUT", "/v2/queues/q/stats", {}, (405, "405 Method Not Allowed")),
]


def test_the_first_failure_wins(api: Api) -> None:
    headers: dict[str, str | None] = {
        "URL-Signature": "00",
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "application/xml",
        "Client-ID": "bad",
        "X-Project-ID": None,
    }

    for method, path, repaired, (status, title) in FAILURES:
        headers |= repaired
        answer = api.request(method, path, raw=b"{", headers=headers)

        # While JSON is not accepted the error is in XML.
        assert answer.status == status, (path, answer)
        assert title.encode() in answer.body


def test_policy_is_asked_before_the_query_and_the_query_is_read_before_the_body(
    api_of,
) -> None:
    api = api_of(policy={"claims:create": "role:worker"})
    path = "/v2/queues/q/claims?limit=x"

    assert_error(api.post(path, raw="{"), 403, "Not authorized")
    worker = {"X-Roles": "worker"}
    assert_error(api.post(path, raw="{", headers=worker), *INVALID_PARAMETER)
    answer = api.post("/v2/queues/q/claims", raw="{", headers=worker)
    assert_error(answer, *INVALID_BODY)


def test_media_type_of_a_patch_is_looked_at_before_its_body(api: Api) -> None:
    answer = api.patch("/v2/queues/q", raw="{")
    assert_error(answer, 415, "415 Unsupported Media Type")

    answer = api.patch("/v2/queues/q", raw="{", headers={"Content-Type": PATCH_TYPE})
    assert_error(answer, *INVALID_BODY)


# Methods ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v2/queues", "GET"),
        ("/v2/queues/q/stats", "GET"),
        ("/v2/queues/q/purge", "POST"),
        ("/v2/queues/q/share", "POST"),
        ("/v2/queues/q/messages", "DELETE, GET, POST"),
        ("/v2/queues/q/messages/m", "DELETE, GET"),
        ("/v2/queues/q/claims", "POST"),
        ("/v2/queues/q/claims/c", "DELETE, GET, PATCH"),
        ("/v2/ping", "GET, HEAD"),
    ],
)
def test_options_and_405_tell_what_is_allowed(
    api: Api, path: str, allowed: str
) -> None:
    bare = {"Client-ID": None, "X-Project-ID": None}

    options = api.request("OPTIONS", path, headers=bare)
    refused = api.request("PUT", path)

    assert (options.status, options.body) == (200, b"")
    assert options.headers["Allow"] == allowed
    assert_error(refused, 405, "405 Method Not Allowed")
    assert refused.headers["Allow"] == f"{allowed}, OPTIONS"


def test_queue_allows_what_it_should(api: Api) -> None:
    allowed = api.request("OPTIONS", "/v2/queues/q").headers["Allow"]

    assert set(allowed.split(", ")) - {"HEAD"} == {"DELETE", "GET", "PATCH", "PUT"}


@pytest.mark.parametrize(
    "path", ["/v2/queues", "/v2/queues/q", "/v2/queues/q/messages"]
)
def test_unknown_method_is_a_bad_request(api: Api, path: str) -> None:
    answer = api.request("BREW", path)

    assert_error(answer, 400, "Bad request")


def test_404_of_an_unknown_route_comes_before_the_method(api: Api) -> None:
    assert_error(api.request("DELETE", "/v2/bogus"), *NO_ROUTE)

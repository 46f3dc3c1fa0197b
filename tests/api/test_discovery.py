# SPDX-License-Identifier: Apache-2.0
"""What a client can ask before it knows anything: versions, home, health."""

import re
from collections.abc import Callable

import pytest

from tests.api.wire import NO_ROUTE, Api, assert_error

BARE = {"Client-ID": None, "X-Project-ID": None}


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        ("/", {300}),
        ("/v2", {200}),
        ("/v2/", {200}),
        ("/v2/ping", {204}),
        ("/healthz", {200, 204}),
        ("/readyz", {200, 204}),
    ],
)
def test_discovery_and_health_need_no_header(
    api: Api, path: str, statuses: set[int]
) -> None:
    assert api.get(path, headers=BARE).status in statuses


@pytest.mark.parametrize("path", ["/", "/v2", "/v2/", "/v2/ping", "/healthz"])
def test_discovery_and_health_ignore_wrong_identity_headers(
    api: Api, path: str
) -> None:
    wrong = {"Client-ID": "no uuid", "X-Project-ID": "x" * 300}

    assert api.get(path, headers=wrong).status in (200, 204, 300)


def test_version_entry_is_the_one_that_clients_look_for(api: Api) -> None:
    versions = {entry["id"]: entry for entry in api.get("/").json["versions"]}

    assert versions["2"] == {
        "id": "2",
        "status": "CURRENT",
        "updated": "2014-9-24T04:06:47Z",
        "media-types": [
            {
                "base": "application/json",
                "type": "application/vnd.openstack.messaging-v2+json",
            }
        ],
        "links": [{"href": "/v2/", "rel": "self"}],
    }


def test_version_ids_have_no_patch_part(api: Api) -> None:
    for entry in api.get("/").json["versions"]:
        assert re.fullmatch(r"\d+(\.\d+)?", entry["id"])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD"])
def test_version_list_can_only_be_got(api: Api, method: str) -> None:
    answer = api.request(method, "/", headers=BARE)

    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, OPTIONS"


def test_home_document_is_the_same_with_and_without_slash(api: Api) -> None:
    assert api.get("/v2").json == api.get("/v2/").json


def test_home_document_carries_the_version_entry(api: Api) -> None:
    [entry] = [v for v in api.get("/").json["versions"] if v["id"] == "2"]

    assert api.get("/v2/").json["version"] == entry


def test_home_document_can_be_cached_for_a_day(api: Api) -> None:
    answer = api.get("/v2/")

    assert answer.headers.get_content_type() == "application/json-home"
    assert answer.headers["Cache-Control"] == "max-age=86400"


def test_home_document_names_all_relations(api: Api) -> None:
    names = {name.removeprefix("rel/") for name in api.get("/v2/").json["resources"]}

    assert names >= {
        "queues",
        "queue",
        "queue_stats",
        "queue_share",
        "queue_purge",
        "messages",
        "post_messages",
        "messages_delete",
        "message_delete",
        "message_get",
        "claim",
        "post_claim",
        "patch_claim",
        "delete_claim",
        "subscriptions_get",
        "subscriptions_post",
        "subscription",
        "subscription_patch",
        "ping",
        "health",
    }


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_home_document_has_no_head(api: Api, path: str) -> None:
    assert api.request("HEAD", path).status == 405


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_ping_answers_without_a_body(api: Api, method: str) -> None:
    answer = api.request(method, "/v2/ping")

    assert (answer.status, answer.body) == (204, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_ping_has_no_other_method(api: Api, method: str) -> None:
    answer = api.request(method, "/v2/ping", headers=BARE)

    assert_error(answer, 405, "405 Method Not Allowed")
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"


def test_health_needs_the_admin_role(api: Api) -> None:
    refused = api.get("/v2/health")
    allowed = api.get("/v2/health", headers={"X-Roles": "member,admin"})

    assert_error(refused, 403, "Not authorized")
    assert allowed.status == 200


def test_health_tries_all_operations(api: Api) -> None:
    health = api.get("/v2/health", headers={"X-Roles": "admin"}).json

    assert health["storage_reachable"] is True
    assert list(health["operation_status"]) == [
        "create_queue",
        "post_messages",
        "claim_messages",
        "list_messages",
        "delete_messages",
        "delete_claim",
        "bulk_delete_messages",
        "delete_queue",
    ]
    for tried in health["operation_status"].values():
        assert tried["succeeded"] is True
        assert tried["ref"] is None


def test_health_leaves_no_queue_behind(api: Api) -> None:
    api.get("/v2/health", headers={"X-Roles": "admin"})

    assert api.queues() == []


def test_health_needs_identity_headers(api: Api) -> None:
    answer = api.get("/v2/health", headers={"Client-ID": None, "X-Roles": "admin"})

    assert_error(answer, 400, "Missing header value")


@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/v1/",
        "/v3/queues",
        "/v2/bogus",
        "/bogus",
        "/v2/queues/q/",
    ],
)
@pytest.mark.parametrize("headers", [{}, BARE])
def test_unknown_path_is_no_route(
    api: Api, path: str, headers: dict[str, str | None]
) -> None:
    answer = api.get(path, headers=headers)

    assert_error(answer, *NO_ROUTE)


# Below a path -------------------------------------------------------------------------

PREFIXES = [
    {"X-Forwarded-Prefix": "/messaging"},
    {"SCRIPT_NAME": "/v2"},
    {"SCRIPT_NAME": "/messaging"},
    {"Script-Name": "/v2"},
]


@pytest.fixture
def proxied(api_of: Callable[..., Api]) -> Api:
    """A client that the server takes for its proxy."""
    server = {"engine": "gunicorn", "workers": 1, "trusted_proxies": "127.0.0.1"}
    return api_of({"server": server})


def self_links(api: Api, headers: dict[str, str]) -> set[str]:
    """Return where the version list and the home documents say that v2 is."""
    versions = api.get("/", headers=headers).json["versions"]
    [entry] = [version for version in versions if version["id"] == "2"]
    entries = [entry]
    for path in ("/v2", "/v2/"):
        home = api.get(path, headers=headers)
        assert home.status == 200
        entries.append(home.json["version"])
    return {entry["links"][0]["href"] for entry in entries}


@pytest.mark.parametrize("headers", PREFIXES, ids=str)
def test_nobody_may_say_where_the_service_is_mounted(
    api: Api, headers: dict[str, str]
) -> None:
    assert self_links(api, headers) == {"/v2/"}


@pytest.mark.parametrize("headers", PREFIXES, ids=str)
def test_nobody_may_change_the_routes(api: Api, headers: dict[str, str]) -> None:
    api.create("q")

    assert api.get("/v2/queues/q", headers=headers).status == 200
    assert_error(api.get("/messaging/v2/queues", headers=headers), *NO_ROUTE)
    assert_error(api.get("/queues", headers=headers), *NO_ROUTE)


def test_a_proxy_that_is_trusted_says_where_the_service_is_mounted(
    proxied: Api,
) -> None:
    for prefix in ("/messaging", "/messaging/", "/a/b-c/d.e_f~1"):
        headers = {"X-Forwarded-Prefix": prefix}
        assert self_links(proxied, headers) == {prefix.rstrip("/") + "/v2/"}
    assert self_links(proxied, {}) == {"/v2/"}


def test_links_of_lists_have_no_prefix(proxied: Api) -> None:
    headers = {"X-Forwarded-Prefix": "/messaging"}
    proxied.send("q", 1)

    queues = proxied.get("/v2/queues", headers=headers)
    page = proxied.get("/v2/queues/q/messages?echo=true", headers=headers)

    hrefs = [
        queues.next,
        queues.json["queues"][0]["href"],
        page.next,
        page.json["messages"][0]["href"],
    ]
    assert [href for href in hrefs if not href.startswith("/v2/queues")] == []


@pytest.mark.parametrize(
    "prefix",
    [
        "//evil.example",
        "//evil.example/",
        "/a//b",
        "https://evil.example",
        "evil",
        "/",
        "/a b",
        "/a%0d%0aSet-Cookie:x",
        "/a%2f..",
        "/a\\b",
        "/a?b",
        "/a#b",
        '/a"b',
        "/\xe9",
        "/a, /b",
    ],
)
def test_a_prefix_that_is_no_path_is_ignored(proxied: Api, prefix: str) -> None:
    assert self_links(proxied, {"X-Forwarded-Prefix": prefix}) == {"/v2/"}


def test_an_address_that_is_not_named_is_not_trusted(
    api_of: Callable[..., Api],
) -> None:
    server = {"workers": 1, "threads": 4, "trusted_proxies": "192.0.2.1"}
    api = api_of({"server": server})

    for headers in PREFIXES:
        assert self_links(api, headers) == {"/v2/"}

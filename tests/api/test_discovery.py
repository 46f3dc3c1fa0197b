# SPDX-License-Identifier: Apache-2.0
"""What a client can ask before it knows anything: versions, home, health."""

import re

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


def test_a_mount_prefix_stands_in_front_of_the_version_link(api: Api) -> None:
    answer = api.get("/", headers={"X-Forwarded-Prefix": "/messaging"})

    [entry] = [v for v in answer.json["versions"] if v["id"] == "2"]
    # Only a proxy that is trusted may set the prefix; nobody is by default.
    assert entry["links"][0]["href"] in ("/v2/", "/messaging/v2/")

# SPDX-License-Identifier: Apache-2.0
"""What an operator can set, seen from the wire."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.conformance import CheckedApi
from tests.api.wire import (
    INVALID_REQUEST,
    NO_ROUTE,
    NOT_FOUND,
    Api,
    Connection,
    assert_error,
    request_bytes,
)
from tests.servers import Server
from tests.stores import on_sqlite

ApiOf = Callable[..., Api]
MESSAGES = "/v2/queues/q/messages"
UNABLE = "Unable to delete"


@pytest.fixture
def strict(api_of: ApiOf) -> Api:
    """A server on which every option of this API is other than its default."""
    transport = {
        "strict_patch": True,
        "message_delete_with_claim_id": True,
        "client_id_uuid_safe": "off",
        "default_message_ttl": 120,
        "max_message_ttl": 1000,
        "default_claim_ttl": 90,
        "default_claim_grace": 70,
        "max_claim_ttl": 600,
        "max_claim_grace": 500,
        "max_messages_per_page": 3,
        "max_queues_per_page": 2,
        "max_messages_per_claim_or_pop": 4,
        "max_queue_metadata": 100,
        "max_messages_post_size": 1000,
        "max_message_delay": 50,
    }
    default = {"admin_mode": False, "enable_checksum": True}
    return api_of({"DEFAULT": default, "transport": transport})


# Switches -----------------------------------------------------------------------------


def test_strict_patch_does_not_create_queues(strict: Api) -> None:
    change = {"op": "add", "path": "/metadata/a", "value": 1}

    assert_error(strict.patch_queue("q", change), *NOT_FOUND)
    assert strict.request("HEAD", "/v2/queues/q").status == 404

    strict.create("q")
    assert strict.patch_queue("q", change).status == 200


def test_without_admin_mode_there_is_no_health_route(strict: Api) -> None:
    answer = strict.get("/v2/health", headers={"X-Roles": "admin"})

    assert_error(answer, *NO_ROUTE)


def test_without_admin_mode_the_home_document_shows_no_admin_resource(
    strict: Api,
) -> None:
    names = set(strict.get("/v2/").json["resources"])

    assert not names & {"rel/health", "rel/pools", "rel/pool", "rel/flavors"}


@pytest.mark.parametrize(
    "client", ["x" * 10, "x" * 36, "no uuid at all", "a/b?c=d&e=f"]
)
def test_client_id_may_be_any_text(strict: Api, client: str) -> None:
    mine = strict.as_client(client)

    mine.send("q", 1)

    assert mine.get(MESSAGES).json["messages"] == []
    assert strict.get(MESSAGES).bodies == [1]
    assert mine.claim("q", 1).status == 201


@pytest.mark.parametrize("client", ["", "x" * 9, "x" * 37])
def test_client_id_has_a_length(strict: Api, client: str) -> None:
    answer = strict.as_client(client).get("/v2/queues")

    assert_error(answer, 400, "Wrong UUID value")
    assert "10" in answer.description
    assert "36" in answer.description


# Checksums ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "hashed"),
    [
        ('"hello"', '"hello"'),
        ('{"b":1,"a":[true,null]}', '{"b": 1, "a": [true, null]}'),
        ('"ü"', '"\\u00fc"'),
        ("1", "1"),
        ("1.50", "1.5"),
        ('""', '""'),
        ("false", "false"),
        ("[]", "[]"),
    ],
)
def test_checksum_is_shown_wherever_a_message_is(
    strict: Api, raw: str, hashed: str
) -> None:
    posted = strict.post(MESSAGES, raw=f'{{"messages": [{{"body": {raw}}}]}}')
    [name] = posted.ids
    checksum = "MD5:" + hashlib.md5(hashed.encode()).hexdigest()

    shown = [
        strict.get(f"{MESSAGES}/{name}").json,
        *strict.listing("q").json["messages"],
        *strict.get(MESSAGES, ids=name).json["messages"],
        *strict.claim("q", 1).json["messages"],
    ]
    claim = shown[-1]["href"].split("=")[1]
    shown += strict.get(f"/v2/queues/q/claims/{claim}").json["messages"]
    strict.delete(f"/v2/queues/q/claims/{claim}")
    shown += strict.delete(MESSAGES, pop=1).json["messages"]

    assert [message.get("checksum") for message in shown] == [checksum] * 6


def test_checksum_of_hello_is_the_known_one(strict: Api) -> None:
    strict.send("q", "hello")

    [message] = strict.listing("q").json["messages"]

    assert message["checksum"] == "MD5:5deaee1c1332199e5b5bc7c5e4f7f0c2"


def test_null_has_no_checksum(strict: Api) -> None:
    strict.send("q", None)

    assert "checksum" not in strict.listing("q").json["messages"][0]
    assert "checksum" not in strict.delete(MESSAGES, pop=1).json["messages"][0]


# Deleting with claims -----------------------------------------------------------------


def test_bulk_delete_needs_the_claims(strict: Api) -> None:
    [name] = strict.send("q", 1)

    for query in ({}, {"claim_ids": ""}):
        answer = strict.delete(MESSAGES, ids=name, **query)
        assert_error(answer, *INVALID_REQUEST)
        assert "claim_ids" in answer.description
    assert strict.stats("q")["total"] == 1


def test_bulk_delete_takes_messages_of_several_claims(strict: Api) -> None:
    ids = strict.send("q", 1, 2, 3)
    one, two = strict.claim("q", 1).claim, strict.claim("q", 1).claim

    answer = strict.delete(MESSAGES, ids=f"{ids[0]},{ids[1]}", claim_ids=f"{one},{two}")

    assert answer.status == 204
    assert strict.listing("q", include_claimed="true").bodies == [3]


@pytest.mark.parametrize("which", ["another's", "dead", "bogus", "unclaimed"])
def test_bulk_delete_with_a_wrong_claim_deletes_nothing(
    strict: Api, which: str
) -> None:
    ids = strict.send("q", 1, 2, 3)
    own, other = strict.claim("q", 1).claim, strict.claim("q", 1).claim
    claims, asked = {
        "another's": (own, ids[:2]),
        "dead": (other, ids[:1]),
        "bogus": ("bogus", ids[:1]),
        "unclaimed": (own, [ids[0], ids[2]]),
    }[which]
    if which == "dead":
        strict.delete(f"/v2/queues/q/claims/{own}")

    answer = strict.delete(MESSAGES, ids=",".join(asked), claim_ids=claims)

    assert_error(answer, 400, UNABLE)
    assert strict.stats("q")["total"] == 3


def test_claims_are_forbidden_with_pop(strict: Api) -> None:
    strict.send("q", 1)

    assert_error(strict.delete(MESSAGES, pop=1, claim_ids="c"), *INVALID_REQUEST)
    assert strict.delete(MESSAGES, pop=1).bodies == [1]


def test_claim_ids_are_ignored_where_they_are_not_needed(api: Api) -> None:
    [name] = api.send("q", 1)

    assert api.delete(MESSAGES, ids=name, claim_ids="bogus").status == 204


# Limits -------------------------------------------------------------------------------


def test_defaults_of_queues_follow_the_options(strict: Api) -> None:
    shown = strict.get("/v2/queues/q").json

    assert shown["_default_message_ttl"] == 120
    assert shown["_max_messages_post_size"] == 1000
    strict.send("q", 1)
    assert strict.listing("q").json["messages"][0]["ttl"] == 120


def test_defaults_of_claims_follow_the_options(strict: Api) -> None:
    strict.send("q", 1)

    answer = strict.post("/v2/queues/q/claims")

    assert strict.get(answer.headers["Location"]).json["ttl"] == 90
    assert answer.json["messages"][0]["ttl"] == 120


@pytest.mark.parametrize(
    ("method", "path", "document", "limit"),
    [
        ("GET", "/v2/queues?limit=3", None, "2"),
        ("GET", f"{MESSAGES}?limit=4", None, "3"),
        ("GET", f"{MESSAGES}?ids=a,b,c,d", None, "3"),
        ("DELETE", f"{MESSAGES}?pop=5", None, "4"),
        ("POST", "/v2/queues/q/claims?limit=5", None, "4"),
        ("POST", "/v2/queues/q/claims", {"ttl": 601}, "600"),
        ("POST", "/v2/queues/q/claims", {"grace": 501}, "500"),
        ("POST", MESSAGES, {"messages": [{"body": 1, "ttl": 1001}]}, "1000"),
        ("POST", MESSAGES, {"messages": [{"body": "x" * 1000}]}, "1000"),
        ("PUT", "/v2/queues/q", {"a": "x" * 100}, "100"),
        ("PUT", "/v2/queues/q", {"_default_message_ttl": 1001}, "1000"),
        ("PUT", "/v2/queues/q", {"_default_message_delay": 51}, "50"),
        ("PUT", "/v2/queues/q", {"_max_messages_post_size": 1001}, "1000"),
    ],
)
def test_limits_follow_the_options(
    strict: Api, method: str, path: str, document: Any, limit: str
) -> None:
    answer = strict.request(method, path, document)

    assert_error(answer, *INVALID_REQUEST)
    assert limit in answer.description


def test_default_page_is_no_larger_than_the_largest(strict: Api) -> None:
    strict.send("q", *range(5))

    assert strict.listing("q").bodies == [0, 1, 2]
    assert len(strict.post("/v2/queues/q/claims").ids) == 4


# Policy -------------------------------------------------------------------------------

RULES = [
    ("queues:get_all", "GET", "/v2/queues"),
    ("queues:create", "PUT", "/v2/queues/q"),
    ("queues:get", "GET", "/v2/queues/q"),
    ("queues:delete", "DELETE", "/v2/queues/q"),
    ("queues:update", "PATCH", "/v2/queues/q"),
    ("queues:stats", "GET", "/v2/queues/q/stats"),
    ("queues:purge", "POST", "/v2/queues/q/purge"),
    ("messages:get_all", "GET", MESSAGES),
    ("messages:create", "POST", MESSAGES),
    ("messages:get", "GET", f"{MESSAGES}/m"),
    ("messages:delete", "DELETE", f"{MESSAGES}/m"),
    ("messages:delete_all", "DELETE", f"{MESSAGES}?pop=1"),
    ("messages:delete_all", "DELETE", f"{MESSAGES}?ids=m"),
    ("claims:create", "POST", "/v2/queues/q/claims"),
    ("claims:get", "GET", "/v2/queues/q/claims/c"),
    ("claims:update", "PATCH", "/v2/queues/q/claims/c"),
    ("claims:delete", "DELETE", "/v2/queues/q/claims/c"),
    ("health:get", "GET", "/v2/health"),
    ("ping:get", "GET", "/v2/ping"),
]
# The operations of v1.1 ask for the same; its health asks for nothing.
RULES += [
    (rule, method, path.replace("/v2", "/v1.1"))
    for rule, method, path in RULES
    if rule not in ("queues:update", "queues:purge", "health:get")
]


@pytest.mark.parametrize(("rule", "method", "path"), RULES)
def test_policy_rule_guards_its_operation(
    api_of: ApiOf, rule: str, method: str, path: str
) -> None:
    api = api_of(policy={name: f"role:{name}" for name, *_ in RULES})

    def status(roles: str) -> int:
        return api.request(method, path, headers={"X-Roles": roles}).status

    assert status("") == 403
    assert status("queues:nothing") == 403
    others = {name for name, *_ in RULES} - {rule}
    assert status(",".join(others)) == 403
    assert status(rule) != 403
    assert status(f"other, {rule.upper()}") != 403


def test_refusal_of_a_policy_stores_nothing(api_of: ApiOf) -> None:
    api = api_of(policy={"messages:create": "role:writer"})

    answer = api.post(MESSAGES, {"messages": [{"body": 1}]})

    assert_error(answer, 403, "Not authorized")
    assert api.queues() == []


def test_admin_rules_are_closed_and_others_open_by_default(api: Api) -> None:
    assert_error(api.get("/v2/health"), 403, "Not authorized")
    for rule, method, path in RULES:
        if rule != "health:get":
            assert api.request(method, path).status != 403


# Starting, stopping, engines ----------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"drivers": {"message_store": "mongodb"}}, "mongodb"),
        ({"drivers": {"message_store": "bogus"}}, "bogus"),
        ({"DEFAULT": {"auth_strategy": "keystone"}}, "auth_type is missing"),
        ({"DEFAULT": {"auth_strategy": "keystoen"}}, "auth_strategy"),
        ({"drivers": {"transport": "websocket"}}, "websocket"),
        ({"transport": {"max_message_ttl": "soon"}}, "max_message_ttl"),
        ({"transport": {"default_message_ttl": 10}}, "default_message_ttl"),
        ({"transport": {"client_id_uuid_safe": "of"}}, "client_id_uuid_safe"),
        ({"drivers:message_store:sqlite": {"synchronous": "OFF"}}, "synchronous"),
        ({"drivers:message_store:sqlite": {"uri": "redis://x"}}, "uri"),
        (
            {"drivers:message_store:sqlite": {"uri": "sqlite:///:memory:"}},
            "sqlite:///:memory:",
        ),
        ({"drivers:message_store:sqlite": {"uri": "sqlite:///z?x=y"}}, "z?x=y"),
        ({"storage": {"message_pipeline": "x"}}, "message_pipeline"),
        ({"cors": {"allowed_origin": "https://x/y"}}, "[cors] allowed_origin"),
        (
            {"transport": {"min_length_client_id": 9, "max_length_client_id": 8}},
            "min_length_client_id",
        ),
    ],
)
def test_setting_that_cannot_work_is_refused_and_named(
    tmp_path: Path, options: dict[str, dict[str, Any]], named: str
) -> None:
    (tmp_path / "policy.yaml").write_text("{}")
    server = Server(tmp_path, options)
    try:
        code = server.process.wait(20)
    finally:
        if server.process.poll() is None:
            server.kill()

    assert code == 1
    assert named in server.output()
    assert "Traceback" not in server.output()


@pytest.fixture
def started(tmp_path: Path, engine: str) -> Iterator[Callable[[], Server]]:
    (tmp_path / "policy.yaml").write_text("{}")
    servers = []

    def start() -> Server:
        server = Server(
            tmp_path, {"server": {"engine": engine, "workers": 2, "threads": 4}}
        )
        servers.append(server)
        server.wait_until_ready()
        return server

    yield start
    for server in servers:
        if server.process.poll() is None:  # The test failed before it stopped it.
            server.kill()


def test_messages_and_claims_survive_a_restart(
    started: Callable[[], Server],
) -> None:
    first = started()
    api = CheckedApi(first.address)
    ids = api.send("q", "a", "b", "c")
    claim = api.claim("q", 1).claim
    page = api.listing("q", limit=1)
    first.stop()

    second = started()
    api = CheckedApi(second.address, project=api.project)

    assert api.get(f"/v2/queues/q/claims/{claim}").ids == ids[:1]
    assert api.get(page.next).bodies == ["c"]
    assert api.listing("q", include_claimed="true").ids == ids
    second.stop()


def test_each_engine_serves_the_whole_cycle(started: Callable[[], Server]) -> None:
    server = started()
    api = CheckedApi(server.address)

    assert api.get("/").status == 300
    assert api.put("/v2/queues/q", {"a": 1}).status == 201
    assert api.put("/v2/queues/q", {"a": 1}).status == 204
    assert api.request("HEAD", "/v2/queues/q").status == 204
    api.send("q", {"ü": [1, 2.50]}, "b")
    claimed = api.claim("q", 1)
    href = claimed.json["messages"][0]["href"]
    assert claimed.bodies == [{"ü": [1, 2.5]}]
    assert api.get(href).status == 200
    assert api.delete(href).status == 204
    assert api.delete(MESSAGES, pop=5).bodies == ["b"]
    assert api.get("/v2/queues", limit="x").status == 400
    assert_error(api.get("/bogus"), *NO_ROUTE)
    headers = {"Transfer-Encoding": "chunked"}
    raw = iter([b'{"messages":', b' [{"body": 3}]}'])
    assert api.post(MESSAGES, raw=raw, headers=headers).status == 201
    over = {"messages": [{"body": "x" * 262144}]}
    assert_error(api.post(MESSAGES, over), *INVALID_REQUEST)
    bad = api.put("/v2/queues/a%2Fb")
    assert bad.status in (400, 404)
    assert api.stats("q")["total"] == 1
    server.stop()


def test_each_engine_keeps_connections_open(started: Callable[[], Server]) -> None:
    server = started()
    api = CheckedApi(server.address)

    with Connection(server.address) as connection:
        for _ in range(3):
            connection.send(request_bytes("GET", "/v2/queues", api.headers({})))
            assert connection.answer().status == 200
    server.stop()


@on_sqlite
def test_start_tells_what_an_operator_needs_to_know(server: Server) -> None:
    output = server.output()

    assert server.url in output
    assert str(server.folder / "messages.db") in output
    assert "curl" in output
    assert "auth" in output.lower()

# SPDX-License-Identifier: Apache-2.0
"""Facts of `auth_strategy = keystone`, with a real Keystone, on each engine."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from openstack.connection import Connection as Cloud

from tests.api.wire import Answer, Api, assert_error
from tests.keystone_servers import PASSWORD, KeystoneServer, new_keystone
from tests.servers import Server, merge

MESSAGES = {"messages": [{"body": 1}]}
ANONYMOUS = (
    *("/", "/v2", "/v2/", "/v1.1", "/v1.1/"),
    *("/v2/ping", "/v1.1/ping", "/healthz", "/readyz"),
)
CACHE_SECONDS = 3

Start = Callable[..., Server]


class Caller:
    """Sends requests with one token, as a client that knows nothing but that."""

    def __init__(self, server: Server, token: str | None) -> None:
        self._api = Api(server.address)
        self.token = token

    def __call__(
        self, method: str, path: str, document: object = None, **headers: str | None
    ) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        given = {"X-Project-ID": None, "X-Auth-Token": self.token, **named}
        return self._api.request(method, path, document, headers=given)


@pytest.fixture
def guarded(servers: Start, keystone: KeystoneServer, engine: str) -> Server:
    """A server behind Keystone, in admin mode."""
    options = keystone.options(token_cache_time=CACHE_SECONDS)
    return servers(merge(options, {"server": {"engine": engine}}))


@pytest.fixture
def caller(guarded: Server, keystone: KeystoneServer) -> Callable[[str], Caller]:
    """Return a function that makes the caller of a user: `<project>-<role>`."""

    def make(user: str) -> Caller:
        return Caller(guarded, keystone.token(user, user.partition("-")[0]))

    return make


def assert_unauthorized(answer: Answer, keystone: KeystoneServer) -> None:
    assert answer.status == 401, str(answer)
    assert answer.headers["WWW-Authenticate"] == f'Keystone uri="{keystone.url}"'
    assert answer.json["error"]["code"] == 401


def statuses(caller: Caller, queue: str, version: str = "/v2") -> list[int]:
    path = f"{version}/queues/{queue}"
    return [
        caller("GET", f"{path}/stats").status,
        caller("PUT", path).status,
        caller("POST", f"{path}/messages", MESSAGES).status,
        caller("GET", f"{path}/messages").status,
        caller("DELETE", f"{path}/messages?pop=1").status,
        caller("GET", f"{version}/health").status,
    ]


@pytest.mark.parametrize("path", ANONYMOUS)
def test_some_paths_need_no_token(guarded: Server, path: str) -> None:
    assert Caller(guarded, None)("GET", path).status in (200, 204, 300)
    assert Caller(guarded, "garbage")("GET", path).status in (200, 204, 300)


@pytest.mark.parametrize("token", [None, "", "garbage", "x" * 5000, "ä", "a b"])
@pytest.mark.parametrize("path", ["/v2/queues", "/v1.1/queues", "/v2/health", "/no"])
def test_without_a_valid_token_nobody_gets_in(
    guarded: Server, keystone: KeystoneServer, token: str | None, path: str
) -> None:
    answer = Caller(guarded, token)("GET", path, X_Roles="admin", X_Project_Id="p")

    assert_unauthorized(answer, keystone)


def test_roles_decide_what_may_be_done(caller: Callable[[str], Caller]) -> None:
    reader, member, admin = (
        statuses(caller(f"blue-{role}"), "roles")
        for role in ("reader", "member", "admin")
    )

    assert reader == [200, 403, 403, 200, 403, 403]
    assert member == [200, 201, 201, 200, 200, 403]
    assert admin == [200, 204, 201, 200, 200, 200]


def test_roles_hold_in_v1_1_too(caller: Callable[[str], Caller]) -> None:
    reader, member = (
        statuses(caller(f"blue-{role}"), "old", "/v1.1")
        for role in ("reader", "member")
    )

    assert reader == [200, 403, 403, 200, 403, 403]
    assert [reader[-1], member[-1]] == [403, 403]
    assert member[:4] == [200, 201, 201, 200]


@pytest.mark.parametrize(
    "header", ["X-Roles", "X-Role", "X_Roles", "x_roles", "X-Service-Roles"]
)
def test_roles_of_a_client_are_dropped(
    caller: Callable[[str], Caller], header: str
) -> None:
    reader = caller("blue-reader")

    for _ in range(2):
        answer = reader("PUT", "/v2/queues/dropped", **{header: "admin"})
        assert_error(answer, 403, "Not authorized")


def test_project_is_that_of_the_token(
    caller: Callable[[str], Caller], keystone: KeystoneServer, engine: str
) -> None:
    blue, red, queue = caller("blue-member"), caller("red-member"), f"own-{engine}"
    blue("POST", f"/v2/queues/{queue}/messages", MESSAGES)

    for name in ("X-Project-ID", "X-Tenant-Id", "X_Project_ID", "X-Project-Name"):
        given = {name: keystone.ids["blue"]}
        path = f"/v2/queues/{queue}/messages?echo=true"
        assert red("GET", path, **given).json["messages"] == []
        assert queue not in str(red("GET", "/v2/queues", **given).json)
    assert len(blue("GET", path, **{"X-Project-ID": "red"}).json["messages"]) == 1


def test_a_token_without_a_project_is_of_no_use(
    guarded: Server, keystone: KeystoneServer
) -> None:
    unscoped = Caller(guarded, keystone.token("blue-admin", None))

    for _ in range(2):
        answer = unscoped("GET", "/v2/queues", X_Project_ID=keystone.ids["blue"])
        assert_error(answer, 400, "Project-Id Missing")


def test_revoked_token_is_refused_once_it_is_forgotten(
    caller: Callable[[str], Caller], keystone: KeystoneServer
) -> None:
    known, fresh = caller("red-member"), caller("red-member")
    assert known("GET", "/v2/queues").status == 200
    revoked = time.monotonic()
    for user in (known, fresh):
        assert user.token
        keystone.revoke(user.token)

    assert_unauthorized(fresh("GET", "/v2/queues"), keystone)
    while (answer := known("GET", "/v2/queues")).status == 200:
        assert time.monotonic() < revoked + CACHE_SECONDS + 15
        time.sleep(0.1)
    assert_unauthorized(answer, keystone)


def test_service_token_has_to_be_valid(
    caller: Callable[[str], Caller], keystone: KeystoneServer
) -> None:
    user, path = caller("blue-reader"), "/v2/queues"
    service = keystone.token("zaqar", "service")
    assert user.token

    assert user("GET", path, X_Service_Token=service).status == 200
    for wrong in ("garbage", "", user.token):
        assert_unauthorized(user("GET", path, X_Service_Token=wrong), keystone)


@pytest.mark.parametrize("signature", ["", "x", "0" * 64])
def test_signature_that_is_none_lets_nobody_in(
    caller: Callable[[str], Caller], guarded: Server, signature: str
) -> None:
    for token in (None, caller("blue-admin").token):
        for path in ("/v2/queues/q/messages", "/v2/queues", "/v2/health"):
            answer = Caller(guarded, token)(
                "GET", path, URL_Signature=signature, X_Project_ID="p", X_Roles="admin"
            )
            assert answer.status == 404


# What it says of itself.
@pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning")
@pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning")
def test_openstacksdk_logs_in_and_uses_queues(
    guarded: Server, keystone: KeystoneServer, engine: str
) -> None:
    cloud = Cloud(
        auth={
            "auth_url": keystone.url,
            "username": "red-member",
            "password": "pw",
            "project_name": "red",
            "user_domain_id": "default",
            "project_domain_id": "default",
        },
        messaging_endpoint_override=f"{guarded.url}/v2",
        region_name="one",
    )

    cloud.message.create_queue(name=f"sdk-{engine}")
    names = [queue.name for queue in cloud.message.queues()]
    cloud.close()

    assert f"sdk-{engine}" in names


def test_without_keystone_new_tokens_wait_and_known_ones_do_not(
    servers: Start, engine: str, tmp_path: Path
) -> None:
    keystone = new_keystone(tmp_path)
    try:
        options = keystone.options(http_request_max_retries=1)
        server = servers(merge(options, {"server": {"engine": engine}}))
        known = Caller(server, keystone.token("blue-reader", "blue"))
        fresh = Caller(server, keystone.token("red-reader", "red"))
        assert known("GET", "/v2/queues").status == 200
        keystone.kill()

        for _ in range(3):
            answer = fresh("GET", "/v2/queues")
            assert_error(answer, 503, "Service temporarily unavailable")
            assert answer.headers["Retry-After"] == "2"
        assert known("GET", "/v2/queues").status == 200
        assert Caller(server, None)("GET", "/v2/queues").status == 401

        keystone.start()
        back = time.monotonic()
        while fresh("GET", "/v2/queues").status == 503:
            assert time.monotonic() < back + 30
            time.sleep(0.1)
        assert fresh("GET", "/v2/queues").status == 200
    finally:
        keystone.kill()


def test_subscriber_that_needs_a_token_gets_a_trust_of_who_subscribes(
    servers: Start, keystone: KeystoneServer, engine: str
) -> None:
    trustee = {
        "auth_type": "password",
        "auth_url": keystone.url,
        "username": "zaqar",
        "password": PASSWORD,
        "user_domain_id": "default",
        "timeout": 60,
    }
    options = {
        "server": {"engine": engine},
        "trustee": trustee,
        "notification": {"allow_private_targets": True},
    }
    server = servers(merge(keystone.options(), options))
    member = Caller(server, keystone.token("red-member", "red"))
    # The second request is one whose token is remembered.
    paths = [f"/v2/queues/q{n}/subscriptions" for n in range(2)]
    wish = {"subscriber": "trust+http://127.0.0.1:9/", "ttl": 3600}

    made = [member("POST", path, wish) for path in paths]

    trusts = set()
    for path, answer in zip(paths, made, strict=True):
        assert answer.status == 201, str(answer)
        id = answer.json["subscription_id"]
        shown = member("GET", f"{path}/{id}").json
        trusts.add(shown["options"]["trust_id"])
    assert len(trusts) == 2


def test_subscriber_that_needs_a_token_needs_keystone(api: Api) -> None:
    answer = api.request(
        "POST", "/v2/queues/q/subscriptions", {"subscriber": "trust+http://example.com"}
    )

    assert_error(answer, 400, "Invalid API request")
    assert "options.trust_id" in answer.description

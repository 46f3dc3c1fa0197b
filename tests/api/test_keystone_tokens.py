# SPDX-License-Identifier: Apache-2.0
"""Tokens that run out, and signed URLs without any, with a Keystone of short tokens."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
import requests
from keystoneauth1.identity import v3
from keystoneauth1.session import Session
from zaqarclient.queues import client as queues
from zaqarclient.transport import errors

from tests.api.signed import Guest
from tests.api.test_bad_input import LOOK_ALIKES, NAMES
from tests.api.wire import NO_ROUTE, Api, assert_error, quoted
from tests.keystone_servers import PASSWORD, KeystoneServer, new_keystone
from tests.servers import Server, merge

TOKEN_SECONDS = 15
PATH = "/v2/queues/q/messages"

Start = Callable[..., Server]


@pytest.fixture(scope="module")
def keystone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeystoneServer]:
    server = new_keystone(
        tmp_path_factory.mktemp("keystone"),
        {"token": {"expiration": TOKEN_SECONDS, "allow_expired_window": 3600}},
    )
    yield server
    server.kill()


@pytest.fixture
def guarded(servers: Start, keystone: KeystoneServer, engine: str) -> Server:
    return servers(merge(keystone.options(), {"server": {"engine": engine}}))


def bearer(server: Server, token: str | None) -> Api:
    """Return a client with a token that names no project."""

    class Bearer(Api):
        def headers(self, changes: object) -> dict[str, str]:
            given = {"X-Project-ID": None, "X-Auth-Token": token}
            return super().headers(given | dict(changes))  # type: ignore[call-overload]

    return Bearer(server.address)


def end_of(keystone: KeystoneServer, token: str) -> float:
    """Return when a token ends, by Keystone's own words."""
    answer = requests.get(
        f"{keystone.url}/auth/tokens",
        headers={"X-Auth-Token": token, "X-Subject-Token": token},
        timeout=60,
    )
    answer.raise_for_status()
    return datetime.fromisoformat(answer.json()["token"]["expires_at"]).timestamp()


def test_token_that_is_remembered_is_refused_once_it_has_expired(
    guarded: Server, keystone: KeystoneServer
) -> None:
    token = keystone.token("blue-member", "blue")
    end = end_of(keystone, token)
    user = bearer(guarded, token)
    answers = []

    # It is remembered for 300 s, and ends long before.
    while True:
        began = time.time()
        answer = user.get("/v2/queues")
        answers.append((began, time.time(), answer.status))
        if began >= end:
            break
        time.sleep(0.1)

    for began, ended, status in answers:
        if began >= end:
            assert status == 401
        elif ended < end:
            assert status == 200
    assert answers[0][2] == 200


def test_service_token_revives_a_token_that_has_expired(
    guarded: Server, keystone: KeystoneServer
) -> None:
    token = keystone.token("blue-member", "blue")
    user, end = bearer(guarded, token), end_of(keystone, token)
    while time.time() < end:
        time.sleep(0.1)

    alone = user.get("/v2/queues")
    service = {"X-Service-Token": keystone.token("zaqar", "service")}
    passed_on = user.get("/v2/queues", headers=service)
    # What a service may, the user alone still may not.
    again = user.get("/v2/queues")
    member = {"X-Service-Token": keystone.token("red-member", "red")}
    wrong_role = user.get("/v2/queues", headers=member)

    assert (alone.status, passed_on.status, again.status) == (401, 200, 401)
    assert wrong_role.status == 401


def test_client_with_a_password_goes_on_when_its_token_has_expired(
    guarded: Server, keystone: KeystoneServer
) -> None:
    options = {
        "auth_url": keystone.url,
        "username": "blue-member",
        "password": PASSWORD,
    }
    domains = {"user_domain_id": "default", "project_domain_id": "default"}
    session = Session(auth=v3.Password(**options, **domains, project_name="blue"))
    token = session.get_token()
    bare = {"backend": "keystone", "options": {"os_auth_token": token}}
    logged_in, with_token = (
        queues.Client(guarded.url, version=2, conf={"auth_opts": auth}, session=session)
        for auth in ({"backend": "keystone", "options": {}}, bare)
    )
    assert list(with_token.queues()[0]) == list(logged_in.queues()[0]) == []
    end = end_of(keystone, token)
    while time.time() < end:
        time.sleep(0.1)

    with pytest.raises(errors.UnauthorizedError):
        with_token.queues()
    assert list(logged_in.queues()[0]) == []


@pytest.mark.parametrize("path", [PATH, "/v1.1/queues/q/messages"])
def test_signed_url_needs_no_token_and_grants_what_it_says(
    guarded: Server, keystone: KeystoneServer, path: str
) -> None:
    owner = Api(guarded.address, project=keystone.ids["blue"])
    guest = Guest.forged(owner, path, methods=("GET",))
    claimed: dict[str, str | None] = {
        name: "admin" for name in ("X-Roles", "X_Roles", "X-User-Id", "X-Tenant-Id")
    }

    for headers in ({}, claimed, {"X-Auth-Token": "garbage"}):
        found = guest.request("GET", path, headers=headers)
        if path == PATH:
            assert found.status == 200
        for method, other in (
            ("POST", path),
            ("DELETE", f"{path}/x"),
            ("GET", "/v2/queues"),
            ("GET", "/v2/health"),
            ("GET", "/v2/queues/q/claims/x"),
            ("GET", "/v2/queues/r/messages"),
        ):
            assert_error(guest.request(method, other, headers=headers), *NO_ROUTE)
    if path != PATH:
        assert_error(found, *NO_ROUTE)
    other_project = {"X-Project-ID": keystone.ids["red"]}
    assert_error(guest.request("GET", path, headers=other_project), *NO_ROUTE)


def test_bad_names_are_refused_with_a_token_too(
    guarded: Server, keystone: KeystoneServer
) -> None:
    user = bearer(guarded, keystone.token("blue-member", "blue"))

    for name in NAMES + [quoted(name) for name in LOOK_ALIKES]:
        answer = user.get(f"/v2/queues/{name}")
        if answer.status != 404 or "%2f" not in name.lower():
            assert_error(answer, 400, "Invalid queue identification")

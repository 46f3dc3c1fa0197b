# SPDX-License-Identifier: Apache-2.0
"""Requests that Keystone or a role refuses are in the log, their tokens are not."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.api.bearer import Bearer
from tests.api.wire import Answer
from tests.keystone_servers import KeystoneServer
from tests.servers import Server, free_port, merge

Start = Callable[..., Server]

QUEUE = "/v2/queues/logged"


@pytest.fixture
def start(servers: Start, keystone: KeystoneServer, engine: str) -> Start:
    """Return a function that starts a server, with changes of what asks Keystone."""

    def start(**asking: object) -> Server:
        options = keystone.options(**asking)
        return servers(merge(options, {"server": {"engine": engine, "threads": 3}}))

    return start


def lines(server: Server, answer: Answer) -> list[dict[str, Any]]:
    """Return what the log tells of the request that got this answer."""
    request_id = answer.headers["x-openstack-request-id"]
    logged = [
        json.loads(line)
        for line in server.output().splitlines()
        if line.startswith("{")
    ]
    return [line for line in logged if line.get("request_id") == request_id]


def assert_logged(server: Server, answer: Answer, method: str, status: int) -> None:
    assert answer.status == status, answer
    [line] = lines(server, answer)
    assert (line["method"], line["path"], line["status"]) == (method, QUEUE, status)
    assert line["ms"] >= 0


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_refused_token_is_logged_without_the_token(start: Start, method: str) -> None:
    server, token = start(), f"no-token-of-anybody-{method}"

    answer = Bearer(server.address, token=token).request(method, QUEUE)
    service = {"X-Service-Token": f"{token}-service"}
    beside = Bearer(server.address, token=token).request(method, QUEUE, headers=service)

    for each in (answer, beside):
        assert_logged(server, each, method, 401)
    assert token not in server.output()


def test_revoked_token_is_logged_without_the_token(
    start: Start, keystone: KeystoneServer
) -> None:
    server, token = start(), keystone.token("blue-member", "blue")
    keystone.revoke(token)

    answer = Bearer(server.address, token=token).get(QUEUE)

    assert_logged(server, answer, "GET", 401)
    assert token not in server.output()


def test_refused_role_is_logged_with_the_project(
    start: Start, keystone: KeystoneServer
) -> None:
    server, token = start(), keystone.token("blue-reader", "blue")

    # The second is one whose token is remembered.
    for _ in range(2):
        answer = Bearer(server.address, token=token).put(QUEUE)

        assert_logged(server, answer, "PUT", 403)
        assert lines(server, answer)[0]["project"] == keystone.ids["blue"]
    assert token not in server.output()


def test_absence_of_keystone_is_logged_without_the_token(
    start: Start, keystone: KeystoneServer
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/v3"
    server = start(auth_url=nowhere, http_request_max_retries=0)
    token = keystone.token("blue-member", "blue")

    # The second comes while nobody is asked.
    for _ in range(2):
        answer = Bearer(server.address, token=token).get(QUEUE)

        assert_logged(server, answer, "GET", 503)
    # The reason is in the log too.
    assert f"Unable to establish connection to {nowhere}" in server.output()
    assert token not in server.output()

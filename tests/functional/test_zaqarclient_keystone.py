# SPDX-License-Identifier: Apache-2.0
"""The real python-zaqarclient with keystoneauth, against a service behind Keystone."""

from collections.abc import Callable
from typing import Any

import pytest
from keystoneauth1.exceptions import EndpointNotFound, Unauthorized
from keystoneauth1.identity import v3
from keystoneauth1.session import Session
from zaqarclient.queues import client as queues
from zaqarclient.transport import errors

from tests.keystone_servers import PASSWORD, KeystoneServer
from tests.servers import Server, merge

Start = Callable[..., Server]


@pytest.fixture
def guarded(servers: Start, keystone: KeystoneServer) -> Server:
    return servers(merge(keystone.options(), {"server": {"workers": 2}}))


def connect(url: str | None, session: Session | None = None, **options: str) -> Any:
    conf = {"auth_opts": {"backend": "keystone", "options": options}}
    return queues.Client(url, version=2, conf=conf, session=session)


def login(keystone: KeystoneServer, **changes: str) -> dict[str, str]:
    """Return what users have in their environment, as options of the client."""
    return {
        "os_auth_url": keystone.url,
        "os_username": "red-member",
        "os_password": PASSWORD,
        "os_project_name": "red",
        "os_user_domain_id": "default",
        "os_project_domain_id": "default",
        **changes,
    }


def session_of(keystone: KeystoneServer) -> Session:
    """Return what Heat and Mistral give to the client."""
    options = {name[3:]: value for name, value in login(keystone).items()}
    return Session(auth=v3.Password(**options))


def names(client: Any) -> list[str]:
    return [queue.name for queue in client.queues()[0]]


@pytest.mark.parametrize("way", ["password", "session", "token"])
def test_client_logs_in_and_works_with_messages(
    guarded: Server, keystone: KeystoneServer, way: str
) -> None:
    if way == "session":
        client = connect(guarded.url, session_of(keystone))
    elif way == "token":
        token = keystone.token("red-member", "red")
        client = connect(guarded.url, os_auth_token=token)
    else:
        client = connect(guarded.url, **login(keystone))

    queue = client.queue(way, force_create=True)
    queue.post([{"body": n, "ttl": 300} for n in range(3)])
    claimed = list(queue.claim(ttl=60, grace=60, limit=2))
    claimed[0].delete()

    assert [message.body for message in claimed] == [0, 1]
    counts = queue.stats["messages"]
    assert [counts[name] for name in ("claimed", "free", "total")] == [1, 1, 2]
    assert way in names(client)
    stranger = connect(
        guarded.url,
        **login(keystone, os_username="blue-member", os_project_name="blue"),
    )
    assert way not in names(stranger)
    queue.delete()
    assert way not in names(client)


def test_client_finds_the_service_in_the_catalog(
    guarded: Server, keystone: KeystoneServer
) -> None:
    with keystone.catalog("messaging", guarded.url):
        client = connect(None, **login(keystone))
        client.queue("found", force_create=True)

        assert "found" in names(connect(None, session_of(keystone)))
    with pytest.raises(EndpointNotFound):
        names(connect(None, **login(keystone)))


def test_wrong_password_is_told_by_keystone(
    guarded: Server, keystone: KeystoneServer
) -> None:
    client = connect(guarded.url, **login(keystone, os_password="wrong"))

    with pytest.raises(Unauthorized):
        names(client)


def test_token_that_is_not_valid_is_told_by_the_service(
    guarded: Server, keystone: KeystoneServer
) -> None:
    revoked = keystone.token("red-member", "red")
    keystone.revoke(revoked)

    for token in (revoked, "garbage"):
        client = connect(guarded.url, os_auth_token=token)
        with pytest.raises(errors.UnauthorizedError, match="valid token"):
            names(client)


def test_reader_is_told_what_it_may_not_do(
    guarded: Server, keystone: KeystoneServer
) -> None:
    client = connect(guarded.url, **login(keystone, os_username="red-reader"))

    assert isinstance(names(client), list)
    with pytest.raises(errors.ForbiddenError):
        client.queue("q", force_create=True)

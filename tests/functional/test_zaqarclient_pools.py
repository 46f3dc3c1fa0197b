# SPDX-License-Identifier: Apache-2.0
"""The pool and flavor calls of the real python-zaqarclient, as its commands use them.

The client sends no roles without Keystone, so the rules are open.
"""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from zaqarclient.queues import client as queues
from zaqarclient.transport import errors

from tests.pooled import Admin
from tests.servers import Server
from zaqar.policy import RULES


@pytest.fixture
def client(servers: Callable[..., Server]) -> Iterator[Any]:
    server = servers(
        {"DEFAULT": {"pooling": True}, "server": {"workers": 2}},
        policy=dict.fromkeys(RULES, ""),
    )
    options = {
        "backend": "noauth",
        "options": {"os_project_id": uuid.uuid4().hex},
    }
    yield queues.Client(server.url, version=2, conf={"auth_opts": options})
    Admin(server.address).clear()


def uri() -> str:
    return f"sqlite:///pools/{uuid.uuid4().hex}.db"


def test_pool_is_created_shown_changed_and_deleted(client: Any) -> None:
    place = uri()
    pool = client.pool("p", uri=place, weight=10, options={"synchronous": "FULL"})

    shown = {"name": "p", "href": "/v2/pools/p", "uri": place, "flavor": None}
    assert pool.get() == shown | {"weight": 10}

    pool.update({"weight": 20})
    assert pool.weight == 20
    assert pool.get() == shown | {"weight": 20}

    pool.delete()
    pool.delete()
    with pytest.raises(errors.ResourceNotFound):
        pool.get()


def test_pools_are_listed_and_streamed(client: Any) -> None:
    for name in ("a", "b", "c"):
        client.pool(name, uri=uri(), weight=1)

    found = list(client.pools(limit=2))
    assert [(pool.name, pool.weight) for pool in found] == [("a", 1), ("b", 1)]
    assert [pool.name for pool in client.pools(limit=2).stream()] == ["a", "b", "c"]
    [last] = client.pools(marker="b", detailed=True)
    assert last.options == {}


def test_flavor_is_created_shown_changed_and_deleted(client: Any) -> None:
    for name in ("a", "b", "plain"):
        client.pool(name, uri=uri(), weight=1)

    flavor = client.flavor("gold", pool_list=["a"])
    shown = flavor.get()
    assert (shown["name"], shown["pool_list"]) == ("gold", ["a"])
    assert "FIFO" in shown["capabilities"]

    flavor.update({"pool_list": ["a", "b"]})
    assert flavor.get()["pool_list"] == ["a", "b"]
    [listed] = client.flavors(detailed=True)
    assert (listed.name, listed.pool_list) == ("gold", ["a", "b"])

    queue = client.queue("q", force_create=True)
    queue.metadata({"_flavor": "gold"})
    assert client.queue("q").metadata()["_flavor"] == "gold"

    flavor.delete()
    with pytest.raises(errors.ResourceNotFound):
        flavor.get()


def test_refusals_reach_the_caller_with_their_reason(client: Any) -> None:
    place = uri()
    client.pool("a", uri=place, weight=1)
    client.flavor("gold", pool_list=["a"])

    with pytest.raises(errors.ConflictError, match="pool a"):
        client.pool("b", uri=place, weight=1)
    with pytest.raises(errors.MalformedRequest, match="nosuch does not exist"):
        client.flavor("silver", pool_list=["nosuch"])
    with pytest.raises(errors.ForbiddenError, match="only one of flavor gold"):
        client.pool("a", auto_create=False).delete()

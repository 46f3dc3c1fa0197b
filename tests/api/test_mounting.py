# SPDX-License-Identifier: Apache-2.0
"""The WSGI application under a plain gunicorn, at the root and below a prefix."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.signed import Guest
from tests.api.wire import NO_ROUTE, Api, assert_error
from tests.servers import Server

GUNICORN = (
    "gunicorn",
    "--bind={address}",
    "--worker-class=zaqar.server.buffering.Worker",
    "--threads=4",
    "--workers=2",
    "--no-control-socket",
    "zaqar.transport.wsgi.app:application",
)
BARE = {"Client-ID": None, "X-Project-ID": None}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    (tmp_path / "policy.yaml").write_text("{}")
    running = []

    def started(**environment: str) -> Server:
        server = Server(tmp_path, command=GUNICORN, environment=environment)
        running.append(server)
        server.wait_until_ready(environment.get("SCRIPT_NAME", "") + "/readyz")
        return server

    yield started
    for server in running:
        server.stop()


def self_link(document: dict[str, Any]) -> str:
    href: str = document["links"][0]["href"]
    return href


def test_application_serves_under_plain_gunicorn(start: Callable[..., Server]) -> None:
    api = Api(start().address)

    api.send("q", "a", "b")
    claimed = api.claim("q", 1)
    assert api.delete(claimed.json["messages"][0]["href"]).status == 204
    assert api.delete("/v2/queues/q/messages", pop=5).bodies == ["b"]


def test_version_links_carry_the_mount_prefix_and_other_links_do_not(
    start: Callable[..., Server],
) -> None:
    api = Api(start(SCRIPT_NAME="/messaging").address)

    versions = api.get("/messaging/", headers=BARE)
    home = api.get("/messaging/v2", headers=BARE)
    queue = api.put("/messaging/v2/queues/q")
    posted = api.post("/messaging/v2/queues/q/messages", {"messages": [{"body": 1}]})
    listed = api.get("/messaging/v2/queues/q/messages?echo=true")
    queues = api.get("/messaging/v2/queues")
    claim = api.post("/messaging/v2/queues/q/claims")

    [entry] = [v for v in versions.json["versions"] if v["id"] == "2"]
    assert self_link(entry) == self_link(home.json["version"]) == "/messaging/v2/"
    # Clients glue these on their endpoint, which has the prefix already.
    hrefs = [
        queue.headers["Location"],
        posted.headers["Location"],
        *posted.json["resources"],
        listed.next,
        listed.json["messages"][0]["href"],
        queues.next,
        queues.json["queues"][0]["href"],
        claim.headers["Location"],
        claim.json["messages"][0]["href"],
    ]
    assert [href for href in hrefs if not href.startswith("/v2/queues")] == []


def test_signed_urls_are_good_below_the_prefix(start: Callable[..., Server]) -> None:
    """The paths that are signed have no prefix, for it is the proxy's."""
    api = Api(start(SCRIPT_NAME="/messaging").address)
    answer = api.post("/messaging/v2/queues/q/share", {})
    guest = Guest.of(api, answer)

    assert answer.json["paths"] == ["/v2/queues/q/messages"]
    assert guest.request("GET", "/messaging/v2/queues/q/messages").status == 200
    refused = guest.request("GET", "/messaging/v2/queues/r/messages")
    assert_error(refused, *NO_ROUTE)

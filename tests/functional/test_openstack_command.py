# SPDX-License-Identifier: Apache-2.0
"""`openstack messaging pool`, `flavor`, `subscription`: commands of python-zaqarclient.

They know no other way in than a token; so a proxy stands where Keystone's would, which
says who asks. ZAQAR_TEST_OPENSTACK names the program where it is not beside Python.
"""

import http.client
import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.pooled import Admin
from tests.servers import Server

PROGRAM = os.environ.get("ZAQAR_TEST_OPENSTACK") or str(
    Path(sys.executable).with_name("openstack")
)
pytestmark = pytest.mark.skipif(
    not Path(PROGRAM).exists(), reason="python-openstackclient is not installed"
)

Run = Callable[..., Any]


def proxy(address: tuple[str, int]) -> ThreadingHTTPServer:
    """Return a server that asks the other one in the name of an administrator."""
    identity = {"X-Project-ID": uuid.uuid4().hex, "X-Roles": "admin"}

    class Handler(BaseHTTPRequestHandler):
        def forward(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            connection = http.client.HTTPConnection(*address, timeout=20)
            headers = {k: v for k, v in self.headers.items() if k != "Host"}
            connection.request(
                self.command, self.path, self.rfile.read(length), headers | identity
            )
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_PATCH = do_DELETE = do_POST = forward

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def openstack(servers: Callable[..., Server]) -> Iterator[Run]:
    """Return a function that runs a messaging command and returns what it prints."""
    server = servers({"DEFAULT": {"pooling": True}, "server": {"workers": 2}})
    front = proxy(server.address)
    threading.Thread(target=front.serve_forever, daemon=True).start()
    login = [
        "--os-auth-type=admin_token",
        "--os-token=token",
        f"--os-endpoint=http://127.0.0.1:{front.server_port}",
    ]
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}

    def run(*words: str, shows: bool = True) -> Any:
        form = ["-f", "json"] if shows else []
        done = subprocess.run(
            [PROGRAM, *login, "messaging", *words, *form],
            capture_output=True,
            env=clean,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if shows else None

    yield run
    front.shutdown()
    front.server_close()
    Admin(server.address).clear()


def uri() -> str:
    return f"sqlite:///pools/{uuid.uuid4().hex}.db"


def test_pools_and_flavors_are_managed_by_the_commands(openstack: Run) -> None:
    place = uri()

    made = openstack("pool", "create", "p", place, "10")
    assert (made["Name"], made["Weight"]) == ("p", 10)
    openstack("pool", "create", "plain", uri(), "1")
    shown = openstack("pool", "show", "p")
    assert (shown["URI"], shown["Flavor"]) == (place, None)
    changed = openstack("pool", "update", "p", "--pool_weight", "20")
    assert changed["Weight"] == 20
    listed = openstack("pool", "list", "--detailed")
    assert [(each["Name"], each["Weight"]) for each in listed] == [
        ("p", 20),
        ("plain", 1),
    ]

    made = openstack("flavor", "create", "gold", "--pool_list", "p")
    assert made["Name"] == "gold"
    shown = openstack("flavor", "show", "gold")
    assert shown["Pool list"] == ["p"]
    assert "FIFO" in shown["Capabilities"]
    changed = openstack("flavor", "update", "gold", "--pool_list", "p,plain")
    assert changed["Name"] == "gold"
    [listed] = openstack("flavor", "list", "--detailed")
    assert listed["Name"] == "gold"

    openstack("flavor", "delete", "gold", shows=False)
    assert openstack("flavor", "list") == []
    openstack("pool", "delete", "p", shows=False)
    assert [each["Name"] for each in openstack("pool", "list")] == ["plain"]


def test_subscriptions_are_managed_by_the_commands(openstack: Run) -> None:
    openstack("pool", "create", "p", uri(), "1")
    subscriber = "mailto:ada@example.org"

    made = openstack("subscription", "create", "q", subscriber, "600")
    again = openstack(
        "subscription", "create", "q", "mailto:eve@example.org", "60",
        "--options", '{"from": "Ada"}',
    )  # fmt: skip
    assert (made["Subscriber"], made["TTL"]) == (subscriber, 600)
    assert again["Options"] == {"from": "Ada"}

    openstack("subscription", "update", "q", made["ID"], "--ttl", "900", shows=False)
    shown = openstack("subscription", "show", "q", made["ID"])
    assert (shown["Subscriber"], shown["TTL"]) == (subscriber, 900)
    assert shown["Confirmed"] is False

    listed = openstack("subscription", "list", "q")
    assert [each["ID"] for each in listed] == [made["ID"], again["ID"]]
    behind = openstack("subscription", "list", "q", "--marker", made["ID"])
    assert [each["ID"] for each in behind] == [again["ID"]]

    openstack("subscription", "delete", "q", made["ID"], shows=False)
    [left] = openstack("subscription", "list", "q")
    assert left["ID"] == again["ID"]
    openstack("queue", "delete", "q", shows=False)

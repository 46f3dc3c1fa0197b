# SPDX-License-Identifier: Apache-2.0
"""A message starts a workflow, as Heat's OS::Zaqar::MistralTrigger arranges it.

Keystone and the service are real; Mistral is a subscriber that looks at its token.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.functional.subscribers import Sink, until
from tests.keystone_servers import PASSWORD, KeystoneServer
from tests.servers import Server, merge

# Heat's "for ever", in the year 9000.
FOR_EVER = 220367260800


@pytest.fixture
def server(tmp_path: Path, keystone: KeystoneServer) -> Iterator[Server]:
    trustee = {
        "auth_type": "password",
        "auth_url": keystone.url,
        "username": "zaqar",
        "password": PASSWORD,
        "user_domain_id": "default",
        "timeout": 60,
    }
    options = {"notification": {"allow_private_targets": True, "deliver": True}}
    server = Server(
        tmp_path, merge(keystone.options(), merge(options, {"trustee": trustee}))
    )
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.kill()


@pytest.fixture
def mistral() -> Iterator[Sink]:
    mistral = Sink()
    yield mistral
    mistral.close()


def trust_of(keystone: KeystoneServer, token: str) -> Any:
    """Return what Keystone says of a token that was sent to a subscriber."""
    answer = requests.get(
        f"{keystone.url}/auth/tokens",
        headers={
            "X-Auth-Token": keystone.token("zaqar", "service"),
            "X-Subject-Token": token,
        },
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["token"]


def test_message_starts_a_workflow_in_the_name_of_who_subscribed(
    server: Server, keystone: KeystoneServer, mistral: Sink
) -> None:
    headers = {
        "X-Auth-Token": keystone.token("red-member", "red"),
        "Client-ID": "9f5b8f64-6f0b-4c9f-8a53-2d1f1a0c6a11",
    }
    url = f"{server.url}/v2/queues/signals"
    # As Heat writes it: the queue with its metadata, then the subscription.
    execution = {
        "workflow_id": "5a2b1c3e-0d4f-4f7e-9d51-63c6b1f2a9c0",
        "params": {"env": {"notification": "$zaqar_message$"}},
        "input": {"server": "web-7"},
    }
    wish = {
        "subscriber": "trust+" + mistral.url("/v2/executions"),
        "ttl": FOR_EVER,
        "options": {"post_data": json.dumps(execution)},
    }
    assert requests.put(url, json={}, headers=headers, timeout=60).status_code == 201
    made = requests.post(f"{url}/subscriptions", json=wish, headers=headers, timeout=60)
    assert made.status_code == 201, made.text

    body = {"event": "scale up", "by": 2}
    posted = requests.post(
        f"{url}/messages",
        json={"messages": [{"body": body, "ttl": 300}]},
        headers=headers,
        timeout=60,
    )

    assert posted.status_code == 201, posted.text
    until(lambda: "/v2/executions" in mistral.taken)
    [started] = mistral.taken["/v2/executions"]
    notification = started["params"]["env"].pop("notification")
    assert started == {**execution, "params": {"env": {}}}
    assert notification == {
        "ttl": 300,
        "body": body,
        "Message_Type": "Notification",
        "queue_name": "signals",
    }
    [sent] = mistral.headers["/v2/executions"]
    assert sent["Content-Type"] == "application/json"
    token = trust_of(keystone, sent["X-Auth-Token"])
    assert token["user"]["name"] == "red-member"
    assert token["project"]["id"] == keystone.ids["red"]
    assert "OS-TRUST:trust" in token

# SPDX-License-Identifier: Apache-2.0
"""Facts of the commands on deliveries."""

import time
from contextlib import closing

import pytest

from tests.contract.arrange import create, post
from tests.contract.subscriptions import subscribe
from tests.manage.conftest import Deployment
from zaqar import conf
from zaqar.manage.opened import opened_store
from zaqar.model import Attempt, Delivery, Notice, QueueKey, Settled, space_of

P = ("--project", "p")


@pytest.mark.parametrize("kind", ["queues", "topics"])
def test_failed_deliveries_are_listed_and_replayed(
    deployment: Deployment, kind: str
) -> None:
    deployment.configure({"pooling:catalog": {"enable_virtual_pool": True}})
    now = time.time()
    key = QueueKey(space_of("p", kind), "q")
    topic = ["--topic"] if kind == "topics" else []
    settings = conf.load([f"--config-file={deployment.file}"])
    with closing(opened_store(settings)) as store:
        create(store, key, now=now)
        id = subscribe(store, key=key, ttl=10**6, now=now).id
        [message] = post(store, key=key, now=now)
        store.lease_outboxes("me", seconds=60, limit=5, now=now)
        failed = Delivery(id, Notice(message, b'"body"', 300), 14, None)
        attempt = Attempt(message, now, 0.25, False, 404, "It said 404.")
        settled = Settled((message,), (failed,), attempts={id: (attempt,)})
        store.settle_outbox(key, "me", settled, seconds=60, now=now)

    listed = deployment.json("delivery", "list", *P, *topic, "q", id)
    text = deployment.run("delivery", "list", *P, *topic, "q", id).out
    none = deployment.json("delivery", "replay", *P, *topic, "q", id, "--message", "x")
    replayed = deployment.json("delivery", "replay", *P, *topic, "q", id)
    after = deployment.json("delivery", "list", *P, *topic, "q", id)

    shown = {"message_id": message, "state": "failed", "failures": 14, "retry_in": None}
    assert listed["deliveries"] == [shown]
    assert listed["attempts"] == [
        {
            "message_id": message,
            "at": now,
            "seconds": 0.25,
            "delivered": False,
            "status": 404,
            "error": "It said 404.",
        }
    ]
    assert "404" in text and "failed" in text
    assert (none, replayed) == ({"replayed": 0}, {"replayed": 1})
    assert [each["state"] for each in after["deliveries"]] == ["waiting"]


def test_absent_subscription_is_told(deployment: Deployment) -> None:
    done = deployment.run("delivery", "list", *P, "q", "s")

    assert done.code == 1
    assert "q" in done.err

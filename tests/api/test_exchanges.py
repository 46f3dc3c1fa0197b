# SPDX-License-Identifier: Apache-2.0
"""Every recorded exchange is answered as the contract says."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.api.exchanges import Replay, Step, scenarios
from tests.api.wire import Api
from tests.pooled import ALL, PLACES, Place
from tests.servers import Options, Server, merge
from tests.stores import on_each_store
from zaqar.policy import RULES

RECORDED = scenarios("v2.jsonl") | scenarios("v1_1.jsonl", "v1.1 ")
# They need databases of their own, and are replayed on each driver below.
POOLED = {name: RECORDED[name] for name in ("pools-flavors", "v1.1 pools-flavors")}
OPEN = dict.fromkeys(RULES, "")

# What was recorded where the contract says otherwise without a mark in the recording.
CORRECTED = {
    # Links keep the filters of the request.
    ("queues", 22): {
        "queues": [{"name": "q1", "href": "/v2/queues/q1"}],
        "links": [{"rel": "next", "href": "/v2/queues?k=v&a=1&marker=q1"}],
    },
}
# Keys that the contract leaves free.
OPTIONAL = {
    ("discovery", 2): frozenset({"version"}),
    ("v1.1 discovery", 1): frozenset({"version"}),
    ("health-admin", 0): frozenset({"message_volume"}),
    ("v1.1 health-admin", 0): frozenset({"message_volume"}),
}


def replay_of(scenario: str, servers: Callable[..., Server], server: Server) -> Replay:
    """Return a replay against a server with the options that the scenario needs."""
    config = RECORDED[scenario][0].get("config", {})
    options: dict[str, object] = {}
    transport = {}
    if scenario == "queue-attributes":
        # The reference has a built-in key.
        transport["message_encryption_allow_builtin_key"] = True
    if scenario == "discovery":
        # Recorded without v1.1.
        options["enable_deprecated_api_versions"] = ""
    notification = {}
    if scenario == "subscriptions":
        # Recorded with subscribers on the machine itself.
        notification["allow_private_targets"] = True
    policy = {}
    if "policy" in config:
        policy = {config["policy"].removesuffix(" open"): ""}
    if options or transport or notification or policy:
        groups = {"DEFAULT": options, "transport": transport}
        server = servers(groups | {"notification": notification}, policy=policy)
    return Replay(Api(server.address))


def run(replay: Replay, step: Step) -> list[str]:
    """Run one step and return what is wrong, with the step's name in front."""
    place = step["scenario"], step["step"]
    body = CORRECTED.get(place, step["response_body"])
    expected = step | {"response_body": body}
    found = replay.run(expected, OPTIONAL.get(place, frozenset()))
    return [f"{step['step']} {step['name']}: {text}" for text in found]


@on_each_store
@pytest.mark.parametrize("scenario", [name for name in RECORDED if name not in POOLED])
def test_scenario_is_answered_as_recorded(
    scenario: str,
    servers: Callable[..., Server],
    server: Server,
    store_options: Options,
) -> None:
    replay = replay_of(scenario, servers, server)
    is_pooled = "pooling" in store_options.get("DEFAULT", {})

    wrong = [
        text
        for step in RECORDED[scenario]
        for text in run(replay, with_pools(step) if is_pooled else step)
    ]

    assert not wrong, "\n".join(wrong)


def with_pools(step: Step) -> Step:
    """Return the step as it is with the default pool; it was recorded without pools."""
    if not step["path"].endswith("/health") or step["status"] != 200:
        return step
    of_store = dict(step["response_body"])
    of_store.pop("message_volume")
    return step | {"response_body": {"catalog_reachable": True, "default": of_store}}


def on(place: Place, step: Step) -> Step:
    """Return the step as it is with that driver; it was recorded on MongoDB."""
    text = json.dumps(step)
    for recorded, own in (
        ({"max_retry_sleep": 1}, place.settings),
        (list(ALL), list(place.capabilities)),
    ):
        text = text.replace(json.dumps(recorded), json.dumps(own))
    changed: Step = json.loads(text)
    return changed


@pytest.mark.parametrize("driver", PLACES)
@pytest.mark.parametrize("scenario", POOLED)
def test_scenario_of_pools_is_answered_as_recorded(
    scenario: str, driver: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place = PLACES[driver](request)
    (tmp_path / "policy.yaml").write_text(json.dumps(OPEN))
    server = Server(tmp_path, merge({"DEFAULT": {"pooling": True}}, place.options))
    try:
        server.wait_until_ready()
        replay = Replay(Api(server.address), list(place.uris))

        wrong = [
            text for step in POOLED[scenario] for text in run(replay, on(place, step))
        ]

        server.stop()
    finally:
        if server.process.poll() is None:
            server.kill()
    assert not wrong, "\n".join(wrong)

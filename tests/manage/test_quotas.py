# SPDX-License-Identifier: Apache-2.0
"""Facts of the commands on quotas."""

import pytest

from tests.manage.conftest import Deployment
from zaqar.quotas import FIELDS

P = ("--project", "p")
NOTHING = dict.fromkeys(FIELDS)


def view(own: dict[str, object], **holding: object) -> dict[str, object]:
    return {"quota": {"project": "p", **NOTHING, **holding, "own": own}}


def test_quotas_are_set_shown_listed_and_unset(each: Deployment) -> None:
    first = each.json("quota", "set", *P, "--queues", "5", "--requests-per-second=2.5")
    second = each.json("quota", "set", *P, "--messages", "unlimited", "--queues=6")
    each.json("quota", "set", "--project", "a", "--burst", "9")
    shown = each.json("quota", "show", *P)
    listed = each.json("quota", "list")
    third = each.json("quota", "unset", *P, "--queues", "--messages", "--bytes")
    last = each.json("quota", "unset", *P)

    rate = {"requests_per_second": 2.5}
    assert first == view({"queues": 5, **rate}, queues=5, **rate)
    own = {"queues": 6, "messages": "unlimited", **rate}
    assert second == shown == view(own, queues=6, **rate)
    assert listed == {"quotas": [{"project": "a", "burst": 9}, {"project": "p", **own}]}
    assert third == view(rate, **rate)
    assert last == view({})
    assert each.json("quota", "list") == {"quotas": [{"project": "a", "burst": 9}]}


def test_what_is_not_set_is_as_the_options_say(deployment: Deployment) -> None:
    deployment.configure({"quota": {"queues": 7, "bytes": 100, "per_project": True}})

    found = deployment.json("quota", "set", *P, "--bytes", "unlimited")
    text = deployment.run("quota", "show", *P).out

    assert found == view({"bytes": "unlimited"}, queues=7)
    assert "7 (default)" in text
    assert "unlimited (default)" in text
    assert "│ bytes               │ unlimited " in text


def test_a_table_tells_what_is_default(deployment: Deployment) -> None:
    deployment.json("quota", "set", *P, "--queues", "5")

    text = deployment.run("quota", "list").out

    assert "requests_per_second" in text
    assert "default" in text
    assert " 5 " in text


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ((), 1, "nothing to set"),
        (("--queues", "-2"), 1, "queues must be an integer from 0"),
        (("--queues", "many"), 2, "neither a number nor 'unlimited'"),
        (("--queues", "1.5"), 1, "queues must be an integer"),
        (("--burst", "0"), 1, "burst must be an integer from 1"),
        (("--bytes", "9007199254740993"), 1, "bytes must be"),
        (("--requests-per-second", "0"), 1, "requests_per_second must be 0.001"),
        (("--requests-per-second", "nan"), 1, "requests_per_second must be"),
    ],
)
def test_what_cannot_be_is_refused(
    deployment: Deployment, words: tuple[str, ...], code: int, told: str
) -> None:
    done = deployment.run("quota", "set", *P, *words)

    assert done.code == code
    assert told in done.err
    assert deployment.json("quota", "list") == {"quotas": []}


@pytest.mark.parametrize("project", ["", "x" * 257])
def test_a_project_that_no_client_can_name_is_refused(
    deployment: Deployment, project: str
) -> None:
    assert deployment.run("quota", "set", "--project", project, "--queues=1").code == 1


def test_what_cannot_be_read_is_told_and_can_be_removed(deployment: Deployment) -> None:
    registry = deployment.registry()
    registry.set_quota("p", b"nonsense")
    registry.close()

    for words in (("list",), ("show", *P), ("set", *P, "--queues=1")):
        done = deployment.run("quota", *words)
        assert (done.code, "Project p" in done.err) == (1, True)

    assert deployment.json("quota", "unset", *P) == view({})
    assert deployment.json("quota", "list") == {"quotas": []}


def test_more_projects_than_a_page_are_listed(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zaqar.manage.quotas.PAGE", 2)
    for number in range(5):
        deployment.json("quota", "set", "--project", str(number), "--queues=1")

    found = deployment.json("quota", "list")["quotas"]

    assert [each["project"] for each in found] == list("01234")


def test_it_is_said_if_servers_do_not_look_at_them(deployment: Deployment) -> None:
    silent = deployment.run("quota", "list")
    deployment.configure(
        {"quota": {"per_project": True}, "DEFAULT": {"pooling": False}}
    )
    heard = deployment.run("quota", "list")

    assert "per_project = true" in silent.err
    assert heard.err == ""

# SPDX-License-Identifier: Apache-2.0
"""Facts of the commands on the map of queues."""

from contextlib import closing

import pytest

from tests.manage.conftest import Deployment
from zaqar.errors import StorageUnavailable
from zaqar.manage import queues, states
from zaqar.model import QueueKey
from zaqar.storage.sqlite.store import SqliteStore

PROJECT = ("--project", "p")


def create(deployment: Deployment, *names: str) -> None:
    for name in names:
        deployment.json("pool", "create", name, "--uri", f"sqlite:///{name}.db")


def adopt(deployment: Deployment, pool: str = "one") -> dict[str, object]:
    found: dict[str, object] = deployment.json(
        "queue", "adopt", "--pool", pool, *PROJECT
    )
    return found


def test_queues_of_a_store_that_was_there_before_are_adopted(each: Deployment) -> None:
    create(each, "one")
    each.put("sqlite:///one.db", "p", "a", "b")
    each.put("sqlite:///one.db", "q", "c")

    first, second = adopt(each), adopt(each)

    assert first == {
        "pool": "one",
        "project": "p",
        "adopted": ["a", "b"],
        "known": [],
        "elsewhere": [],
    }
    assert second == first | {"adopted": [], "known": ["a", "b"]}
    assert each.json("queue", "list", *PROJECT) == {
        "project": "p",
        "queues": [{"name": "a", "pool": "one"}, {"name": "b", "pool": "one"}],
    }
    assert each.json("queue", "list", "--project", "q")["queues"] == []


def test_a_bound_queue_is_never_bound_again(each: Deployment) -> None:
    create(each, "one", "two")
    each.put("sqlite:///one.db", "p", "a")
    each.bind("two", "p", "a")
    with closing(each.registry()) as registry:
        before = registry.find_queue(QueueKey("p", "a"))

        found = adopt(each)

        assert (found["adopted"], found["elsewhere"]) == ([], ["a"])
        assert registry.find_queue(QueueKey("p", "a")) == before


def test_queues_of_a_pool_that_was_removed_by_mistake_come_back(
    deployment: Deployment,
) -> None:
    create(deployment, "one")
    deployment.put("sqlite:///one.db", "p", "a")
    adopt(deployment)
    deployment.json("pool", "delete", "one", "--force")
    create(deployment, "one")

    assert adopt(deployment)["adopted"] == ["a"]
    assert deployment.json("queue", "where", "a", *PROJECT)["state"] == "exists"


def test_more_queues_than_a_page_are_adopted(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "CHUNK", 2)
    monkeypatch.setattr(states, "CHUNK", 2)
    create(deployment, "one")
    names = ["a", "b", "c", "d", "e"]
    deployment.put("sqlite:///one.db", "p", *names)

    assert adopt(deployment)["adopted"] == names
    assert [
        each["name"] for each in deployment.json("queue", "list", *PROJECT)["queues"]
    ] == names


def test_the_place_of_a_queue_is_told(each: Deployment) -> None:
    create(each, "one")
    each.put("sqlite:///one.db", "p", "a")
    adopt(each)
    each.bind("one", "p", "absent")

    there = each.json("queue", "where", "a", *PROJECT)
    absent = each.json("queue", "where", "absent", *PROJECT)
    unknown = each.run("queue", "where", "unknown", *PROJECT)

    assert there == {"name": "a", "project": "p", "pool": "one", "state": "exists"}
    assert absent["state"] == "absent"
    assert (unknown.code, unknown.out) == (1, "")
    assert "bound to no pool" in unknown.err


def test_a_queue_whose_pool_is_gone_is_told(deployment: Deployment) -> None:
    create(deployment, "one")
    deployment.bind("one", "p", "a")
    deployment.json("pool", "delete", "one", "--force")

    done = deployment.run("queue", "where", "a", *PROJECT, "--format", "json")
    listed = deployment.run("queue", "list", *PROJECT)

    assert done.document["state"] == "gone"
    assert done.document["pool"] is None
    assert "The pool was removed" in done.err
    assert "(removed)" in listed.out


def test_a_queue_whose_pool_is_down_is_told(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: SqliteStore, key: QueueKey) -> None:
        raise StorageUnavailable("It is down.")

    create(deployment, "one")
    deployment.bind("one", "p", "a")
    monkeypatch.setattr(SqliteStore, "get_queue", fail)

    found = deployment.json("queue", "where", "a", *PROJECT)

    assert (found["pool"], found["state"]) == ("one", "unreachable")


def test_queues_of_one_pool_are_listed(deployment: Deployment) -> None:
    create(deployment, "one", "two")
    deployment.bind("one", "p", "a")
    deployment.bind("two", "p", "b")

    found = deployment.json("queue", "list", *PROJECT, "--pool", "two")

    assert found["queues"] == [{"name": "b", "pool": "two"}]


def test_the_default_pool_has_a_name_too(deployment: Deployment) -> None:
    uri = "sqlite:///default.db"
    deployment.put(uri, "p", "a")

    off = deployment.run("queue", "adopt", "--pool", "(default)", *PROJECT)
    deployment.configure({"pooling:catalog": {"enable_virtual_pool": True}})
    adopted = adopt(deployment, "(default)")

    assert (off.code, "There is no default pool" in off.err) == (1, True)
    assert adopted["adopted"] == ["a"]
    assert deployment.json("queue", "where", "a", *PROJECT)["pool"] == "(default)"


@pytest.mark.parametrize("command", ["list", "adopt"])
def test_an_unknown_pool_is_told(deployment: Deployment, command: str) -> None:
    done = deployment.run("queue", command, *PROJECT, "--pool", "absent")

    assert (done.code, done.out) == (1, "")
    assert "Pool absent does not exist." in done.err


def test_names_do_not_steer_the_terminal(deployment: Deployment) -> None:
    create(deployment, "one")
    deployment.bind("one", "p", "a\x1b[2J")

    assert "\x1b" not in deployment.run("queue", "list", *PROJECT).out

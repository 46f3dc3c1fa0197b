# SPDX-License-Identifier: Apache-2.0
"""Facts of the commands on pools."""

import os
import sys

import pytest
from msgspec.structs import replace

from tests.manage.conftest import Deployment
from tests.servers import free_port

ALL = ["FIFO", "CLAIMS", "DURABILITY", "AOD"]
ONE = {
    "name": "one",
    "weight": 100,
    "flavor": None,
    "uri": "sqlite:///one.db",
    "options": {},
    "capabilities": ALL,
}


def create(deployment: Deployment, name: str, *words: str) -> None:
    deployment.json("pool", "create", name, "--uri", f"sqlite:///{name}.db", *words)


def test_pools_are_created_changed_and_removed(each: Deployment) -> None:
    created = each.json("pool", "create", "one", "--uri", "sqlite:///one.db")
    changed = each.json("pool", "set", "one", "--weight", "7", "--flavor", "gold")
    shown = each.json("pool", "show", "one")
    listed = each.json("pool", "list")
    removed = each.json("pool", "delete", "one")

    assert created == {"pool": ONE}
    assert changed == {"pool": ONE | {"weight": 7, "flavor": "gold"}}
    assert shown == changed
    assert listed == {"pools": [changed["pool"]]}
    assert removed == {"removed": "one", "queues": 0}
    assert each.json("pool", "list") == {"pools": []}


def test_a_flavor_and_options_are_taken_away(deployment: Deployment) -> None:
    create(deployment, "one", "--flavor", "gold", "--option", "synchronous=FULL")

    found = deployment.json("pool", "set", "one", "--flavor", "", "--no-options")

    assert found == {"pool": ONE}


def test_options_are_numbers_truths_and_texts(deployment: Deployment) -> None:
    create(deployment, "one", "--option", "synchronous=NORMAL")

    found = deployment.json("pool", "show", "one")["pool"]

    assert found["options"] == {"synchronous": "NORMAL"}
    assert "DURABILITY" not in found["capabilities"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("create", "a", "--uri", "sqlite:////tmp/a.db"), "below the data folder"),
        (("create", "a", "--uri", "swift://x"), "its scheme must be one of"),
        (("create", "a", "--uri", "sqlite:///a.db", "--weight", "-1"), "weight"),
        (
            ("create", "a", "--uri", "sqlite:///a.db", "--option", "colour=red"),
            "colour is none of",
        ),
        (("create", "one", "--uri", "sqlite:///b.db"), "exists already"),
        (("create", "b", "--uri", "sqlite:///one.db"), "pool one"),
        (("show", "absent"), "Pool absent does not exist."),
        (("set", "absent", "--weight", "1"), "Pool absent does not exist."),
        (("set", "one"), "nothing to set"),
        (("delete", "absent"), "Pool absent does not exist."),
        (("stats", "absent"), "Pool absent does not exist."),
    ],
)
def test_what_cannot_be_done_is_told_with_exit_code_1(
    deployment: Deployment, words: tuple[str, ...], told: str
) -> None:
    create(deployment, "one")

    done = deployment.run("pool", *words)

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("zaqar-manage: ")
    assert told in done.err
    assert deployment.json("pool", "list") == {"pools": [ONE]}


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("pool",),
        ("pool", "bogus"),
        ("pool", "create", "a"),
        ("pool", "create", "a", "--uri", "sqlite:///a", "--weight", "much"),
        ("pool", "create", "a", "--uri", "sqlite:///a", "--option", "x"),
        ("pool", "list", "--format", "xml"),
        ("queue", "where", "q"),
        ("flavor", "create", "f", "--project", "p"),
    ],
)
def test_a_wrong_command_line_is_told_with_exit_code_2(
    deployment: Deployment, words: tuple[str, ...]
) -> None:
    done = deployment.run(*words)

    assert (done.code, done.out) == (2, "")
    assert "usage: zaqar-manage" in done.err


def test_a_store_that_does_not_answer_is_not_registered_nor_its_password_shown(
    deployment: Deployment,
) -> None:
    pytest.importorskip("redis")
    uri = f"redis://:cret@127.0.0.1:{free_port()}"

    done = deployment.run("pool", "create", "r", "--uri", uri)

    assert (done.code, done.out) == (1, "")
    assert "its store does not work" in done.err
    assert "cret" not in done.err


def test_passwords_of_pools_are_shown_to_nobody(deployment: Deployment) -> None:
    create(deployment, "one")
    deployment.change(
        lambda known: known.with_pool(
            replace(known.pool("one"), uri="redis://u:cret@127.0.0.1:1")
        )
    )

    for words in (("list",), ("show", "one"), ("stats",)):
        for format in ("table", "json"):
            done = deployment.run("pool", *words, "--format", format)

            assert "cret" not in done.out + done.err


def test_a_pool_with_queues_is_removed_by_force_only(each: Deployment) -> None:
    create(each, "one")
    each.bind("one", "p", "a", "b")

    done = each.run("pool", "delete", "one")

    assert (done.code, "has queues (2)" in done.err) == (1, True)
    assert each.json("pool", "delete", "one", "--force") == {
        "removed": "one",
        "queues": 2,
    }


def test_stats_tell_of_queues_and_of_what_the_pool_promises(each: Deployment) -> None:
    create(each, "one")
    create(each, "two")
    each.bind("one", "p", "a", "b")
    each.bind("one", "q", "a")

    one, two = each.json("pool", "stats")["pools"]

    assert (one["queues"], two["queues"]) == (3, 0)
    assert one["reachable"] is True
    assert one["milliseconds"] > 0
    assert one["capabilities"] == one["registered"] == ALL
    assert each.json("pool", "stats", "two")["pools"][0]["name"] == "two"


def test_notes_of_dead_letters_are_no_queues(deployment: Deployment) -> None:
    create(deployment, "one")
    deployment.bind("one", "\x00outboxes", '["x","p","letters"]')

    assert deployment.json("pool", "stats")["pools"][0]["queues"] == 0


def test_stats_of_a_pool_that_is_down_end_with_exit_code_1(
    deployment: Deployment,
) -> None:
    pytest.importorskip("redis")
    create(deployment, "one")
    create(deployment, "two")
    uri = f"redis://127.0.0.1:{free_port()}"
    deployment.change(
        lambda known: known.with_pool(
            replace(known.pool("one"), uri=uri, options={"max_reconnect_attempts": 0})
        )
    )

    done = deployment.run("pool", "stats", "--format", "json")
    table = deployment.run("pool", "stats")

    assert (done.code, table.code) == (1, 1)
    one, two = done.document["pools"]
    assert (one["reachable"], one["capabilities"], one["milliseconds"]) == (
        False,
        None,
        None,
    )
    assert "does not work" in one["trouble"]
    assert two["reachable"] is True


def test_what_a_store_promises_is_read_anew(deployment: Deployment) -> None:
    create(deployment, "one")
    deployment.configure({"drivers:message_store:sqlite": {"synchronous": "NORMAL"}})

    before = deployment.json("pool", "show", "one")["pool"]["capabilities"]
    table = deployment.run("pool", "stats").out
    deployment.json("pool", "set", "one", "--refresh")
    after = deployment.json("pool", "show", "one")["pool"]["capabilities"]

    assert before == ALL
    assert "was registered with FIFO, CLAIMS, DURABILITY, AOD" in table
    assert after == ["FIFO", "CLAIMS", "AOD"]


def test_tables_show_names_to_people(deployment: Deployment) -> None:
    create(deployment, "one", "--flavor", "gold")

    listed = deployment.run("pool", "list")
    shown = deployment.run("pool", "show", "one")

    assert "│ one  │ 100    │ gold   │ sqlite:///one.db" in listed.out
    assert "│ weight       │ 100" in shown.out
    assert listed.err == ""


def test_pools_can_be_prepared_while_pooling_is_off(deployment: Deployment) -> None:
    deployment.configure({"DEFAULT": {"pooling": False}})

    done = deployment.run("pool", "create", "one", "--uri", "sqlite:///one.db")

    assert done.code == 0
    assert "Pooling is off" in done.err
    assert deployment.json("pool", "list") == {"pools": [ONE]}


def test_a_bad_configuration_is_told_with_exit_code_1(deployment: Deployment) -> None:
    deployment.configure({"server": {"workers": "many"}})

    done = deployment.run("pool", "list")

    assert (done.code, done.out) == (1, "")
    assert "workers" in done.err


def test_a_command_may_be_interrupted(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("zaqar.manage.cli.opened", interrupt)

    assert deployment.run("pool", "list").code == 130


def test_a_registry_that_does_not_answer_is_told(deployment: Deployment) -> None:
    pytest.importorskip("redis")
    uri = f"redis://:cret@127.0.0.1:{free_port()}"
    group = {"uri": uri, "max_reconnect_attempts": 0}
    deployment.configure(
        {
            "drivers": {"management_store": "redis"},
            "drivers:management_store:redis": group,
        }
    )

    for words in (("pool", "list"), ("queue", "list", "--project", "p")):
        done = deployment.run(*words)

        assert (done.code, done.out) == (1, "")
        assert "Redis does not work" in done.err
        assert "cret" not in done.err


def test_a_reader_that_has_read_enough_is_no_error(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*words: object, **options: object) -> None:
        raise BrokenPipeError

    # The command gives it up, and that is undone.
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr("builtins.print", refuse)

    assert deployment.run("pool", "list").code == 0


def test_the_file_of_the_command_is_that_of_the_server(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(deployment, "one")
    home = deployment.folder / ".zaqar"
    home.mkdir()
    os.rename(deployment.file, home / "zaqar.conf")
    deployment.file.write_text("")
    folder = str(home / "none.d")
    os.mkdir(folder)
    from zaqar.manage.cli import main

    assert main(["pool", "show", "one", "--config-dir", folder]) == 0

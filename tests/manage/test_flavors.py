# SPDX-License-Identifier: Apache-2.0
"""Facts of the commands on flavors."""

import pytest

from tests.manage.conftest import Deployment

ALL = ["FIFO", "CLAIMS", "DURABILITY", "AOD"]
PROJECT = ("--project", "p")


@pytest.fixture
def pools(deployment: Deployment) -> Deployment:
    """Pools a and b, which are alike, and c, which promises less."""
    for name in ("a", "b"):
        deployment.json("pool", "create", name, "--uri", f"sqlite:///{name}.db")
    deployment.json(
        *("pool", "create", "c", "--uri", "sqlite:///c.db", "--flavor", "other"),
        *("--option", "synchronous=NORMAL"),
    )
    return deployment


def view(name: str, *pools: str) -> dict[str, object]:
    capabilities = ALL if pools else []
    return {
        "name": name,
        "project": "p",
        "pools": list(pools),
        "capabilities": capabilities,
    }


def test_flavors_are_made_changed_and_removed(pools: Deployment) -> None:
    made = pools.json("flavor", "create", "gold", *PROJECT, "--pool", "a", "--pool=b")
    changed = pools.json("flavor", "set", "gold", *PROJECT, "--pool", "b")
    shown = pools.json("flavor", "show", "gold", *PROJECT)
    listed = pools.json("flavor", "list", *PROJECT)
    removed = pools.json("flavor", "delete", "gold", *PROJECT)

    assert made == {"flavor": view("gold", "a", "b")}
    assert changed == shown == {"flavor": view("gold", "b")}
    assert listed == {"flavors": [view("gold", "b")]}
    assert removed == {"removed": "gold"}
    assert pools.json("flavor", "list", *PROJECT) == {"flavors": []}


def test_a_flavor_is_asked_for_by_what_it_promises(pools: Deployment) -> None:
    made = pools.json("flavor", "create", "safe", *PROJECT, "--capability=DURABILITY")

    assert made == {"flavor": view("safe", "a", "b")}


def test_another_project_does_not_see_it(pools: Deployment) -> None:
    pools.json("flavor", "create", "gold", *PROJECT, "--pool", "a")

    assert pools.json("flavor", "list", "--project", "q") == {"flavors": []}
    assert pools.run("flavor", "show", "gold", "--project", "q").code == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("create", "x", "--pool=a", "--pool=c"),
            "those of one flavor are alike",
        ),
        (("create", "x", "--pool", "absent"), "Pool absent does not exist."),
        (("create", "x", "--capability", "SPEED"), "SPEED is none of"),
        (("create", "gold", "--pool", "b"), "exists already"),
        (("set", "absent", "--pool", "a"), "Flavor absent does not exist."),
        (("show", "absent"), "Flavor absent does not exist."),
        (("delete", "absent"), "Flavor absent does not exist."),
    ],
)
def test_what_cannot_be_done_is_told_with_exit_code_1(
    pools: Deployment, words: tuple[str, ...], told: str
) -> None:
    pools.json("flavor", "create", "gold", *PROJECT, "--pool", "a")

    done = pools.run("flavor", *words, *PROJECT)

    assert (done.code, done.out) == (1, "")
    assert told in done.err
    assert pools.json("flavor", "list", *PROJECT) == {"flavors": [view("gold", "a")]}


def test_the_last_pool_of_a_flavor_stays(pools: Deployment) -> None:
    pools.json("flavor", "create", "gold", *PROJECT, "--pool", "a")

    done = pools.run("pool", "delete", "a")

    assert (done.code, "only one of flavor gold" in done.err) == (1, True)


def test_tables_show_flavors_to_people(pools: Deployment) -> None:
    made = pools.run("flavor", "create", "gold", *PROJECT, "--pool", "a")
    listed = pools.run("flavor", "list", *PROJECT)

    assert "Flavor gold is made." in made.out
    assert "│ gold │ p       │ a     │ FIFO" in listed.out

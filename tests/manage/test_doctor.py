# SPDX-License-Identifier: Apache-2.0
"""Facts of the doctor: each fault that is planted is found, with what mends it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.manage.conftest import Deployment
from tests.redis_servers import RedisServer
from tests.servers import free_port
from zaqar.errors import StorageUnavailable
from zaqar.model import Flavor
from zaqar.storage.sqlite.database import Database
from zaqar.storage.sqlite.registry import SqliteRegistry

# Nobody is asked who they are, in every test.
OPEN = "configuration"


def create(deployment: Deployment, *names: str) -> None:
    for name in names:
        deployment.json("pool", "create", name, "--uri", f"sqlite:///{name}.db")


def faults(deployment: Deployment) -> dict[str, list[tuple[str, str]]]:
    """Return what is not right, but for what every test has."""
    found = {
        subject: [each for each in all if each[0] != "ok"]
        for subject, all in deployment.doctor().items()
        if subject != OPEN
    }
    return {subject: all for subject, all in found.items() if all}


def assert_only(deployment: Deployment, subject: str, level: str, told: str) -> None:
    found = faults(deployment)

    assert list(found) == [subject], found
    [(found_level, problem)] = found[subject]
    assert (found_level, told in problem) == (level, True), problem


@pytest.fixture
def sound(deployment: Deployment) -> Deployment:
    """Two pools in which nothing is wrong."""
    create(deployment, "one", "two")
    return deployment


@pytest.fixture
def alone(deployment: Deployment) -> Deployment:
    """A single store without pools, in which nothing is wrong."""
    create(deployment, "default")
    deployment.change(lambda known: known.without_pool("default"))
    deployment.configure({"DEFAULT": {"pooling": False}})
    return deployment


@pytest.fixture
def slow_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Registries are so many seconds behind as the list tells."""
    behind = [0.0]
    monkeypatch.setattr(SqliteRegistry, "clock", lambda self: time.time() - behind[0])
    yield behind


def test_nothing_is_wrong_where_nothing_is(sound: Deployment) -> None:
    assert faults(sound) == {}
    assert sound.run("doctor").code == 0


def test_it_works_without_pools(alone: Deployment) -> None:
    found = alone.doctor()

    assert faults(alone) == {}
    assert ("ok", "It answers and can be written to.") in found["store"]


def test_each_registry_is_looked_at(each: Deployment) -> None:
    create(each, "one")

    found = each.doctor()

    assert ("ok", "It answers and can be written to.") in found["registry"]
    assert not [
        problem for all in found.values() for level, problem in all if level == "error"
    ]


def test_people_read_the_worst_first(sound: Deployment) -> None:
    (sound.data / "one.db").chmod(0o644)
    sound.json("pool", "set", "one", "--weight", "0")
    sound.json("flavor", "create", "gold", "--project", "p", "--pool", "one")

    done = sound.run("doctor")

    lines = done.out.splitlines()
    assert done.code == 1
    assert lines[0].startswith("ERROR: flavor gold of project p: ")
    assert lines[1] == "  mend: zaqar-manage pool set one --weight 100"
    assert lines[2].startswith("WARNING: ")
    assert lines[-1] == "Errors: 1. Warnings: 3."


# Configuration -----------------------------------------------------------------------


def test_a_bad_option_is_found(sound: Deployment) -> None:
    sound.configure({"server": {"workers": "many"}})

    [(level, problem)] = sound.doctor()["configuration"]

    assert (level, "workers" in problem) == ("error", True)


def test_a_rule_that_does_not_exist_is_found(sound: Deployment, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text('"queues:fly": ""\n')
    sound.configure({"oslo_policy": {"policy_file": str(tmp_path / "policy.yaml")}})

    assert_only(sound, "policy", "error", "queues:fly")


def test_unsafe_settings_are_found(sound: Deployment) -> None:
    sound.configure({"DEFAULT": {"admin_mode": True}})

    problems = [problem for _, problem in sound.doctor()["configuration"]]

    assert any("Admin mode is on" in problem for problem in problems)
    assert any("No authentication" in problem for problem in problems)


def test_pools_that_nobody_uses_are_found(sound: Deployment) -> None:
    with_default = {"pooling:catalog": {"enable_virtual_pool": True}}
    sound.configure({"DEFAULT": {"pooling": False}, **with_default})

    found = sound.doctor()

    assert found["pools"] == [
        ("warning", "Pooling is off, but pools are registered (2): nobody uses them.")
    ]
    assert any("enable_virtual_pool means" in told for _, told in found[OPEN])


def test_a_registry_that_nobody_needs_may_be_down(alone: Deployment) -> None:
    alone.configure(
        {
            "DEFAULT": {"pooling": False},
            "drivers": {"management_store": "mongodb"},
        }
    )

    assert faults(alone) == {}


# Stores ------------------------------------------------------------------------------


def test_looking_at_a_store_that_was_never_used_makes_nothing(
    deployment: Deployment,
) -> None:
    deployment.configure({"DEFAULT": {"pooling": False}})

    assert_only(deployment, "store", "warning", "does not exist yet")
    assert list(deployment.data.iterdir()) == []


def test_a_store_that_cannot_be_opened_is_found(alone: Deployment) -> None:
    (alone.data / "default.db").write_text("no database, but long enough to be one")

    found = faults(alone)["store"]

    assert (found[-1][0], "cannot be used" in found[-1][1]) == ("error", True)


def test_a_store_that_cannot_be_written_to_is_found(
    alone: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Database) -> None:
        raise StorageUnavailable("The disk is full.")

    monkeypatch.setattr(Database, "ping", fail)

    assert_only(alone, "store", "error", "It does not answer: The disk is full.")


def test_wrong_rights_are_found(sound: Deployment) -> None:
    (sound.data / "registry.db").chmod(0o666)

    assert_only(sound, "registry", "warning", "Other users may open")


@pytest.mark.parametrize(
    ("behind", "level", "told"),
    [
        (10.0, "warning", "Its clock is 10.0 s behind this machine's."),
        (-90.0, "error", "Its clock is 90.0 s ahead of this machine's."),
    ],
)
def test_a_wrong_clock_is_found(
    sound: Deployment,
    slow_clock: list[float],
    behind: float,
    level: str,
    told: str,
) -> None:
    slow_clock[0] = behind

    assert_only(sound, "registry", level, told)


def test_a_registry_that_does_not_answer_is_found(deployment: Deployment) -> None:
    pytest.importorskip("redis")
    uri = f"redis://:cret@127.0.0.1:{free_port()}"
    deployment.configure(
        {
            "drivers": {"management_store": "redis"},
            "drivers:management_store:redis": {
                "uri": uri,
                "max_reconnect_attempts": 0,
            },
        }
    )

    assert_only(deployment, "registry", "error", "It does not answer: Redis")
    done = deployment.run("doctor")
    assert "cret" not in done.out + done.err


def test_a_registry_that_ends_while_it_is_looked_at_is_found(
    sound: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: SqliteRegistry, pool: str) -> int:
        raise StorageUnavailable("It is gone.")

    monkeypatch.setattr(SqliteRegistry, "count_bound", fail)

    assert_only(sound, "pools", "error", "They cannot be read: It is gone.")


def test_the_default_pool_is_looked_at(sound: Deployment) -> None:
    sound.configure({"pooling:catalog": {"enable_virtual_pool": True}})

    assert_only(sound, "default pool", "warning", "does not exist yet")


# Pools -------------------------------------------------------------------------------


@pytest.mark.parametrize("has_default", [False, True])
def test_no_pool_at_all_is_found(deployment: Deployment, has_default: bool) -> None:
    deployment.configure({"pooling:catalog": {"enable_virtual_pool": has_default}})

    found = faults(deployment)

    told = [("error", "There is no pool: no queue can be made (503).")]
    assert found.get("pools", []) == ([] if has_default else told)


def lead(deployment: Deployment, pool: str, uri: str) -> None:
    """Give the pool a URI that no command would let it have."""
    deployment.change(
        lambda known: known.with_pool(
            replace(known.pool(pool), uri=uri, options={"max_reconnect_attempts": 0})
        )
    )


def test_a_pool_that_is_down_is_found(sound: Deployment) -> None:
    pytest.importorskip("redis")
    sound.bind("one", "p", "a")
    lead(sound, "one", f"redis://:cret@127.0.0.1:{free_port()}")

    assert_only(sound, "pool one", "error", "It does not answer: ")
    assert "Its queues (1) get 503." in faults(sound)["pool one"][0][1]
    assert "cret" not in sound.run("doctor").out


def test_a_pool_that_cannot_be_opened_is_found(sound: Deployment) -> None:
    lead(sound, "one", "swift://somewhere")

    assert_only(sound, "pool one", "error", "its scheme must be one of")


def test_a_pool_whose_file_is_gone_is_found_and_not_made(sound: Deployment) -> None:
    (sound.data / "one.db").unlink()

    assert_only(sound, "pool one", "error", "Its file does not exist")
    assert not (sound.data / "one.db").exists()


def test_wrong_rights_of_a_pool_are_found(sound: Deployment) -> None:
    (sound.data / "one.db").chmod(0o640)

    assert_only(sound, "pool one", "warning", "Other users may open")


def test_a_pool_that_promises_less_is_found_and_mended(sound: Deployment) -> None:
    sound.configure({"drivers:message_store:sqlite": {"synchronous": "NORMAL"}})

    found = faults(sound)

    lost = "It was registered with DURABILITY and does not promise that now."
    assert found == {"pool one": [("error", lost)], "pool two": [("error", lost)]}


def test_a_pool_that_promises_more_is_found(sound: Deployment) -> None:
    sound.change(
        lambda known: replace(
            known,
            pools=tuple(replace(each, capabilities=("FIFO",)) for each in known.pools),
        )
    )

    found = faults(sound)["pool one"]

    assert found[0][0] == "warning"
    assert "It promises CLAIMS, DURABILITY, AOD now" in found[0][1]


def test_a_redis_that_was_set_up_anew_is_found(
    deployment: Deployment, own_redis: RedisServer
) -> None:
    own_redis.ask("CONFIG", "SET", "maxmemory", "100mb")
    deployment.json("pool", "create", "r", "--uri", own_redis.uri)
    assert faults(deployment) == {}

    own_redis.ask("CONFIG", "SET", "appendfsync", "everysec")

    problems = [problem for _, problem in faults(deployment)["pool r"]]
    assert "appendfsync is everysec: a power cut may lose the last moments." in problems
    assert (
        "It was registered with DURABILITY and does not promise that now." in problems
    )


def test_pools_that_differ_about_the_time_are_found(
    sound: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clock(self: Database) -> float:
        return time.time() + 30.0 * self._path.endswith("two.db")

    monkeypatch.setattr(Database, "clock", clock)

    found = faults(sound)

    assert found["clocks"] == [
        ("warning", "The clocks of pools one and two are 30.0 s apart.")
    ]
    assert found["pool two"][0][0] == "warning"


# Flavors and weights -----------------------------------------------------------------


def test_a_flavor_without_pools_is_found(sound: Deployment) -> None:
    sound.change(lambda known: known.with_flavor(Flavor("p", "gold")))

    assert_only(sound, "flavor gold of project p", "error", "It has no pools")


def test_a_flavor_whose_pools_get_nothing_is_found(sound: Deployment) -> None:
    sound.json("flavor", "create", "gold", "--project", "p", "--pool", "one")
    sound.bind("one", "p", "a")
    sound.json("pool", "set", "one", "--weight", "0")

    assert_only(sound, "flavor gold of project p", "error", "have weight 0")


def test_pools_of_a_flavor_that_differ_are_found(sound: Deployment) -> None:
    sound.json(
        *("flavor", "create", "gold", "--project", "p", "--pool=one", "--pool=two")
    )
    create(sound, "three")
    sound.change(
        lambda known: replace(
            known,
            pools=tuple(
                replace(each, capabilities=("FIFO",)) if each.name == "two" else each
                for each in known.pools
            ),
        )
    )

    found = faults(sound)

    assert found["flavor gold of project p"] == [
        ("error", "Its pools do not promise the same.")
    ]


def test_a_pool_of_a_flavor_that_nobody_has_is_found(sound: Deployment) -> None:
    sound.json("pool", "set", "one", "--flavor", "silver")

    assert_only(sound, "pool one", "warning", "No project has its flavor, silver")


def test_a_pool_that_nothing_needs_is_found(sound: Deployment) -> None:
    sound.json("pool", "set", "one", "--weight", "0")

    assert_only(sound, "pool one", "warning", "nothing needs it")


def test_nowhere_for_queues_without_a_flavor_is_found(sound: Deployment) -> None:
    for name in ("one", "two"):
        sound.bind(name, "p", name)
        sound.json("pool", "set", name, "--weight", "0")

    assert_only(sound, "pools", "warning", "No pool takes queues without a flavor")

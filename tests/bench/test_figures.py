# SPDX-License-Identifier: Apache-2.0
"""Short runs of `tools/figures`, on real servers."""

import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from zaqar.bench import identity, stores
from zaqar.bench.cpu import trees
from zaqar.bench.figures import SHAPES
from zaqar.bench.fleet import Outcome
from zaqar.bench.tally import Tally, Window

TOOL = Path(__file__).parents[2] / "tools/figures"
SHORT = ["--seconds", "0.2", "--slices", "1", "--connections", "2", "--json"]


def run(*arguments):
    return subprocess.run(
        [sys.executable, TOOL, *SHORT, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def redis():
    """Skip where there is no server, or no library."""
    if not (stores.find_redis() and importlib.util.find_spec("redis")):
        required = os.environ.get("ZAQAR_TEST_REQUIRE", "")
        (pytest.fail if "redis" in required else pytest.skip)("There is no Redis.")


def test_cost_of_a_message_on_each_store_stands_beside_its_target(tmp_path, redis):
    done = run(
        *("--only", "relay", "--engines", "gunicorn", "--folder", tmp_path),
        *("--stores", "sqlite,redis,redis-socket", "--synchronous", "NORMAL"),
    )

    assert (done.returncode, "LEFT OUT" in done.stderr) == (0, False), done.stderr
    (row,) = json.loads(done.stdout)["cost"]
    assert (row["name"], row["per"]) == ("producer to consumer", "message")
    assert {label: cell["target"] for label, cell in row["units"].items()} == {
        "gunicorn sqlite NORMAL": None,
        "gunicorn redis everysec": 3.6,
        "gunicorn redis-socket everysec": 3.6,
    }
    for cell in row["units"].values():
        assert cell["failures"] == 0
        assert cell["units"] > 1


def test_deep_store_is_compared_with_an_empty_one(tmp_path, monkeypatch, redis):
    from zaqar.bench import figures as measured

    monkeypatch.setattr(measured, "DEEP_QUEUES", 20)
    monkeypatch.setattr(measured, "DEEP_CLAIMED", 30)
    monkeypatch.setattr(measured, "DEEP_OPERATIONS", ("list",))
    told = []
    effort = measured.Effort(0.2, 1, 2, told.append)

    def start(folder):
        return stores.service(folder, stores.Variant("redis", "everysec"), workers=1)

    found = measured.measure_depth(tmp_path / "depth", start, 400, effort)

    assert found["label"] == "gunicorn redis everysec"
    # Filling stops some messages late, for each connection has one post under way.
    assert 400 <= found["stored"]["total"] <= 1200
    assert 30 <= found["stored"]["claimed"] <= 110
    (row,) = found["operations"]
    assert (row["name"], row["failures"]) == ("list", 0)
    assert row["cost_ratio"] > 0


def test_ways_to_say_who_asks_are_compared_on_one_store(tmp_path):
    done = run(
        *("--only", "identity", "--engines", "gunicorn", "--folder", tmp_path),
        *("--synchronous", "NORMAL", "--identity", "none,signed,policies"),
    )

    assert done.returncode == 0, done.stderr
    posting, listing = json.loads(done.stdout)["identity"]
    assert (posting["op"], listing["op"]) == ("post", "list")
    for row in (posting, listing):
        assert {name: cell["target"] for name, cell in row["ways"].items()} == {
            "none": None,
            "signed": 10,
            "policies": 5,
        }
        for cell in row["ways"].values():
            assert (cell["failures"], cell["per_second"] > 0) == (0, True)
            assert cell["cpu_ratio"] > 0
        assert row["ways"]["none"]["rate_lost_percent"] == 0
        assert row["ways"]["none"]["cpu_ratio"] == 1


def test_ways_are_compared_turn_by_turn():
    """A turn in which the machine was busy with something else counts little."""

    def turn(requests, microseconds):
        found = Outcome(Tally(), server_cpu=requests * microseconds * 1000)
        found.tally.window = Window(1.0, Counter(post=requests))
        return found

    base = [turn(1000, 100), turn(1000, 100), turn(100, 400), turn(1000, 100)]
    ours = [turn(900, 110), turn(900, 110), turn(90, 440), turn(10, 990)]

    row = identity.compared(ours, base)

    assert (row["rate_lost_percent"], row["cpu_ratio"]) == (10.0, 1.1)
    assert (row["per_second"], row["us"], row["failures"]) == (495, 275.0, 0)
    assert row["cpu_quartiles"][0] == 1.1
    once = identity.compared(ours[:1], base[:1])
    assert (once["cpu_ratio"], once["cpu_quartiles"]) == (1.1, [1.1, 1.1])


def test_store_that_does_not_start_is_left_out_and_named(tmp_path):
    done = run(
        *("--only", "relay", "--engines", "gunicorn", "--folder", tmp_path),
        *("--stores", "redis", "--appendfsync", "sometimes"),
    )

    assert done.returncode == 0, done.stderr
    assert "LEFT OUT: gunicorn redis sometimes does not start" in done.stderr


def test_told_to_end_the_tool_ends_its_servers(tmp_path):
    tool = subprocess.Popen(
        [sys.executable, TOOL, *SHORT, "--only", "relay", "--folder", tmp_path],
        stderr=subprocess.PIPE,
        text=True,
    )
    with tool:
        assert tool.stderr.readline() == "cost of producer to consumer\n"
        started = trees([tool.pid])

        tool.terminate()

        assert tool.wait(30) == 1
    assert len(started) > 1
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []


def test_unknown_store_is_refused_and_the_known_ones_are_told():
    done = run("--stores", "sqlite,paper")

    assert done.returncode == 2
    assert "no such store: paper (there are sqlite, redis" in done.stderr


def test_variant_without_a_target_of_its_own_is_held_to_that_of_its_store():
    post = SHAPES[0]

    assert post.target("redis-socket") == post.target("redis") == 1.75
    assert post.target("paper") is None

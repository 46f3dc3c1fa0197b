# SPDX-License-Identifier: Apache-2.0
"""Facts of the file that the workers of a node share."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import pytest

from zaqar import node_usage
from zaqar.errors import ConfigurationError
from zaqar.node_usage import BUCKETS, SIZE, WAYS, NodeUsage, Record


@pytest.fixture
def usage(tmp_path: Path) -> Iterator[NodeUsage]:
    usage = NodeUsage(str(tmp_path))
    yield usage
    usage.close()


def add(record: Record) -> float:
    record.messages += 1
    return record.messages


def read(record: Record) -> float:
    return record.messages


def test_projects_have_records_of_their_own(usage: NodeUsage) -> None:
    projects = [f"project {number}" for number in range(5000)]

    for number, project in enumerate(projects):
        for _ in range(number % 3):
            usage.change(project, add)

    assert [usage.change(each, read) for each in projects] == [
        number % 3 for number in range(5000)
    ]


@pytest.mark.parametrize("project", ["", "p\0q", "😀" * 256, "\uffff"])
def test_any_text_is_a_project(usage: NodeUsage, project: str) -> None:
    usage.change(project, add)

    assert usage.change(project, add) == 2
    assert usage.change("other", add) == 1


def test_who_was_here_longest_ago_gives_way(
    usage: NodeUsage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_usage, "BUCKETS", 1)
    projects = [str(number) for number in range(WAYS)]
    for project in projects:
        usage.change(project, add)

    usage.change("0", add)
    usage.change("new", add)

    assert usage.change("0", read) == 2
    assert usage.change("1", read) == 0


def test_what_is_known_outlives_the_process(tmp_path: Path) -> None:
    for _ in range(2):
        usage = NodeUsage(str(tmp_path))
        usage.change("p", add)
        usage.close()

    again = NodeUsage(str(tmp_path))
    assert again.change("p", read) == 2
    again.close()
    assert (tmp_path / node_usage.NAME).stat().st_size == SIZE
    assert (tmp_path / node_usage.NAME).stat().st_mode & 0o777 == 0o600


def test_another_start_of_the_machine_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot = tmp_path / "boot"
    boot.write_text("one")
    monkeypatch.setattr(node_usage, "BOOT", boot)
    usage = NodeUsage(str(tmp_path))
    usage.change("p", add)
    usage.close()
    boot.write_text("two")

    again = NodeUsage(str(tmp_path))

    assert again.change("p", read) == 0
    again.close()


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / node_usage.NAME).mkdir()

    with pytest.raises(ConfigurationError, match=node_usage.NAME):
        NodeUsage(str(tmp_path))


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").touch()
    (tmp_path / node_usage.NAME).symlink_to(tmp_path / "target")

    with pytest.raises(ConfigurationError):
        NodeUsage(str(tmp_path))


def test_threads_lose_nothing(usage: NodeUsage) -> None:
    def work() -> None:
        for _ in range(500):
            usage.change("p", add)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert usage.change("p", read) == 4000


WORKER = """
import sys
from zaqar.node_usage import NodeUsage
usage = NodeUsage(sys.argv[1])
def add(record):
    record.messages += 1
for _ in range(2000):
    usage.change("p", add)
"""

HOLDER = """
import sys, time
from zaqar.node_usage import NodeUsage
usage = NodeUsage(sys.argv[1])
def hold(record):
    print("held", flush=True)
    time.sleep(600)
usage.change("p", hold)
"""


def start(script: str, folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True
    )


def test_processes_lose_nothing(usage: NodeUsage, tmp_path: Path) -> None:
    workers = [start(WORKER, tmp_path) for _ in range(3)]
    for worker in workers:
        worker.communicate()
        assert worker.returncode == 0

    assert usage.change("p", read) == 6000


def test_a_killed_process_holds_nobody_up(usage: NodeUsage, tmp_path: Path) -> None:
    usage.change("p", add)
    holder = start(HOLDER, tmp_path)
    assert holder.stdout and holder.stdout.readline() == "held\n"
    waiting = threading.Thread(target=usage.change, args=("p", add))
    waiting.start()
    other = next(str(n) for n in range(999) if bucket(str(n)) != bucket("p"))

    # Others are not kept waiting by it even while it lives.
    assert usage.change(other, add) == 1
    assert waiting.is_alive()
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    waiting.join()

    assert usage.change("p", read) == 2


def bucket(project: str) -> int:
    """Return the number of the lock under which threads change the project."""
    mark = blake2b(project.encode(), digest_size=node_usage.MARK).digest()
    return int.from_bytes(mark[:4]) % BUCKETS % node_usage.LOCKS

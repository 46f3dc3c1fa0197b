# SPDX-License-Identifier: Apache-2.0
"""The directory is changed by many at once, and by the sweep of each process."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.storage.pooling.conftest import Deployment, pool
from zaqar.directory import Directory
from zaqar.model import Binding, Flavor, QueueKey
from zaqar.storage.pooling.pools import Pools
from zaqar.storage.sqlite.registry import SqliteRegistry

WRITERS, CHANGES = 4, 40


def test_nobody_is_kept_out_by_others_who_keep_writing(
    deployment: Deployment, tmp_path: Path
) -> None:
    path = str(tmp_path / "registry.db")

    def write(number: int) -> None:
        registry = SqliteRegistry(path, synchronous="NORMAL")
        with closing(Pools(registry, deployment.open_store)) as pools:
            for count in range(CHANGES):
                flavor = Flavor("project", f"{number}-{count}")
                pools.change(lambda known, new=flavor: known.with_flavor(new))

    with ThreadPoolExecutor(WRITERS) as threads:
        list(threads.map(write, range(WRITERS)))

    registry = SqliteRegistry(path, synchronous="NORMAL")
    with closing(Pools(registry, deployment.open_store)) as pools:
        assert len(pools.fresh().flavors) == WRITERS * CHANGES


def test_removed_pools_are_collected_with_one_change(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment.register(*(pool(f"p{number}") for number in range(5)))
    pools = deployment.pools()
    for number in range(5):
        key, binding = QueueKey("project", f"q{number}"), Binding(f"id-p{number}", "v")
        pools.registry.bind_queue(key, binding, expect=None)
    for number in range(4):
        pools.change(lambda known, n=number: Directory.without_pool(known, f"p{n}"))
    changed = []
    write = pools.registry.write_directory
    monkeypatch.setattr(
        pools.registry,
        "write_directory",
        lambda *args, **more: changed.append(1) or write(*args, **more),
    )

    assert pools.collect() == 4

    assert changed == [1]
    assert not pools.fresh().gone
    assert pools.collect() == 0
    assert changed == [1]

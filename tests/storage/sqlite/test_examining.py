# SPDX-License-Identifier: Apache-2.0
"""Facts of what is told of a store's file and its folder."""

import os
from collections import namedtuple
from pathlib import Path

import pytest

from zaqar.findings import ERROR, OK, WARNING, Finding
from zaqar.storage.sqlite import examining
from zaqar.storage.sqlite.store import SqliteStore

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store that is open, in a folder that it made."""
    path = tmp_path / "data" / "zaqar.db"
    SqliteStore(str(path)).close()
    return path


def look(path: Path) -> list[Finding]:
    return examining.examine("store", str(path))


def only(found: list[Finding]) -> Finding:
    [finding] = found
    assert finding.subject == "store"
    assert finding.mend or finding.level == OK
    return finding


def test_a_file_as_the_store_makes_it_is_right(path: Path) -> None:
    assert only(look(path)).level == OK


def test_looking_makes_nothing(tmp_path: Path) -> None:
    found = only(look(tmp_path / "absent" / "zaqar.db"))

    assert (found.level, "does not exist yet" in found.problem) == (WARNING, True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_gone_is_told(path: Path) -> None:
    path.unlink()

    assert "If it was there before" in only(look(path)).mend


def test_a_file_that_others_may_read_is_told_with_the_command(path: Path) -> None:
    path.chmod(0o644)

    found = only(look(path))

    assert (found.level, found.mend) == (WARNING, f"chmod 600 {path}")


def test_a_folder_that_others_may_write_to_is_told(path: Path) -> None:
    path.parent.chmod(0o777)

    found = only(look(path))

    assert (found.level, found.mend) == (WARNING, f"chmod go-w {path.parent}")


def test_a_file_of_another_owner_beside_it_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Path(f"{path}.lock")
    stat = Path.stat

    def owned(file: Path, **options: bool) -> os.stat_result:
        values = list(stat(file, **options))
        values[4] += file == lock
        return os.stat_result(values)

    monkeypatch.setattr(Path, "stat", owned)

    found = only(look(path))

    assert (found.level, found.mend) == (ERROR, f"chown --reference={path} {lock}")


@pytest.mark.parametrize(("user", "name"), [(0, "root"), (987654, "987654")])
def test_the_file_of_another_user_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch, user: int, name: str
) -> None:
    stat = Path.stat

    def owned(file: Path, **options: bool) -> os.stat_result:
        values = list(stat(file, **options))
        values[4] = user
        return os.stat_result(values)

    monkeypatch.setattr(Path, "stat", owned)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)

    assert only(look(path)).mend == f"Run commands as {name}."


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_this_user_may_not_write_to_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    closed = path if kind == "file" else path.parent
    monkeypatch.setattr(examining.os, "access", lambda each, _: each != closed)

    found = only(look(path))

    assert found.level == ERROR
    assert str(closed) in found.problem


def test_a_network_file_system_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = f"1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / {path.parent} rw - nfs4 x rw\n"
    monkeypatch.setattr(Path, "read_text", lambda self: mounts)

    found = only(look(path))

    assert (found.level, "(nfs4)" in found.problem) == (ERROR, True)


def test_a_system_that_tells_no_mounts_is_no_fault(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path) -> str:
        raise OSError

    monkeypatch.setattr(Path, "read_text", refuse)

    assert only(look(path)).level == OK


def test_a_disk_that_is_nearly_full_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examining.shutil, "disk_usage", lambda _: Usage(9, 9, 5 << 20))

    assert "has 5 MB left" in only(look(path)).problem

# SPDX-License-Identifier: Apache-2.0
"""Which mongod is run, and with which libraries."""

import shutil
import subprocess
from pathlib import Path

import pytest

from zaqar.bench import mongod


@pytest.fixture(autouse=True)
def no_mongod_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    found = mongod.find_mongod(tmp_path)
    if found is None:
        pytest.skip("There is no mongod of a package.")
    return found


def version(words: list[str]) -> str:
    done = subprocess.run([*words, "--version"], capture_output=True, text=True)
    return done.stdout


def test_a_mongod_on_the_path_is_taken_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")

    assert mongod.find_mongod(tmp_path) == ["/usr/bin/mongod"]


def test_the_mongod_of_a_package_needs_no_run_bit(
    words: list[str], tmp_path: Path
) -> None:
    *loader, program = words
    copy = tmp_path / "mongod"
    shutil.copyfile(program, copy)

    assert not copy.stat().st_mode & 0o111
    assert version([*loader, str(copy)]).startswith("db version v6")


def test_a_library_that_the_system_lacks_is_linked(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pycurl")
    monkeypatch.setattr(mongod, "missing_libraries", lambda program: ["libcurl.so.4"])

    found = mongod.find_mongod(tmp_path)

    assert found is not None
    assert "pycurl.libs" in str((tmp_path / "libcurl.so.4").resolve())
    assert version(found).startswith("db version v6")


def test_a_library_that_nothing_brings_is_missed(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongod, "missing_libraries", lambda program: ["libx.so.1"])

    assert mongod.find_mongod(tmp_path) is None


def test_missing_libraries_are_those_that_the_loader_does_not_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "\tlibm.so.6 => /lib/libm.so.6 (0x1)\n\tlibcurl.so.4 => not found\n"
    done = subprocess.CompletedProcess([], 0, stdout=told)
    monkeypatch.setattr(subprocess, "run", lambda *words, **options: done)

    assert mongod.missing_libraries(tmp_path) == ["libcurl.so.4"]

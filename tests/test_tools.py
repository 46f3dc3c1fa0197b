# SPDX-License-Identifier: Apache-2.0
"""Facts of the shell commands, without installing anything.

What they need is played by small scripts; a real run is what `.ci/run` does.
"""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEEDED = ("bash", "cksum", "dirname", "realpath", "cat", "rm", "mkdir", "env", "cp")

# Plays Python: makes environments that hold itself, and tells what it was asked for.
PYTHON = """#!/bin/bash
echo "python $*" >>"$PLAYED"
case "$*" in
*version_info*) exit {old} ;;
*ensurepip*) exit {without_venv} ;;
--version) echo Python 3.11.0 ;;
"-m venv"*)
    rm -rf "${{@: -1}}"
    mkdir -p "${{@: -1}}/bin"
    cp "$0" "${{@: -1}}/bin/python"
    ;;
"-m pip"*) exit "${{PIP_RESULT:-0}}" ;;
esac
"""

SERVER = """#!/bin/bash
echo "server in $PWD:" "$@"
"""


class Clone:
    """A clone with the tools, and a PATH with nothing but what is put there."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "my clone"
        self.bin = folder / "bin"
        self.played = folder / "played"
        self.elsewhere = folder / "elsewhere"
        for path in (self.root, self.bin, self.elsewhere):
            path.mkdir()
        shutil.copytree(
            ROOT / "tools", self.root / "tools", ignore=shutil.ignore_patterns("*.py")
        )
        for name in ("setup.py", "pyproject.toml"):
            (self.root / name).write_text(name)
        for name in ("requirements.txt", "test-requirements.txt"):
            (self.root / name).write_text("one>=1\n")
        for name in NEEDED:
            (self.bin / name).symlink_to(shutil.which(name) or f"/bin/{name}")

    def add(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)

    def add_python(
        self, name: str = "python3.11", *, old: bool = False, without_venv: bool = False
    ) -> None:
        self.add(name, PYTHON.format(old=int(old), without_venv=int(without_venv)))

    def run(
        self, command: str | Path = "serve", *arguments: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a tool; asked for later, `played` tells what Python was asked for."""
        self.played.write_text("")
        path = self.root / "tools" / command if command == "serve" else Path(command)
        return subprocess.run(
            [path, *arguments],
            cwd=self.elsewhere,
            env={"PATH": str(self.bin), "PLAYED": str(self.played), **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def installs(self) -> int:
        return self.played.read_text().count("-m pip install")

    def makes(self) -> int:
        return self.played.read_text().count("-m venv")

    def install_server(self) -> None:
        """Play what pip would have installed."""
        server = self.root / ".venv/bin/zaqar-server"
        server.write_text(SERVER)
        server.chmod(0o755)


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


@pytest.fixture
def prepared(clone: Clone) -> Clone:
    """A clone whose environment was made by a first start."""
    clone.add_python()
    clone.run()
    clone.install_server()
    return clone


@pytest.mark.parametrize("path", ["tools/serve", "tools/test", ".ci/run"])
def test_command_is_executable_and_sound(path: str) -> None:
    assert os.access(ROOT / path, os.X_OK)

    subprocess.run(["bash", "-n", ROOT / path], check=True)


def test_without_python_the_error_says_which_is_needed(clone: Clone) -> None:
    done = clone.run()

    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr


def test_an_older_python_is_not_taken(clone: Clone) -> None:
    clone.add_python("python3", old=True)

    done = clone.run()

    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr


def test_without_venv_the_error_says_what_to_install(clone: Clone) -> None:
    clone.add_python("python3.11", without_venv=True)

    done = clone.run()

    assert done.returncode == 1
    assert "apt install python3.11-venv" in done.stderr


def test_a_python_that_does_not_run_is_passed_over(clone: Clone) -> None:
    clone.add("python3.13", "#!/bin/bash\nexit 127\n")
    clone.add_python("python3.12", without_venv=True)
    clone.add_python("python3")

    clone.run()

    assert clone.installs() == 1


def test_the_first_start_makes_the_environment_and_says_so(clone: Clone) -> None:
    clone.add_python()

    done = clone.run()

    assert (clone.makes(), clone.installs()) == (1, 1)
    assert done.stderr.startswith("serve: making a virtual environment")


def test_the_second_start_installs_nothing_and_says_nothing(prepared: Clone) -> None:
    done = prepared.run()

    assert done.returncode == 0
    assert (prepared.makes(), prepared.installs()) == (0, 0)
    assert done.stderr == ""


def test_arguments_and_folder_are_handed_on(prepared: Clone) -> None:
    done = prepared.run("serve", "--config-file", "a b.conf")

    assert done.stdout == (f"server in {prepared.elsewhere}: --config-file a b.conf\n")


def test_a_link_to_the_command_finds_the_clone(prepared: Clone) -> None:
    link = prepared.elsewhere / "zaqar"
    link.symlink_to(prepared.root / "tools/serve")

    done = prepared.run(link)

    assert done.stdout.startswith("server in")
    assert prepared.makes() == 0


@pytest.mark.parametrize("name", ["requirements.txt", "setup.py", "pyproject.toml"])
def test_changed_requirements_are_installed_into_the_environment(
    prepared: Clone, name: str
) -> None:
    (prepared.root / name).write_text("two>=2\n")

    prepared.run()

    assert (prepared.makes(), prepared.installs()) == (0, 1)


def test_an_interrupted_installation_is_begun_anew(clone: Clone) -> None:
    clone.add_python()
    failed = clone.run(PIP_RESULT="1")

    clone.run()

    assert failed.returncode == 1
    assert "pip could not install" in failed.stderr
    assert (clone.makes(), clone.installs()) == (1, 1)


def test_a_half_made_environment_is_made_anew(clone: Clone) -> None:
    clone.add_python()
    (clone.root / ".venv/bin").mkdir(parents=True)
    (clone.root / ".venv/half").write_text("")

    clone.run()

    assert clone.makes() == 1
    assert not (clone.root / ".venv/half").exists()


def test_a_clone_that_was_moved_makes_its_environment_anew(prepared: Clone) -> None:
    moved = prepared.root.with_name("moved")
    prepared.root.rename(moved)
    prepared.root = moved

    prepared.run()

    assert (prepared.makes(), prepared.installs()) == (1, 1)


def test_what_must_not_be_skipped_is_here() -> None:
    """`ZAQAR_TEST_REQUIRE` names what a machine has to have; others may lack it."""
    modules = {
        "sqlite": "sqlite3",
        "granian": "granian",
        "redis": "redis",
        "mongodb": "pymongo",
        "keystone": "keystone",
        "memcached": "memcache",
    }
    required = [
        name for name in os.environ.get("ZAQAR_TEST_REQUIRE", "").split(",") if name
    ]

    assert set(required) <= set(modules)
    assert [
        name for name in required if not importlib.util.find_spec(modules[name])
    ] == []

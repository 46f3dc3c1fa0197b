# SPDX-License-Identifier: Apache-2.0
"""Facts of documentation and samples: they agree with the code, and examples work."""

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml

from tests.servers import Server
from zaqar import __version__, conf
from zaqar.policy import ALIASES, RULES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.rst").read_text()
CHANGELOG = (ROOT / "CHANGELOG.rst").read_text()
SOURCE = ROOT / "doc/source"
CONFIGURATION = (SOURCE / "operator/configuration.rst").read_text()
SAMPLE = (ROOT / "etc/zaqar.conf.sample").read_text()
UNITS = sorted((ROOT / "etc").glob("*.service")) + sorted(
    (ROOT / "etc").glob("*.timer")
)
OPTIONS = [(group, option) for group, options in conf.list_opts() for option in options]


def option_id(value: object) -> str:
    return value if isinstance(value, str) else str(getattr(value, "name", value))


def shown(default: object) -> str:
    """Return a default as the documentation spells it."""
    if default in ("", []):
        return "empty"
    if isinstance(default, dict):
        default = [f"{name}:{value}" for name, value in default.items()]
    if isinstance(default, list):
        return ",".join(default)
    return str(default).lower() if isinstance(default, bool) else str(default)


def section(text: str, title: str) -> str:
    """Return what stands below a title that is underlined with `=`."""
    found = re.search(
        rf"^{re.escape(title)}\n=+\n(.*?)(?=^[^\n]+\n=+\n|\Z)", text, re.M | re.S
    )
    assert found, f"There is no section {title}."
    return found[1]


# Options -----------------------------------------------------------------------------


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=option_id)
def test_option_is_described_with_its_default(group: str, option: Any) -> None:
    row = f"* - ``{option.name}``\n     - {shown(option.default)}\n     - "

    assert row in section(CONFIGURATION, f"[{group}]")


def test_no_other_option_is_described() -> None:
    described = re.findall(r"^   \* - ``(\w+)``$", CONFIGURATION, re.M)

    assert described == [option.name for _, option in OPTIONS]


def sample_options(group: str) -> dict[str, str]:
    """Return our options of a group in the sample, as if they were not comments."""
    part = SAMPLE.split(f"\n[{group}]\n" if group != "DEFAULT" else "[DEFAULT]\n")[1]
    ours = re.split(r"^\[", part, maxsplit=1, flags=re.M)[0].split("# From zaqar\n")[1]
    return dict(re.findall(r"^#(\w+) = ?(.*)$", ours, re.M))


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=option_id)
def test_option_is_in_the_sample_with_its_default(group: str, option: Any) -> None:
    expected = "" if shown(option.default) == "empty" else shown(option.default)

    assert sample_options(group)[option.name] == expected


@pytest.mark.parametrize("group", [group for group, _ in conf.list_opts()])
def test_the_sample_has_no_other_option_of_ours(group: str) -> None:
    names = {option.name for of, option in OPTIONS if of == group}

    assert set(sample_options(group)) == names


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=option_id)
def test_help_of_an_option_is_in_the_sample(group: str, option: Any) -> None:
    assert option.help
    words = " ".join(line.removeprefix("# ") for line in SAMPLE.splitlines())

    assert " ".join(option.help.split()) in words


def test_the_sample_works_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    settings = conf.load(["--config-file", str(ROOT / "etc/zaqar.conf.sample")])

    assert settings.limits == conf.load().limits


def test_the_policy_sample_has_each_rule_with_its_default() -> None:
    text = (ROOT / "etc/policy.yaml.sample").read_text()
    rules = yaml.safe_load(re.sub(r'^#(?=")', "", text, flags=re.M))

    assert rules == {**ALIASES, **RULES}


def test_the_configuration_of_the_readme_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    [block] = blocks(README, "ini")
    path = tmp_path / "readme.conf"
    path.write_text(block)

    settings = conf.load(["--config-file", str(path)])

    assert settings.store.path == "/var/lib/zaqar/zaqar.db"
    assert settings.workers == 2


# Commands and versions ---------------------------------------------------------------


def scripts() -> list[str]:
    return re.findall(r'"(zaqar-\w+) = zaqar', (ROOT / "setup.py").read_text())


def test_the_readme_opens_with_the_two_commands() -> None:
    first, second = re.findall(r"^    (.+)$", README, re.M)[:2]

    assert (first, second) == ("./tools/serve", "./tools/test")


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:\./)?tools/\w+", README))))
def test_command_of_the_readme_can_be_run(path: str) -> None:
    assert os.access(ROOT / path, os.X_OK)


@pytest.mark.parametrize(
    "path", re.findall(r"``((?:doc|etc)/[\w./]+|[A-Z]+\.rst)``", README)
)
def test_path_of_the_readme_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("script", scripts())
def test_console_script_is_documented(script: str) -> None:
    pages = "".join(page.read_text() for page in SOURCE.rglob("*.rst"))

    assert f"``{script}``" in README
    assert f"``{script}``" in pages


def test_changelog_names_the_version() -> None:
    released = re.findall(r"^(\d+\.\d+\.\d+)\b", CHANGELOG, re.M)
    unreleased = f"The version of the code is {__version__}; it has not been released."

    assert unreleased in CHANGELOG or released[:1] == [__version__]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_unit_starts_a_console_script(unit: Path) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(unit)

    if unit.suffix == ".timer":
        assert unit.with_suffix(".service") in UNITS
    else:
        assert Path(parser["Service"]["ExecStart"].split()[0]).name in scripts()


# Pages -------------------------------------------------------------------------------


def test_each_page_is_in_the_table_of_contents() -> None:
    entries = re.findall(r"^   (\w+/[\w*]+)$", (SOURCE / "index.rst").read_text(), re.M)
    pages = [page.relative_to(SOURCE) for page in SOURCE.rglob("*.rst")]

    listed = [page for page in pages if any(map(page.with_suffix("").match, entries))]

    assert set(pages) - set(listed) == {Path("index.rst")}
    assert all(
        (SOURCE / f"{entry}.rst").exists() for entry in entries if "*" not in entry
    )


def tracked() -> list[Path]:
    """List the files of the clone that are ours to read: text that git keeps."""
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip("this is no clone")
    return [ROOT / name for name in done.stdout.split("\0") if name]


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    folders = "|".join(("work", "root", "home", "Users"))
    machine_path = re.compile(rf"(?<![\w.~<>{{}}-])/(?:{folders})/[\w.]".encode())

    found = [
        f"{path.relative_to(ROOT)}: {hit[0]!r}"
        for path in tracked()
        if path.is_file() and (hit := machine_path.search(path.read_bytes()))
    ]

    assert found == []


# Examples ----------------------------------------------------------------------------


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a language."""
    found = re.findall(
        rf"^\.\. code-block:: {language}\n\n((?:   +.*\n|\n)+)", text, re.M
    )
    return [dedent(block) for block in found]


STEPS = (SOURCE / "user/getting_started.rst").read_text()
SIGNED = (SOURCE / "user/signed_urls.rst").read_text()


def test_examples_of_the_first_steps_work_with_curl(
    server: Server, tmp_path: Path
) -> None:
    for script in blocks(STEPS, "bash"):
        done = subprocess.run(
            ["bash", "-euc", script.replace("http://127.0.0.1:8888", server.url)],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
        )

        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("{"), script
        assert '"title"' not in done.stdout


def test_examples_of_signed_urls_work_with_curl(server: Server, tmp_path: Path) -> None:
    script = "".join(blocks(SIGNED, "bash"))

    done = subprocess.run(
        ["bash", "-euc", script.replace("http://127.0.0.1:8888", server.url)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    assert '"signature"' in done.stdout
    assert '"resources":["/v2/queues/reports/messages/' in done.stdout


def test_the_curl_of_the_readme_works(server: Server) -> None:
    [command] = re.findall(r"^(    curl .*\n(?:      .*\n)*)", README, re.M)

    done = subprocess.run(
        ["bash", "-euc", command.replace("http://127.0.0.1:8888", server.url)],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stdout.startswith('{"messages":'), done.stderr


@pytest.mark.parametrize(
    "script", [*blocks(STEPS, "python"), *blocks(SIGNED, "python")]
)
def test_example_works_with_a_client(
    server: Server, tmp_path: Path, script: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script.replace("http://127.0.0.1:8888", server.url)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    assert "Ada" in done.stdout

# SPDX-License-Identifier: Apache-2.0
"""Facts of the console scripts that need no server: exit codes, and what is told."""

import http.client
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.servers import Server, free_port
from zaqar import __version__, cli, conf, service
from zaqar.model import NewMessage, QueueKey
from zaqar.storage.sqlite.store import SqliteStore

KEY = QueueKey("p1", "q1")
BIN = Path(sys.executable).parent

Config = Callable[[str], list[str]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    return tmp_path


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Undo what the commands set up for a process of their own."""
    root, hook = logging.getLogger(), sys.excepthook
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], sys.excepthook = handlers, hook
    root.setLevel(level)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Return a function that writes a file and gives the arguments that name it."""

    def config(text: str = "") -> list[str]:
        path = tmp_path / "some.conf"
        path.write_text(
            f"[drivers:message_store:sqlite]\nuri = sqlite:///{tmp_path}/zaqar.db\n"
            + text
        )
        return ["--config-file", str(path)]

    return config


@pytest.mark.parametrize(
    "script", ["zaqar-server", "zaqar-gc", "zaqar-manage", "zaqar-bench"]
)
def test_script_explains_itself(script: str) -> None:
    done = subprocess.run(
        [BIN / script, "--help"], capture_output=True, text=True, check=True
    )

    assert f"usage: {script}" in done.stdout


@pytest.mark.parametrize("script", ["zaqar-server", "zaqar-gc", "zaqar-manage"])
def test_script_tells_its_version(script: str) -> None:
    done = subprocess.run(
        [BIN / script, "--version"], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == __version__


@pytest.mark.parametrize("command", [cli.server, cli.gc])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[drivers]\nmessage_store = swift\n", "message_store = swift"),
        ("[server]\nworkers = many\n", "workers"),
    ],
)
def test_a_bad_option_is_told_with_exit_code_1(
    config: Config,
    capsys: pytest.CaptureFixture[str],
    command: Callable[[list[str]], int],
    text: str,
    told: str,
) -> None:
    code = command(config(text))

    assert code == 1
    assert told in capsys.readouterr().err


def test_a_store_that_cannot_be_opened_is_told_with_exit_code_1(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "zaqar.db").mkdir()

    assert cli.server(config()) == 1

    told = capsys.readouterr().err
    assert "zaqar-server: " in told
    assert "Traceback" not in told


def test_a_folder_that_is_a_file_is_told_with_exit_code_1(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    uri = f"[drivers:message_store:sqlite]\nuri = sqlite:///{tmp_path}/file/zaqar.db\n"

    assert cli.server(config(uri)) == 1

    assert f"{tmp_path}/file/zaqar.db cannot be used" in capsys.readouterr().err


def test_a_file_of_a_newer_release_is_told_with_exit_code_1(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = sqlite3.connect(tmp_path / "zaqar.db")
    connection.execute("PRAGMA user_version = 999")
    connection.close()

    assert cli.gc(config()) == 1

    assert "schema version 999" in capsys.readouterr().err


def test_a_port_in_use_is_told_with_exit_code_1(tmp_path: Path, engine: str) -> None:
    one = Server(tmp_path, {"server": {"engine": engine}})
    one.wait_until_ready()
    other = tmp_path / "other"
    other.mkdir()
    path = other / "zaqar.conf"
    path.write_text(one.config.read_text().replace("messages.db", "other/messages.db"))
    with subprocess.Popen(
        [BIN / "zaqar-server", "--config-file", path],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as second:
        try:
            _, told = second.communicate(timeout=20)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(second.pid, signal.SIGKILL)
            one.stop()

    assert second.returncode == 1
    assert str(one.port) in told
    assert "Traceback" not in told


@pytest.fixture
def expired(config: Config, tmp_path: Path) -> Path:
    """A store with a queue whose only message has expired."""
    path = tmp_path / "zaqar.db"
    store = SqliteStore(str(path))
    past = time.time() - 1000
    store.put_queue(KEY, {}, delays=False, revision="r1", now=past)
    store.post_messages(
        KEY, [NewMessage("m1", b"1", 60)], client="c", revision="r1", now=past
    )
    store.close()
    return path


def rows(path: Path) -> int:
    connection = sqlite3.connect(path)
    count: int = connection.execute("SELECT count(*) FROM messages").fetchone()[0]
    connection.close()
    return count


def test_gc_collects_what_has_expired_and_says_nothing(
    config: Config, expired: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = rows(expired)

    code = cli.gc(config())

    assert (before, code, rows(expired)) == (1, 0, 0)
    assert capsys.readouterr() == ("", "")


def test_checking_the_store_leaves_no_descriptor_behind(
    config: Config, tmp_path: Path
) -> None:
    settings = conf.load(config())
    before = set(os.listdir("/proc/self/fd"))

    cli.check_store(settings)

    assert set(os.listdir("/proc/self/fd")) == before
    assert (tmp_path / "zaqar.db").exists()


def test_server_of_a_store_that_does_not_answer_is_no_reason_to_refuse(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("redis")
    arguments = config(
        "[drivers]\nmessage_store = redis\n"
        "[drivers:message_store:redis]\n"
        f"uri = redis://127.0.0.1:{free_port()}\nmax_reconnect_attempts = 0\n"
    )

    cli.check_store(conf.load(arguments))

    assert "The store is waited for." in capsys.readouterr().err


def pooled(tmp_path: Path) -> str:
    registry = f"uri = sqlite:///{tmp_path}/registry.db"
    return f"[DEFAULT]\npooling = true\n[drivers:management_store:sqlite]\n{registry}\n"


def test_with_pooling_the_registry_is_checked_and_its_pools_are_counted(
    config: Config, tmp_path: Path
) -> None:
    settings = conf.load(config(pooled(tmp_path)))

    assert cli.check_store(settings) == 0

    assert (tmp_path / "registry.db").exists()
    assert not (tmp_path / "zaqar.db").exists()


def test_a_built_service_has_the_wall_clock(config: Config) -> None:
    built = service.build(conf.load(config()))

    assert abs(built.now() - time.time()) < 5

    built.close()


@pytest.fixture
def daemon(config: Config, tmp_path: Path) -> Iterator[tuple[int, str]]:
    """A server in the background: its port, and what it printed before it left."""
    port = free_port()
    text = f"[drivers:transport:wsgi]\nport = {port}\n[server]\nworkers = 1\n"
    done = subprocess.run(
        [BIN / "zaqar-server", "--daemon", *config(text)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    yield port, done.stdout
    for process in processes_with(str(tmp_path / "some.conf")):
        os.kill(process, signal.SIGTERM)


def processes_with(argument: str) -> list[int]:
    """List the processes that were started with the argument."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if argument.encode() in arguments:
            found.append(int(folder.name))
    return found


def test_daemon_serves_after_the_command_has_returned(
    daemon: tuple[int, str], tmp_path: Path
) -> None:
    port, printed = daemon

    assert f"http://127.0.0.1:{port}" in printed
    assert wait_until_it_answers(port)


def wait_until_it_answers(port: int) -> bool:
    for _ in range(300):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 204
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    return False

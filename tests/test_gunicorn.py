# SPDX-License-Identifier: Apache-2.0
"""How the default engine starts and stops its workers."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.servers import free_port, render

# What a busy machine does now and then: workers stand still before they have begun.
SLOW_TO_BEGIN = """
import sys, time
from zaqar import conf
from zaqar.server import gunicorn

begin = gunicorn.Worker.init_process
def begin_late(worker):
    print("forked", flush=True)
    time.sleep(60)
    begin(worker)
gunicorn.Worker.init_process = begin_late
gunicorn.serve(conf.load(["--config-file", sys.argv[1]]))
"""


@pytest.fixture
def beginning(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A server whose only worker has been forked and has not begun."""
    options = {
        "drivers:transport:wsgi": {"port": free_port()},
        "drivers:message_store:sqlite": {"uri": f"sqlite:///{tmp_path}/zaqar.db"},
        "server": {"workers": 1, "graceful_timeout": 60},
    }
    config = tmp_path / "zaqar.conf"
    config.write_text(render(options))
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_TO_BEGIN, config],
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "forked\n"
        yield process
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_signal_ends_a_server_whose_workers_have_not_begun(
    beginning: subprocess.Popen[str], number: signal.Signals
) -> None:
    beginning.send_signal(number)

    assert beginning.wait(20) == 0

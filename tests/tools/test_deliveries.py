# SPDX-License-Identifier: Apache-2.0
"""The tools that start servers leave nothing behind when they are told to stop."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"
SECONDS = 60.0
# What a run of each is at soon, and would be at for long.
RUNS = {
    "deliveries": ["--messages", "100000", "--kills", "1000"],
    "delivery_rates": ["--only", "posts", "--turns", "1000"],
}


def started_in(folder: Path) -> dict[int, bytes]:
    """Return the processes whose temporary folder this is, and their commands."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes().split(b"\0")
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if f"TMPDIR={folder}".encode() in environment and command:
                found[int(entry.name)] = command
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("tool", RUNS)
def test_tool_that_is_told_to_stop_ends_what_it_started(
    tool: str, number: signal.Signals, tmp_path: Path
) -> None:
    command = [sys.executable, TOOLS / tool, "--stores", "sqlite", *RUNS[tool]]
    process = subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        # As a shell has what it starts in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + SECONDS
        while not any(b"notifier" in each for each in started_in(tmp_path).values()):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)

        process.send_signal(number)

        assert process.wait(SECONDS) == 128 + number
        while left := started_in(tmp_path):
            assert time.monotonic() < deadline + SECONDS, left
            time.sleep(0.1)
        assert list(tmp_path.iterdir()) == []
    finally:
        for pid in [process.pid, *started_in(tmp_path)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

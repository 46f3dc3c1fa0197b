# SPDX-License-Identifier: Apache-2.0
"""Facts of a service whose MongoDB is killed, hangs, cuts it off, or steps down.

The short version of what tools/faults does in many rounds.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mongo_servers import program

FAULTS = Path(__file__).parents[2] / "tools" / "faults"


@pytest.mark.parametrize("store", ["mongodb", "mongodb-3"])
def test_faults_under_load_break_no_promise(store: str, tmp_path: Path) -> None:
    """Struck in all ways: the tool knows all promises and finds none broken.

    A set of three has its primary killed, stopped, and told to step down.
    """
    program(tmp_path)  # Skips the test where there is none.

    done = subprocess.run(
        [sys.executable, FAULTS, "--store", store, "--rounds", "1"],
        capture_output=True,
        text=True,
        timeout=240,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    for kind in ("kill", "stop", "cut"):
        assert f"1 of {kind}" in done.stdout
    assert "VIOLATED" not in done.stdout

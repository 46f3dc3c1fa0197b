# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests of operations: a service on a store that the test gives."""

from collections.abc import Callable
from pathlib import Path

import pytest

from zaqar import conf
from zaqar.policy import Policy
from zaqar.service import Service
from zaqar.storage.base import Store

T0 = 1_800_000_000.0


@pytest.fixture
def serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Store], Service]:
    """Return a function that puts a service around a store; its time stands at T0."""
    monkeypatch.setenv("HOME", str(tmp_path))
    config = tmp_path / "zaqar.conf"
    config.write_text("")
    settings = conf.load(["--config-file", str(config)])
    policy = Policy(settings.config)
    return lambda store: Service(settings, store, policy, lambda: T0)

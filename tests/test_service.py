# SPDX-License-Identifier: Apache-2.0
"""Facts of opening the store that the options name."""

import sys
from pathlib import Path

import pytest

from zaqar import conf
from zaqar.errors import ConfigurationError
from zaqar.stores import open_store


@pytest.mark.parametrize("driver", ["redis", "mongodb"])
def test_a_store_without_its_libraries_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    path = tmp_path / "zaqar.conf"
    path.write_text(
        f"[drivers]\nmessage_store = {driver}\n"
        f"[drivers:message_store:{driver}]\nuri = {driver}://127.0.0.1\n"
    )
    settings = conf.load(["--config-file", str(path)])
    monkeypatch.setitem(sys.modules, f"zaqar.storage.{driver}.store", None)

    with pytest.raises(ConfigurationError, match=rf"pip install 'zaqar\[{driver}\]'"):
        open_store(settings.store)

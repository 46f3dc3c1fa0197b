# SPDX-License-Identifier: Apache-2.0
"""What these tests start is not measured: other tests show what it runs, and measuring
makes the start of a server twice as dear."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package", autouse=True)
def unmeasured() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COVERAGE_PROCESS_START", raising=False)
        yield

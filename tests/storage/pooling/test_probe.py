# SPDX-License-Identifier: Apache-2.0
"""A store that is to become a pool is asked first, and not for long."""

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from tests.model_registry import ModelRegistry
from tests.storage.pooling.conftest import Deployment
from zaqar.errors import ConfigurationError, StorageUnavailable
from zaqar.storage.base import Store
from zaqar.storage.pooling import pools
from zaqar.storage.pooling.pools import OpenStore, Pools


def opened_by(deployment: Deployment, open_store: OpenStore) -> Pools:
    return Pools(ModelRegistry(deployment.registry), open_store)


def test_store_tells_what_it_promises_and_which_one_it_is(
    deployment: Deployment,
) -> None:
    known = deployment.pools()

    capabilities, identity = known.probe("model:a", {})

    assert "FIFO" in capabilities
    assert known.probe("model:a", {}) == (capabilities, identity)
    assert known.probe("model:b", {})[1] != identity


@pytest.mark.parametrize("error", [ConfigurationError, StorageUnavailable, KeyError])
def test_what_goes_wrong_is_raised(
    deployment: Deployment, error: type[Exception]
) -> None:
    def broken(uri: str, options: Mapping[str, Any]) -> Store:
        raise error("no")

    with pytest.raises(error):
        opened_by(deployment, broken).probe("model:a", {})


def test_store_that_does_not_answer_is_not_waited_for(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "PROBE_SECONDS", 0.01)
    answers = threading.Event()

    def slow(uri: str, options: Mapping[str, Any]) -> Store:
        answers.wait(10)
        return deployment.open_store(uri, options)

    with pytest.raises(StorageUnavailable, match="did not answer"):
        opened_by(deployment, slow).probe("model:a", {})
    answers.set()

# SPDX-License-Identifier: Apache-2.0
"""The pools as a command uses them, whether or not pooling is on; or the store."""

import msgspec

from zaqar import conf, stores
from zaqar.conf import Settings
from zaqar.errors import ConfigurationError
from zaqar.storage.base import Store
from zaqar.storage.pooling.pools import Pools


def opened(settings: Settings) -> Pools:
    """Open the registry; the pools are opened when they are used.

    Raises ConfigurationError.
    """
    registry = conf.management_store(settings)
    pools = stores.open_pools(msgspec.structs.replace(settings, registry=registry))
    if pools is None:
        raise ConfigurationError("There is no registry.")
    return pools


def opened_store(settings: Settings) -> Store:
    """Open the store that the server uses. Raises ConfigurationError."""
    return stores.open_service_store(settings, stores.open_pools(settings))

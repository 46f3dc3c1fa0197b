# SPDX-License-Identifier: Apache-2.0
"""The service as a command uses it: with pools, whether or not pooling is on."""

import msgspec

from zaqar import conf, service
from zaqar.conf import Settings
from zaqar.errors import ConfigurationError
from zaqar.service import Service
from zaqar.storage.pooling.pools import Pools


def opened(settings: Settings) -> Service:
    """Open the registry; the pools are opened when they are used.

    Raises ConfigurationError.
    """
    registry = conf.management_store(settings)
    return service.build(msgspec.structs.replace(settings, registry=registry))


def pools_of(served: Service) -> Pools:
    """Return the pools of a service that has some."""
    if served.pools is None:
        raise ConfigurationError("There is no registry.")
    return served.pools

# SPDX-License-Identifier: Apache-2.0
"""Opens the stores that settings name; the one place that knows the drivers.

After the fork, where processes are forked. The libraries of a driver are imported when
it is chosen.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from zaqar.conf import (
    MongoSettings,
    RedisSettings,
    Settings,
    SqliteSettings,
    StoreSettings,
    pool_store,
)
from zaqar.errors import ConfigurationError
from zaqar.findings import Finding
from zaqar.queue_settings import FLAVOR
from zaqar.storage.base import Store
from zaqar.storage.pooling.pools import Pools
from zaqar.storage.pooling.router import Router
from zaqar.storage.registry import Registry


def open_store(settings: StoreSettings) -> Store:
    """Open a message store. Raises ConfigurationError."""
    options = msgspec.structs.asdict(settings)
    with _explained(settings):
        match settings:
            case SqliteSettings():
                from zaqar.storage.sqlite.store import SqliteStore

                return SqliteStore(**options)
            case RedisSettings():
                from zaqar.storage.redis.store import RedisStore

                return RedisStore(**options)
            case MongoSettings():
                from zaqar.storage.mongodb.store import MongoStore

                return MongoStore(**options)


def open_registry(settings: StoreSettings) -> Registry:
    """Open a management store. Raises ConfigurationError."""
    options = msgspec.structs.asdict(settings)
    with _explained(settings):
        match settings:
            case SqliteSettings():
                from zaqar.storage.sqlite.registry import SqliteRegistry

                return SqliteRegistry(**options)
            case RedisSettings():
                from zaqar.storage.redis.registry import RedisRegistry

                return RedisRegistry(**options)
            case MongoSettings():
                from zaqar.storage.mongodb.registry import MongoRegistry

                return MongoRegistry(**options)


def examine(settings: StoreSettings, subject: str) -> list[Finding]:
    """Look at what a store or registry stands on: files, servers' settings, indexes.

    To be done before it is opened, which makes what is missing. Without an answer from
    its servers: nothing is found. Raises ConfigurationError.
    """
    with _explained(settings):
        match settings:
            case SqliteSettings():
                from zaqar.storage.sqlite.examining import examine as of_sqlite

                return of_sqlite(subject, settings.path)
            case RedisSettings():
                from zaqar.storage.redis.examining import examine as of_redis

                return of_redis(subject, settings.uri)
            case MongoSettings():
                from zaqar.storage.mongodb.examining import examine as of_mongodb

                options = msgspec.structs.asdict(settings)
                del options["ordering"]
                return of_mongodb(subject, **options)


@contextmanager
def _explained(settings: StoreSettings) -> Iterator[None]:
    """Say which extra brings a library that is not installed."""
    try:
        yield
    except ImportError as error:
        driver = "redis" if isinstance(settings, RedisSettings) else "mongodb"
        raise ConfigurationError(
            f"The driver {driver} cannot be loaded: {error}. It comes with the extra "
            f"'{driver}': pip install 'zaqar[{driver}]'."
        ) from None


def open_pools(settings: Settings) -> Pools | None:
    """Open the registry of pools; None where there are no pools.

    Raises ConfigurationError.
    """
    if settings.registry is None:
        return None

    def open_pool(uri: str, options: Mapping[str, Any]) -> Store:
        return open_store(
            pool_store(settings.config, uri, options, settings.data_folder)
        )

    return Pools(
        open_registry(settings.registry),
        open_pool,
        open_store(settings.store) if settings.virtual_pool else None,
    )


def open_service_store(settings: Settings, pools: Pools | None) -> Store:
    """Return the store of the service: what routes to the pools if there are some.

    Raises ConfigurationError.
    """
    if pools is None:
        return open_store(settings.store)
    return Router(pools, lambda metadata: metadata.get(FLAVOR))

# SPDX-License-Identifier: Apache-2.0
"""Reads the options once, into frozen Settings, and refuses what cannot work."""

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import platformdirs
from oslo_config import cfg
from oslo_log import log

from zaqar import __version__, cors_settings, key_settings, quota_settings
from zaqar.errors import ConfigurationError
from zaqar.keys import Key
from zaqar.limits import Limits
from zaqar.masking import masked
from zaqar.notification import settings as notification
from zaqar.options import DEFAULT_OPTIONS, NOTIFIER, OPTIONS, STORAGE_OPTIONS
from zaqar.quota_settings import QuotaSettings


class SqliteSettings(msgspec.Struct, frozen=True):
    """The embedded store."""

    path: str
    synchronous: str


class RedisSettings(msgspec.Struct, frozen=True):
    """A Redis or Valkey server, or several."""

    uri: str
    max_reconnect_attempts: int
    reconnect_sleep: float


class MongoSettings(msgspec.Struct, frozen=True):
    """A replica set of MongoDB, or a cluster."""

    uri: str
    database: str
    ordering: str
    unreliable: bool
    ssl_keyfile: str
    ssl_certfile: str
    ssl_ca_certs: str
    ssl_cert_reqs: str
    max_reconnect_attempts: int
    reconnect_sleep: float


StoreSettings = SqliteSettings | RedisSettings | MongoSettings

# How long an answer of Keystone is waited for; its library would wait for ever.
KEYSTONE_SECONDS = 5
# Another name of the store, which says that the order is strict.
FIFO = "mongodb.fifo"
OFFERED = ("sqlite", "redis", "mongodb", FIFO)
# The driver of a pool by the scheme of its URI.
SCHEMES = {
    "sqlite": "sqlite",
    "redis": "redis",
    "rediss": "redis",
    "mongodb": "mongodb",
    "mongodb+srv": "mongodb",
    FIFO: FIFO,
}


class Settings(msgspec.Struct, frozen=True):
    """What the options come to; `config` is for oslo's own libraries, and for pools.

    `registry` is where pools are kept; None: there are no pools, all queues live in
    `store`. `data_folder` is where files of pools may be; `bell` the pipe by which who
    posts wakes who delivers from the same stores. The first of `signing_keys`
    signs URLs, all of them are good for verifying; none: there are no signed URLs.
    So with `encryption_keys` and bodies; `read_cbc`: those of the reference too.
    """

    bind: str
    port: int
    store: StoreSettings
    registry: StoreSettings | None
    virtual_pool: bool
    data_folder: str
    bell: str
    engine: str
    workers: int
    threads: int
    graceful_timeout: int
    sweep_interval: float
    request_log: bool
    trusted_proxies: tuple[str, ...]
    admin_mode: bool
    deprecated_api_versions: tuple[str, ...]
    daemon: bool
    enable_checksum: bool
    message_delete_with_claim_id: bool
    strict_patch: bool
    limits: Limits
    subscriber_types: tuple[str, ...]
    notification: notification.NotificationSettings
    config: Any
    # The command line that all this was read with.
    arguments: tuple[str, ...] = ()
    signing_keys: tuple[Key, ...] = ()
    encryption_keys: tuple[Key, ...] = ()
    read_cbc: bool = False
    # Empty: clients are believed.
    auth_strategy: str = ""
    insecure: bool = False
    quotas: QuotaSettings = QuotaSettings()


def list_opts() -> list[tuple[str, list[Any]]]:
    """List all options by group, for the generator of the sample file."""
    return list(OPTIONS.items())


def load(
    arguments: Sequence[str] = (),
    *,
    program: str = "zaqar-server",
    transport: str | None = None,
) -> Settings:
    """Read command line, environment and files into Settings.

    `transport` overrides the option of that name.

    Raises ConfigurationError where a value cannot work or needs what is not built.
    """
    config = cfg.ConfigOpts()
    for group, options in OPTIONS.items():
        config.register_opts(options, group=None if group == "DEFAULT" else group)
    config.register_cli_opts(
        [
            option
            for option in DEFAULT_OPTIONS
            if option.name in ("admin_mode", "daemon", "insecure")
        ]
    )
    log.register_options(config)
    # Standard output is the request log's.
    config.set_default("use_stderr", True)
    try:
        config(
            list(arguments),
            project="zaqar",
            prog=program,
            version=__version__,
            default_config_files=cfg.find_config_files(project="zaqar"),
        )
        if transport:
            config.set_override("transport", transport, group="drivers")
        _check_values(config)
        settings = _settings(config)
        return msgspec.structs.replace(settings, arguments=tuple(arguments))
    except (cfg.Error, ValueError) as error:
        raise ConfigurationError(str(error)) from None


def _register_keystone(config: Any) -> None:
    """Make the options of keystonemiddleware known, with a default that ends waiting.

    Raises ConfigurationError.
    """
    try:
        from keystonemiddleware import auth_token
    except ImportError as error:
        raise ConfigurationError(
            f"[DEFAULT] auth_strategy = keystone: {error}. It comes with the extra "
            "'keystone': pip install 'zaqar[keystone]'."
        ) from None
    for group, options in auth_token.list_opts():
        config.register_opts(options, group=group)
    config.set_default(
        "http_connect_timeout", KEYSTONE_SECONDS, group="keystone_authtoken"
    )
    # The other pool imports eventlet where it is, and workers do not end then.
    config.set_default("memcache_use_advanced_pool", False, group="keystone_authtoken")


def _check_values(config: Any) -> None:
    """Read each option, those of stores that are not used too."""
    for group, options in OPTIONS.items():
        for option in options:
            try:
                (config if group == "DEFAULT" else config[group])[option.name]
            except cfg.ConfigFileValueError as error:
                # Its own text names the place of the value and no option.
                # SECURITY: it also repeats the value.
                told = "it cannot be read." if option.secret else error
                raise ConfigurationError(f"[{group}] {option.name}: {told}") from None


def _settings(config: Any) -> Settings:
    _refuse_what_is_not_built(config)
    if config.auth_strategy:
        _register_keystone(config)
    cors_settings.check(config.cors.allowed_origin)
    server, transport = config.server, config.transport
    wsgi = config["drivers:transport:wsgi"]
    limits = Limits(**{name: transport[name] for name in Limits.__struct_fields__})
    _check_limits(limits)
    signing_keys = key_settings.of_urls(config)
    if config.notification.require_confirmation and not signing_keys:
        raise ConfigurationError(
            "[notification] require_confirmation needs a [signed_url] secret_key: "
            "subscribers confirm by signed URLs."
        )
    management = "drivers:management_store:sqlite"
    registry_file = sqlite_path(config[management].uri, management)
    store = _store_settings(config, "message_store")
    registry = None
    if config.pooling:
        registry = _store_settings(config, "management_store")
    return Settings(
        bind=wsgi.bind,
        port=wsgi.port,
        store=store,
        registry=registry,
        virtual_pool=config["pooling:catalog"].enable_virtual_pool,
        data_folder=os.path.dirname(registry_file),
        bell=_bell(registry or store, os.path.dirname(registry_file)),
        engine=server.engine,
        workers=server.workers or len(os.sched_getaffinity(0)),
        threads=server.threads,
        graceful_timeout=server.graceful_timeout,
        sweep_interval=server.sweep_interval,
        request_log=server.request_log,
        trusted_proxies=tuple(server.trusted_proxies),
        admin_mode=config.admin_mode,
        deprecated_api_versions=tuple(config.enable_deprecated_api_versions),
        daemon=config.daemon,
        enable_checksum=config.enable_checksum,
        message_delete_with_claim_id=transport.message_delete_with_claim_id,
        strict_patch=transport.strict_patch,
        limits=limits,
        subscriber_types=tuple(map(str.lower, transport.subscriber_types)),
        notification=notification.read(config.notification, str(wsgi.bind)),
        config=config,
        signing_keys=signing_keys,
        encryption_keys=key_settings.of_bodies(config),
        read_cbc=transport.message_encryption_read_cbc,
        auth_strategy=config.auth_strategy,
        insecure=config.insecure,
        quotas=quota_settings.read(config.quota, os.path.dirname(registry_file)),
    )


def management_store(settings: Settings) -> StoreSettings:
    """Return where pools are kept, or would be if pooling were on.

    Raises ConfigurationError.
    """
    return settings.registry or _store_settings(settings.config, "management_store")


def _bell(store: StoreSettings, folder: str) -> str:
    """Return the path of the bell (`waking`) of a store: beside it, or in the folder.

    Services whose stores differ do not wake each other. It is hidden: who copies
    `zaqar.db*` would wait for ever for the end of a pipe.
    """
    if isinstance(store, SqliteSettings):
        beside, file = os.path.split(store.path)
        return os.path.join(beside, f".{file}.bell")
    names = [masked(store.uri), getattr(store, "database", "")]
    name = hashlib.blake2b(repr(names).encode(), digest_size=8).hexdigest()
    return os.path.join(folder, f".{name}.bell")


def _store_settings(config: Any, kind: str) -> StoreSettings:
    """Read the options of `message_store` or `management_store`."""
    driver = config.drivers[kind]
    name = "mongodb" if driver == FIFO else driver
    group = f"drivers:{kind}:{name}"
    values = {option.name: config[group][option.name] for option in OPTIONS[group]}
    if name == "sqlite":
        values["path"] = sqlite_path(values["uri"], group)
    return _made(config, driver, values, f"[{group}] ")


def pool_store(
    config: Any, uri: str, options: Mapping[str, Any], folder: str
) -> StoreSettings:
    """Return the settings of a pool's store: its own options, else those of the group.

    A file has to lie below `folder`. Raises ConfigurationError.
    """
    scheme = uri.partition("://")[0] if "://" in uri else uri.partition(":")[0]
    driver = SCHEMES.get(scheme)
    if driver is None:
        raise ConfigurationError(
            f"uri: its scheme must be one of {', '.join(SCHEMES)}."
        )
    group = f"drivers:message_store:{'mongodb' if driver == FIFO else driver}"
    known = {option.name: option for option in OPTIONS[group] if option.name != "uri"}
    values = {name: config[group][name] for name in known} | {"uri": uri}
    for name, value in options.items():
        if name not in known:
            raise ConfigurationError(
                f"options: {name} is none of {', '.join(sorted(known))}."
            )
        try:
            values[name] = known[name].type(value)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"options: {name}: {error}.") from None
    if driver == "sqlite":
        values["path"] = _path_below(folder, uri)
    return _made(config, driver, values, "")


def _path_below(folder: str, uri: str) -> str:
    """Return the file of a pool. SECURITY: administrators of queues are not those of
    the machine, and must not make or read files anywhere."""
    written = uri.removeprefix("sqlite:///")
    if written in (uri, ""):
        raise ConfigurationError(
            f"uri: write sqlite:///path, of a file below the data folder, {folder}."
        )
    path = sqlite_path(f"sqlite:///{os.path.join(folder, written)}", "pool")
    if not os.path.realpath(path).startswith(os.path.realpath(folder) + os.sep):
        raise ConfigurationError(
            f"uri: the file of a pool must lie below the data folder, {folder}."
        )
    return path


def _made(
    config: Any, driver: str, values: dict[str, Any], group: str
) -> StoreSettings:
    """Return the settings of a store; `group` begins the text of errors."""
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigurationError(f"{group}{name} = {value}: no number of seconds.")
    kind: type[StoreSettings] = MongoSettings
    if driver in ("mongodb", FIFO):
        values = {"ordering": "strict", **values, "unreliable": config.unreliable}
        _check_mongo(driver, values, group)
    else:
        kind = RedisSettings if driver == "redis" else SqliteSettings
    return kind(**{name: values[name] for name in kind.__struct_fields__})


def _check_mongo(driver: str, values: Mapping[str, Any], group: str) -> None:
    if not values["uri"]:
        raise ConfigurationError(
            f"{group}uri is empty: write mongodb://host[,host..]/?replicaSet=name."
        )
    # NOTE: the scheme may be the other name too.
    is_fifo = driver == FIFO or values["uri"].startswith(f"{FIFO}://")
    if is_fifo and values["ordering"] != "strict":
        raise ConfigurationError(
            f"{group}ordering = {values['ordering']}: {FIFO} is always strict."
        )


PIPELINES = {"message_pipeline": [NOTIFIER]}


def _refuse_what_is_not_built(config: Any) -> None:
    built = (
        (
            "[oslo_middleware] enable_proxy_headers_parsing",
            config.oslo_middleware.enable_proxy_headers_parsing,
            False,
        ),
        ("[drivers] transport", config.drivers.transport, "wsgi"),
        *(
            (f"[storage] {option.name}", config.storage[option.name], [])
            for option in STORAGE_OPTIONS
            if config.storage[option.name] != PIPELINES.get(option.name)
        ),
    )
    for name in ("message_store", "management_store"):
        value = config.drivers[name]
        if value not in OFFERED:
            raise ConfigurationError(
                f"[drivers] {name} = {value}: this release does not offer it; "
                f"the values that it offers are {', '.join(OFFERED)}."
            )
    for name, value, offered in built:
        if value != offered:
            shown = "empty" if offered in ("", []) else offered
            raise ConfigurationError(
                f"{name} = {value}: this release does not offer it; "
                f"the value that it offers is {shown}."
            )


def _check_limits(limits: Limits) -> None:
    for noun in ("message_ttl", "message_delay", "claim_ttl", "claim_grace"):
        default = getattr(limits, f"default_{noun}")
        maximum = getattr(limits, f"max_{noun}")
        if default > maximum:
            raise ConfigurationError(
                f"[transport] default_{noun} = {default} is more than "
                f"max_{noun} = {maximum}."
            )
    if limits.min_length_client_id > limits.max_length_client_id:
        raise ConfigurationError(
            "[transport] min_length_client_id is more than max_length_client_id."
        )


def sqlite_path(uri: str, group: str = "drivers:message_store:sqlite") -> str:
    """Return the file that a URI names; empty: one in the user's data folder."""
    if not uri:
        return os.path.join(platformdirs.user_data_dir("zaqar"), "zaqar.db")
    scheme, _, path = uri.partition(":///")
    if scheme != "sqlite" or not path or path.endswith("/") or path[0] in ":?":
        raise ConfigurationError(
            f"[{group}] uri = {uri}: write "
            "sqlite:///relative/path or sqlite:////absolute/path."
        )
    if "?" in path:
        raise ConfigurationError(f"[{group}] uri = {uri}: it takes no parameters.")
    return os.path.abspath(path)

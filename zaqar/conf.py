# SPDX-License-Identifier: Apache-2.0
"""Options: their names, defaults and meaning, read once into frozen Settings.

The names are those that operators' files hold. Only this module asks oslo.config.
"""

import os
from collections.abc import Sequence
from typing import Any

import msgspec
import platformdirs
from oslo_config import cfg
from oslo_log import log

from zaqar.errors import ConfigurationError
from zaqar.limits import MIN_TTL, Limits

DEFAULT_OPTIONS = [
    cfg.BoolOpt(
        "admin_mode", default=False, help="Serve the administrators' routes (health)."
    ),
    cfg.BoolOpt(
        "pooling",
        default=False,
        deprecated_name="sharding",
        help="Route queues over registered pools. Not offered by this release.",
    ),
    cfg.BoolOpt(
        "enable_checksum",
        default=False,
        help="Keep an MD5 checksum of each message body and show it with the message.",
    ),
    cfg.StrOpt(
        "auth_strategy",
        default="",
        help="Empty: clients are believed. keystone: not offered by this release.",
    ),
    cfg.ListOpt(
        "enable_deprecated_api_versions",
        default=[],
        help="Versions to serve beside v2. This release offers none.",
    ),
    cfg.BoolOpt("daemon", default=False, help="Run zaqar-server in the background."),
]

DRIVER_OPTIONS = [
    cfg.StrOpt(
        "transport",
        default="wsgi",
        choices=["wsgi", "websocket"],
        help="What zaqar-server serves. This release offers wsgi.",
    ),
    cfg.StrOpt(
        "message_store",
        default="sqlite",
        deprecated_name="storage",
        choices=["sqlite", "mongodb", "mongodb.fifo", "redis", "swift"],
        help="Where queues and messages are kept. This release offers sqlite and "
        "redis.",
    ),
    cfg.StrOpt(
        "management_store",
        default="sqlite",
        choices=["sqlite", "mongodb", "redis", "sqlalchemy"],
        help="Where pools and flavors are kept, once there are any. This release "
        "takes sqlite and redis.",
    ),
]

WSGI_OPTIONS = [
    cfg.HostAddressOpt("bind", default="127.0.0.1", help="Address to listen on."),
    cfg.PortOpt("port", default=8888, help="Port to listen on."),
]

SQLITE_OPTIONS = [
    cfg.StrOpt(
        "uri",
        default="",
        help="sqlite:///relative/path or sqlite:////absolute/path. Empty: a file in "
        "the user's data folder; zaqar-server prints which.",
    ),
    cfg.StrOpt(
        "synchronous",
        default="FULL",
        choices=["FULL", "NORMAL"],
        help="FULL: what was answered survives a power cut. NORMAL: it survives a "
        "killed process, but a power cut may lose the last moments.",
    ),
]

REDIS_OPTIONS = [
    cfg.StrOpt(
        "uri",
        default="redis://127.0.0.1:6379",
        secret=True,
        help="redis://[[user]:password@]host[:port][?options]; several hosts with "
        "master=NAME for Sentinel, or with cluster=true; a path instead of the host "
        "for a Unix socket; rediss:// for TLS. Redis 6.2 or newer, or Valkey.",
    ),
    cfg.IntOpt(
        "max_reconnect_attempts",
        default=10,
        min=0,
        help="How often to try again to reach the server, within the 10 seconds in "
        "which a request is answered.",
    ),
    cfg.FloatOpt(
        "reconnect_sleep",
        default=1.0,
        min=0.0,
        help="Seconds before the second try; doubled each time.",
    ),
]

SERVER_OPTIONS = [
    cfg.StrOpt(
        "engine",
        default="gunicorn",
        choices=["gunicorn", "granian"],
        help="The HTTP server. granian is several times faster and comes with the "
        "extra 'fast'.",
    ),
    cfg.IntOpt(
        "workers", default=0, min=0, help="Worker processes; 0: one for each CPU."
    ),
    cfg.IntOpt("threads", default=8, min=1, help="Threads of each worker."),
    cfg.IntOpt(
        "graceful_timeout",
        default=30,
        min=1,
        help="Seconds that requests may go on after a stop was asked for.",
    ),
    cfg.FloatOpt(
        "sweep_interval",
        default=5.0,
        min=0.1,
        help="Seconds between two collections of what has expired.",
    ),
    cfg.ListOpt(
        "trusted_proxies",
        default=[],
        help="Addresses of proxies whose SCRIPT_NAME and X-Forwarded-Prefix headers "
        "say below which path the service is mounted. Read by gunicorn only.",
    ),
    cfg.BoolOpt(
        "request_log", default=True, help="Write one JSON line for each request."
    ),
]

STORAGE_OPTIONS = [
    cfg.ListOpt(f"{noun}_pipeline", default=[], help="Not offered by this release.")
    for noun in ("queue", "message", "claim", "subscription", "topic")
]

_LIMITS = Limits()
_LIMITS_HELP = {
    "max_queues_per_page": "Queues of a page of a listing.",
    "max_messages_per_page": "Messages of a page; also the ids of one read or delete.",
    "max_subscriptions_per_page": "For later releases.",
    "max_pools_per_page": "For later releases.",
    "max_flavors_per_page": "For later releases.",
    "max_messages_per_claim_or_pop": "Messages of one claim or pop.",
    "max_queue_metadata": "Bytes of a queue's metadata.",
    "max_messages_post_size": "Bytes of the body of one post.",
    "max_message_ttl": "Seconds that a message may live.",
    "max_message_delay": "Seconds that a message may be held back.",
    "max_claim_ttl": "Seconds that a claim may last.",
    "max_claim_grace": "Seconds that a message may live on after its claim.",
    "default_message_ttl": "Seconds that a message lives if its post does not say.",
    "default_claim_ttl": "Seconds that a claim lasts if its request does not say.",
    "default_claim_grace": "Seconds of grace if the request of a claim does not say.",
    "default_subscription_ttl": "For later releases.",
    "min_length_client_id": "Characters of a Client-ID where it need not be a UUID.",
    "max_length_client_id": "Characters of a Client-ID where it need not be a UUID.",
}

TRANSPORT_OPTIONS = [
    *(
        cfg.IntOpt(
            name,
            default=getattr(_LIMITS, name),
            min=MIN_TTL if name.endswith(("_ttl", "_grace")) else 1,
            help=text,
        )
        for name, text in _LIMITS_HELP.items()
    ),
    cfg.IntOpt(
        "default_message_delay",
        default=_LIMITS.default_message_delay,
        min=0,
        help="Seconds that messages are held back if neither post nor queue says.",
    ),
    cfg.StrOpt(
        "client_id_uuid_safe",
        default="strict",
        choices=["strict", "off"],
        help="off: a Client-ID may be any text of the configured length.",
    ),
    cfg.BoolOpt(
        "message_delete_with_claim_id",
        default=False,
        help="Deleting by ids needs claim_ids too.",
    ),
    cfg.BoolOpt(
        "strict_patch",
        default=False,
        help="PATCH of a queue that does not exist answers 404 instead of making it.",
    ),
]

SIGNED_URL_OPTIONS = [
    cfg.StrOpt(
        "secret_key",
        default="",
        secret=True,
        help="The key of signed URLs. Not offered by this release: signed requests "
        "answer 404, and the server says so when it starts.",
    )
]

CORS_OPTIONS = [
    cfg.ListOpt(
        "allowed_origin",
        default=[],
        help="Not offered by this release.",
    )
]

CATALOG_OPTIONS = [
    cfg.BoolOpt(
        "enable_virtual_pool", default=False, help="Not offered by this release."
    )
]

NOTIFICATION_OPTIONS = [
    cfg.BoolOpt(
        "require_confirmation",
        default=False,
        help="Subscribers have to confirm. Not offered by this release.",
    )
]

OPTIONS: dict[str, list[Any]] = {
    "DEFAULT": DEFAULT_OPTIONS,
    "cors": CORS_OPTIONS,
    "drivers": DRIVER_OPTIONS,
    "drivers:transport:wsgi": WSGI_OPTIONS,
    "drivers:message_store:sqlite": SQLITE_OPTIONS,
    "drivers:management_store:sqlite": SQLITE_OPTIONS,
    "drivers:message_store:redis": REDIS_OPTIONS,
    "drivers:management_store:redis": REDIS_OPTIONS,
    "notification": NOTIFICATION_OPTIONS,
    "pooling:catalog": CATALOG_OPTIONS,
    "server": SERVER_OPTIONS,
    "signed_url": SIGNED_URL_OPTIONS,
    "storage": STORAGE_OPTIONS,
    "transport": TRANSPORT_OPTIONS,
}


class SqliteSettings(msgspec.Struct, frozen=True):
    """The embedded store."""

    path: str
    synchronous: str


class RedisSettings(msgspec.Struct, frozen=True):
    """A Redis or Valkey server, or several."""

    uri: str
    max_reconnect_attempts: int
    reconnect_sleep: float


class Settings(msgspec.Struct, frozen=True):
    """What the options come to; `config` is for oslo's own libraries only."""

    bind: str
    port: int
    store: SqliteSettings | RedisSettings
    engine: str
    workers: int
    threads: int
    graceful_timeout: int
    sweep_interval: float
    request_log: bool
    trusted_proxies: tuple[str, ...]
    admin_mode: bool
    daemon: bool
    enable_checksum: bool
    message_delete_with_claim_id: bool
    strict_patch: bool
    limits: Limits
    config: Any
    secret_key: str = ""


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
            if option.name in ("admin_mode", "daemon")
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
            version=_version(),
            default_config_files=cfg.find_config_files(project="zaqar"),
        )
        if transport:
            config.set_override("transport", transport, group="drivers")
        return _settings(config)
    except cfg.ConfigFileValueError as error:
        # Its own text names the place of the value and no option.
        raise ConfigurationError(_named(config, error)) from None
    except (cfg.Error, ValueError) as error:
        raise ConfigurationError(str(error)) from None


def _named(config: Any, error: Exception) -> str:
    """Return what is wrong with the value, and the first option that has it."""
    for group, options in OPTIONS.items():
        for option in options:
            try:
                config[option.name] if group == "DEFAULT" else config[group][
                    option.name
                ]
            except cfg.ConfigFileValueError as reason:
                return f"[{group}] {option.name}: {reason}"
            except cfg.Error:
                continue
    return str(error)


def _version() -> str:
    from zaqar import __version__

    return __version__


def _settings(config: Any) -> Settings:
    _refuse_what_is_not_built(config)
    server, transport = config.server, config.transport
    wsgi = config["drivers:transport:wsgi"]
    limits = Limits(**{name: transport[name] for name in Limits.__struct_fields__})
    _check_limits(limits)
    management = "drivers:management_store:sqlite"
    sqlite_path(config[management].uri, management)
    return Settings(
        bind=wsgi.bind,
        port=wsgi.port,
        store=_store_settings(config),
        engine=server.engine,
        workers=server.workers or len(os.sched_getaffinity(0)),
        threads=server.threads,
        graceful_timeout=server.graceful_timeout,
        sweep_interval=server.sweep_interval,
        request_log=server.request_log,
        trusted_proxies=tuple(server.trusted_proxies),
        admin_mode=config.admin_mode,
        daemon=config.daemon,
        enable_checksum=config.enable_checksum,
        message_delete_with_claim_id=transport.message_delete_with_claim_id,
        strict_patch=transport.strict_patch,
        limits=limits,
        config=config,
        secret_key=config.signed_url.secret_key,
    )


def _store_settings(config: Any) -> SqliteSettings | RedisSettings:
    if config.drivers.message_store == "redis":
        redis = config["drivers:message_store:redis"]
        return RedisSettings(
            redis.uri, redis.max_reconnect_attempts, redis.reconnect_sleep
        )
    sqlite = config["drivers:message_store:sqlite"]
    return SqliteSettings(sqlite_path(sqlite.uri), sqlite.synchronous)


def _refuse_what_is_not_built(config: Any) -> None:
    built = (
        ("[DEFAULT] pooling", config.pooling, False),
        ("[DEFAULT] auth_strategy", config.auth_strategy, ""),
        (
            "[DEFAULT] enable_deprecated_api_versions",
            config.enable_deprecated_api_versions,
            [],
        ),
        ("[cors] allowed_origin", config.cors.allowed_origin, []),
        (
            "[pooling:catalog] enable_virtual_pool",
            config["pooling:catalog"].enable_virtual_pool,
            False,
        ),
        (
            "[notification] require_confirmation",
            config.notification.require_confirmation,
            False,
        ),
        ("[drivers] transport", config.drivers.transport, "wsgi"),
        *(
            (f"[storage] {option.name}", config.storage[option.name], [])
            for option in STORAGE_OPTIONS
        ),
    )
    for name in ("message_store", "management_store"):
        value = config.drivers[name]
        if value not in ("sqlite", "redis"):
            raise ConfigurationError(
                f"[drivers] {name} = {value}: this release does not offer it; "
                "the values that it offers are sqlite and redis."
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

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
        help="Where queues and messages are kept. This release offers sqlite.",
    ),
    cfg.StrOpt(
        "management_store",
        default="sqlite",
        choices=["sqlite", "mongodb", "redis", "sqlalchemy"],
        help="Where pools and flavors are kept. This release offers sqlite.",
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
    cfg.IntOpt("threads", default=16, min=1, help="Threads of each worker."),
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
    cfg.BoolOpt(
        "request_log", default=True, help="Write one JSON line for each request."
    ),
]

STORAGE_OPTIONS = [
    cfg.ListOpt(f"{noun}_pipeline", default=[], help="Not offered by this release.")
    for noun in ("queue", "message", "claim", "subscription", "topic")
]

_LIMITS = Limits()
_UNCHECKED = ("client_id_uuid_safe", "default_message_delay")

TRANSPORT_OPTIONS = [
    *(
        cfg.IntOpt(
            name,
            default=getattr(_LIMITS, name),
            min=MIN_TTL if name.endswith(("_ttl", "_grace")) else 1,
        )
        for name in Limits.__struct_fields__
        if name not in _UNCHECKED
    ),
    cfg.IntOpt("default_message_delay", default=_LIMITS.default_message_delay, min=0),
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

OPTIONS: dict[str, list[Any]] = {
    "DEFAULT": DEFAULT_OPTIONS,
    "drivers": DRIVER_OPTIONS,
    "drivers:transport:wsgi": WSGI_OPTIONS,
    "drivers:message_store:sqlite": SQLITE_OPTIONS,
    "drivers:management_store:sqlite": SQLITE_OPTIONS,
    "server": SERVER_OPTIONS,
    "storage": STORAGE_OPTIONS,
    "transport": TRANSPORT_OPTIONS,
}


class Settings(msgspec.Struct, frozen=True):
    """What the options come to; `config` is for oslo's own libraries only."""

    bind: str
    port: int
    database: str
    synchronous: str
    engine: str
    workers: int
    threads: int
    graceful_timeout: int
    sweep_interval: float
    request_log: bool
    admin_mode: bool
    daemon: bool
    enable_checksum: bool
    message_delete_with_claim_id: bool
    strict_patch: bool
    limits: Limits
    config: Any


def list_opts() -> list[tuple[str, list[Any]]]:
    """List all options by group, for the generator of the sample file."""
    return list(OPTIONS.items())


def load(arguments: Sequence[str] = (), *, program: str = "zaqar-server") -> Settings:
    """Read command line, environment and files into Settings.

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
    try:
        config(
            list(arguments),
            project="zaqar",
            prog=program,
            version=_version(),
            default_config_files=cfg.find_config_files(project="zaqar"),
        )
        return _settings(config)
    except (cfg.Error, ValueError) as error:
        raise ConfigurationError(str(error)) from None


def _version() -> str:
    from zaqar import __version__

    return __version__


def _settings(config: Any) -> Settings:
    _refuse_what_is_not_built(config)
    server, transport = config.server, config.transport
    sqlite = config["drivers:message_store:sqlite"]
    wsgi = config["drivers:transport:wsgi"]
    limits = Limits(**{name: transport[name] for name in Limits.__struct_fields__})
    _check_limits(limits)
    return Settings(
        bind=wsgi.bind,
        port=wsgi.port,
        database=sqlite_path(sqlite.uri),
        synchronous=sqlite.synchronous,
        engine=server.engine,
        workers=server.workers or len(os.sched_getaffinity(0)),
        threads=server.threads,
        graceful_timeout=server.graceful_timeout,
        sweep_interval=server.sweep_interval,
        request_log=server.request_log,
        admin_mode=config.admin_mode,
        daemon=config.daemon,
        enable_checksum=config.enable_checksum,
        message_delete_with_claim_id=transport.message_delete_with_claim_id,
        strict_patch=transport.strict_patch,
        limits=limits,
        config=config,
    )


def _refuse_what_is_not_built(config: Any) -> None:
    built = (
        ("[DEFAULT] pooling", config.pooling, False),
        ("[DEFAULT] auth_strategy", config.auth_strategy, ""),
        (
            "[DEFAULT] enable_deprecated_api_versions",
            config.enable_deprecated_api_versions,
            [],
        ),
        ("[drivers] transport", config.drivers.transport, "wsgi"),
        ("[drivers] message_store", config.drivers.message_store, "sqlite"),
        ("[drivers] management_store", config.drivers.management_store, "sqlite"),
        *(
            (f"[storage] {option.name}", config.storage[option.name], [])
            for option in STORAGE_OPTIONS
        ),
    )
    for name, value, offered in built:
        if value != offered:
            raise ConfigurationError(
                f"{name} = {value}: this release does not offer it; "
                f"the value that it offers is {offered or 'empty'}."
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


def sqlite_path(uri: str) -> str:
    """Return the file that a URI names; empty: one in the user's data folder."""
    if not uri:
        return os.path.join(platformdirs.user_data_dir("zaqar"), "zaqar.db")
    scheme, _, path = uri.partition(":///")
    if scheme != "sqlite" or not path or path.endswith("/"):
        raise ConfigurationError(
            f"[drivers:message_store:sqlite] uri = {uri}: write "
            "sqlite:///relative/path or sqlite:////absolute/path."
        )
    return os.path.abspath(path)

# SPDX-License-Identifier: Apache-2.0
"""The console scripts: parse, build, serve."""

import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import closing

from oslo_log import log

from zaqar import conf, directory, service, stores
from zaqar.conf import Settings, SqliteSettings
from zaqar.errors import ConfigurationError, StorageUnavailable
from zaqar.policy import Policy
from zaqar.server.report import is_loopback
from zaqar.transport import auth


def server(arguments: Sequence[str] | None = None) -> int:
    """Run `zaqar-server`: serve until a signal stops it."""
    return _run("zaqar-server", arguments, _serve)


def gc(arguments: Sequence[str] | None = None) -> int:
    """Run `zaqar-gc`: collect what has expired, once, and say nothing."""
    return _run("zaqar-gc", arguments, _collect)


def notifier(arguments: Sequence[str] | None = None) -> int:
    """Run `zaqar-notifier`: deliver to subscribers until a signal stops it."""
    return _run("zaqar-notifier", arguments, _notify)


def _run(
    program: str, arguments: Sequence[str] | None, command: Callable[[Settings], None]
) -> int:
    """Run a command; what stops it is told on standard error, with exit code 1."""
    try:
        settings = conf.load(
            sys.argv[1:] if arguments is None else arguments, program=program
        )
        log.setup(settings.config, "zaqar")
        command(settings)
    except (ConfigurationError, StorageUnavailable, log.LogConfigError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    return 0


def _serve(settings: Settings) -> None:
    from zaqar.server.report import start_report

    check_openness(settings)
    if settings.auth_strategy:
        auth.keystone(settings.config)
    pools = check_store(settings)
    check_address(settings)
    Policy(settings.config)
    serve = _engine(settings)
    print(start_report(settings, pools), flush=True)
    if settings.daemon:
        _detach()
    serve(settings)


def _engine(settings: Settings) -> Callable[[Settings], None]:
    if settings.engine == "granian":
        try:
            from zaqar.server.granian import serve
        except ImportError as error:
            raise ConfigurationError(
                f"[server] engine = granian: {error}. It comes with the extra 'fast': "
                "pip install 'zaqar[fast]'."
            ) from None
        return serve
    from zaqar.server.gunicorn import serve as serve_by_gunicorn

    return serve_by_gunicorn


def check_store(settings: Settings) -> int | None:
    """Open what has to work at start, and close it again: no fork may inherit it.

    That is the store, or else the registry of pools: how many there are is returned,
    None where there are none to register or nobody could be asked. A server that does
    not work yet may do so later; a file has to.
    Raises StorageUnavailable, ConfigurationError.
    """
    needed = settings.registry or settings.store
    try:
        if settings.registry is None:
            with closing(stores.open_store(needed)) as store:
                store.ping()
            return None
        with closing(stores.open_registry(needed)) as registry:
            registry.ping()
            document, _ = registry.read_directory()
            return len(directory.read(document).pools)
    except StorageUnavailable as error:
        if isinstance(needed, SqliteSettings):
            raise
        print(f"zaqar-server: {error} The store is waited for.", file=sys.stderr)
    return None


def check_openness(settings: Settings) -> None:
    """Raise ConfigurationError where anybody could be every tenant, unless told to."""
    if settings.auth_strategy or settings.insecure or is_loopback(settings.bind):
        return
    raise ConfigurationError(
        f"{settings.bind} is reachable from other machines, and nobody is asked who "
        "they are. Set [DEFAULT] auth_strategy = keystone, or [drivers:transport:wsgi] "
        "bind = 127.0.0.1; if something in front asks, or a container keeps others "
        "away, start with --insecure."
    )


def check_address(settings: Settings) -> None:
    """Raise ConfigurationError unless the address is free.

    The engines share their port between workers, and would share it with a stranger.
    """
    family = socket.AF_INET6 if ":" in settings.bind else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.bind, settings.port))
        except OSError as error:
            raise ConfigurationError(
                f"Cannot listen on {settings.bind} port {settings.port}: {error}."
            ) from None


def _notify(settings: Settings) -> None:
    from zaqar.server.notifier import run

    run(settings)


def _collect(settings: Settings) -> None:
    built = service.build(settings)
    try:
        built.store.sweep(now=built.now())
    finally:
        built.close()


def _detach() -> None:
    """Go on in the background, without a terminal."""
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    with open(os.devnull, "r+b") as nothing:
        for descriptor in (0, 1, 2):
            os.dup2(nothing.fileno(), descriptor)

# SPDX-License-Identifier: Apache-2.0
"""Reads the URI of the store: where the servers are and how to speak to them.

Connects to nothing.
"""

import re
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import msgspec

from zaqar.errors import ConfigurationError

PORT, SENTINEL_PORT = 6379, 26379
# Connecting and waiting for an answer take this long each at most, whatever the URI
# says: a request is answered within 10 s.
LONGEST_TIMEOUT = 4.0

HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]@\s]+)(?::(\d{1,5}))?")
SWITCH = {"true": True, "1": True, "false": False, "0": False}
TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")
CERT_REQS = ("required", "optional", "none")
OPTIONS = (
    "dbid",
    "socket_timeout",
    "master",
    "cluster",
    "sentinel_username",
    "sentinel_password",
    *TLS_OPTIONS,
)

Host = tuple[str, int]


class Address(msgspec.Struct, frozen=True):
    """What a URI says. `path` is a Unix socket; else there are hosts.

    `master` is the name that the hosts, which are Sentinels then, know the server by.
    """

    hosts: tuple[Host, ...] = ()
    path: str = ""
    username: str | None = None
    password: str | None = None
    database: int = 0
    timeout: float = 0.1
    master: str | None = None
    cluster: bool = False
    sentinel_username: str | None = None
    sentinel_password: str | None = None
    tls: dict[str, str] | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """Return what a data connection needs beside the place."""
        return {
            "username": self.username,
            "password": self.password,
            "db": self.database,
        }


def parse(uri: str) -> Address:
    """Read a URI of contract form. Raises ConfigurationError."""
    parts = _split(uri)
    if parts.scheme in ("redis", "rediss") and "@" in parts.path:
        raise _wrong(
            "an @ is in its path: two slashes follow the scheme, and in a user or "
            "password / is written as %2F, ? as %3F, # as %23"
        )
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        if not uri.endswith("?") and "?" in uri:
            raise _wrong("its options are not name=value") from None
        pairs = []
    if parts.scheme not in ("redis", "rediss"):
        raise _wrong("it does not begin with redis:// or rediss://")
    if parts.fragment:
        raise _wrong("it has a fragment; write # as %23")
    options = _options(pairs)
    username, password, places = _user(parts.netloc)
    master = options.get("master")
    port = PORT if master is None else SENTINEL_PORT
    hosts = tuple(_host(place, port) for place in places.split(",") if places)
    path = unquote(parts.path) if not hosts else ""
    address = Address(
        hosts=hosts,
        path=path,
        username=username,
        password=password,
        database=_number("dbid", options.get("dbid", "0")),
        timeout=_seconds(options.get("socket_timeout", "0.1")),
        master=master,
        cluster=_switch("cluster", options.get("cluster", "false")),
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
        tls=_tls(parts.scheme, options),
    )
    _check(address, parts.path)
    return address


def _check(address: Address, path: str) -> None:
    """Refuse what does not go together."""
    several = len(address.hosts) > 1
    refusals = {
        "it names neither a host nor a path": not address.hosts
        and address.path in ("", "/"),
        "a path follows the host; the database is the option dbid": bool(address.hosts)
        and path not in ("", "/"),
        "several hosts need master=<name> or cluster=true": several
        and address.master is None
        and not address.cluster,
        "master is empty": address.master == "",
        "master and cluster exclude each other": address.master is not None
        and address.cluster,
        "master and cluster need hosts": not address.hosts
        and (address.master is not None or address.cluster),
        "a cluster has only the database 0": address.cluster and address.database != 0,
        "a Unix socket has no TLS": address.tls is not None and not address.hosts,
        "sentinel_username and sentinel_password need master": address.master is None
        and (address.sentinel_username or address.sentinel_password) is not None,
    }
    for reason, refused in refusals.items():
        if refused:
            raise _wrong(reason)


def _split(uri: str) -> SplitResult:
    try:
        return urlsplit(uri)
    except ValueError:
        raise _wrong("its host is not written as one") from None


def _wrong(reason: str) -> ConfigurationError:
    # SECURITY: the URI itself is not told, for it may hold a password.
    return ConfigurationError(f"The URI of the Redis store is wrong: {reason}.")


def _options(pairs: list[tuple[str, str]]) -> dict[str, str]:
    options = dict(pairs)
    has_at = any("@" in text for pair in pairs for text in pair)
    if len(options) < len(pairs):
        raise _wrong("an option is given twice")
    for name in options:
        if name not in OPTIONS:
            # SECURITY: where an @ follows it may be what follows a ? in a password.
            told = "" if has_at else f" {name!r}"
            raise _wrong(f"it has no option{told}; there are {', '.join(OPTIONS)}")
    return options


def _user(place: str) -> tuple[str | None, str | None, str]:
    """Cut off `user:password@`; both None if it is absent."""
    credentials, at, hosts = place.rpartition("@")
    if not at:
        return None, None, hosts
    username, _, password = credentials.partition(":")
    if username and not password:
        raise _wrong("a user has no password")
    return unquote(username) or None, unquote(password) or None, hosts


def _host(place: str, port: int) -> Host:
    found = HOST.fullmatch(place)
    if not found or not 0 < int(found[2] or port) < 65536 or not _is_name(found[1]):
        # SECURITY: not told, for it may be what precedes a / in a password.
        raise _wrong("a host is not written as host or host:port")
    return found[1].strip("[]"), int(found[2] or port)


def _is_name(host: str) -> bool:
    """Say whether the resolver takes it; what it does not would be no RedisError."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise _wrong(f"{name} is not a number")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise _wrong("socket_timeout is not a number of seconds above 0")
    return min(seconds, LONGEST_TIMEOUT)


def _switch(name: str, text: str) -> bool:
    if text.lower() not in SWITCH:
        raise _wrong(f"{name} is not true or false")
    return SWITCH[text.lower()]


def _tls(scheme: str, options: dict[str, str]) -> dict[str, str] | None:
    given = {name: options[name] for name in TLS_OPTIONS if name in options}
    if scheme == "redis":
        if given:
            raise _wrong(f"{', '.join(given)} need rediss://")
        return None
    if given.get("ssl_cert_reqs", "required") not in CERT_REQS:
        raise _wrong(f"ssl_cert_reqs is none of {', '.join(CERT_REQS)}")
    return given

# SPDX-License-Identifier: Apache-2.0
"""Reads the URI of the store and says with which options a client is to be made.

Connects to nothing and asks no name server.
"""

from collections.abc import Mapping
from typing import Any

from pymongo.errors import ConfigurationError as Misconfigured
from pymongo.errors import InvalidURI
from pymongo.uri_parser import parse_uri

from zaqar.errors import ConfigurationError

SCHEMES = ("mongodb", "mongodb+srv", "mongodb.fifo")
FIFO = "mongodb.fifo"

# Milliseconds that a phase may take at most, whatever the URI says. A call that finds
# its server stopped and then no primary ends within 9 s.
LONGEST = {
    "serverSelectionTimeoutMS": 5000,
    "connectTimeoutMS": 2000,
    "socketTimeoutMS": 4000,
    "waitQueueTimeoutMS": 4000,
    # A server that is stopped, and does not close its connections, is given up after
    # this and the time-out of connecting.
    "heartbeatFrequencyMS": 1000,
}
# Less than the answer may take: who waits for a majority is told that it is that.
WRITE_TIMEOUT = 3500
# The least that the driver takes.
SHORTEST_HEARTBEAT = 500

# What the promise of the store needs, as the driver knows the options.
RELIABLE = {"w": "majority", "journal": True, "directConnection": False}
ALWAYS = {"readPreference": "primary", "retryWrites": True, "retryReads": True}
SECRETS = ("password", "authmechanismproperties")


def is_fifo(uri: str) -> bool:
    """Say whether the URI asks for the strict order by its scheme."""
    return uri.startswith(f"{FIFO}://")


def plain(uri: str) -> str:
    """Return the URI as the driver understands it. Raises ConfigurationError."""
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme not in SCHEMES:
        begin = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise _wrong(f"it begins with none of {begin}")
    return f"mongodb://{rest}" if scheme == FIFO else uri


def client_options(
    uri: str, *, unreliable: bool, longest_wait: float
) -> dict[str, Any]:
    """Return the options of a client of this `plain` URI, which override its own.

    `longest_wait` is how many seconds a call waits for a primary.
    Raises ConfigurationError for a URI that cannot work.
    """
    options = _options(uri)
    _check(options, unreliable)
    longest = dict(LONGEST)
    wait = int(longest_wait * 1000)
    longest["serverSelectionTimeoutMS"] = min(wait, longest["serverSelectionTimeoutMS"])
    result: dict[str, Any] = {
        name: _shorter(options.get(name.lower()), limit)
        for name, limit in longest.items()
    }
    heartbeat = result["heartbeatFrequencyMS"]
    result["heartbeatFrequencyMS"] = max(SHORTEST_HEARTBEAT, heartbeat)
    result |= {
        "w": options.get("w", "majority"),
        "journal": options.get("journal", True),
        "wTimeoutMS": min(options.get("wtimeoutms") or WRITE_TIMEOUT, WRITE_TIMEOUT),
        "readConcernLevel": "local",
        "appName": options.get("appname", "zaqar"),
        **ALWAYS,
    }
    return result


def has_tls(uri: str) -> bool:
    """Say whether this `plain` URI turns TLS on."""
    return bool(_options(uri).get("tls", uri.startswith("mongodb+srv://")))


def _shorter(seconds: Any, limit: int) -> int:
    """Return the milliseconds of an option as the driver reads it, up to a limit."""
    # NOTE: to the driver 0 and nothing mean for ever.
    return min(int(seconds * 1000), limit) if seconds else limit


def _check(options: Mapping[str, Any], unreliable: bool) -> None:
    """Refuse what would break the promise of the store."""
    for name, value in ALWAYS.items():
        given = options.get(name.lower(), value)
        if (given.lower() if isinstance(given, str) else given) != value:
            raise _wrong(f"{name} is {given}; the store needs {_shown(value)}")
    if options.get("w") == 0:
        raise _wrong("w is 0; the store needs to know what was written")
    for name, value in RELIABLE.items():
        given = options.get(name.lower(), value)
        if given != value and not unreliable:
            raise _wrong(
                f"{name} is {_shown(given)}; leave it out, or set [DEFAULT] unreliable "
                "where messages may be lost"
            )


def _shown(value: object) -> str:
    return str(value).lower()


def _options(uri: str) -> dict[str, Any]:
    """Return the options by their names in lower case. Raises ConfigurationError."""
    body = _without_resolving(uri)
    try:
        parsed: Mapping[str, Any] = parse_uri(body)
    except (Misconfigured, InvalidURI, ValueError):
        raise _wrong(_reason(body)) from None
    except OSError as error:
        raise _wrong(f"a file that it names cannot be read: {error}") from None
    # NOTE: some versions of the driver take the path for the host.
    if body.removeprefix("mongodb://").startswith("/"):
        raise _wrong("it names no host")
    if parsed["collection"]:
        raise _wrong("a dot is in the name of its database")
    return {name.lower(): value for name, value in parsed["options"].items()}


def _without_resolving(uri: str) -> str:
    """Return the URI in a form that is parsed without asking a name server."""
    if not uri.startswith("mongodb+srv://"):
        return uri
    place, separator, text = uri.removeprefix("mongodb+srv://").partition("?")
    pairs = [pair for pair in text.split("&") if not pair.lower().startswith("srv")]
    return f"mongodb://{place}{separator if any(pairs) else ''}{'&'.join(pairs)}"


def _reason(uri: str) -> str:
    """Return what is wrong with a URI that the driver does not understand.

    SECURITY: what the driver says may quote a password that is not encoded. So it is
    asked again about what is left without login and secret options.
    """
    rest = uri.removeprefix("mongodb://").rpartition("@")[2]
    hosts, separator, text = rest.partition("?")
    pairs = [
        pair
        for pair in text.split("&")
        if not any(secret in pair.partition("=")[0].lower() for secret in SECRETS)
    ]
    try:
        parse_uri(f"mongodb://{hosts}{separator}{'&'.join(pairs)}")
    except (Misconfigured, InvalidURI, ValueError) as error:
        return str(error).rstrip(".")
    return "special characters of its user, password or secrets are not percent-encoded"


def _wrong(reason: str) -> ConfigurationError:
    # SECURITY: the URI itself is not told, for it may hold a password.
    return ConfigurationError(f"The URI of the MongoDB store is wrong: {reason}.")

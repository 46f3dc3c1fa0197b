# SPDX-License-Identifier: Apache-2.0
"""Which addresses subscribers may be at: who subscribes must not reach with our hands
what they cannot reach with theirs.

Asked twice: when somebody subscribes, and with the very address that is connected to.
Knows no HTTP client.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache

import yarl

from zaqar.errors import InvalidRequest
from zaqar.notification.settings import Network, NotificationSettings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Lookup = Callable[[str, int], list[str]]

# How long somebody who subscribes waits for the addresses of a name. They are checked
# when connecting all the same.
LOOKUP_SECONDS = 2.0
LOOKUP_THREADS = 16
MAX_URI = 2048
# What systems read as an IPv4 address: its last part is a number, of any base.
NUMERIC = re.compile(r"(?:.*\.)?(?:\d+|0x[\da-f]*)\.?", re.ASCII | re.IGNORECASE)

# The registries of special purpose addresses (IANA), and the services of clouds that
# have public addresses. SECURITY: our own table, for what the library calls private
# differs between releases of Python.
REFUSED: tuple[tuple[str, Network], ...] = tuple(
    (name, ipaddress.ip_network(network))
    for name, networks in {
        "loopback": "127.0.0.0/8 ::1/128",
        "unspecified": "0.0.0.0/8 ::/128",
        "private": "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7 fec0::/10",
        "link-local": "169.254.0.0/16 fe80::/10",
        "shared with carriers": "100.64.0.0/10",
        "of the cloud's own services": "168.63.129.16/32",
        "multicast": "224.0.0.0/4 ff00::/8",
        "reserved": "192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 198.18.0.0/15 "
        "198.51.100.0/24 203.0.113.0/24 240.0.0.0/4 2001::/23 2001:db8::/32 "
        "3fff::/20",
    }.items()
    for network in networks.split()
)
# Of IPv6, what is not in here is no address of a single machine in the internet.
PUBLIC_V6 = ipaddress.ip_network("2000::/3")
# Where the last bits are an IPv4 address, which a gateway leads to.
NAT64 = ipaddress.ip_network("64:ff9b::/96")
COMPATIBLE = ipaddress.ip_network("::/96")


class AddressDenied(OSError):
    """Raised instead of connecting to an address that subscribers may not be at.

    SECURITY: who subscribed sees the text; it tells nothing of our network.
    """

    def __init__(self) -> None:
        super().__init__("The address of the subscriber is not one that is allowed.")


def refusal(address: Address, settings: NotificationSettings) -> str | None:
    """Return why subscribers may not be at an address, None if they may."""
    forms = [address, *_inner(address)]
    if _within(forms, settings.denied_networks):
        return "denied"
    if settings.allow_private_targets or _within(forms, settings.allowed_networks):
        return None
    for form in forms:
        if kind := _kind(form):
            return kind
    if any(str(form) == settings.bind or is_own(form) for form in forms):
        return "of this service"
    return None


def _within(forms: list[Address], networks: tuple[Network, ...]) -> bool:
    return any(
        form in network
        for network in networks
        for form in forms
        if form.version == network.version
    )


def _kind(address: Address) -> str | None:
    for name, network in REFUSED:
        if address.version == network.version and address in network:
            # Teredo is the one part of what is reserved whose inner address counts.
            if isinstance(address, ipaddress.IPv6Address) and address.teredo:
                continue
            return name
    if address.version == 4 or address in PUBLIC_V6 or list(_inner(address)):
        return None
    return "reserved"


def _inner(address: Address) -> Iterator[Address]:
    """Yield the IPv4 addresses that an IPv6 address leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return
    if mapped := address.ipv4_mapped or address.sixtofour:
        yield mapped
    elif address.teredo:
        yield from address.teredo
    elif address in NAT64 or (address in COMPATIBLE and int(address) > 1):
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def is_own(address: Address) -> bool:
    """Say whether this machine has the address.

    Nothing is sent: the system names the source that it would use, and to reach itself
    that is the address itself.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((str(address), 9))
        return ipaddress.ip_address(probe.getsockname()[0].partition("%")[0]) == address
    return False


def check_address(text: str, settings: NotificationSettings) -> None:
    """Raise AddressDenied unless it may be connected to; unreadable ones neither."""
    try:
        reason = refusal(ipaddress.ip_address(text), settings)
    except ValueError:
        reason = "unreadable"
    if reason:
        raise AddressDenied


@lru_cache(maxsize=1024)
def read_uri(uri: str) -> yarl.URL:
    """Return a webhook's URI as the HTTP client reads it. Raises InvalidRequest."""
    if len(uri) > MAX_URI:
        raise InvalidRequest(f"subscriber may have at most {MAX_URI} characters.")
    if any(character <= " " or character == "\x7f" for character in uri):
        raise InvalidRequest("subscriber must not have spaces or control characters.")
    try:
        url = yarl.URL(uri)
        port = url.port
    except ValueError as error:
        raise InvalidRequest(f"subscriber is no URI: {error}.") from None
    if url.scheme not in ("http", "https") or not url.raw_host or not port:
        raise InvalidRequest("subscriber must be http://host or https://host.")
    # SECURITY: a zone leads to a network of this machine; no name has these signs.
    if set(url.raw_host) & set("%\\/?#@<>[]|^\"'`{}"):
        raise InvalidRequest("subscriber has a host that is none.")
    if NUMERIC.fullmatch(url.raw_host):
        try:
            ipaddress.IPv4Address(url.raw_host)
        except ValueError:
            raise InvalidRequest(
                "subscriber: write the IPv4 address as four decimal numbers."
            ) from None
    return url


def check_subscriber(
    uri: str, settings: NotificationSettings, lookup: "Lookups | None" = None
) -> None:
    """Raise InvalidRequest unless all addresses of a webhook's host are allowed.

    A name that has none yet is accepted, and one whose addresses are not told in time.
    """
    url = read_uri(uri)
    assert url.raw_host and url.port
    for address in (lookup or LOOKUPS)(url.raw_host, url.port):
        if reason := refusal(ipaddress.ip_address(address), settings):
            raise InvalidRequest(
                f"subscriber: the address of {url.host} is {reason}; this service does "
                "not send there."
            )


def addresses_of(host: str, port: int) -> list[str]:
    """Return the addresses of a name, or the one that is written, in any spelling.

    Raises OSError where there are none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"no name: {error}") from None
    return list(dict.fromkeys(str(info[4][0]) for info in found))


class Lookups:
    """Asks for addresses in a few threads of its own, and waits a limited time."""

    def __init__(
        self, ask: Lookup = addresses_of, seconds: float = LOOKUP_SECONDS
    ) -> None:
        self._ask, self._seconds = ask, seconds
        self._threads: ThreadPoolExecutor | None = None

    def __call__(self, host: str, port: int) -> list[str]:
        """Return the addresses, none if nobody knows them in time."""
        # Threads begin with the first question: processes are forked before that.
        if self._threads is None:
            self._threads = ThreadPoolExecutor(LOOKUP_THREADS, "lookup")
        asked = self._threads.submit(self._ask, host, port)
        try:
            return asked.result(self._seconds)
        except TimeoutError:
            asked.cancel()
        except OSError:
            pass
        return []


LOOKUPS = Lookups()

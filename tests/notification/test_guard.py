# SPDX-License-Identifier: Apache-2.0
"""Facts of the guard: which addresses are refused, in which spelling, and when."""

import asyncio
import ipaddress
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.notification import arrange
from tests.notification.arrange import sent, target
from tests.notification.sinks import Sink, answer, served
from zaqar.errors import InvalidRequest
from zaqar.notification import guard
from zaqar.notification.guard import Lookups, check_subscriber, refusal

CLOSED = arrange.settings()
PUBLIC = "8.8.8.8"


def verdict(address: str, **options: object) -> str | None:
    given = arrange.settings(**options) if options else CLOSED
    return refusal(ipaddress.ip_address(address), given)


def told(*addresses: str) -> Lookups:
    """Return lookups that find these addresses, whatever the name."""
    return Lookups(lambda host, port: list(addresses), arrange.PATIENT)


DENIED_V4 = [
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1"),
    *("172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254"),
    *("169.254.0.1", "100.64.0.1", "100.100.100.200", "100.127.255.255"),
    *("168.63.129.16", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1"),
    *("203.0.113.1", "192.88.99.1", "224.0.0.1", "239.255.255.255", "240.0.0.1"),
    "255.255.255.255",
]
ALLOWED_V4 = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "9.255.255.255"]


def forms_of(address: str) -> list[str]:
    """Return IPv6 addresses that lead to an IPv4 address."""
    number = int(ipaddress.IPv4Address(address))
    high, low = number >> 16, number & 0xFFFF
    back = number ^ 0xFFFFFFFF
    return [
        f"::ffff:{address}",
        f"::{address}",
        f"2002:{high:x}:{low:x}::1",
        f"64:ff9b::{address}",
        f"2001:0:808:808:0:0:{back >> 16:x}:{back & 0xFFFF:x}",
        f"2001:0:{high:x}:{low:x}:0:0:f7f7:f7f7",
    ]


@pytest.mark.parametrize("address", DENIED_V4)
def test_what_is_not_public_is_refused_in_each_form(address: str) -> None:
    assert verdict(address)
    # NOTE: ::0.0.0.0 and ::0.0.0.1 are addresses of IPv6 itself, refused as well.
    assert all(verdict(form) for form in forms_of(address))


@pytest.mark.parametrize("address", ALLOWED_V4)
def test_what_is_public_is_allowed_in_each_form(address: str) -> None:
    assert verdict(address) is None
    assert not any(verdict(form) for form in forms_of(address))


@pytest.mark.parametrize(
    "address",
    [
        *("::", "::1", "fe80::1", "fe80::1%1", "fc00::1", "fd00:ec2::254", "fec0::1"),
        *("ff02::1", "2001:db8::1", "2001:20::1", "3fff::1", "100::1", "5f00::1"),
        *("64:ff9b:1::1", "4000::1", "::1%1"),
    ],
)
def test_v6_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert verdict(address)


@pytest.mark.parametrize("address", ["2606:4700:4700::1111", "2a00:1450:4001::1"])
def test_public_v6_addresses_are_allowed(address: str) -> None:
    assert verdict(address) is None


@given(st.ip_addresses())
def test_each_address_has_a_verdict_and_the_library_allows_no_less(
    address: guard.Address,
) -> None:
    found = refusal(address, CLOSED)

    if found is None and address.version == 4:
        assert address.is_global and not address.is_multicast


# Networks of the options -------------------------------------------------------------


def test_allowed_networks_are_allowed_and_nothing_beside_them() -> None:
    allowed = {"allowed_networks": ["10.1.0.0/16", "fd00::/64"]}

    assert verdict("10.1.2.3", **allowed) is None
    assert verdict("::ffff:10.1.2.3", **allowed) is None
    assert verdict("fd00::5", **allowed) is None
    assert verdict("10.2.0.1", **allowed) == "private"
    assert verdict("169.254.169.254", **allowed) == "link-local"


@pytest.mark.parametrize("switch", ["allow_private_targets", "allowed_networks"])
def test_denied_networks_are_denied_whatever_allows_them(switch: str) -> None:
    options = {switch: True if switch.startswith("allow_") else ["0.0.0.0/0"]}
    denied = {"denied_networks": ["9.9.9.0/24"], **options}

    assert verdict("9.9.9.9", **denied) == "denied"
    assert verdict("64:ff9b::9.9.9.9", **denied) == "denied"
    assert verdict("10.0.0.1", **denied) is None


def test_without_the_guard_all_are_allowed() -> None:
    assert not any(verdict(each, allow_private_targets=True) for each in DENIED_V4)


def test_where_the_service_listens_is_refused() -> None:
    given = arrange.settings(bind=PUBLIC)

    assert refusal(ipaddress.ip_address(PUBLIC), given) == "of this service"
    assert refusal(ipaddress.ip_address(f"::ffff:{PUBLIC}"), given)


def test_addresses_of_the_machine_are_known() -> None:
    """No machine of the tests has a public address: the rule is asked for itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((PUBLIC, 9))
        except OSError:
            own = "127.0.0.1"
        else:
            own = probe.getsockname()[0]

    assert guard.is_own(ipaddress.ip_address(own))
    assert guard.is_own(ipaddress.ip_address("127.0.0.1"))
    assert not guard.is_own(ipaddress.ip_address("203.0.113.77"))


# When subscribing --------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        *(
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.0.0.1",
            "017700000001",
        ),
        *("127.0.0.1.", "0177.0.0.1", "127.0.1", "0", "0x7F.1", "127.0.0.1:80"),
        *("[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]"),
        *("[fe80::1%25eth0]", "[fe80::1%eth0]", "[::1%251]", "[::]", "[fd00:ec2::254]"),
        *("localhost", "LOCALHOST", "user:pw@127.0.0.1"),
        *("8.8.8.8@127.0.0.1", "127.0.0.1:22", "127.0.0.1:1", "169.254.169.254"),
        *("127。0。0。1", "①②⑦.0.0.1", "127.0.0.1", "127%2e0%2e0%2e1", "256.1.1.1"),
    ],
)
def test_no_spelling_of_a_refused_address_can_subscribe(host: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^subscriber"):
        check_subscriber(f"http://{host}/", CLOSED)


@pytest.mark.parametrize(
    "uri",
    [
        *("http://", "http:///path", "http:", "http:/h", "http://:80/", "//h/", "h"),
        *(
            "http://h:99999/",
            "http://h:x/",
            "http://h:-1/",
            "http://[::1/",
            "http://h:0/",
        ),
        *(
            "http://h /",
            "http://h\r\nX: y/",
            "http://h/\n",
            "http://h\x00/",
            "\nhttp://h",
        ),
        *("http://a_b\\c/", "http://h\\@i/", "file:///etc", "http://" + "h" * 2050),
        "http://\u3002/",
    ],
)
def test_what_is_no_uri_of_a_host_is_refused(uri: str) -> None:
    def nobody(host: str, port: int) -> list[str]:
        raise AssertionError(f"{host} was looked up")

    with pytest.raises(InvalidRequest, match=r"^subscriber"):
        check_subscriber(uri, CLOSED, Lookups(nobody))


@pytest.mark.parametrize(
    "uri",
    [
        *("http://8.8.8.8", "https://8.8.8.8:8443/a?b=c#d", "HTTP://8.8.8.8/"),
        *("http://[2606:4700:4700::1111]:1/", "http://me:pw@8.8.8.8/"),
    ],
)
def test_public_addresses_can_subscribe(uri: str) -> None:
    check_subscriber(uri, CLOSED)


def test_all_addresses_of_a_name_are_checked() -> None:
    check_subscriber("http://h.example/", CLOSED, told(PUBLIC))

    with pytest.raises(InvalidRequest, match=r"address of h\.example is private") as e:
        check_subscriber("http://h.example/", CLOSED, told(PUBLIC, "10.7.7.7"))

    assert "10.7.7.7" not in str(e.value)


def test_an_international_name_is_looked_up_as_it_will_be_called() -> None:
    asked = []

    def ask(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return [PUBLIC]

    check_subscriber("https://bücher.example/", CLOSED, Lookups(ask))

    assert asked == [("xn--bcher-kva.example", 443)]


def test_a_name_that_nobody_knows_yet_is_accepted() -> None:
    def ask(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    check_subscriber("http://soon.example/", CLOSED, Lookups(ask))


@pytest.mark.parametrize("host", ["xn--", "h..example", "h.invalid", "a" * 64])
def test_what_can_be_no_name_breaks_no_lookup(host: str) -> None:
    with pytest.raises(OSError):
        guard.addresses_of(host, 80)


def test_a_name_that_is_not_told_in_time_is_accepted() -> None:
    end = threading.Event()

    def ask(host: str, port: int) -> list[str]:
        end.wait(arrange.PATIENT)
        return ["127.0.0.1"]

    check_subscriber("http://slow.example/", CLOSED, Lookups(ask, seconds=0.05))
    end.set()


# When connecting ---------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost"])
def test_a_refused_address_is_not_connected_to(host: str) -> None:
    async def run() -> Sink:
        async with served(Sink(answer())) as sink:
            [outcome] = await sent(target(f"http://{host}:{sink.port}/"), given=CLOSED)
            assert (outcome.delivered, outcome.final) == (False, True), outcome
            assert "not one that is allowed" in outcome.error
            assert "127" not in outcome.error
            return sink

    assert asyncio.run(run()).connections == 0


def test_a_name_that_changes_its_address_reaches_nobody() -> None:
    """DNS rebinding: public when asked by the one who subscribes, and then ours."""
    answers = [[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]]

    def ask(host: str, port: int) -> list[str]:
        return answers.pop(0)

    async def run() -> Sink:
        async with served(Sink(answer())) as sink:
            uri = f"http://rebind.example:{sink.port}/"
            check_subscriber(uri, CLOSED, Lookups(ask))
            [outcome] = await sent(target(uri), given=CLOSED, ask=ask)
            assert (outcome.delivered, outcome.final) == (False, True), outcome
            return sink

    assert asyncio.run(run()).connections == 0
    assert len(answers) == 1


def test_of_several_addresses_only_allowed_ones_are_connected_to() -> None:
    given = arrange.settings(
        allowed_networks=["127.0.0.1/32"], denied_networks=["127.0.0.2/32"]
    )

    async def run() -> list[Sink]:
        async with served(Sink(answer())) as good:
            bad = Sink(answer())
            server = await asyncio.start_server(bad.serve, "127.0.0.2", good.port)
            async with server:
                uri = f"http://both.example:{good.port}/"
                [outcome] = await sent(
                    target(uri),
                    given=given,
                    ask=lambda host, port: ["127.0.0.2", "127.0.0.1"],
                )
            assert outcome.delivered, outcome
            return [good, bad]

    good, bad = asyncio.run(run())

    assert (good.connections, bad.connections) == (1, 0)
    assert good.requests[0].headers["host"] == f"both.example:{good.port}"


def test_what_no_lookup_should_tell_is_not_connected_to() -> None:
    """The system would look such a text up again, after it was checked."""
    [outcome] = asyncio.run(
        sent(
            target("http://h.example/"),
            given=arrange.settings(allowed_networks=["127.0.0.0/8"]),
            ask=lambda host, port: ["127.1"],
        )
    )

    assert (outcome.delivered, outcome.final) == (False, True)

# SPDX-License-Identifier: Apache-2.0
"""Which URIs are understood, and what they come to; which are refused."""

from typing import Any

import pytest

from zaqar.errors import ConfigurationError
from zaqar.storage.mongodb import address


def options(uri: str, *, unreliable: bool = False, wait: float = 60) -> dict[str, Any]:
    return address.client_options(
        address.plain(uri), unreliable=unreliable, longest_wait=wait
    )


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://h",
        "mongodb://h:27017/",
        "mongodb.fifo://h1,h2:7/?replicaSet=r",
        "mongodb://me:p%40%2Fw@h1,h2/base?authSource=admin&w=majority",
        "mongodb+srv://me:pw@cluster.example.com/?retryWrites=true&srvMaxHosts=2",
        "mongodb://%2Frun%2Fmongodb.sock/",
        "mongodb://[::1]:27017/?ssl=true&readPreference=primary&journal=true",
    ],
)
def test_a_uri_gives_a_majority_in_their_journals(uri: str) -> None:
    found = options(uri)

    assert (found["w"], found["journal"]) == ("majority", True)
    assert found["readConcernLevel"] == "local"
    assert (found["readPreference"], found["retryWrites"]) == ("primary", True)


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("", "begins with none of mongodb://"),
        ("h:27017", "begins with none of mongodb://"),
        ("redis://h", "begins with none of mongodb://"),
        ("mongodb.fif://h", "begins with none of mongodb://"),
        ("mongodb://", "at least one hostname"),
        ("mongodb:///base", "no host|mpty host"),
        ("mongodb://h:port/", "Port"),
        ("mongodb://h:70000/", "[Pp]ort"),
        ("mongodb://h/a.b", "a dot is in the name"),
        ("mongodb://h/?some=thing", "some"),
        ("mongodb://h/?w", "key=value"),
        ("mongodb://h/?tls=perhaps", "tls"),
        ("mongodb://h/?tls=true&tlsCAFile=/nosuch", "cannot be read.*/nosuch"),
        ("mongodb://h/?w=0", "w is 0"),
        ("mongodb://h/?w=1", r"w is 1; leave it out, or set \[DEFAULT\] unreliable"),
        ("mongodb://h/?w=2", "w is 2"),
        ("mongodb://h/?w=rack", "w is rack"),
        ("mongodb://h/?journal=false", "journal is false"),
        ("mongodb://h/?directConnection=true", "directConnection is true"),
        ("mongodb://h/?readPreference=secondary", "readPreference is secondary"),
        ("mongodb://h/?retryWrites=false", "retryWrites is False"),
        ("mongodb+srv://h1.example.com,h2.example.com/?w=1", "w is 1"),
    ],
)
def test_a_uri_that_cannot_work_is_refused(uri: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        options(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://me:geheim/@h/",
        "mongodb://me:/geheim@h/",
        "mongodb://me:a/geheim.b@h/",
        "mongodb://me:a/geheim b@h/",
        "mongodb://me:a?geheim@h/?tls=true&geheim=1@h",
        "mongodb://me:geheim:@h/",
        "mongodb://me:geheim@ge@h/?some=thing",
        "mongodb://me:geheim%@h/",
        "mongodb://me:geheim@h/?w=1",
        "mongodb://me:geheim@/",
        "mongodb://h/?tlsCertificateKeyFilePassword=geheim&some=thing",
        "mongodb://h/?authMechanismProperties=geheim",
        "mongodb://h/?authMechanismProperties=geheim:1",
        "geheim",
        "mongo://me:geheim@h",
    ],
)
def test_no_secret_is_told(uri: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        options(uri)

    assert "geheim" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("text", "w", "journal"),
    [("", "majority", True), ("w=1", 1, True), ("w=2&journal=false", 2, False)],
)
def test_an_unreliable_service_may_write_to_fewer(
    text: str, w: object, journal: bool
) -> None:
    found = options(f"mongodb://h/?{text}", unreliable=True)

    assert (found["w"], found["journal"]) == (w, journal)


@pytest.mark.parametrize("text", ["w=0", "readPreference=nearest", "retryReads=false"])
def test_not_even_an_unreliable_service_reads_or_writes_blindly(text: str) -> None:
    with pytest.raises(ConfigurationError):
        options(f"mongodb://h/?{text}", unreliable=True)


@pytest.mark.parametrize(
    ("text", "wait", "name", "milliseconds"),
    [
        ("", 60, "serverSelectionTimeoutMS", 5000),
        ("", 1.5, "serverSelectionTimeoutMS", 1500),
        ("serverSelectionTimeoutMS=700", 60, "serverSelectionTimeoutMS", 700),
        ("serverSelectionTimeoutMS=60000", 60, "serverSelectionTimeoutMS", 5000),
        ("connectTimeoutMS=300", 60, "connectTimeoutMS", 300),
        ("connectTimeoutMS=0", 60, "connectTimeoutMS", 2000),
        ("socketTimeoutMS=90000", 60, "socketTimeoutMS", 4000),
        ("waitQueueTimeoutMS=90000", 60, "waitQueueTimeoutMS", 4000),
        ("wTimeoutMS=100", 60, "wTimeoutMS", 100),
        ("heartbeatFrequencyMS=500", 60, "heartbeatFrequencyMS", 500),
        ("heartbeatFrequencyMS=30000", 60, "heartbeatFrequencyMS", 1000),
    ],
)
def test_a_uri_may_shorten_times_and_not_lengthen_them(
    text: str, wait: float, name: str, milliseconds: int
) -> None:
    assert options(f"mongodb://h/?{text}", wait=wait)[name] == milliseconds


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("mongodb://h", False),
        ("mongodb://h/?ssl=true", True),
        ("mongodb://h/?tls=true", True),
        ("mongodb://h/?TLS=false", False),
        ("mongodb+srv://a.example.com", True),
        ("mongodb+srv://a.example.com/?tls=false", False),
    ],
)
def test_tls_is_on_where_the_uri_says_so(uri: str, expected: bool) -> None:
    assert address.has_tls(uri) is expected


def test_the_scheme_may_ask_for_the_strict_order() -> None:
    assert address.is_fifo("mongodb.fifo://h")
    assert not address.is_fifo("mongodb://h/?appname=mongodb.fifo://")

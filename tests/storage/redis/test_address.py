# SPDX-License-Identifier: Apache-2.0
"""Which URIs are understood, and how; which are refused."""

import pytest

from zaqar.errors import ConfigurationError
from zaqar.storage.redis.address import Address, parse


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("redis://h", Address(hosts=(("h", 6379),))),
        ("redis://h/", Address(hosts=(("h", 6379),))),
        ("redis://h:7000?", Address(hosts=(("h", 7000),))),
        ("redis://[::1]:7000", Address(hosts=(("::1", 7000),))),
        ("redis://h?dbid=3", Address(hosts=(("h", 6379),), database=3)),
        ("redis://h?socket_timeout=1.5", Address(hosts=(("h", 6379),), timeout=1.5)),
        ("redis://h?socket_timeout=30", Address(hosts=(("h", 6379),), timeout=4.0)),
        ("redis://:pw@h", Address(hosts=(("h", 6379),), password="pw")),
        (
            "redis://me:p%40:%23w@h",
            Address(hosts=(("h", 6379),), username="me", password="p@:#w"),
        ),
        (
            "redis://me:p@w@h",
            Address(hosts=(("h", 6379),), username="me", password="p@w"),
        ),
        ("redis:///run/redis.sock", Address(path="/run/redis.sock")),
        (
            "redis://:pw@/run/redis.sock?dbid=1",
            Address(path="/run/redis.sock", password="pw", database=1),
        ),
        (
            "redis://a,b:7000?master=m",
            Address(hosts=(("a", 26379), ("b", 7000)), master="m"),
        ),
        (
            "redis://a?master=m&sentinel_username=u&sentinel_password=p",
            Address(
                hosts=(("a", 26379),),
                master="m",
                sentinel_username="u",
                sentinel_password="p",
            ),
        ),
        (
            "redis://a:1,b?cluster=true",
            Address(hosts=(("a", 1), ("b", 6379)), cluster=True),
        ),
        ("redis://a?cluster=1", Address(hosts=(("a", 6379),), cluster=True)),
        ("redis://a?cluster=false", Address(hosts=(("a", 6379),))),
        ("rediss://h", Address(hosts=(("h", 6379),), tls={})),
        (
            "rediss://h?ssl_ca_certs=/ca.pem",
            Address(hosts=(("h", 6379),), tls={"ssl_ca_certs": "/ca.pem"}),
        ),
    ],
)
def test_uri_is_understood(uri: str, expected: Address) -> None:
    assert parse(uri) == expected


@pytest.mark.parametrize(
    ("uri", "word"),
    [
        ("", "redis://"),
        ("h:6379", "redis://"),
        ("mongodb://h", "redis://"),
        ("redis://", "neither a host nor a path"),
        ("redis:///", "neither a host nor a path"),
        ("redis://:pw@", "neither a host nor a path"),
        ("redis://me@h", "no password"),
        ("redis://me:@h", "no password"),
        ("redis://a,b", "several hosts"),
        ("redis://a,b?cluster=false", "several hosts"),
        ("redis://a,?master=m", "host"),
        ("redis://h:0", "host"),
        ("redis://h:65536", "host"),
        ("redis://h:x", "host"),
        ("redis://a..b", "host"),
        (f"redis://{'a' * 64}", "host"),
        ("redis:me:pw@h", "an @ is in its path"),
        ("redis://[", "host"),
        ("redis://:pw@[?dbid=1", "host"),
        ("redis://h/0", "dbid"),
        ("redis://h?dbid=x", "dbid"),
        ("redis://h?dbid=-1", "dbid"),
        ("redis://h?socket_timeout=x", "socket_timeout"),
        ("redis://h?socket_timeout=0", "socket_timeout"),
        ("redis://h?socket_timeout=nan", "socket_timeout"),
        ("redis://h?databse=1", "databse"),
        ("redis://h?dbid", "name=value"),
        ("redis://h?dbid=1&dbid=2", "twice"),
        ("redis://h#x", "fragment"),
        ("redis://h?master=", "master is empty"),
        ("redis://h?master=m&cluster=true", "exclude"),
        ("redis:///s.sock?master=m", "hosts"),
        ("redis://h?cluster=maybe", "cluster"),
        ("redis://h?cluster=true&dbid=1", "database"),
        ("redis://h?sentinel_password=p", "master"),
        ("redis://h?ssl_ca_certs=/ca.pem", "rediss://"),
        ("rediss://h?ssl_cert_reqs=maybe", "ssl_cert_reqs"),
        ("rediss:///s.sock", "TLS"),
    ],
)
def test_uri_is_refused_with_the_reason(uri: str, word: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse(uri)

    assert word in str(raised.value)


@pytest.mark.parametrize(
    "uri",
    [
        "redis://me:secret@a,b",
        "redis://me:secret/@h",
        "redis://me:secret",
        "redis://me:secret?@h",
        "redis://me:?secret=x@h",
        "redis://me:secret#@h",
        "redis:me:secret@h",
        "redis:/me:secret@h",
        "redis://me:1/secret@h",
    ],
)
def test_refusal_does_not_tell_the_password(uri: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse(uri)

    assert "secret" not in str(raised.value)

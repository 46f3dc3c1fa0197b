# SPDX-License-Identifier: Apache-2.0
"""No secret of a URI is shown."""

import pytest

from zaqar.masking import is_masked, masked


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("redis://h:6379?dbid=2", "redis://h:6379?dbid=2"),
        ("sqlite:///pools/one.db", "sqlite:///pools/one.db"),
        ("redis://:cret@h", "redis://:***@h"),
        ("redis://u:s%3Acret@h:6379", "redis://u:***@h:6379"),
        ("redis://u:cret@h1:1,h2:2?master=m", "redis://u:***@h1:1,h2:2?master=m"),
        (
            "redis://h?sentinel_password=cret&master=m",
            "redis://h?sentinel_password=***&master=m",
        ),
        ("mongodb://u:s/e:cret@cret@a/", "mongodb://u:***@a/"),
        ("mongodb://:s?cret@a/", "mongodb://:***@a/"),
        ("mongodb://u:cret\ncret@a/", "mongodb://u:***@a/"),
        (
            "mongodb://a/?tlsCertificateKeyFilePassword=cret&w=majority",
            "mongodb://a/?tlsCertificateKeyFilePassword=***&w=majority",
        ),
        (
            "mongodb://a/?authMechanismProperties=AWS_SESSION_TOKEN:cret",
            "mongodb://a/?authMechanismProperties=***",
        ),
        ("Cannot use redis://u:cret@h: no", "Cannot use redis://u:***@h: no"),
    ],
)
def test_secrets_are_hidden_and_nothing_else(uri: str, expected: str) -> None:
    assert masked(uri) == expected
    assert masked(expected) == expected
    assert is_masked(expected) == (uri != expected)
    assert not is_masked(uri)

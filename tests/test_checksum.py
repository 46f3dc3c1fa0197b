# SPDX-License-Identifier: Apache-2.0
"""Facts of the checksum: the recorded value, and that spelling does not matter."""

import pytest

from zaqar.checksum import checksum


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'"hello"', "MD5:5deaee1c1332199e5b5bc7c5e4f7f0c2"),
        (b"1", "MD5:c4ca4238a0b923820dcc509a6f75849b"),
        (b"null", None),
    ],
)
def test_checksum(body: bytes, expected: str | None) -> None:
    assert checksum(body) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a":1,"b":[2,3]}', b'{ "a" : 1,\n "b": [2, 3] }'),
        ('"ü"'.encode(), b'"\\u00fc"'),
        (b'"\\/"', b'"/"'),
    ],
)
def test_spellings_of_one_value_have_one_checksum(one: bytes, other: bytes) -> None:
    assert checksum(one) == checksum(other)


def test_the_order_of_keys_counts() -> None:
    assert checksum(b'{"a":1,"b":2}') != checksum(b'{"b":2,"a":1}')

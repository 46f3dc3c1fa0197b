# SPDX-License-Identifier: Apache-2.0
"""What is JSON to the service, and how bodies may be transferred."""

import json
from collections.abc import Iterator

import pytest

from tests.api.wire import (
    INVALID_BODY,
    INVALID_REQUEST,
    Api,
    Connection,
    assert_error,
    request_bytes,
)

POST = "/v2/queues/q/messages"
CLAIM = "/v2/queues/q/claims"
QUEUE = "/v2/queues/q"
PURGE = "/v2/queues/q/purge"

# Each of them inside a document that is fine otherwise.
WRAPPED = [
    ("PUT", QUEUE, b'{"a": %s}'),
    ("POST", POST, b'{"messages": [{"body": %s}]}'),
    ("POST", POST, b'{"messages": [{"body": {"a": [%s]}}]}'),
    ("POST", POST, b'{"messages": [{"body": 1}], "ignored": %s}'),
    ("POST", POST, b'{"messages": [{"body": 1, "ignored": %s}]}'),
    ("POST", CLAIM, b'{"ttl": 60, "ignored": %s}'),
    ("POST", PURGE, b'{"resource_types": [], "ignored": %s}'),
]
NO_JSON = [
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"nan",
    b"9223372036854775808",
    b"-9223372036854775809",
    b"1" + b"0" * 400,
    b"1" + b"0" * 5000,
    b"\xff\xfe",
    b'"\xc3"',
    b'"\xed\xa0\x80"',
    b'"\xc0\x80"',
    b"'x'",
    b'"\n"',
    b'"\x00"',
    b'"\\x"',
    b'"\\u12"',
    b"01",
    b"+1",
    b".5",
    b"1.",
    b"0x1",
    b"1e",
    b"--1",
    b"tru",
    b"TRUE",
    b"None",
    b"[1,]",
    b'{"a":1,}',
    b"{a: 1}",
    b"{1: 1}",
    b"[1 2]",
    b"/* */ 1",
    b",",
    b"[" * 30_000 + b"]" * 30_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
]
short = [f"{text[:12]!r}..." if len(text) > 12 else repr(text) for text in NO_JSON]


@pytest.mark.parametrize(("method", "path", "frame"), WRAPPED)
@pytest.mark.parametrize("text", NO_JSON, ids=short)
def test_what_is_not_json_is_refused_wherever_it_stands(
    api: Api, method: str, path: str, frame: bytes, text: bytes
) -> None:
    raw = frame.replace(b"%s", text)

    answer = api.request(method, path, raw=raw)

    too_large = len(raw) > (262144 if path == POST else 65536)
    assert_error(answer, *(INVALID_REQUEST if too_large else INVALID_BODY))
    assert api.queues() == []


@pytest.mark.parametrize(("method", "path", "frame"), WRAPPED)
@pytest.mark.parametrize("text", [b"9223372036854775807", b"-9223372036854775808"])
def test_integers_may_have_64_bits(
    api: Api, method: str, path: str, frame: bytes, text: bytes
) -> None:
    answer = api.request(method, path, raw=frame.replace(b"%s", text))

    assert answer.status in (201, 204)


@pytest.mark.parametrize(
    "raw",
    [b"\xef\xbb\xbf{}", b"{}{}", b"{} x", b"{}\x00", b"\x00", "{}".encode("utf-16")],
)
def test_text_around_a_document_is_refused(api: Api, raw: bytes) -> None:
    assert_error(api.put(QUEUE, raw=raw), *INVALID_BODY)
    assert api.queues() == []


def test_last_of_duplicate_keys_wins(api: Api) -> None:
    api.put(QUEUE, raw='{"a": 1, "_default_message_ttl": 1, "a": 2, "a": 3,'
                       ' "_default_message_ttl": 100}')  # fmt: skip
    assert api.get(QUEUE).json["a"] == 3
    assert api.get(QUEUE).json["_default_message_ttl"] == 100

    raw = '{"messages": 5, "messages": [{"body": 1, "ttl": 5, "body": 2, "ttl": 60}]}'
    assert api.post(POST, raw=raw).status == 201
    [message] = api.listing("q").json["messages"]
    assert (message["body"], message["ttl"]) == (2, 60)

    claim = api.post(CLAIM, raw='{"ttl": "x", "ttl": 100}').claim
    assert api.get(f"{CLAIM}/{claim}").json["ttl"] == 100


def test_duplicate_keys_are_found_whatever_their_spelling(api: Api) -> None:
    raw = '{"messages": [{"body": 1, "\\u0062ody": 2}]}'

    assert api.post(POST, raw=raw).status == 201
    assert api.listing("q").bodies == [2]


def test_duplicate_keys_in_a_body_come_back_as_they_came(api: Api) -> None:
    api.post(POST, raw='{"messages": [{"body": {"a": 1, "a": 2}}]}')

    assert b'{"a": 1, "a": 2}' in api.listing("q").body


def test_white_space_around_a_document_is_fine(api: Api) -> None:
    raw = ' \r\n\t{ "messages" :\n[ { "body" : 1 } ] } \n'

    assert api.post(POST, raw=raw).status == 201


def test_deep_but_sensible_nesting_is_fine(api: Api) -> None:
    body = "[" * 60 + "]" * 60

    assert api.post(POST, raw=f'{{"messages": [{{"body": {body}}}]}}').status == 201
    assert body.encode() in api.listing("q").body


# Transfer -----------------------------------------------------------------------------


def chunks(text: str, size: int) -> Iterator[bytes]:
    data = text.encode()
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_chunked_body_is_read(api: Api, size: int) -> None:
    text = json.dumps({"messages": [{"body": "x" * 300}]})
    headers = {"Transfer-Encoding": "chunked"}

    answer = api.post(POST, raw=chunks(text, size), headers=headers)

    assert answer.status == 201
    assert api.listing("q").bodies == ["x" * 300]


def test_chunked_metadata_is_read(api: Api) -> None:
    headers = {"Transfer-Encoding": "chunked"}

    assert api.put(QUEUE, raw=[b'{"a"', b": 1}"], headers=headers).status == 201
    assert api.get(QUEUE).json["a"] == 1


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", QUEUE), ("POST", CLAIM), ("POST", PURGE)]
)
def test_empty_chunked_body_is_no_body(api: Api, method: str, path: str) -> None:
    headers = {"Transfer-Encoding": "chunked"}

    answer = api.request(method, path, raw=iter([]), headers=headers)

    assert answer.status in (201, 204)


@pytest.mark.parametrize(
    ("method", "path", "size", "limit"),
    [("PUT", QUEUE, 65536, "65536"), ("POST", POST, 262144, "262144")],
)
def test_chunked_body_has_the_same_limit(
    api: Api, method: str, path: str, size: int, limit: str
) -> None:
    frame = '{"messages": [{"body": ""}]}'
    fits = frame.replace('""', '"' + "x" * (size - len(frame)) + '"')
    headers = {"Transfer-Encoding": "chunked"}

    over = api.request(method, path, raw=chunks(fits + " ", 9999), headers=headers)
    assert_error(over, *INVALID_REQUEST)
    assert limit in over.description
    assert api.queues() == []

    ok = api.request(method, path, raw=chunks(fits, 9999), headers=headers)
    assert ok.status == 201


def test_chunk_extensions_and_trailers_are_tolerated(api: Api) -> None:
    headers = api.headers({"Transfer-Encoding": "chunked"})
    body = b'5;name=value\r\n{"a":\r\n3\r\n 1}\r\n0\r\nX-Trailer: x\r\n\r\n'

    with Connection(api.address) as connection:
        connection.send(request_bytes("PUT", QUEUE, headers, body))
        assert connection.answer().status == 201

    assert api.get(QUEUE).json["a"] == 1


def test_connection_is_kept_for_many_requests(api: Api) -> None:
    with Connection(api.address) as connection:
        for n in range(20):
            body = json.dumps({"messages": [{"body": n}]}).encode()
            headers = api.headers({"Content-Length": str(len(body))})
            connection.send(request_bytes("POST", POST, headers, body))
            assert connection.answer().status == 201

    assert api.stats("q")["total"] == 20


def test_expect_100_continue_is_answered(api: Api) -> None:
    body = b'{"a": 1}'
    headers = api.headers({"Content-Length": "8", "Expect": "100-continue"})

    with Connection(api.address) as connection:
        connection.send(request_bytes("PUT", QUEUE, headers))
        interim = connection.stream.readline()
        assert b" 100 " in interim
        assert connection.stream.readline() == b"\r\n"
        connection.send(body)
        assert connection.answer().status == 201


def test_body_of_a_get_or_delete_is_ignored(api: Api) -> None:
    api.create("q")

    assert api.request("GET", QUEUE, raw=b"{nonsense").status == 200
    assert api.request("DELETE", QUEUE, raw=b"{nonsense").status == 204

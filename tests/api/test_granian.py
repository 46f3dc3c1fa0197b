# SPDX-License-Identifier: Apache-2.0
"""What the fast engine refuses where its HTTP part would not."""

from collections.abc import Callable

import pytest

from tests.api.wire import Answer, Api, Connection, request_bytes

pytest.importorskip("granian", reason="granian is not installed")

POST = "/v2/queues/q/messages"
BODY = b'{"messages": [{"body": 1}]}'


@pytest.fixture
def api(api_of: Callable[..., Api]) -> Api:
    return api_of({"server": {"engine": "granian", "workers": 1, "threads": 4}})


def send(api: Api, headers: dict[str, str], body: bytes = b"") -> Answer:
    with Connection(api.address) as connection:
        connection.send(request_bytes("POST", POST, api.headers(headers), body))
        return connection.answer()


@pytest.mark.parametrize("size", [16_385, 30_000, 60_000])
@pytest.mark.parametrize("name", ["X-Big", "Client-ID", "X-Project-ID"])
def test_a_large_header_is_refused_in_json(api: Api, name: str, size: int) -> None:
    answer = send(api, {name: "x" * size, "Content-Length": "0"})

    assert answer.status == 431
    assert answer.headers.get_content_type() == "application/json"
    assert answer.title
    assert "16384" in answer.description


def test_a_header_larger_than_the_buffer_is_refused(api: Api) -> None:
    answer = send(api, {"X-Big": "x" * 70_000, "Content-Length": "0"})

    assert answer.status == 431
    assert answer.headers.get_content_type() == "application/json"


def test_a_header_may_have_16384_bytes(api: Api) -> None:
    length = str(len(BODY))
    headers = {"X-Big": "x" * 16_384, "Content-Length": length}

    assert send(api, headers, BODY).status == 201


def test_of_content_length_and_chunks_the_chunks_count(api: Api) -> None:
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)

    for length in ("5", str(len(BODY)), str(len(chunks))):
        headers = {"Content-Length": length, "Transfer-Encoding": "chunked"}
        assert send(api, headers, chunks).status == 201

    assert len(api.listing("q").bodies) == 3

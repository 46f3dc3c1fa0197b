# SPDX-License-Identifier: Apache-2.0
"""Where a request ends, however it arrives, and what is never waited for."""

import socket
from collections.abc import Iterator
from itertools import pairwise

import pytest
from gunicorn.config import Config
from gunicorn.http.parser import RequestParser
from hypothesis import given
from hypothesis import strategies as st

from zaqar.server.connections import Connection
from zaqar.server.framing import MAX_CHUNK_LINE, MAX_HEAD, Unframed

LIMIT = 1000
BODIES = st.binary(max_size=60)


def of_length(body: bytes) -> bytes:
    return b"POST /a HTTP/1.1\r\nHost: x\r\ncontent-LENGTH:  %d\r\n\r\n%s" % (
        len(body),
        body,
    )


def in_chunks(pieces: list[bytes], trailer: bytes = b"") -> bytes:
    chunks = b"".join(b"%X;a=b\r\n%s\r\n" % (len(p), p) for p in pieces if p)
    head = b"POST /a HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nX-Length: 7\r\n\r\n"
    return head + chunks + b"0\r\n" + trailer + b"\r\n"


REQUESTS = st.one_of(
    st.just(b"GET / HTTP/1.0\r\n\r\n"),
    st.just(b"GET / HTTP/1.1\r\nX-Content-Length: 5\r\n\r\n"),
    BODIES.map(of_length),
    st.builds(in_chunks, st.lists(BODIES), st.sampled_from([b"", b"A: b\r\nC: d\r\n"])),
)


@pytest.fixture
def connection() -> Iterator[Connection]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Connection(ours, "client", "server")


def cuts(connection: Connection, pieces: list[bytes]) -> list[bytes]:
    found = []
    for piece in pieces:
        connection.buffer += piece
        while connection.buffer and connection.cut(LIMIT):
            assert connection.whole
            found.append(connection.request)
    return found


@given(
    requests=st.lists(REQUESTS, min_size=1, max_size=4),
    places=st.lists(st.integers(0, 400), max_size=6),
)
def test_requests_are_cut_apart_however_they_arrive(
    requests: list[bytes], places: list[int]
) -> None:
    stream = b"".join(requests)
    ends = [0, *sorted(min(place, len(stream)) for place in places), len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(ends)]
    ours, theirs = socket.socketpair()

    with ours, theirs:
        connection = Connection(ours, "client", "server")
        assert cuts(connection, pieces) == requests
        assert not connection.buffer


@given(request=REQUESTS)
def test_the_parser_finds_the_same_end(request: bytes) -> None:
    parser = RequestParser(Config(), [request], ("127.0.0.1", 1))

    next(parser)

    assert parser.finish_body()
    assert not parser.unreader.take_buffered()


def test_a_byte_at_a_time_is_enough(connection: Connection) -> None:
    request = in_chunks([b"abc", b"d" * 40], b"A: b\r\n")

    found = cuts(connection, [bytes([byte]) for byte in request + of_length(b"xy")])

    assert found == [request, of_length(b"xy")]


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\nContent-Length: 5",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Content-Length: +5",
        b"Content-Length: 0x5",
        b"Content-Length:",
        b"Content-Length: 5, 5",
        b"Content-Length: %d" % (LIMIT + 1),
        b"Content-Length: " + b"9" * 5000,
        b"Expect: 200-ok\r\nContent-Length: 5",
        b"X: " + b"x" * MAX_HEAD,
    ],
    ids=lambda headers: str(headers[:40]),
)
def test_a_head_that_will_be_refused_is_waited_for_no_more(
    connection: Connection, headers: bytes
) -> None:
    connection.buffer += b"POST / HTTP/1.1\r\n" + headers + b"\r\n\r\n"

    with pytest.raises(Unframed):
        connection.cut(LIMIT)


@pytest.mark.parametrize(
    "chunks",
    [
        b"x\r\n",
        b"\r\n",
        b"-1\r\n",
        b"0x5\r\n",
        b"f" * 17 + b"\r\n",
        b"5;" + b"x" * MAX_CHUNK_LINE,
        b"ffffffff\r\n" + b"x" * (LIMIT + 1),
        b"200\r\n" + b"x" * 0x200 + b"\r\n" + b"200\r\n" + b"x" * 0x200,
        b"0\r\n" + b"x" * (MAX_HEAD + 1),
        b"1;%s\r\nx\r\n" % (b"y" * 200) * 500,
    ],
    ids=lambda chunks: str(chunks[:20]),
)
def test_chunks_that_will_be_refused_are_waited_for_no_more(
    connection: Connection, chunks: bytes
) -> None:
    connection.buffer += in_chunks([]).partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + chunks

    with pytest.raises(Unframed):
        connection.cut(LIMIT)


def test_a_head_without_end_is_waited_for_no_more(connection: Connection) -> None:
    connection.buffer += b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD

    with pytest.raises(Unframed):
        connection.cut(LIMIT)


@pytest.mark.parametrize(
    ("version", "asks"), [(b"HTTP/1.1", True), (b"HTTP/1.0", False)]
)
def test_only_who_waits_for_a_word_gets_it(
    connection: Connection, version: bytes, asks: bool
) -> None:
    connection.buffer += (
        b"PUT / %s\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n" % version
    )

    assert not connection.cut(LIMIT)
    assert connection.asks == asks

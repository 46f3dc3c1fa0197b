# SPDX-License-Identifier: Apache-2.0
import pytest

from zaqar.bench import replies
from zaqar.bench.replies import ProtocolError, Reply, ReplyReader

SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"4\r\nhell\r\n1;name=value\r\no\r\n0\r\n\r\n"
)
TRAILED = CHUNKED[:-2] + b"X-Checksum: 1\r\n\r\n"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n"
BODY_LIKE_A_HEAD = b"\r\nConnection: close\r\n\r\n"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\n" + SIZED
WHOLE = {
    "sized": (SIZED, Reply(200, b"hello")),
    "chunked": (CHUNKED, Reply(200, b"hello")),
    "trailed": (TRAILED, Reply(200, b"hello")),
    "no content": (NO_CONTENT, Reply(204)),
    "not modified": (
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
        Reply(304),
    ),
    "after 100": (CONTINUED, Reply(200, b"hello")),
    "empty": (b"HTTP/1.1 201 Created\r\ncontent-length:0\r\n\r\n", Reply(201)),
    "closing": (
        b"HTTP/1.1 200 OK\r\nConnection: Close\r\ncontent-length: 1\r\n\r\nx",
        Reply(200, b"x", closes=True),
    ),
    "keeping": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
        Reply(200, b"x"),
    ),
    "old": (
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
        Reply(200, b"x", closes=True),
    ),
    "no reason": (b"HTTP/1.1 503 \r\nContent-Length: 0\r\n\r\n", Reply(503)),
    "body like a head": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 23\r\n\r\n" + BODY_LIKE_A_HEAD,
        Reply(200, BODY_LIKE_A_HEAD),
    ),
}


@pytest.mark.parametrize(("data", "reply"), WHOLE.values(), ids=WHOLE)
def test_a_reply_in_one_piece_is_read(data, reply):
    assert ReplyReader().feed(data) == reply


@pytest.mark.parametrize(("data", "reply"), WHOLE.values(), ids=WHOLE)
def test_a_reply_is_read_wherever_it_is_cut(data, reply):
    for cut in range(1, len(data)):
        reader = ReplyReader()

        assert reader.feed(data[:cut]) is None
        assert reader.feed(data[cut:]) == reply


@pytest.mark.parametrize(("data", "reply"), WHOLE.values(), ids=WHOLE)
def test_a_reply_is_read_byte_by_byte_and_then_the_next(data, reply):
    reader = ReplyReader()

    for _ in range(2):
        got = [reader.feed(data[place : place + 1]) for place in range(len(data))]

        assert got[-1] == reply
        assert set(got[:-1]) <= {None}


def test_a_reply_without_length_ends_with_the_connection():
    reader = ReplyReader()

    assert reader.feed(b"HTTP/1.1 200 OK\r\n\r\nhel") is None
    assert reader.feed(b"lo") is None
    assert reader.end() == Reply(200, b"hello", closes=True)


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 2", SIZED[:-1], CHUNKED[:-1]])
def test_the_end_of_the_connection_does_not_complete_a_cut_reply(data):
    reader = ReplyReader()
    if data:
        reader.feed(data)

    assert reader.end() is None


@pytest.mark.parametrize(
    "data",
    [
        SIZED + b"x",
        CHUNKED + b"x",
        b"SSH-2.0-server\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a" * replies.MAX_HEAD,
    ],
)
def test_nonsense_is_refused(data):
    with pytest.raises(ProtocolError):
        ReplyReader().feed(data)


def test_a_reader_that_was_reset_begins_anew():
    reader = ReplyReader()
    reader.feed(SIZED[:-2])

    reader.reset()

    assert reader.feed(SIZED) == Reply(200, b"hello")

# SPDX-License-Identifier: Apache-2.0
"""Reads HTTP/1.1 replies from bytes as they arrive; knows no sockets.

One request is outstanding at a time, so bytes behind a complete reply are an error.
"""

import re

import msgspec

CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,8}")
MAX_HEAD = 65536
CHUNKED = b"\r\ntransfer-encoding:"  # a field that can only say "chunked"
NO_BODY = frozenset({204, 304})


class ProtocolError(Exception):
    """Raised when the bytes received are no HTTP/1.1 reply."""


class Reply(msgspec.Struct, frozen=True, gc=False):
    """One answer. Status 0 stands for a connection that was lost without one."""

    status: int
    body: bytes = b""
    closes: bool = False


LOST = Reply(0, closes=True)


class ReplyReader:
    """Collects the bytes of one connection into replies."""

    __slots__ = ("_buffer", "_closes", "_length", "_start", "_status")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what was received, as for a new connection."""
        self._buffer = b""
        self._start = 0  # where the body begins; 0 while the head is incomplete
        self._length: int | None = None  # None: chunked, or until the end
        self._status = 0
        self._closes = False

    @property
    def waiting(self) -> bool:
        """Say whether part of a reply was received."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Reply | None:
        """Take some bytes and return the reply when it is complete."""
        self._buffer = self._buffer + data if self._buffer else data
        if not self._start and not self._read_head():
            return None
        buffer = self._buffer
        if self._length is None:
            return self._feed_unsized()
        end = self._start + self._length
        if len(buffer) < end:
            return None
        if len(buffer) > end:
            raise ProtocolError("bytes after the end of the reply")
        return self._finish(buffer[self._start :])

    def end(self) -> Reply | None:
        """Take the end of the connection: it completes a reply without a length."""
        if self._start and self._length is None and self._closes:
            return self._finish(self._buffer[self._start :])
        return None

    def _finish(self, body: bytes) -> Reply:
        reply = Reply(self._status, body, self._closes)
        self._buffer = b""
        self._start = 0
        return reply

    def _read_head(self) -> bool:
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(buffer) > MAX_HEAD:
                raise ProtocolError("the head of the reply has no end")
            return False
        head = buffer[: end + 2].lower()
        digits = head[9:12]
        if not head.startswith(b"http/1.") or not digits.isdigit():
            raise ProtocolError("not an HTTP/1 reply")
        self._status = status = int(digits)
        if 100 <= status < 200:
            self._buffer = buffer[end + 4 :]
            return bool(self._buffer) and self._read_head()
        self._start = end + 4
        self._closes = closes(head)
        self._length = body_length(head, status)
        if self._length is None and CHUNKED not in head:
            # Only the end of the connection ends this reply.
            self._closes = True
        return True

    def _feed_unsized(self) -> Reply | None:
        head = self._buffer[: self._start].lower()
        if CHUNKED not in head:
            return None
        body = read_chunks(self._buffer, self._start)
        return None if body is None else self._finish(body)


def closes(head: bytes) -> bool:
    """Say whether the server ends the connection after the reply with this head."""
    start = head.find(b"\r\nconnection:")
    if start < 0:
        return head.startswith(b"http/1.0")
    return head.find(b"close", start, head.find(b"\r\n", start + 13)) >= 0


def body_length(head: bytes, status: int) -> int | None:
    """Return the bytes of the body; None if the head does not tell."""
    if status in NO_BODY:
        return 0
    if CHUNKED in head:
        start = head.find(CHUNKED) + len(CHUNKED)
        if head[start : head.find(b"\r\n", start)].strip() != b"chunked":
            raise ProtocolError("a transfer encoding other than chunked")
        return None
    start = head.find(b"\r\ncontent-length:")
    if start < 0:
        return None
    text = head[start + 17 : head.find(b"\r\n", start + 17)].strip()
    if not text.isdigit():
        raise ProtocolError("a bad Content-Length")
    return int(text)


def read_chunks(buffer: bytes, position: int) -> bytes | None:
    """Return the joined chunks from `position` on, None when more bytes must come."""
    parts: list[bytes] = []
    while (line_end := buffer.find(b"\r\n", position)) >= 0:
        digits = buffer[position:line_end].split(b";", 1)[0].strip()
        if not CHUNK_SIZE.fullmatch(digits):
            raise ProtocolError("a bad chunk size")
        size = int(digits, 16)
        position = line_end + 2
        if size == 0:
            return read_trailer(buffer, position, b"".join(parts))
        if len(buffer) < position + size + 2:
            return None
        if buffer[position + size : position + size + 2] != b"\r\n":
            raise ProtocolError("a chunk is longer than its size says")
        parts.append(buffer[position : position + size])
        position += size + 2
    return None


def read_trailer(buffer: bytes, position: int, body: bytes) -> bytes | None:
    """Skip the trailer of a chunked reply and return `body` when it is complete."""
    if buffer.startswith(b"\r\n", position):
        end = position + 2
    else:
        found = buffer.find(b"\r\n\r\n", position)
        if found < 0:
            return None
        end = found + 4
    if len(buffer) > end:
        raise ProtocolError("bytes after the end of the reply")
    return body

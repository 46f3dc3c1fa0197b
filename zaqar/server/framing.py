# SPDX-License-Identifier: Apache-2.0
"""Finds out where a request ends in what has arrived of it.

Knows lengths and chunks, and nothing of what they mean: what looks odd here is left to
the parser, which refuses it.
"""

import re
from typing import NamedTuple

# Bytes of the request line and all headers together, of the line, of one header.
MAX_HEAD = 65536
MAX_LINE = 8190  # gunicorn allows no more
MAX_HEADER = 16384
MAX_HEADERS = 100
# A line that begins a chunk holds a length, and may hold what nobody reads.
MAX_CHUNK_LINE = 256
# Bytes on the wire for each byte of a body in chunks of one byte: "1\r\nx\r\n".
MOST_FRAMING = 6

_END = b"\r\n\r\n"
_HEADER = re.compile(
    rb"\r\n(content-length|transfer-encoding|expect)[ \t]*:[ \t]*([^\r\n]*)"
)
_HEX = re.compile(rb"[0-9a-fA-F]{1,16}[ \t]*(?:;.*)?", re.DOTALL)


class Unframed(Exception):
    """What has arrived need not become more: it is no request, or too large a one."""


class Body(NamedTuple):
    """Where the body of a request begins, and how its end is known.

    `length` is None for a body in chunks. `asks`: the client waits for a word before
    it sends the body.
    """

    start: int
    length: int | None
    asks: bool


def body_of(data: bytearray, limit: int) -> Body | None:
    """Return what the head says of the body; None: the head has not arrived yet.

    Raises Unframed if there will be no use in waiting for a body: it is announced with
    more than `limit` bytes, or the head is refused.
    """
    end = data.find(_END)
    if end < 0:
        if len(data) > MAX_HEAD:
            raise Unframed
        return None
    if end > MAX_HEAD:
        raise Unframed
    head, start = bytes(data[:end]).lower(), end + len(_END)
    found = _HEADER.findall(head)
    if not found:
        return Body(start, 0, False)
    headers = dict(found)
    if len(headers) < len(found):
        raise Unframed
    asks = _asks(head, headers.get(b"expect"))
    coding, length = headers.get(b"transfer-encoding"), headers.get(b"content-length")
    if coding is not None:
        if coding.strip() != b"chunked" or length is not None:
            raise Unframed
        return Body(start, None, asks)
    return Body(start, 0 if length is None else _number(length, limit), asks)


def head_is_too_large(data: bytes) -> bool:
    return len(data) > MAX_HEAD and data.find(_END, 0, MAX_HEAD + len(_END)) < 0


def _asks(head: bytes, expected: bytes | None) -> bool:
    if expected is None:
        return False
    if expected.strip() != b"100-continue":
        raise Unframed
    return not head.partition(b"\r\n")[0].endswith(b"http/1.0")


def _number(length: bytes, limit: int) -> int:
    digits = length.strip()
    if not digits.isdigit() or len(digits) > 18 or int(digits) > limit:
        raise Unframed
    return int(digits)


class Chunks:
    """Follows the chunks of a body while they arrive, none of them twice."""

    def __init__(self, start: int, limit: int) -> None:
        self._start = self._at = start
        self._limit = limit
        self._size = 0

    def end(self, data: bytearray) -> int | None:
        """Return where the body ends; None: it has not arrived yet.

        Raises Unframed if more has arrived than may, or what are no chunks.
        """
        if len(data) - self._start > self._limit * MOST_FRAMING + MAX_HEAD:
            raise Unframed
        while self._at < len(data):
            line_end = data.find(b"\r\n", self._at)
            line = data[self._at : line_end if line_end >= 0 else len(data)]
            if len(line) > MAX_CHUNK_LINE:
                raise Unframed
            if line_end < 0:
                return None
            if not _HEX.fullmatch(line):
                raise Unframed
            size = int(line.partition(b";")[0], 16)
            if not size:
                return self._after_trailers(data, line_end)
            if self._size + min(size, len(data) - line_end - 2) > self._limit:
                raise Unframed
            if line_end + size + 4 > len(data):
                return None
            self._at, self._size = line_end + size + 4, self._size + size
        return None

    def _after_trailers(self, data: bytearray, line_end: int) -> int | None:
        """Return where the trailers end, which begin after the last chunk's line."""
        end = data.find(_END, line_end)
        if end < 0 and len(data) - line_end > MAX_HEAD:
            raise Unframed
        return end + len(_END) if end >= 0 else None

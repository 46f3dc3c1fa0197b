# SPDX-License-Identifier: Apache-2.0
"""Reading requests: query parameters and bodies, within their limits."""

import re
from typing import Any

import falcon
from falcon.uri import parse_query_string

from zaqar.errors import InvalidBody, InvalidParameter, InvalidRequest
from zaqar.limits import Limits, check_size

TRUE = frozenset(("true", "True", "t", "yes", "y", "1", "on"))
INTEGER = re.compile(r"[+-]?[0-9]{1,1000}")
FALSE = frozenset(("false", "False", "f", "no", "n", "0", "off"))

# Documents other than messages and metadata are small.
MAX_DOCUMENT = 65536


class Query:
    """The parameters of a request; an empty value counts as absent.

    Of a parameter that takes one value the last one given holds, whether it was
    repeated or written with commas.
    """

    def __init__(self, query_string: str) -> None:
        self._values: dict[str, Any] = (
            parse_query_string(query_string) if query_string else {}
        )

    def names(self) -> list[str]:
        return list(self._values)

    def all(self, name: str) -> list[str]:
        """Return the values given, whether repeated or written with commas."""
        value = self._values.get(name)
        if value is None:
            return []
        texts = [value] if isinstance(value, str) else value
        return [part for text in texts for part in text.split(",") if part]

    def text(self, name: str) -> str | None:
        """Return the last value given, None if there is none."""
        values = self.all(name)
        return values[-1] if values else None

    def integer(self, name: str) -> int | None:
        """Return a number. Raises InvalidParameter."""
        text = self.text(name)
        if text is None:
            return None
        if not INTEGER.fullmatch(text):
            raise InvalidParameter(f"{name} must be an integer.")
        return int(text)

    def boolean(self, name: str) -> bool | None:
        """Return true or false. Raises InvalidParameter."""
        text = self.text(name)
        if text is None:
            return None
        if text in TRUE:
            return True
        if text in FALSE:
            return False
        raise InvalidParameter(f"{name} must be true or false.")


def query(request: falcon.Request) -> Query:
    return Query(request.env.get("QUERY_STRING", ""))


def largest_body(limits: Limits) -> int:
    """Return the bytes that no body may pass, whatever it is for."""
    return max(MAX_DOCUMENT, limits.max_messages_post_size, limits.max_queue_metadata)


def body(request: falcon.Request, limit: int, field: str = "The body") -> bytes:
    """Return the body; empty if there is none.

    Raises InvalidRequest if it is larger than the limit (then it is not read to its
    end), InvalidBody if it ended early or its chunks are broken.
    """
    coding = request.env.get("HTTP_TRANSFER_ENCODING", "").strip().lower()
    if coding not in ("", "chunked"):
        raise InvalidBody(f"Transfer-Encoding: {coding} is not read here.")
    if coding:
        data = _read(request, limit + 1)
        if len(data) > limit:
            raise InvalidRequest(f"{field} may have at most {limit} bytes.")
        return data
    length = request.content_length or 0
    check_size(field, length, limit)
    data = _read(request, length) if length else b""
    if len(data) < length:
        raise InvalidBody(
            f"The body ended after {len(data)} of the {length} bytes announced."
        )
    return data


def _read(request: falcon.Request, size: int) -> bytes:
    try:
        data: bytes = request.stream.read(size)
        return data
    except Exception as error:
        # NOTE: each HTTP server has its own errors for broken chunks and for clients
        # that hang up; all that can go wrong here is the client's doing.
        raise InvalidBody(f"The body could not be read: {error}.") from None

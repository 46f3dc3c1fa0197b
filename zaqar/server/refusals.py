# SPDX-License-Identifier: Apache-2.0
"""What gunicorn answers to requests that never reach the application, in JSON."""

import json

from gunicorn.http.errors import (
    ExpectationFailed,
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)

from zaqar.server.framing import MAX_HEAD, MAX_HEADER, MAX_HEADERS, MAX_LINE

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LINE = f"The request line may have at most {MAX_LINE} bytes."
HEADERS = (
    f"A request may have at most {MAX_HEADERS} headers of {MAX_HEADER} bytes each, "
    f"{MAX_HEAD} bytes together."
)


def refusal(exc: Exception) -> bytes:
    """Return the whole answer to what could not be parsed, or failed unanswered."""
    if isinstance(exc, LimitRequestLine):
        return answer("414 URI Too Long", "Invalid API request", f"{exc}. {LINE}")
    if isinstance(exc, LimitRequestHeaders):
        status = "431 Request Header Fields Too Large"
        return answer(status, "Invalid API request", f"{exc}. {HEADERS}")
    if isinstance(exc, ExpectationFailed):
        return answer("417 Expectation Failed", "Bad request", f"{exc}.")
    if isinstance(exc, UnsupportedTransferCoding):
        return answer("501 Not Implemented", "Bad request", f"{exc}.")
    if is_of_client(exc):
        return answer("400 Bad Request", "Bad request", f"{exc}.")
    status = "500 Internal Server Error"
    return answer(status, "Internal server error", "The log has more.")


def is_of_client(exc: Exception) -> bool:
    """Say whether the client is to blame, and not the application."""
    ours = (InvalidResponseHeader, InvalidResponseHeaderName)
    return isinstance(exc, ParseException) and not isinstance(exc, ours)


def too_slow(seconds: int) -> bytes:
    """Return the answer to a request that took too long to arrive."""
    text = f"A request has to arrive within {seconds} seconds."
    return answer("408 Request Timeout", "Request timeout", text)


def answer(status: str, title: str, description: str) -> bytes:
    body = json.dumps({"title": title, "description": description})
    return (
        f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()

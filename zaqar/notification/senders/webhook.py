# SPDX-License-Identifier: Apache-2.0
"""Delivers to http and https: one POST of the notification for each message."""

import hmac
import re
import time
from collections.abc import Mapping

from yarl import URL

from zaqar.errors import InvalidRequest
from zaqar.notification import guard, payload
from zaqar.notification.senders.base import (
    DeliveryFailed,
    Options,
    PostFailed,
    Target,
    Tools,
)
from zaqar.notification.settings import NotificationSettings

# Those that frame the request, and those that are the connection's business.
FORBIDDEN = frozenset(
    (
        *("connection", "content-length", "expect", "host", "http2-settings"),
        *("keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
    )
)
# Those that nobody else may say: the delivery's own, and a proxy's.
FORBIDDEN_PREFIXES = ("zaqar-", "proxy-")
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")
MAX_HEADERS = 50
MAX_HEADERS_SIZE = 8192
MAX_SECRET = 256


class Webhook:
    """A sender."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    @staticmethod
    def check(
        subscriber: str, options: Options, settings: NotificationSettings
    ) -> None:
        check(subscriber, options, settings)

    async def deliver(self, target: Target) -> int | None:
        return await post(self._tools, target, target.subscriber, {})


def check(subscriber: str, options: Options, settings: NotificationSettings) -> None:
    """Raise InvalidRequest unless one can subscribe so; looks up the host last."""
    _check_headers(guard.read_uri(subscriber), options)
    if (template := options.get("post_data")) is not None:
        payload.check_post_data(template, settings.max_post_data_size)
    _secret(options)
    guard.check_subscriber(subscriber, settings)


async def post(
    tools: Tools, target: Target, uri: str, headers: Mapping[str, str]
) -> int:
    """Post to a URI, with headers that come before all others; return the status.

    Raises DeliveryFailed and InvalidRequest.
    """
    url = guard.read_uri(uri)
    document = target.notification.document
    template = target.options.get("post_data")
    if template is not None:
        limit = tools.settings.max_post_data_size
        payload.check_post_data(template, limit)
        try:
            document = payload.filled(template, document, limit)
        except payload.PostDataTooLarge as error:
            raise DeliveryFailed(str(error), final=True) from None
    try:
        status = await tools.client.post(
            url,
            document,
            {
                "Content-Type": "application/json",
                **_check_headers(url, target.options),
                **_own_headers(target, document),
                **headers,
            },
        )
    except PostFailed as error:
        raise DeliveryFailed(str(error), final=error.final) from error
    if not 200 <= status <= 299:
        # A redirect is not followed, and 4xx will not be taken the next time either.
        raise DeliveryFailed(
            f"The answer has the status {status}.", final=status < 500, status=status
        )
    return status


def _own_headers(target: Target, document: bytes) -> dict[str, str]:
    """Return what names the delivery and, if there is a secret, proves who sent it."""
    headers = {
        "Zaqar-Delivery-Id": target.delivery,
        "Zaqar-Attempt": str(target.attempt),
    }
    if (secret := _secret(target.options)) is not None:
        timestamp = str(int(time.time()))
        headers["Zaqar-Timestamp"] = timestamp
        headers["Zaqar-Signature"] = signature(
            secret, target.delivery, timestamp, document
        )
    return headers


def signature(secret: str, delivery: str, timestamp: str, document: bytes) -> str:
    """Return the value of the header Zaqar-Signature."""
    signed = f"{delivery}.{timestamp}.".encode() + document
    return f"sha256={hmac.digest(secret.encode(), signed, 'sha256').hex()}"


def _secret(options: Options) -> str | None:
    secret = options.get("secret")
    if secret is None:
        return None
    if (
        not isinstance(secret, str)
        or not 1 <= len(secret) <= MAX_SECRET
        or not HEADER_VALUE.fullmatch(secret)
    ):
        raise InvalidRequest(
            f"options.secret must be a string of 1 to {MAX_SECRET} characters, without "
            "control characters."
        )
    return secret


def _check_headers(url: URL, options: Options) -> dict[str, str]:
    """Return the headers that the options add, named as they are, each name once.

    Raises InvalidRequest.
    """
    headers = options.get("post_headers")
    if headers is None:
        return {}
    if not isinstance(headers, dict) or len(headers) > MAX_HEADERS:
        raise InvalidRequest(
            f"options.post_headers must be an object of at most {MAX_HEADERS} names."
        )
    kept: dict[str, str] = {}
    for name, value in headers.items():
        _check_header(name, value)
        lower = name.lower()
        if lower == "authorization" and url.user is not None:
            raise InvalidRequest(
                "options.post_headers.Authorization: the subscriber has a user too."
            )
        # NOTE: of two spellings of a name the last one is sent.
        kept.pop(next((known for known in kept if known.lower() == lower), ""), "")
        kept["Content-Type" if lower == "content-type" else name] = value
    if sum(len(name) + len(value) for name, value in kept.items()) > MAX_HEADERS_SIZE:
        raise InvalidRequest(
            f"options.post_headers may have at most {MAX_HEADERS_SIZE} characters."
        )
    return kept


def _check_header(name: str, value: object) -> None:
    lower = name.lower()
    if not HEADER_NAME.fullmatch(name):
        raise InvalidRequest(f"options.post_headers: {name!r} is no name of a header.")
    if lower in FORBIDDEN or lower.startswith(FORBIDDEN_PREFIXES):
        raise InvalidRequest(f"options.post_headers.{name} cannot be set.")
    if not isinstance(value, str) or not HEADER_VALUE.fullmatch(value):
        raise InvalidRequest(
            f"options.post_headers.{name} must be a string without control characters."
        )

# SPDX-License-Identifier: Apache-2.0
"""What Keystone said of tokens, remembered in this process for a time.

Holds no token, but digests of them.
"""

import hashlib
import threading
from collections.abc import Callable
from typing import Any

import msgspec

# Tokens that are remembered at once; the first to come are the first to go.
MAX_TOKENS = 10_000

Headers = dict[str, str]


class Entry(msgspec.Struct):
    """A token's document as Keystone gave it, or what it came to."""

    until: float
    document: Any = None
    headers: Headers | None = None


class TokenCache:
    """Remembers tokens for `seconds` after Keystone was asked, never longer.

    `get` and `set` are what keystonemiddleware wants of a cache. Its own in-process
    cache looks at all its entries for each request, and each thread has another.
    """

    def __init__(self, seconds: float, now: Callable[[], float]) -> None:
        self._seconds = seconds
        self._now = now
        self._entries: dict[str, Entry] = {}
        self._adding = threading.Lock()

    def get(self, key: str) -> Any:
        """Return the document of a token, None if it is not known."""
        entry = self._live(key)
        return None if entry is None else entry.document

    def set(self, key: str, value: Any, time: int = 0) -> None:
        """Remember a document; how long, is settled already."""
        if self._seconds > 0:
            self._add(key, Entry(self._now() + self._seconds, value))

    def headers(self, token: str) -> Headers | None:
        """Return the identity headers of a token, None if they are not known."""
        entry = self._live(key_of(token))
        return None if entry is None else entry.headers

    def remember(self, token: str, headers: Headers, *, expires: float) -> None:
        """Remember what a token came to, instead of its document, until it expires."""
        if self._seconds <= 0:
            return
        key, now = key_of(token), self._now()
        # SECURITY: the time counts from when Keystone was asked, so that a revoked
        # token is not good for one cache after the other.
        asked = self._live(key)
        until = now + self._seconds if asked is None else asked.until
        self._add(key, Entry(min(until, expires), headers=headers))

    def _live(self, key: str) -> Entry | None:
        entry = self._entries.get(key)
        return entry if entry is not None and entry.until > self._now() else None

    def _add(self, key: str, entry: Entry) -> None:
        with self._adding:
            self._entries.pop(key, None)
            if len(self._entries) >= MAX_TOKENS:
                del self._entries[next(iter(self._entries))]
            self._entries[key] = entry


def key_of(token: str) -> str:
    """Return the name that keystonemiddleware gives to a token."""
    return f"tokens/{hashlib.sha256(token.encode()).hexdigest()}"

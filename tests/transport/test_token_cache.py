# SPDX-License-Identifier: Apache-2.0
"""Facts of what is remembered of tokens, and of the headers that are dropped."""

import pytest

from zaqar.transport import token_cache
from zaqar.transport.auth import IDENTITY
from zaqar.transport.keystone_pause import PAUSE_SECONDS, Pause
from zaqar.transport.token_cache import TokenCache, key_of

HEADERS = {"HTTP_X_ROLES": "member"}


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_token_is_forgotten_when_its_time_has_come() -> None:
    time = Time()
    cache = TokenCache(10, time)
    cache.remember("long", HEADERS, expires=9000.0)
    cache.remember("short", HEADERS, expires=1005.0)

    time.now = 1004.0
    assert cache.headers("long") == cache.headers("short") == HEADERS
    time.now = 1005.0
    assert cache.headers("short") is None
    time.now = 1010.0
    assert cache.headers("long") is None


def test_time_counts_from_when_keystone_was_asked() -> None:
    time = Time()
    cache = TokenCache(10, time)
    cache.set(key_of("token"), b"{}")
    time.now = 1009.0
    cache.remember("token", HEADERS, expires=9000.0)

    time.now = 1010.0
    assert cache.headers("token") is None


def test_nothing_is_remembered_for_no_time() -> None:
    cache = TokenCache(0, Time())
    cache.set(key_of("token"), b"{}")
    cache.remember("token", HEADERS, expires=9000.0)

    assert cache.get(key_of("token")) is None
    assert cache.headers("token") is None


def test_first_tokens_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_cache, "MAX_TOKENS", 2)
    cache = TokenCache(10, Time())
    for token in "abc":
        cache.remember(token, HEADERS, expires=9000.0)

    assert [cache.headers(token) for token in "abc"] == [None, HEADERS, HEADERS]


def test_after_a_slow_failure_one_asks_at_a_time() -> None:
    time = Time()
    pause = Pause(time)
    assert pause.may_ask()
    pause.note(False, 3.0)

    assert not pause.may_ask()
    time.now += PAUSE_SECONDS
    assert [pause.may_ask() for _ in range(3)] == [True, False, False]
    pause.note(True, 0.1)
    assert [pause.may_ask() for _ in range(3)] == [True, True, True]


def test_a_quick_failure_keeps_nobody_out() -> None:
    pause = Pause(Time())
    pause.note(False, 0.01)

    assert pause.may_ask()


def test_all_headers_that_the_middleware_sets_are_dropped() -> None:
    pytest.importorskip("keystonemiddleware")
    from keystonemiddleware.auth_token._request import _AuthTokenRequest

    names = _AuthTokenRequest.blank("/")._all_auth_headers()

    assert {f"HTTP_{n.upper().replace('-', '_')}" for n in names} <= IDENTITY

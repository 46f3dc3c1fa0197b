# SPDX-License-Identifier: Apache-2.0
"""The store speaks TLS, and to nobody who cannot prove who he is."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.arrange import listed, post
from tests.redis_servers import RedisServer
from tests.tls import Authority, TlsProxy
from zaqar.errors import StorageUnavailable
from zaqar.storage.redis.store import RedisStore

Start = Callable[..., TlsProxy]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def start_proxy(own_redis: RedisServer, authority: Authority) -> Iterator[Start]:
    """A function that puts a proxy with a certificate for this name in front."""
    proxies: list[TlsProxy] = []

    def start(name: str = "localhost", **options: Authority) -> TlsProxy:
        proxies.append(TlsProxy(own_redis.port, authority.issue(name), **options))
        return proxies[-1]

    yield start
    for proxy in proxies:
        proxy.close()


def open_store(proxy: TlsProxy, options: str) -> RedisStore:
    uri = f"rediss://localhost:{proxy.port}?socket_timeout=4&{options}"
    return RedisStore(uri, max_reconnect_attempts=0)


def assert_refused(proxy: TlsProxy, options: str, why: str) -> None:
    store = open_store(proxy, options)
    with pytest.raises(StorageUnavailable, match=why):
        store.ping()
    store.close()


def test_store_works_by_tls(start_proxy: Start, authority: Authority) -> None:
    proxy = start_proxy()
    store = open_store(proxy, f"ssl_ca_certs={authority.path}")

    ids = post(store, 100)

    assert listed(store) == ids
    assert proxy.greeted > 0
    store.close()


def test_server_of_an_unknown_authority_is_not_spoken_to(
    start_proxy: Start, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")

    assert_refused(start_proxy(), f"ssl_ca_certs={other.path}", "verify failed")


def test_server_of_another_name_is_not_spoken_to(
    start_proxy: Start, authority: Authority
) -> None:
    proxy = start_proxy("elsewhere.example")

    assert_refused(proxy, f"ssl_ca_certs={authority.path}", "verify failed")


def test_server_proves_nothing_if_it_need_not(start_proxy: Start) -> None:
    store = open_store(start_proxy("elsewhere.example"), "ssl_cert_reqs=none")

    ids = post(store, 2)

    assert listed(store) == ids
    store.close()


def test_store_proves_who_it_is(start_proxy: Start, authority: Authority) -> None:
    proxy = start_proxy(clients=authority)
    chain, key = authority.issue("zaqar.example")
    trust = f"ssl_ca_certs={authority.path}"

    store = open_store(proxy, f"{trust}&ssl_certfile={chain}&ssl_keyfile={key}")
    ids = post(store, 2)

    assert listed(store) == ids
    assert_refused(proxy, trust, "Redis does not work")
    store.close()


def test_server_without_tls_is_not_spoken_to(
    own_redis: RedisServer, authority: Authority
) -> None:
    uri = f"rediss://localhost:{own_redis.port}?ssl_ca_certs={authority.path}"
    store = RedisStore(uri, max_reconnect_attempts=0)

    with pytest.raises(StorageUnavailable):
        store.ping()
    store.close()

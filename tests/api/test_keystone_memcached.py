# SPDX-License-Identifier: Apache-2.0
"""Tokens that are remembered in a real memcached, by all who serve."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.api.bearer import Bearer
from tests.api.wire import Answer
from tests.keystone_servers import KeystoneServer
from tests.memcached_servers import MemcachedServer, memcached
from tests.servers import Server, merge, render
from zaqar import conf
from zaqar.errors import ConfigurationError

__all__ = ["memcached"]

Ask = Callable[[str], Answer]

ENCRYPTED = {"memcache_security_strategy": "ENCRYPT", "memcache_secret_key": "secret"}


@pytest.fixture
def service(
    servers: Callable[..., Server], keystone: KeystoneServer, memcached: MemcachedServer
) -> Callable[..., Ask]:
    """Return a function that starts one more service and returns how to ask it."""

    def start(number: int = 1, **asking: object) -> Ask:
        options = keystone.options(memcached_servers=memcached.address, **asking)
        # Who asks for other threads gets another service.
        server = servers(merge(options, {"server": {"workers": 1, "threads": number}}))
        return lambda token: Bearer(server.address, token=token).get("/v2/queues")

    return start


@pytest.mark.parametrize("protection", [{}, ENCRYPTED], ids=["plain", "encrypted"])
def test_services_share_what_is_remembered_of_a_token(
    service: Callable[..., Ask],
    keystone: KeystoneServer,
    memcached: MemcachedServer,
    protection: dict[str, str],
) -> None:
    token = keystone.token("blue-member", "blue")
    first, second, third = (service(number, **protection) for number in (2, 3, 4))
    assert first(token).status == 200
    # From here on Keystone itself says no.
    keystone.revoke(token)

    assert second(token).status == 200
    contents = memcached.contents()
    memcached.ask("flush_all")
    assert third(token).status == 401

    assert contents.strip()
    assert (token in contents) == (not protection)
    assert (keystone.ids["blue"] in contents) == (not protection)


def test_token_that_was_refused_is_refused_by_all(
    service: Callable[..., Ask], keystone: KeystoneServer
) -> None:
    for number in (2, 3):
        assert service(number)("garbage").status == 401


@pytest.mark.parametrize("fault", ["kill", "hang"])
def test_without_memcached_keystone_is_asked(
    service: Callable[..., Ask],
    keystone: KeystoneServer,
    memcached: MemcachedServer,
    fault: str,
) -> None:
    ask = service(4, memcache_pool_socket_timeout=1)
    known, fresh = (keystone.token(f"{at}-reader", at) for at in ("blue", "red"))
    assert ask(known).status == 200
    getattr(memcached, fault)()

    assert [ask(token).status for token in (known, fresh, fresh)] == [200, 200, 200]
    assert ask("garbage").status == 401


def test_service_starts_without_memcached(
    service: Callable[..., Ask], keystone: KeystoneServer, memcached: MemcachedServer
) -> None:
    memcached.kill()

    assert service()(keystone.token("blue-reader", "blue")).status == 200


@pytest.mark.parametrize(
    ("option", "package"),
    [
        (None, "python-memcached"),
        ("memcache_tls_enabled", "python-binary-memcached"),
        ("memcache_sasl_enabled", "python-binary-memcached"),
    ],
)
def test_package_that_is_missing_is_named_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str | None, package: str
) -> None:
    keystone = pytest.importorskip("zaqar.transport.keystone")
    asking: dict[str, object] = {
        "auth_type": "password",
        "auth_url": "http://127.0.0.1:9/v3",
        "memcached_servers": "127.0.0.1:9",
    }
    if option:
        asking[option] = True
    (tmp_path / "zaqar.conf").write_text(render({"keystone_authtoken": asking}))
    config = conf.load(["--config-file", str(tmp_path / "zaqar.conf")]).config
    find = importlib.util.find_spec
    absent = ("memcache", "bmemcached")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: name not in absent and find(name)
    )

    with pytest.raises(ConfigurationError, match=f"{option or ''}.* {package}"):
        keystone.Keystone(config)

# SPDX-License-Identifier: Apache-2.0
"""Facts of trusts, against a real Keystone: tokens of the one who subscribed."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg

from tests.keystone_servers import PASSWORD, KeystoneServer
from tests.notification import arrange
from tests.notification.arrange import sent, target
from tests.notification.sinks import Sink, answer, served
from tests.servers import free_port
from zaqar.errors import InvalidRequest, StorageUnavailable
from zaqar.notification.senders import Outcome, check
from zaqar.notification.senders.trust import create_trust, remove_trust

Configure = Callable[..., Any]


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    """Return a function that reads a group [trustee]."""

    def configure(url: str, password: str = PASSWORD, kind: str = "password") -> Any:
        path = tmp_path / "trustee.conf"
        path.write_text(
            f"[trustee]\nauth_type = {kind}\nauth_url = {url}\nusername = zaqar\n"
            f"password = {password}\nuser_domain_id = default\ntimeout = 60\n"
        )
        config = cfg.ConfigOpts()
        config([], default_config_files=[str(path)])
        return config

    return configure


def trust_of_a_member(
    keystone: KeystoneServer, config: Any, expires: float | None = None
) -> str:
    token = keystone.token("blue-member", "blue")
    return create_trust(
        config,
        token=token,
        project=keystone.ids["blue"],
        roles=("member",),
        expires=time.time() + 3600 if expires is None else expires,
    )


def delivered(
    config: Any, trust: str | None, *answers: bytes
) -> tuple[list[Outcome], Sink]:
    """Deliver as often as there are answers, by one sender."""

    async def run() -> tuple[list[Outcome], Sink]:
        async with served(Sink(*answers)) as sink:
            options = {} if trust is None else {"trust_id": trust}
            options["post_headers"] = {"X-Auth-Token": "mine"}
            each = target(f"trust+{sink.url}", options)
            return await sent(*[each] * len(answers), config=config), sink

    return asyncio.run(run())


def test_deliveries_have_a_token_that_is_remembered(
    keystone: KeystoneServer, configure: Configure
) -> None:
    config = configure(keystone.url)
    trust = trust_of_a_member(keystone, config)

    outcomes, sink = delivered(config, trust, answer(), answer())

    assert all(outcome.delivered for outcome in outcomes), outcomes
    tokens = [request.headers["x-auth-token"] for request in sink.requests]
    assert tokens[0] == tokens[1]
    assert tokens[0] != "mine"


def test_a_remembered_token_that_is_refused_is_replaced_once(
    keystone: KeystoneServer, configure: Configure
) -> None:
    config = configure(keystone.url)
    trust = trust_of_a_member(keystone, config)
    refused = answer("401 Unauthorized")

    outcomes, sink = delivered(config, trust, answer(), refused, answer())

    assert [outcome.delivered for outcome in outcomes] == [True] * 3
    assert len(sink.requests) == 4


def test_a_new_token_that_is_refused_is_final(
    keystone: KeystoneServer, configure: Configure
) -> None:
    config = configure(keystone.url)
    trust = trust_of_a_member(keystone, config)

    [outcome], sink = delivered(config, trust, answer("401 Unauthorized"))

    assert (outcome.final, outcome.status) == (True, 401)
    assert len(sink.requests) == 1


def test_trust_that_was_removed_opens_nothing(
    keystone: KeystoneServer, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    config = configure(keystone.url)
    trust = trust_of_a_member(keystone, config)
    token = keystone.token("blue-member", "blue")
    whose = {"token": token, "project": keystone.ids["blue"]}

    remove_trust(config, trust, **whose)

    [outcome], sink = delivered(config, trust, answer())
    assert (outcome.delivered, outcome.final) == (False, True)
    assert not sink.requests
    assert not caplog.messages
    # Where it cannot be removed, that is told of and nothing more.
    remove_trust(config, trust, **whose)
    assert [trust in message for message in caplog.messages] == [True]


@pytest.mark.parametrize("trust", [None, "0" * 32])
def test_without_a_trust_nothing_is_sent(
    keystone: KeystoneServer, configure: Configure, trust: str | None
) -> None:
    [outcome], sink = delivered(configure(keystone.url), trust, answer())

    assert (outcome.delivered, outcome.final) == (False, True)
    assert not sink.requests


@pytest.mark.parametrize("kind", ["password", "nonsense"])
def test_a_keystone_that_cannot_be_asked_is_asked_again(
    configure: Configure, kind: str
) -> None:
    config = configure(f"http://127.0.0.1:{free_port()}/v3", kind=kind)

    [outcome], sink = delivered(config, "0" * 32, answer())

    assert (outcome.delivered, outcome.final) == (False, False)
    assert not sink.requests


def test_no_trust_is_made_where_keystone_or_trustee_are_missing(
    keystone: KeystoneServer, configure: Configure
) -> None:
    values: dict[str, Any] = {
        "token": "x",
        "project": "p",
        "roles": ("member",),
        "expires": time.time() + 60,
    }

    with pytest.raises(StorageUnavailable):
        create_trust(configure(f"http://127.0.0.1:{free_port()}"), **values)
    with pytest.raises(InvalidRequest, match=r"options\.trust_id"):
        create_trust(configure(keystone.url), **values)
    with pytest.raises(InvalidRequest, match=r"options\.trust_id is needed"):
        create_trust(configure(keystone.url, kind="nonsense"), **values)
    empty = cfg.ConfigOpts()
    empty([], default_config_files=[])
    with pytest.raises(InvalidRequest, match=r"options\.trust_id is needed"):
        create_trust(empty, **values)


def test_a_trust_may_last_for_ever(
    keystone: KeystoneServer, configure: Configure
) -> None:
    config = configure(keystone.url)
    last = datetime(9999, 12, 31, tzinfo=UTC).timestamp()

    assert trust_of_a_member(keystone, config, last)


@pytest.mark.parametrize("trust", [1, "", "x" * 65, []])
def test_what_is_no_id_of_a_trust_is_refused(trust: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"options\.trust_id"):
        check(
            "trust+http://127.0.0.1/",
            {"trust_id": trust},
            arrange.OPEN,
            ("trust+http",),
        )


def test_the_guard_counts_for_trusts_too() -> None:
    with pytest.raises(InvalidRequest, match="loopback"):
        check("TRUST+http://127.0.0.1/", {}, arrange.settings(), ("trust+http",))

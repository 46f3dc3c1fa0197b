# SPDX-License-Identifier: Apache-2.0
"""Facts of what the server says at its start."""

import os
import shlex

import msgspec
import pytest

from zaqar import __version__, conf
from zaqar.cli import check_openness
from zaqar.conf import (
    MongoSettings,
    RedisSettings,
    Settings,
    SqliteSettings,
)
from zaqar.errors import ConfigurationError
from zaqar.keys import Key
from zaqar.limits import Limits
from zaqar.quota_settings import QuotaSettings
from zaqar.quotas import Quota
from zaqar.server.report import base_url, curl, start_report, warnings

SETTINGS = Settings(
    bind="127.0.0.1",
    port=8888,
    store=SqliteSettings("/var/lib/zaqar/zaqar.db", "FULL"),
    registry=None,
    virtual_pool=False,
    data_folder="/var/lib/zaqar",
    bell="/var/lib/zaqar/.zaqar.db.bell",
    engine="gunicorn",
    workers=2,
    threads=8,
    graceful_timeout=30,
    sweep_interval=5.0,
    request_log=True,
    trusted_proxies=(),
    admin_mode=False,
    deprecated_api_versions=("1.1",),
    daemon=False,
    enable_checksum=False,
    message_delete_with_claim_id=False,
    strict_patch=False,
    limits=Limits(),
    subscriber_types=(),
    notification=conf.load(["--config-file", os.devnull]).notification,
    config=None,
)


def with_(**changes: object) -> Settings:
    return msgspec.structs.replace(SETTINGS, **changes)


@pytest.mark.parametrize(
    "fact",
    [
        __version__,
        "http://127.0.0.1:8888",
        "sqlite, /var/lib/zaqar/zaqar.db",
        "synchronous=FULL: an answered message survives a power cut",
        "authentication  none",
        "gunicorn, 2 workers of 8 threads",
        "admin mode      off",
        "signed URLs     off: no key is set in [signed_url]",
        "encryption      off: no [transport] message_encryption_key is set",
        "every user of this machine can be every tenant",
    ],
)
def test_report_tells(fact: str) -> None:
    assert fact in start_report(SETTINGS)


def test_report_ends_with_the_curl_on_lines_of_its_own() -> None:
    assert start_report(SETTINGS).endswith(f"\n\n{curl(base_url(SETTINGS))}\n")


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8888"),
        ("0.0.0.0", "http://127.0.0.1:8888"),
        ("::", "http://[::1]:8888"),
        ("::1", "http://[::1]:8888"),
        ("queues.example.org", "http://queues.example.org:8888"),
    ],
)
def test_base_url_reaches_the_server_from_its_own_machine(bind: str, url: str) -> None:
    assert base_url(with_(bind=bind)) == url


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_is_open_to_users_of_the_machine_only(bind: str) -> None:
    assert warnings(with_(bind=bind)) == [
        "no authentication: every user of this machine can be every tenant"
    ]


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.0.2.1", "queues.example.org"])
def test_any_other_address_is_warned_of(bind: str) -> None:
    assert f"{bind} is reachable from other machines" in warnings(with_(bind=bind))[0]


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        (
            {"store": SqliteSettings("z.db", "NORMAL")},
            "a power cut may lose the last messages",
        ),
        ({"admin_mode": True}, "admin mode is on"),
        ({"signing_keys": (Key("now", "x" * 31),)}, "key now of signed URLs"),
        (
            {"encryption_keys": (Key("now", "x" * 31),)},
            "key now of encrypted bodies has less than 32 characters",
        ),
        (
            {"encryption_keys": (Key("now", "x" * 32), Key("old", "AES256"))},
            "key old of encrypted bodies is AES256",
        ),
        ({"read_cbc": True}, "message_encryption_read_cbc"),
    ],
)
def test_unsafe_settings_are_warned_of(
    changes: dict[str, object], warning: str
) -> None:
    report = start_report(with_(**changes))

    assert f"warning         {warning}" in report
    assert warning not in start_report(SETTINGS)


def test_keys_of_signed_urls_are_told_by_their_names() -> None:
    one, other = Key("2026-11", "a" * 32), Key("2026-05", "b" * 32)

    assert "on, signed with key 2026-11\n" in start_report(with_(signing_keys=(one,)))
    report = start_report(with_(signing_keys=(one, other)))

    assert "on, signed with key 2026-11; valid too: those of 2026-05\n" in report
    assert "aaaa" not in report
    assert "aaaa" not in repr(with_(signing_keys=(one, other)))
    assert "has less than" not in report


def test_keys_of_bodies_are_told_by_their_names() -> None:
    one, other = Key("2026-11", "a" * 32), Key("2026-05", "b" * 32)

    report = start_report(with_(encryption_keys=(one, other)))

    told = "for queues that ask for it, with key 2026-11; read too: those of 2026-05\n"
    assert told in report
    assert "aaaa" not in report
    assert "aaaa" not in repr(with_(encryption_keys=(one, other)))
    assert "has less than" not in report


def test_normal_durability_is_not_promised_as_full() -> None:
    report = start_report(with_(store=SqliteSettings("z.db", "NORMAL")))

    assert "synchronous=NORMAL: an answered message survives a killed process" in report


def test_the_curl_is_one_command_for_a_shell() -> None:
    words = shlex.split(curl("http://127.0.0.1:8888"))

    assert words[:3] == [
        "curl",
        "-i",
        "http://127.0.0.1:8888/v2/queues/demo/messages",
    ]
    assert words[-1] == '{"messages": [{"body": "hello", "ttl": 300}]}'


def test_the_password_of_a_store_is_not_shown() -> None:
    uri = "redis://user:se%3Acret@redis.example.org:6379?dbid=2"

    report = start_report(with_(store=RedisSettings(uri, 10, 1.0)))

    assert "redis, redis://user:***@redis.example.org:6379?dbid=2" in report
    assert "cret" not in report


def mongo(uri: str, *, unreliable: bool = False) -> MongoSettings:
    return MongoSettings(
        uri, "zaqar", "strict", unreliable, "", "", "", "CERT_REQUIRED", 10, 0.02
    )


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("mongodb://u:cret@a,b/?replicaSet=r", "mongodb://u:***@a,b/?replicaSet=r"),
        ("mongodb://u:s/e:cret@cret@a/", "mongodb://u:***@a/"),
        ("mongodb://:s?cret@a/", "mongodb://:***@a/"),
        (
            "mongodb://a/?tlsCertificateKeyFilePassword=cret&w=majority",
            "mongodb://a/?tlsCertificateKeyFilePassword=***&w=majority",
        ),
        (
            "mongodb://a/?authMechanismProperties=AWS_SESSION_TOKEN:cret",
            "mongodb://a/?authMechanismProperties=***",
        ),
    ],
)
def test_no_secret_of_a_mongodb_uri_is_shown(uri: str, expected: str) -> None:
    report = start_report(with_(store=mongo(uri)))

    assert f"mongodb, {expected}, database zaqar, strict order" in report
    assert "cret" not in report


def test_an_unreliable_store_is_told() -> None:
    reliable = start_report(with_(store=mongo("mongodb://a")))
    unreliable = start_report(with_(store=mongo("mongodb://a", unreliable=True)))

    assert "majority and journal" in reliable
    assert "unreliable" not in reliable
    assert "messages that were answered may be lost" in unreliable
    assert "majority and journal" not in unreliable


# Pooling -----------------------------------------------------------------------------

REGISTRY = SqliteSettings("/var/lib/zaqar/registry.db", "FULL")


def test_with_pooling_the_registry_is_told_and_not_the_store() -> None:
    report = start_report(with_(registry=REGISTRY), 2)

    assert "registry        sqlite, /var/lib/zaqar/registry.db" in report
    assert "pools           2;" in report
    assert "/var/lib/zaqar/zaqar.db" not in report
    assert "durability" not in report
    assert "there is no pool" not in report


def test_pooling_without_a_pool_is_warned_of_with_the_command_that_mends_it() -> None:
    report = start_report(with_(registry=REGISTRY), 0)

    assert "warning         there is no pool, so no queue can be made" in report
    assert "zaqar-manage pool create NAME --uri URI --weight 100" in report


def test_the_default_pool_is_told_with_what_it_promises() -> None:
    report = start_report(with_(registry=REGISTRY, virtual_pool=True), 0)

    assert "default pool    sqlite, /var/lib/zaqar/zaqar.db: synchronous=FULL" in report
    assert "there is no pool" not in report


def test_a_registry_that_did_not_answer_is_no_registry_without_pools() -> None:
    report = start_report(with_(registry=REGISTRY), None)

    assert "pools           not known yet" in report
    assert "there is no pool" not in report


def test_what_the_registry_may_lose_is_warned_of() -> None:
    store = RedisSettings("redis://:cret@redis.example.org", 10, 1.0)

    report = start_report(with_(registry=store), 1)

    assert "warning         registry: what a power cut or a killed Redis" in report
    assert "cret" not in report


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.0.2.1"])
def test_open_server_beyond_this_machine_has_to_be_asked_for(bind: str) -> None:
    with pytest.raises(ConfigurationError, match="--insecure"):
        check_openness(with_(bind=bind))

    check_openness(with_(bind=bind, insecure=True))
    check_openness(with_(bind=bind, auth_strategy="keystone"))
    check_openness(with_(bind="127.0.0.1"))


def test_report_tells_who_delivers() -> None:
    usual = SETTINGS.notification
    change = msgspec.structs.replace
    elsewhere = with_(notification=change(usual, deliver=False))
    confirmed = with_(notification=change(usual, require_confirmation=True))
    private = with_(notification=change(usual, allow_private_targets=True))

    assert "delivered to subscribers by a process" in start_report(SETTINGS)
    assert "zaqar-notifier has to run" in start_report(elsewhere)
    assert "subscribers that have confirmed" in start_report(confirmed)
    assert "allow_private_targets" not in start_report(SETTINGS)
    assert "allow_private_targets" in start_report(private)


def test_report_tells_the_quotas() -> None:
    assert "quotas          off" in start_report(SETTINGS)
    given = QuotaSettings(Quota(queues=3, requests_per_second=0.5), per_project=True)

    told = start_report(with_(quotas=given))

    assert "queues 3; requests_per_second 0.5; per project" in told
    assert "answered 429" in told

# SPDX-License-Identifier: Apache-2.0
"""Facts of the options: defaults, where they are read from, what is refused."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from zaqar import conf
from zaqar.conf import (
    MongoSettings,
    RedisSettings,
    Settings,
    SqliteSettings,
    StoreSettings,
    pool_store,
)
from zaqar.errors import ConfigurationError
from zaqar.keys import Key
from zaqar.limits import Limits
from zaqar.notification.settings import MailText
from zaqar.quota_settings import QuotaSettings
from zaqar.quotas import Quota

Load = Callable[..., Settings]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without any file, and an environment without any option."""
    for name in list(os.environ):
        if name.startswith(("OS_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Return a function that loads the text of a file."""

    def load(text: str, *arguments: str) -> Settings:
        path = tmp_path / "some.conf"
        path.write_text(text)
        return conf.load(["--config-file", str(path), *arguments])

    return load


def test_defaults_are_those_of_the_contract() -> None:
    settings = conf.load()

    assert (settings.bind, settings.port) == ("127.0.0.1", 8888)
    assert settings.store.synchronous == "FULL"
    assert settings.engine == "gunicorn"
    assert settings.limits == Limits()
    assert not settings.admin_mode
    assert not settings.daemon
    assert not settings.enable_checksum
    assert not settings.message_delete_with_claim_id
    assert not settings.strict_patch


def test_there_is_a_worker_for_each_processor_that_may_be_used() -> None:
    assert conf.load().workers == len(os.sched_getaffinity(0))


def test_the_database_stands_in_the_users_data_folder(home: Path) -> None:
    assert conf.load().store.path == f"{home}/.local/share/zaqar/zaqar.db"


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("sqlite:////var/lib/zaqar/zaqar.db", "/var/lib/zaqar/zaqar.db"),
        ("sqlite:///zaqar.db", "{cwd}/zaqar.db"),
        ("sqlite:///data/../zaqar.db", "{cwd}/zaqar.db"),
    ],
)
def test_uri_names_a_file(uri: str, path: str) -> None:
    assert conf.sqlite_path(uri) == path.format(cwd=os.getcwd())


@pytest.mark.parametrize(
    "uri",
    [
        "zaqar.db",
        "/var/lib/zaqar.db",
        "sqlite:zaqar.db",
        "sqlite://zaqar.db",
        "sqlite:///",
        "sqlite:////var/lib/",
        "mysql:///zaqar",
        "sqlite:///:memory:",
        "sqlite:///?mode=memory",
    ],
)
def test_another_uri_is_refused_with_the_forms_that_work(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="sqlite:///relative/path"):
        conf.sqlite_path(uri)


@pytest.mark.parametrize("uri", ["sqlite:///z.db?x=y", "sqlite:////var/z.db?"])
def test_a_uri_takes_no_parameters(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="no parameters"):
        conf.sqlite_path(uri)


def test_a_file_is_read(load: Load) -> None:
    settings = load(
        """
        [DEFAULT]
        admin_mode = true
        enable_checksum = true
        [drivers:transport:wsgi]
        bind = ::1
        port = 9999
        [drivers:message_store:sqlite]
        uri = sqlite:////var/lib/zaqar/zaqar.db
        synchronous = NORMAL
        [server]
        engine = granian
        workers = 3
        threads = 5
        graceful_timeout = 7
        sweep_interval = 0.5
        request_log = false
        [transport]
        max_claim_ttl = 600
        client_id_uuid_safe = off
        strict_patch = true
        message_delete_with_claim_id = true
        """.replace("        ", "")
    )

    assert settings.admin_mode
    assert settings.enable_checksum
    assert (settings.bind, settings.port) == ("::1", 9999)
    assert settings.store.path == "/var/lib/zaqar/zaqar.db"
    assert settings.store.synchronous == "NORMAL"
    assert settings.engine == "granian"
    assert (settings.workers, settings.threads) == (3, 5)
    assert (settings.graceful_timeout, settings.sweep_interval) == (7, 0.5)
    assert not settings.request_log
    assert settings.limits.max_claim_ttl == 600
    assert settings.limits.client_id_uuid_safe == "off"
    assert settings.strict_patch
    assert settings.message_delete_with_claim_id


@pytest.mark.parametrize("folder", [".zaqar", "."])
def test_a_file_in_the_home_folder_is_found(home: Path, folder: str) -> None:
    (home / folder).mkdir(exist_ok=True)
    (home / folder / "zaqar.conf").write_text("[server]\nworkers = 4\n")

    assert conf.load().workers == 4


def test_config_file_overrides_the_search(home: Path, load: Load) -> None:
    (home / "zaqar.conf").write_text("[server]\nworkers = 4\nthreads = 4\n")

    settings = load("[server]\nworkers = 5\n")

    assert (settings.workers, settings.threads) == (5, 8)


def test_config_dir_is_read_after_the_files(home: Path, load: Load) -> None:
    (home / "conf.d").mkdir()
    (home / "conf.d/10-workers.conf").write_text("[server]\nworkers = 6\n")

    settings = load(
        "[server]\nworkers = 5\nthreads = 5\n", "--config-dir", str(home / "conf.d")
    )

    assert (settings.workers, settings.threads) == (6, 5)


def test_the_environment_wins_over_files(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_SERVER__WORKERS", "7")
    monkeypatch.setenv("OS_DRIVERS:TRANSPORT:WSGI__PORT", "7777")

    settings = load("[server]\nworkers = 5\n")

    assert (settings.workers, settings.port) == (7, 7777)


@pytest.mark.parametrize("option", ["admin_mode", "daemon"])
def test_switches_of_the_command_line(option: str) -> None:
    assert getattr(conf.load([f"--{option}"]), option)


def test_the_old_name_of_the_message_store_is_understood(load: Load) -> None:
    load("[drivers]\nstorage = sqlite\n")

    with pytest.raises(ConfigurationError, match=r"\[drivers\] message_store = swift"):
        load("[drivers]\nstorage = swift\n")


@pytest.mark.parametrize("name", ["pooling", "sharding"])
def test_pools_are_kept_by_the_management_store(load: Load, name: str) -> None:
    assert load("").registry is None

    settings = load(
        f"[DEFAULT]\n{name} = true\n"
        "[drivers]\nmessage_store = redis\nmanagement_store = sqlite\n"
        "[drivers:management_store:sqlite]\nuri = sqlite:////somewhere/registry.db\n"
        "[pooling:catalog]\nenable_virtual_pool = true\n"
    )

    assert settings.registry == SqliteSettings("/somewhere/registry.db", "FULL")
    assert isinstance(settings.store, RedisSettings)
    assert settings.virtual_pool


FOLDER = "/data"


def pool_of(
    load: Load, uri: str, options: Mapping[str, object] | None = None
) -> StoreSettings:
    return pool_store(load("").config, uri, options or {}, FOLDER)


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("sqlite:///a.db", SqliteSettings("/data/a.db", "FULL")),
        ("sqlite:////data/b/a.db", SqliteSettings("/data/b/a.db", "FULL")),
        ("redis://h:1", RedisSettings("redis://h:1", 10, 1.0)),
        ("redis:/tmp/socket", RedisSettings("redis:/tmp/socket", 10, 1.0)),
    ],
)
def test_pool_has_the_driver_of_its_uri(
    load: Load, uri: str, kind: StoreSettings
) -> None:
    assert pool_of(load, uri) == kind


def test_pool_has_options_of_its_own(load: Load) -> None:
    found = pool_of(load, "mongodb://h", {"ordering": "relaxed", "max_retry_sleep": 1})

    assert isinstance(found, MongoSettings)
    assert (found.ordering, found.database) == ("relaxed", "zaqar")


@pytest.mark.parametrize(
    ("uri", "options", "told"),
    [
        ("bogus", {}, "scheme must be one of sqlite, redis"),
        ("http://h", {}, "scheme"),
        ("", {}, "scheme"),
        ("sqlite:////etc/a.db", {}, "below the data folder"),
        ("sqlite:///../a.db", {}, "below the data folder"),
        ("sqlite:///", {}, "uri: write sqlite:///path"),
        ("sqlite://a.db", {}, "uri: write sqlite:///path"),
        ("sqlite:a.db", {}, "uri: write sqlite:///path"),
        ("redis://h", {"ordering": "strict"}, "options: ordering is none of"),
        ("redis://h", {"uri": "redis://i"}, "options: uri is none of"),
        ("redis://h", {"reconnect_sleep": "soon"}, "options: reconnect_sleep"),
        ("redis://h", {"reconnect_sleep": []}, "options: reconnect_sleep"),
        ("redis://h", {"reconnect_sleep": "nan"}, "reconnect_sleep = nan"),
        ("mongodb://h", {"reconnect_sleep": "inf"}, "reconnect_sleep = inf"),
        ("mongodb://h", {"ordering": "none"}, "options: ordering"),
        ("mongodb.fifo://h", {"ordering": "relaxed"}, "always strict"),
    ],
)
def test_pool_that_cannot_be_is_refused(
    load: Load, uri: str, options: dict[str, object], told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        pool_of(load, uri, options)


@pytest.mark.parametrize(
    ("group", "line", "told"),
    [
        (
            "DEFAULT",
            "auth_strategy = keystoen",
            r"auth_strategy.*found 'keystoen'",
        ),
        ("DEFAULT", "enable_deprecated_api_versions = 1", "1.1"),
        ("cors", "allowed_origin = https://a.example/", r"\[cors\] allowed_origin"),
        ("cors", "allowed_origin = a.example", r"\[cors\] allowed_origin"),
        ("cors", "allowed_origin = null", r"\[cors\] allowed_origin"),
        ("oslo_middleware", "enable_proxy_headers_parsing = true", "parsing"),
        ("drivers", "transport = websocket", r"\[drivers\] transport = websocket"),
        ("drivers", "message_store = swift", "sqlite"),
        ("drivers", "management_store = sqlalchemy", "sqlite"),
        *(
            ("storage", f"{noun}_pipeline = zaqar.x", rf"\[storage\] {noun}_pipeline")
            for noun in ("queue", "message", "claim", "subscription", "topic")
        ),
    ],
)
def test_what_is_not_built_is_refused_by_name(
    load: Load, group: str, line: str, told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        load(f"[{group}]\n{line}\n")


@pytest.mark.parametrize(
    ("group", "line", "told"),
    [
        ("drivers", "message_store = rediss", "sqlite, mongodb"),
        ("server", "engine = uwsgi", "gunicorn, granian"),
        ("server", "workers = many", "workers"),
        ("server", "workers = -1", "workers"),
        ("server", "threads = 0", "threads"),
        ("server", "sweep_interval = 0", "sweep_interval"),
        ("server", "request_log = perhaps", "request_log"),
        ("drivers:message_store:sqlite", "synchronous = OFF", "FULL, NORMAL"),
        ("drivers:message_store:sqlite", "uri = zaqar.db", "sqlite:///"),
        ("drivers:message_store:mongodb", "ordering = loose", "strict, relaxed"),
        ("drivers:message_store:mongodb", "ssl_cert_reqs = NONE", "CERT_NONE, CERT_"),
        ("drivers:message_store:mongodb", "partitions = 0", "partitions"),
        ("drivers:message_store:mongodb", "reconnect_sleep = x", "reconnect_sleep"),
        ("drivers:management_store:mongodb", "max_attempts = -1", "max_attempts"),
        ("drivers", "message_store = mongodb", r"mongodb\] uri is empty"),
        ("DEFAULT", "unreliable = perhaps", "unreliable"),
        ("drivers:transport:wsgi", "port = 70000", "port"),
        ("drivers:transport:wsgi", "bind = a b", "bind"),
        ("transport", "client_id_uuid_safe = on", "strict, off"),
        ("transport", "max_messages_per_page = 0", "max_messages_per_page"),
        *(
            ("transport", f"max_{noun} = 70\ndefault_{noun} = 80", f"max_{noun} = 70")
            for noun in ("message_ttl", "message_delay", "claim_ttl", "claim_grace")
        ),
        (
            "transport",
            "min_length_client_id = 9\nmax_length_client_id = 8",
            "min_length_client_id is more than max_length_client_id",
        ),
        ("server", "no assignment", "no assignment"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(
    load: Load, group: str, line: str, told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        load(f"[{group}]\n{line}\n")


def test_keys_of_signed_urls_are_the_one_that_signs_and_those_before(
    load: Load,
) -> None:
    settings = load(
        "[signed_url]\nsecret_key = new\nkey_id = 2026-11\n"
        'previous_keys = 2026-05:old, "2025:a:b,c"\n'
    )

    assert settings.signing_keys == (
        Key("2026-11", "new"),
        Key("2026-05", "old"),
        Key("2025", "a:b,c"),
    )
    assert load("[signed_url]\nsecret_key = k\n").signing_keys == (Key("current", "k"),)
    assert load("").signing_keys == ()


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("previous_keys = a:TOLD", "previous_keys need a secret_key"),
        ("secret_key = TOLD\nprevious_keys = TOLD", "number 1 is not key_id:secret"),
        ("secret_key = TOLD\nprevious_keys = a:TOLD,b:", "number 2 is not key_id"),
        ("secret_key = TOLD\nprevious_keys = :TOLD", "number 1 is not key_id"),
        ("secret_key = TOLD\nprevious_keys = current:TOLD", "must differ"),
        ("secret_key = TOLD\nprevious_keys = a:TOLD,a:TOLD", "must differ"),
        ("secret_key = TOLD\nkey_id =", "not be empty"),
        ('secret_key = TOLD\nprevious_keys = "a:TOLD', "it cannot be read"),
    ],
)
def test_keys_of_signed_urls_that_cannot_work_are_refused_and_not_told(
    load: Load, lines: str, told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        load(f"[signed_url]\n{lines}\n")

    assert "[signed_url]" in str(caught.value)
    assert "TOLD" not in str(caught.value)


def test_keys_of_bodies_are_the_one_that_encrypts_and_those_before(load: Load) -> None:
    option = "[transport]\nmessage_encryption_"
    settings = load(
        f"{option}key = new\nmessage_encryption_key_id = 2026-11\n"
        'message_encryption_previous_keys = 2026-05:old, "2025:a:b,c"\n'
    )

    assert settings.encryption_keys == (
        Key("2026-11", "new"),
        Key("2026-05", "old"),
        Key("2025", "a:b,c"),
    )
    assert load(f"{option}key = k\n").encryption_keys == (Key("current", "k"),)
    assert load("").encryption_keys == ()
    allowed = load(f"{option}allow_builtin_key = true\n")
    assert allowed.encryption_keys == (Key("current", "AES256"),)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("key = AES256", "everybody knows.*allow_builtin_key = true"),
        ("key = TOLD\nprevious_keys = old:AES256", "everybody knows"),
        ("previous_keys = a:TOLD", "message_encryption_previous_keys need a message_"),
        (
            "key = TOLD\nprevious_keys = TOLD",
            "number 1 is not message_encryption_key_i",
        ),
        ("key = TOLD\nprevious_keys = current:TOLD", "must differ"),
        (f"key = TOLD\nkey_id = {'x' * 65}", "64 bytes at most"),
        ("read_cbc = true", "read_cbc needs a message_encryption_key"),
        ("algorithms = RSA", "message_encryption_algorithms"),
    ],
)
def test_keys_of_bodies_that_cannot_work_are_refused_and_not_told(
    load: Load, lines: str, told: str
) -> None:
    options = "\n".join(f"message_encryption_{line}" for line in lines.split("\n"))

    with pytest.raises(ConfigurationError, match=told) as caught:
        load(f"[transport]\n{options}\n")

    assert "[transport]" in str(caught.value)
    assert "TOLD" not in str(caught.value)


MONGODB = "[drivers:message_store:mongodb]\nuri = "


@pytest.mark.parametrize("driver", ["mongodb", "mongodb.fifo"])
def test_mongodb_is_reliable_and_strict_by_default(load: Load, driver: str) -> None:
    settings = load(f"[drivers]\nmessage_store = {driver}\n{MONGODB}mongodb://h")

    assert settings.store == MongoSettings(
        uri="mongodb://h",
        database="zaqar",
        ordering="strict",
        unreliable=False,
        ssl_keyfile="",
        ssl_certfile="",
        ssl_ca_certs="",
        ssl_cert_reqs="CERT_REQUIRED",
        max_reconnect_attempts=10,
        reconnect_sleep=0.02,
    )


def test_options_of_mongodb_are_read_and_those_without_meaning_taken(
    load: Load,
) -> None:
    settings = load(
        """
        [DEFAULT]
        unreliable = true
        [drivers]
        message_store = mongodb
        management_store = mongodb
        [drivers:message_store:mongodb]
        uri = mongodb://me:pw@h1,h2/?ssl=true
        database = queues
        ordering = relaxed
        ssl_keyfile = /etc/zaqar/k
        ssl_certfile = /etc/zaqar/c
        ssl_ca_certs = /etc/zaqar/ca
        ssl_cert_reqs = CERT_OPTIONAL
        max_reconnect_attempts = 3
        reconnect_sleep = 0.5
        partitions = 8
        max_attempts = 5
        max_retry_sleep = 0.3
        max_retry_jitter = 0.1
        [drivers:management_store:mongodb]
        uri = mongodb://h1
        database = registry
        """.replace("        ", "")
    )

    assert settings.store == MongoSettings(
        uri="mongodb://me:pw@h1,h2/?ssl=true",
        database="queues",
        ordering="relaxed",
        unreliable=True,
        ssl_keyfile="/etc/zaqar/k",
        ssl_certfile="/etc/zaqar/c",
        ssl_ca_certs="/etc/zaqar/ca",
        ssl_cert_reqs="CERT_OPTIONAL",
        max_reconnect_attempts=3,
        reconnect_sleep=0.5,
    )


@pytest.mark.parametrize(
    ("driver", "uri"),
    [("mongodb.fifo", "mongodb://h"), ("mongodb", "mongodb.fifo://h")],
)
def test_mongodb_fifo_cannot_be_relaxed(load: Load, driver: str, uri: str) -> None:
    with pytest.raises(ConfigurationError, match=r"mongodb\.fifo is always strict"):
        load(f"[drivers]\nmessage_store={driver}\n{MONGODB}{uri}\nordering=relaxed")


def test_a_file_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.conf"):
        conf.load(["--config-file", "absent.conf"])


# Quotas -------------------------------------------------------------------------------


def test_there_are_no_quotas_unless_said(load: Load, home: Path) -> None:
    assert not load("").quotas.are_on
    assert not load("[quota]\nburst = 5\nexceeded_status = 503\n").quotas.are_on
    assert load("[quota]\nper_project = true\n").quotas.are_on
    assert load("").quotas.folder == str(home / ".local/share/zaqar")


def test_quotas_are_read(load: Load) -> None:
    given = load(
        "[quota]\nqueues = 0\nmessages = 5\nbytes = 6\nsubscriptions = 7\n"
        "requests_per_second = 0.5\nburst = 8\nfolder = /run/zaqar\n"
    ).quotas

    assert given == QuotaSettings(Quota(0, 5, 6, 7, 0.5, 8), False, 429, "/run/zaqar")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("queues = -2", "queues"),
        ("requests_per_second = 0", "requests_per_second must be 0.001"),
        ("requests_per_second = -0.5", "requests_per_second must be"),
        ("requests_per_second = nan", "requests_per_second"),
        ("requests_per_second = inf", "requests_per_second must be"),
        ("burst = 0", "burst must be"),
        ("exceeded_status = 403", "exceeded_status"),
    ],
)
def test_a_quota_that_cannot_be_is_refused(load: Load, line: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        load(f"[quota]\n{line}\n")


def test_notifications_are_guarded_by_default() -> None:
    found = conf.load().notification

    assert not found.allow_private_targets
    assert (found.allowed_networks, found.denied_networks) == ((), ())
    assert found.delivery_timeout == 10.0
    assert found.smtp.command == ("/usr/sbin/sendmail", "-t", "-oi")
    assert found.confirm_text.topic == "Confirm your subscription to queue {0}"
    assert conf.load().subscriber_types == (
        *("http", "https", "mailto", "trust+http", "trust+https"),
    )


def test_options_of_notifications_are_read(load: Load) -> None:
    settings = load(
        """
        [notification]
        allowed_networks = 10.0.0.0/8, fd00::/8, 192.0.2.1
        smtp_mode = self_local
        smtp_host = mail.example
        smtp_security = starttls
        smtp_user_name = me
        smtp_user_password = TOLD
        subscription_confirmation_email_template = topic:T,body:"{0}, {2}: b",sender:s
        [transport]
        subscriber_types = https,MAILTO
        """.replace("        ", "")
    )

    found = settings.notification
    assert [str(network) for network in found.allowed_networks] == [
        *("10.0.0.0/8", "fd00::/8", "192.0.2.1/32"),
    ]
    assert (found.smtp.host, found.smtp.port) == ("mail.example", 587)
    assert (found.smtp.user, found.smtp.password) == ("me", "TOLD")
    assert not found.smtp.command
    assert found.confirm_text == MailText("T", "{0}, {2}: b", "s")
    assert settings.subscriber_types == ("https", "mailto")
    assert "TOLD" not in repr(found)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("allowed_networks = 10.0.0.1/8", "allowed_networks: 10.0.0.1/8 has host bits"),
        ("denied_networks = here", "denied_networks: 'here'"),
        ("smtp_mode = self_local", "smtp_host"),
        ("smtp_mode = elsewhere", "third_part, self_local"),
        ("smtp_command =", "smtp_command"),
        ("delivery_timeout = 0", "delivery_timeout"),
        ("delivery_timeout = inf", "delivery_timeout = inf"),
        ("max_post_data_size = 0", "max_post_data_size"),
        ("require_confirmation = true", "require_confirmation needs a .*secret_key"),
    ],
)
def test_options_of_notifications_that_cannot_work_are_refused(
    load: Load, lines: str, told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        load(f"[notification]\n{lines}\n")

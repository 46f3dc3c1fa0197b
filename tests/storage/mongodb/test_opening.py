# SPDX-License-Identifier: Apache-2.0
"""Facts of opening on real servers: who is refused, what is waited for, how long."""

import gc
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.mongo_servers import MongoReplicaSet, MongoServer, initiate
from tests.servers import free_port
from zaqar.errors import ConfigurationError, StorageUnavailable
from zaqar.storage.mongodb import opening
from zaqar.storage.mongodb.opening import answering, check_health

PASSWORD = "gehe/im:1"
LOGIN = "zaqar:gehe%2Fim%3A1@"


@contextmanager
def connected(uri: str, **options: Any) -> Iterator[opening.MongoDatabase]:
    database = opening.connect(uri, **{"database": f"t{uuid4().hex}", **options})
    try:
        yield database
    finally:
        database.client.drop_database(database.name)
        database.client.close()


def refuse(uri: str, told: str, **options: Any) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        opening.connect(uri, **{"database": "refused", **options})
    assert "gehe" not in str(caught.value)


# What is promised --------------------------------------------------------------------


def test_writes_are_those_of_a_majority(mongo_uri: str) -> None:
    with connected(mongo_uri) as database:
        concern = database.write_concern.document

        assert (concern["w"], concern["j"]) == ("majority", True)
        assert database.read_concern.level == "local"
        assert database.read_preference.document == {"mode": "primary"}
        check_health(database)


def test_the_other_name_of_the_driver_is_a_scheme_too(mongo_uri: str) -> None:
    with connected(mongo_uri.replace("mongodb:", "mongodb.fifo:")) as database:
        check_health(database)


@pytest.mark.parametrize("name", ["", "a.b", "a b", "a/b", "$a"])
def test_a_database_must_have_a_name_that_works(mongo_uri: str, name: str) -> None:
    refuse(mongo_uri, "cannot be used", database=name)


def test_a_set_of_another_name_is_not_used(own_mongo: MongoServer) -> None:
    uri = own_mongo.uri.replace("replicaSet=zaqar", "replicaSet=other")

    refuse(uri, "in a replica set named other")


def test_any_member_leads_to_the_primary(mongo_replica_set: MongoReplicaSet) -> None:
    primary = mongo_replica_set.primary()
    secondary = next(s for s in mongo_replica_set.servers if s is not primary)

    with connected(f"mongodb://{secondary.address}/") as database:
        check_health(database)


# Stand-alone -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    server = MongoServer(tmp_path_factory.mktemp("alone"), alone=True)
    yield server
    server.kill()


def test_a_server_alone_is_refused(alone: MongoServer) -> None:
    refuse(alone.uri, r"stand-alone .*--replSet.*\[DEFAULT\] unreliable")


def test_a_server_alone_is_in_no_set(alone: MongoServer) -> None:
    refuse(f"{alone.uri}?replicaSet=r", "in a replica set named r", unreliable=True)


def test_an_unreliable_service_takes_a_server_alone(alone: MongoServer) -> None:
    with connected(alone.uri, unreliable=True) as database:
        check_health(database)


def test_an_old_server_is_refused(
    alone: MongoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "OLDEST_WIRE", 99)

    refuse(alone.uri, "older than 5.0", unreliable=True)


# Logins ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    """A replica set of one that wants a login, with three users."""
    folder = tmp_path_factory.mktemp("guarded")
    key = folder / "key"
    key.write_text("0123456789abcdef")
    key.chmod(0o600)
    server = MongoServer(folder, "--auth", "--keyFile", str(key))
    roles = {
        "root": ["root"],
        "zaqar": [{"role": "readWrite", "db": "zaqar"}],
        "reader": [{"role": "read", "db": "zaqar"}],
    }
    for number, (user, granted) in enumerate(roles.items()):
        with server.client(f"root:{LOGIN[6:]}" if number else "") as client:
            client.admin.command("createUser", user, pwd=PASSWORD, roles=granted)
    yield server
    server.kill()


def test_a_login_with_the_documented_role_works(guarded: MongoServer) -> None:
    database = opening.connect(guarded.uri_of(LOGIN), database="zaqar")

    check_health(database)
    database.client.close()


@pytest.mark.parametrize(
    ("login", "told"),
    [
        ("", "wants a login"),
        ("zaqar:gehe@", "refuses the login"),
        (f"nobody:{LOGIN[6:]}", "refuses the login"),
        (f"reader:{LOGIN[6:]}", "the role is readWrite"),
    ],
)
def test_a_login_that_does_not_suffice_is_refused(
    guarded: MongoServer, login: str, told: str
) -> None:
    refuse(guarded.uri_of(login), told, database="zaqar")


def test_a_way_of_logging_in_that_the_server_does_not_know_is_refused(
    guarded: MongoServer,
) -> None:
    refuse(guarded.uri_of(LOGIN, authMechanism="PLAIN"), "PLAIN", database="zaqar")


def test_a_login_is_good_for_its_own_database_only(guarded: MongoServer) -> None:
    refuse(guarded.uri_of(LOGIN), "database another", database="another")


def test_a_login_that_is_lost_makes_the_store_unavailable(guarded: MongoServer) -> None:
    with guarded.client(f"root:{LOGIN[6:]}") as client:
        granted = [{"role": "readWrite", "db": "zaqar"}]
        client.admin.command("createUser", "leaver", pwd=PASSWORD, roles=granted)
        uri = guarded.uri_of(f"leaver:{LOGIN[6:]}")
        database = opening.connect(uri, database="zaqar")
        client.admin.command("dropUser", "leaver")

        with pytest.raises(StorageUnavailable, match="login"):
            check_health(database)
    database.client.close()


# TLS ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the certificates and keys of an authority, a server, a client."""
    folder = tmp_path_factory.mktemp("tls")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")

    def openssl(*words: str) -> None:
        subprocess.run(
            ["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=60
        )

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(
        *("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem"),
        *("-days", "2", "-subj", "/CN=authority"),
    )
    for name in ("server", "client"):
        openssl(
            *("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr"),
            *("-subj", f"/O=tests/CN={name}"),
        )
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.crt"),
            *("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-days", "2", "-extfile", "names"),
        )
        pem = (folder / f"{name}.crt").read_text() + (
            folder / f"{name}.key"
        ).read_text()
        (folder / f"{name}.pem").write_text(pem)
    return folder


@pytest.fixture(scope="module")
def encrypted(
    tmp_path_factory: pytest.TempPathFactory, certificates: Path
) -> Iterator[MongoServer]:
    """A server that wants a certificate of those who speak TLS to it."""
    server = MongoServer(
        tmp_path_factory.mktemp("encrypted"),
        *("--tlsMode", "preferTLS"),
        *("--tlsCertificateKeyFile", str(certificates / "server.pem")),
        *("--tlsCAFile", str(certificates / "ca.pem")),
    )
    yield server
    server.kill()


def tls(certificates: Path) -> dict[str, str]:
    return {
        "ssl_ca_certs": str(certificates / "ca.pem"),
        "ssl_certfile": str(certificates / "client.crt"),
        "ssl_keyfile": str(certificates / "client.key"),
    }


@pytest.mark.parametrize("option", ["ssl", "tls"])
def test_tls_with_certificate_and_key_in_two_files(
    encrypted: MongoServer, certificates: Path, option: str
) -> None:
    uri = encrypted.uri_of(**{option: "true"})

    with connected(uri, **tls(certificates)) as database:
        check_health(database)


def test_tls_with_certificate_and_key_in_one_file(
    encrypted: MongoServer, certificates: Path
) -> None:
    files = tls(certificates) | {"ssl_certfile": str(certificates / "client.pem")}
    del files["ssl_keyfile"]

    with connected(encrypted.uri_of(ssl="true"), **files) as database:
        check_health(database)


def test_a_server_that_proves_nothing_is_not_spoken_to(
    encrypted: MongoServer, certificates: Path
) -> None:
    files = tls(certificates)
    del files["ssl_ca_certs"]
    uri = encrypted.uri_of(ssl="true")

    refuse(uri, "certificate is not trusted", **files)
    with connected(uri, **files, ssl_cert_reqs="CERT_NONE") as database:
        check_health(database)


def test_a_client_closes_the_file_of_its_key(
    encrypted: MongoServer, certificates: Path
) -> None:
    def held() -> int:
        gc.collect()
        links = Path("/proc/self/fd").iterdir()
        return sum("zaqar-tls" in os.readlink(link) for link in links if link.exists())

    before = held()

    with connected(encrypted.uri_of(ssl="true"), **tls(certificates)):
        pass

    assert held() == before


@pytest.mark.parametrize(
    ("uri", "options", "told"),
    [
        ("mongodb://h/", {"ssl_ca_certs": "{ca}"}, "ssl_ca_certs need ssl=true"),
        ("mongodb://h/?ssl=true", {"ssl_ca_certs": "/absent"}, "cannot be read"),
        ("mongodb://h/?ssl=true", {"ssl_keyfile": "{ca}"}, "needs ssl_certfile"),
        ("mongodb://h/?ssl=true", {"ssl_cert_reqs": "NONE"}, "CERT_NONE, CERT_OPT"),
        ("mongodb://h/?ssl=true", {"ssl_certfile": "{ca}"}, "cannot be used"),
    ],
)
def test_options_of_tls_that_cannot_work_are_refused(
    certificates: Path, uri: str, options: dict[str, str], told: str
) -> None:
    ca = str(certificates / "ca.pem")

    refuse(uri, told, **{key: text.format(ca=ca) for key, text in options.items()})


# Servers that do not answer ----------------------------------------------------------


def test_a_server_may_start_after_the_service(own_mongo: MongoServer) -> None:
    own_mongo.kill()

    with connected(own_mongo.uri) as database:
        with pytest.raises(StorageUnavailable, match="no primary"):
            check_health(database)
        own_mongo.start()
        check_health(database)


def test_a_set_may_be_initiated_after_the_start(tmp_path: Path) -> None:
    server = MongoServer(tmp_path, member=True)
    try:
        with connected(server.uri) as database:
            initiate([server])
            with answering():
                database.some.insert_one({})
    finally:
        server.kill()


def test_each_call_is_answered_within_10_seconds_though_nothing_listens() -> None:
    database = opening.connect(f"mongodb://127.0.0.1:{free_port()}/", database="absent")
    began = time.monotonic()

    with pytest.raises(StorageUnavailable, match="no primary"), answering():
        database.some.find_one({})

    assert time.monotonic() - began < 10
    database.client.close()


def test_few_attempts_make_calls_wait_less() -> None:
    began = time.monotonic()
    database = opening.connect(
        f"mongodb://127.0.0.1:{free_port()}/",
        database="absent",
        max_reconnect_attempts=2,
        reconnect_sleep=0.1,
    )

    with pytest.raises(StorageUnavailable, match="no primary"), answering():
        database.some.find_one({})

    assert time.monotonic() - began < 8
    database.client.close()


def test_a_server_that_stops_in_the_middle_is_told_within_10_seconds(
    own_mongo: MongoServer,
) -> None:
    with connected(own_mongo.uri) as database:
        with answering():
            database.some.insert_one({"_id": 1})
        own_mongo.stop_for_a_while()
        began = time.monotonic()
        with pytest.raises(StorageUnavailable), answering():
            database.some.insert_one({"_id": 2})
        took = time.monotonic() - began
        own_mongo.go_on()
        with answering():
            database.some.insert_one({"_id": 3})

        assert took < 10


def test_a_write_that_no_majority_confirms_is_not_acknowledged(
    mongo_replica_set: MongoReplicaSet,
) -> None:
    with connected(mongo_replica_set.uri) as database:
        primary = mongo_replica_set.primary()
        others = [s for s in mongo_replica_set.servers if s is not primary]
        for server in others:
            server.stop_for_a_while()
        began = time.monotonic()
        with pytest.raises(StorageUnavailable), answering():
            database.some.insert_one({})
        took = time.monotonic() - began
        for server in others:
            server.go_on()
        mongo_replica_set.wait_until_whole()

        assert took < 10


def test_changes_of_the_primary_are_ridden_out(
    mongo_replica_set: MongoReplicaSet,
) -> None:
    written: list[int] = []
    failed: list[Exception] = []
    stop = threading.Event()

    with connected(mongo_replica_set.uri) as database:

        def write() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    with answering():
                        database.some.insert_one({"_id": number})
                    written.append(number)
                except StorageUnavailable as error:
                    failed.append(error)

        def wait_for_writes() -> None:
            wanted, deadline = len(written) + 10, time.monotonic() + 30
            while len(written) < wanted and time.monotonic() < deadline:
                time.sleep(0.01)

        writer = threading.Thread(target=write)
        writer.start()
        wait_for_writes()
        mongo_replica_set.step_down()
        wait_for_writes()
        before = len(written)
        killed = mongo_replica_set.kill_primary()
        wait_for_writes()
        stop.set()
        writer.join()
        killed.start()
        mongo_replica_set.wait_until_whole()

        assert failed == []
        assert len(written) >= before + 10 >= 30
        assert {each["_id"] for each in database.some.find()} >= set(written)

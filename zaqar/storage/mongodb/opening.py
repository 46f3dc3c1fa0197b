# SPDX-License-Identifier: Apache-2.0
"""Connects to MongoDB, and refuses servers that can never keep what the store promises.

Knows nothing of queues. To be called after the fork: a client has threads.
"""

import os
import weakref
from datetime import UTC
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import ConfigurationError as Misconfigured
from pymongo.errors import (
    InvalidName,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)
from pymongo.topology_description import TopologyDescription

from zaqar.errors import ConfigurationError, StorageUnavailable
from zaqar.storage.mongodb import address
from zaqar.storage.mongodb.failures import Patience, answering, translate

__all__ = ["Patience", "answering", "check", "check_health", "connect", "translate"]

Document = dict[str, Any]
MongoDatabase = Database[Document]

CERT_REQS = ("CERT_NONE", "CERT_OPTIONAL", "CERT_REQUIRED")
# What a server says of itself: the wire version of MongoDB 5.0.
OLDEST_WIRE, OLDEST = 13, "5.0"
LOGIN_REFUSED, NO_ROLE = 18, 13
# How long a check waits for the server.
CHECK_SECONDS = 3.0
# The collection that is written to, to see whether writing works.
PULSE = "pulse"


def connect(
    uri: str,
    *,
    database: str,
    unreliable: bool = False,
    ssl_keyfile: str = "",
    ssl_certfile: str = "",
    ssl_ca_certs: str = "",
    ssl_cert_reqs: str = "CERT_REQUIRED",
    max_reconnect_attempts: int = 10,
    reconnect_sleep: float = 0.02,
) -> MongoDatabase:
    """Return the database, whose writes are those of a majority, in their journals.

    Raises ConfigurationError if it can never serve as a store. A server that does not
    answer is no reason: it may start later.
    """
    plain = address.plain(uri)
    options = address.client_options(
        plain,
        unreliable=unreliable,
        longest_wait=patience(max_reconnect_attempts, reconnect_sleep),
    )
    files = _tls_files(ssl_keyfile, ssl_certfile, ssl_ca_certs)
    if address.has_tls(plain):
        options |= _tls_options(ssl_ca_certs, ssl_cert_reqs)
    elif files:
        raise _refused(
            f"{', '.join(files)} need ssl=true (or tls=true) in the URI; "
            "without it nothing is encrypted"
        )
    client = _client(plain, options, [ssl_certfile, ssl_keyfile])
    try:
        opened = client[database]
        check(opened, unreliable=unreliable)
    except InvalidName as error:
        client.close()
        raise _refused(f"{error}") from None
    except BaseException:
        client.close()
        raise
    return opened


def patience(attempts: int, sleep: float) -> float:
    """Return how many seconds so many attempts take, of which each waits twice as long.

    The driver itself waits for a primary, and learns at once when there is one.
    """
    waits: float = sleep * (2.0 ** min(attempts, 32) - 1)
    return max(waits, 0.1)


def _tls_files(key: str, cert: str, ca: str) -> list[str]:
    """List the options that name files. Raises ConfigurationError if one is absent."""
    given = {"ssl_keyfile": key, "ssl_certfile": cert, "ssl_ca_certs": ca}
    names = [name for name, path in given.items() if path]
    for name in names:
        if not os.access(given[name], os.R_OK):
            raise _refused(f"{name} = {given[name]} cannot be read")
    if key and not cert:
        raise _refused("ssl_keyfile needs ssl_certfile")
    return names


def _tls_options(ca_certs: str, cert_reqs: str) -> Document:
    if cert_reqs not in CERT_REQS:
        raise _refused(f"ssl_cert_reqs is none of {', '.join(CERT_REQS)}")
    options: Document = {"tls": True}
    if ca_certs:
        options["tlsCAFile"] = ca_certs
    if cert_reqs == "CERT_NONE":
        options["tlsAllowInvalidCertificates"] = True
    return options


def _client(uri: str, options: Document, files: list[str]) -> MongoClient[Document]:
    """Return a client that presents the certificate and key of the files, if any."""
    pem = b"\n".join(_content(path) for path in dict.fromkeys(files) if path)
    # NOTE: the driver takes one file with both, and reads it again when a name server
    # tells of other servers. The key is not written to any disk.
    holder = os.memfd_create("zaqar-tls") if pem else None
    if holder is not None:
        with open(holder, "wb", closefd=False) as file:
            file.write(pem)
        options = {**options, "tlsCertificateKeyFile": f"/proc/self/fd/{holder}"}
    try:
        client: MongoClient[Document] = MongoClient(uri, **options)
    except (PyMongoError, ValueError, OSError) as error:
        if holder is not None:
            os.close(holder)
        raise _refused(_without_uri(error, uri)) from None
    if holder is not None:
        weakref.finalize(client, os.close, holder)
    return client


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _without_uri(error: Exception, uri: str) -> str:
    """Return what is wrong, unless it tells the login."""
    login = uri.partition("://")[2].rpartition("@")[0]
    text = str(error).rstrip(".")
    secret = any(part and part in text for part in login.split(":"))
    return "its options do not go together" if secret else text


def check(database: MongoDatabase, *, unreliable: bool) -> None:
    """Look at what answers, and write to it; pass if nothing answers.

    Raises ConfigurationError.
    """
    try:
        with answering(CHECK_SECONDS):
            _check_server(database.client.admin.command("hello"), unreliable)
            _write(database)
    except StorageUnavailable as error:
        _check_cause(error.__cause__, database)
    except Misconfigured as error:
        # The driver itself finds the server too old.
        raise _refused(str(error)) from None
    except OperationFailure as error:
        # Such as a way of logging in that it does not know.
        told = (error.details or {}).get("errmsg", "it gives no reason")
        raise _refused(f"it refuses: {told}") from None


def _check_server(hello: Document, unreliable: bool) -> None:
    if hello["maxWireVersion"] < OLDEST_WIRE:
        raise _refused(f"it is older than {OLDEST}, the oldest that works")
    if not (_is_replicated(hello) or unreliable):
        raise _refused(
            "it is a stand-alone server, which cannot keep what the service promises. "
            "Make it a replica set, which may have one member (--replSet and "
            "rs.initiate()), or set [DEFAULT] unreliable where messages may be lost"
        )


def _is_replicated(hello: Document) -> bool:
    """Say whether it is in a replica set, or leads to some."""
    return "setName" in hello or hello.get("msg") == "isdbgrid"


def is_durable(database: MongoDatabase) -> bool:
    """Say whether what is answered is in the journals of a majority of a set."""
    concern = database.write_concern.document
    is_safe = concern.get("w") == "majority" and concern.get("j") is True
    return is_safe and _is_replicated(database.client.admin.command("hello"))


def _check_cause(cause: BaseException | None, database: MongoDatabase) -> None:
    """Refuse what waiting does not mend."""
    found = cause
    while found is not None and not isinstance(found, OperationFailure):
        found = found.__cause__
    if isinstance(found, OperationFailure):
        if found.code == LOGIN_REFUSED:
            raise _refused(
                "it refuses the login: user, password or authSource is wrong"
            )
        if found.code == NO_ROLE:
            raise _refused(
                "it wants a login, or the user may not write to the database "
                f"{database.name}; the role is readWrite"
            )
    if isinstance(cause, ServerSelectionTimeoutError):
        _check_topology(database.client.topology_description)


def _check_topology(known: TopologyDescription) -> None:
    servers = known.server_descriptions().values()
    if not servers:
        # The driver has dropped those that answered.
        raise _refused(
            f"no server of the URI is in a replica set named {known.replica_set_name}"
        )
    if any("CERTIFICATE_VERIFY_FAILED" in str(server.error) for server in servers):
        raise _refused("its certificate is not trusted; ssl_ca_certs names who is")


def check_health(database: MongoDatabase) -> None:
    """Check that there is a primary that takes writes. Raises StorageUnavailable."""
    with answering(CHECK_SECONDS):
        _write(database)


def clock(database: MongoDatabase) -> float:
    """Return the time of the primary."""
    local_time = database.command("hello")["localTime"]
    instant: float = local_time.replace(tzinfo=UTC).timestamp()
    return instant


def _write(database: MongoDatabase) -> None:
    database[PULSE].update_one(
        {"_id": PULSE}, {"$currentDate": {"at": True}}, upsert=True
    )


def _refused(reason: str) -> ConfigurationError:
    return ConfigurationError(f"The MongoDB server cannot be used: {reason}.")

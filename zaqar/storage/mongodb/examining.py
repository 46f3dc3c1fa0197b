# SPDX-License-Identifier: Apache-2.0
"""Looks at the indexes of a store and at its replica set. Changes nothing."""

from collections.abc import Iterator
from typing import Any

from zaqar.errors import ConfigurationError, StorageUnavailable
from zaqar.findings import Finding, error, ok, warning
from zaqar.storage.mongodb import indexes, opening


def examine(subject: str, uri: str, **options: Any) -> list[Finding]:
    """Tell what is wrong with indexes and members; nothing if no server answers.

    `options` are those of `opening.connect`.
    """
    try:
        database = opening.connect(uri, **options)
    except ConfigurationError:
        # Opening the store tells why.
        return []
    try:
        with opening.answering(opening.CHECK_SECONDS):
            found = [*_of_members(subject, database), *_of_indexes(subject, database)]
    except StorageUnavailable:
        return []
    finally:
        database.client.close()
    return found or [ok(subject, "Its indexes and its replica set are as they should.")]


def _of_members(subject: str, database: opening.MongoDatabase) -> Iterator[Finding]:
    hello = database.client.admin.command("hello")
    if "setName" not in hello:
        # A router of a cluster; or a server alone, which only `unreliable` allows.
        if hello.get("msg") != "isdbgrid":
            yield warning(
                subject,
                "It is a stand-alone server: messages that were answered may be lost.",
                "Make it a replica set (--replSet and rs.initiate()).",
            )
        return
    if len(hello.get("hosts", ())) < 2:
        yield warning(
            subject,
            "The replica set has one member: when its machine is gone, so is all.",
            "Add members: rs.add().",
        )


def _of_indexes(subject: str, database: opening.MongoDatabase) -> Iterator[Finding]:
    for name, wanted in indexes.STORE.items():
        there = _indexes_of(database, name)
        if not there:
            continue
        missing = [
            index.document["name"]
            for index in wanted
            if there.get(index.document["name"]) != dict(index.document["key"])
        ]
        if missing:
            yield error(
                subject,
                f"The collection {name} lacks the indexes {', '.join(missing)}, or has "
                "others of these names.",
                "Whoever opens the store creates what is missing, as this command did "
                f"next. If it is told again, drop these in {database.name}.",
            )


def _indexes_of(database: opening.MongoDatabase, name: str) -> dict[str, Any]:
    """Return the keys of each index by name; none: there is no such collection yet."""
    return {
        index["name"]: dict(index["key"]) for index in database[name].list_indexes()
    }

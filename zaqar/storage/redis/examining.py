# SPDX-License-Identifier: Apache-2.0
"""Looks at how the servers of a store keep what they were told. Changes nothing."""

from collections.abc import Iterator, Mapping
from contextlib import closing

from redis.exceptions import RedisError

from zaqar.errors import ConfigurationError, StorageUnavailable
from zaqar.findings import Finding, error, ok, warning
from zaqar.storage.redis.address import parse
from zaqar.storage.redis.client import Client
from zaqar.storage.redis.opening import facts_of
from zaqar.storage.redis.pool import Unreached

Options = Mapping[str, str]
WANTED = ("appendonly", "appendfsync", "save", "maxmemory*", "min-replicas-to-write")


def examine(subject: str, uri: str) -> list[Finding]:
    """Tell what the servers' own settings may lose; nothing if they do not answer."""
    try:
        with closing(
            Client(parse(uri), max_reconnect_attempts=0, reconnect_sleep=0.0)
        ) as client:
            infos = [facts_of(answer) for answer in client.every_server(("INFO",))]
            options = _options(client)
    except (ConfigurationError, StorageUnavailable, Unreached, RedisError):
        # Opening and pinging the store tells why.
        return []
    found = [each for info in infos for each in _of_state(subject, info)]
    if options is None:
        return [*found, _untold(subject)]
    found += [each for told in options for each in _of_options(subject, told)]
    # Servers of a cluster are set up alike, mostly.
    found = list(dict.fromkeys(found))
    return found or [ok(subject, "Each write is on the disk before it is answered.")]


def _options(client: Client) -> list[dict[str, str]] | None:
    """Return the options of each server; None: they are not told."""
    merged: list[dict[str, str]] = []
    for pattern in WANTED:
        told = client.options(pattern)
        if told is None:
            return None
        merged = merged or [{} for _ in told]
        for into, each in zip(merged, told, strict=True):
            into.update({k.decode(): v.decode() for k, v in each.items()})
    return merged


def _untold(subject: str) -> Finding:
    return warning(
        subject,
        "The server does not tell its settings (CONFIG GET), so it is taken for one "
        "that may lose the last messages.",
        "Allow its user +config|get, or ask whoever runs the server.",
    )


def _of_state(subject: str, info: Mapping[str, str]) -> Iterator[Finding]:
    for name, what in (
        ("aof_last_write_status", "append to its file"),
        ("aof_last_bgrewrite_status", "rewrite its file"),
        ("rdb_last_bgsave_status", "write its snapshot"),
    ):
        if info.get(name, "ok") != "ok":
            yield error(
                subject,
                f"The server could not {what} the last time ({name}).",
                "Look into its log; mostly the disk is full or not writable.",
            )


def _of_options(subject: str, told: Options) -> Iterator[Finding]:
    if told.get("appendonly") != "yes":
        yield warning(
            subject,
            "The server keeps no append-only file: what was posted since its last "
            "snapshot is lost when it ends"
            + ("." if told.get("save") else ", and it makes no snapshots."),
            "CONFIG SET appendonly yes, then CONFIG REWRITE.",
        )
    elif told.get("appendfsync") != "always":
        yield warning(
            subject,
            f"appendfsync is {told.get('appendfsync')}: a power cut may lose the last "
            "moments.",
            "CONFIG SET appendfsync always, then CONFIG REWRITE; it costs speed.",
        )
    policy = told.get("maxmemory-policy", "noeviction")
    if policy != "noeviction":
        yield error(
            subject,
            f"maxmemory-policy is {policy}: the server drops messages when its memory "
            "is full.",
            "CONFIG SET maxmemory-policy noeviction, then CONFIG REWRITE.",
        )
    if told.get("maxmemory", "0") == "0":
        yield warning(
            subject,
            "maxmemory is 0: the server may take all memory and be killed.",
            "CONFIG SET maxmemory to what the machine can spare; posts are answered "
            "503 beyond that, and nothing is lost.",
        )

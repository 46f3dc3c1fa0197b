# SPDX-License-Identifier: Apache-2.0
"""What the messages of a project come to, and how many subscriptions it has.

How many they are is one number of each queue. Their sizes are in each message alone:
these are read some at a time, so that the server serves others in between.
"""

from collections.abc import Iterator

from zaqar.model import QueueKey, Usage
from zaqar.storage.redis.client import Client, Script
from zaqar.storage.redis.index import Index
from zaqar.storage.redis.keys import Keys

SIZES = Script("sizes")
# How many messages are looked at in one step; each may be as large as a post.
PIECE = 100


def measure(
    client: Client, keys: Keys, index: Index, project: str, *, sizes: bool, now: float
) -> Usage:
    """Return how many live messages there are, and with `sizes` their bytes."""
    messages = size = 0
    for some in index.of(project):
        counts = _counts(client, keys, some, "e", now)
        messages += sum(counts)
        if sizes:
            deep = [key for key, count in zip(some, counts, strict=True) if count]
            size += sum(part for key in deep for part in _sizes(client, keys, key, now))
    return Usage(messages, size)


def subscriptions(
    client: Client, keys: Keys, index: Index, project: str, now: float
) -> int:
    """Return how many live subscriptions there are."""
    parts = (_counts(client, keys, some, "u:e", now) for some in index.of(project))
    return sum(map(sum, parts))


def _counts(
    client: Client, keys: Keys, some: list[QueueKey], name: str, now: float
) -> list[int]:
    """Return of each queue how many things in a set of ends do not end before now."""
    ends = [f"{keys.record(key)}:{name}" for key in some]
    return client.ask_each(
        [(end, ("ZCOUNT", end, f"({now!r}", "+inf")) for end in ends]
    )


def _sizes(client: Client, keys: Keys, key: QueueKey, now: float) -> Iterator[int]:
    """Return the bytes of all bodies in parts."""
    cursor, seen = b"0", False
    while not seen or cursor != b"0":
        cursor, part = client.run(SIZES, keys.record(key), repr(now), cursor, PIECE)
        seen = True
        yield int(part)

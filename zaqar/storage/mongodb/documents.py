# SPDX-License-Identifier: Apache-2.0
"""The documents of queues and messages, and how these are read from them.

A queue (collection `queues`)::

    _id        text that names project and queue, see `name_of`
    project, name
    live       false: deleted; its number stays so that nothing old can come back
    revision, delays, metadata (JSON text: keys with dots or dollars are data)
    base       numbers up to this one belong to an earlier life of the queue
    last       the newest number that was given out
    posting    numbers that posts have reserved and not yet released, oldest first:
               {first, count, at}; readers go no further than the first of them
    buried     reservations whose writer died, for a while: {first, last, kept, at};
               kept: all its messages were there and are released
    slow       there if a message was ever delayed
    freed      see floors.py
    total, claimed, counts, count     see counting.py
    watched, watchers, told, owes, holder, held, abandoned      see watching.py
    ended      when the queue, or its earlier life, was deleted; as long as something
               may be left of that

A message (collection `messages`)::

    _id        the queue's `_id` and the message's id behind it
    queue      the `_id` of the queue; the shard key of the collection
    number     its place in the queue; never below the microsecond of its arrival, so
               that the place of an instant is known without looking
    state      FREE, DELAYED, CLAIMED, GONE or LEAVING
    due        the next instant that changes the state: end of life, claim or delay
    expires, ttl, created, client, body, checksum, visible (end of the delay)
    claim, claim_ttl, claimed_at, until (end of the claim)
    claims     how often it was claimed, where that is counted
    head       the claim's id, on the first message that it wrote: claims made twice at
               once meet there, for it is unique
    taker      a number that tells what was claimed together from what a twin claimed
    origin, origin_claims, move       of dead letters
    leaving    where a message in the state LEAVING is on its way to
    counted, uncounted, learned       see counting.py

The wall of a queue, beside its messages, is none of them: see `wall`.

What is absent has its default.
"""

from collections.abc import Sequence
from math import inf
from typing import Any

import msgspec

from zaqar.model import Message, Metadata, NewMessage, Queue, QueueKey

Document = dict[str, Any]
Pipeline = list[Document]

STATES = FREE, DELAYED, CLAIMED, GONE, LEAVING = list(range(5))
# The state, number and note of a wall; no message has any of them. In the index of
# states it stands behind what lives, and before what is gone and what was removed.
WALL, ENDLESS, NO_NOTE = CLAIMED + 0.5, 2**62, 13

MICROSECONDS = 1_000_000

# What is left of a message that is gone, until it has been counted.
FORGOTTEN = [
    "body",
    "checksum",
    "client",
    "created",
    "due",
    "expires",
    "ttl",
    "visible",
    "claim",
    "claim_ttl",
    "claimed_at",
    "until",
    "head",
    "taker",
    "leaving",
]
CLAIM_FIELDS = ["claim", "claim_ttl", "claimed_at", "until", "head", "taker"]


def name_of(key: QueueKey) -> str:
    """Return the queue's `_id`: no two keys have the same, nor the same beginning."""
    return f"{len(key.project)}:{len(key.name)}:{key.project}{key.name}"


def key_of(name: str) -> QueueKey:
    """Read a queue's `_id`."""
    project_length, name_length, rest = name.split(":", 2)
    assert len(rest) == int(project_length) + int(name_length)
    return QueueKey(rest[: int(project_length)], rest[int(project_length) :])


def number_at(instant: float) -> int:
    """Return the number that a message gets at least if it arrives at that instant."""
    return int(instant * MICROSECONDS)


def write_metadata(metadata: Metadata) -> str:
    return msgspec.json.encode(metadata).decode()


def queue_of(document: Document) -> Queue:
    return Queue(
        document["name"],
        msgspec.json.decode(document["metadata"]),
        document["revision"],
        document["delays"],
    )


def new_message(name: str, message: NewMessage, client: str, now: float) -> Document:
    """Return a message as it is inserted, but for its number."""
    document: Document = {
        "_id": name + message.id,
        "queue": name,
        "state": FREE,
        "due": now + message.ttl,
        "expires": now + message.ttl,
        "ttl": message.ttl,
        "created": now,
        "client": client,
        "body": message.body,
    }
    if message.checksum is not None:
        document["checksum"] = message.checksum
    if message.delay:
        visible = now + message.delay
        document |= {
            "state": DELAYED,
            "visible": visible,
            "due": min(visible, document["due"]),
        }
    return document


def wall_id(name: str) -> str:
    """Return the `_id` of the queue's wall; those of messages begin with a digit."""
    return f"wall {name}"


def wall(name: str) -> Document:
    """Return what stands behind all that is looked for in the queue, in each index.

    A server keeps what was removed from an index for some minutes, and a search that
    finds nothing goes on over that, through the queues that follow, until it meets
    something that is there. Where there is no wall, searches only take longer.
    """
    return {
        "_id": wall_id(name),
        "queue": name,
        "state": WALL,
        "number": ENDLESS,
        "due": inf,
        # NOTE: it is worth nothing even to a service that does not know walls.
        "uncounted": NO_NOTE,
        # Behind every text.
        "claim": True,
    }


def message_of(document: Document, now: float) -> Message:
    """Read a message; a claim that has ended by `now` holds it no longer."""
    held = document["state"] == CLAIMED and document["until"] > now
    return Message(
        document["_id"].removeprefix(document["queue"]),
        document["body"],
        document["ttl"],
        document["created"],
        document["claim"] if held else None,
        document.get("claims", 0),
        document.get("checksum"),
        document.get("origin"),
        document.get("origin_claims", 0),
    )


def is_live(document: Document, now: float) -> bool:
    """Say whether a message is there at `now`."""
    return document["state"] <= CLAIMED and bool(document["expires"] > now)


def ids_in(name: str, ids: Sequence[str]) -> Document:
    """Return the filter that finds these messages of the queue."""
    return {"queue": name, "_id": {"$in": [name + id for id in ids]}}

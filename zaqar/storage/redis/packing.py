# SPDX-License-Identifier: Apache-2.0
"""How messages, places and settings are written into the store, and read again.

A message is a MessagePack array of eight, so that Lua can read its beginning. What
changes during its life (number, state, claim, count, a longer ttl) stands elsewhere.
"""

import re
from collections.abc import Iterable, Sequence

import msgspec

from zaqar.model import (
    DeadLetter,
    Message,
    Metadata,
    NewMessage,
    Parcel,
    Queue,
    QueueKey,
)
from zaqar.storage import places

# A number of a message; below 2**53, so that the score of a sorted set holds it.
NUMBER = re.compile(r"[0-9]{1,15}", re.ASCII)


class Stored(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A message as it was posted. `arrived`: when it was moved into this queue."""

    client: str
    created: float
    arrived: float | None
    ttl: int
    checksum: str | None
    origin: str | None
    origin_claims: int
    body: bytes


class Letter(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A dead letter that is leaving its queue; texts, as Lua has written them."""

    id: str
    expires: str
    claims: str
    longer_ttl: str
    target: str
    target_ttl: str
    message: Stored


_encoder = msgspec.msgpack.Encoder()
_stored = msgspec.msgpack.Decoder(Stored)
_letter = msgspec.msgpack.Decoder(Letter)
read_letter = _letter.decode
read_stored = _stored.decode


def pack(message: NewMessage, client: str, now: float) -> bytes:
    """Return a new message as it is stored."""
    return _encoder.encode(
        Stored(
            client,
            now,
            None,
            message.ttl,
            message.checksum,
            None,
            0,
            message.body,
        )
    )


def moved(letter: Letter, origin: str, now: float) -> tuple[bytes, str]:
    """Return a dead letter as its target stores it, and its expiry there."""
    old, expires = letter.message, letter.expires
    ttl = int(letter.longer_ttl or old.ttl)
    if letter.target_ttl:
        ttl = int(letter.target_ttl)
        expires = repr(now + ttl)
    return _encoder.encode(
        Stored(
            old.client,
            old.created,
            now,
            ttl,
            old.checksum,
            origin,
            int(letter.claims),
            old.body,
        )
    ), expires


def messages(
    ids: Iterable[bytes | str],
    values: Sequence[bytes | None],
    holders: Sequence[bytes | None],
    extras: Sequence[bytes | None],
    claim: str | None = None,
) -> list[Message]:
    """Read messages; those that are absent are left out.

    No holders: `claim` holds all of them. No extras: none has any.
    """
    found = []
    for place, id in enumerate(ids):
        value = values[place]
        if value is None:
            continue
        stored = _stored.decode(value)
        holder = holders[place] if holders else None
        extra = extras[place] if extras else None
        count, ttl = 0, stored.ttl
        if extra is not None:
            claims, _, longer = extra.partition(b" ")
            count, ttl = int(claims), int(longer or ttl)
        found.append(
            Message(
                id if isinstance(id, str) else id.decode(),
                stored.body,
                ttl,
                stored.created,
                claim if holder is None else holder.decode(),
                count,
                stored.checksum,
                stored.origin,
                stored.origin_claims,
            )
        )
    return found


def received(parcels: Iterable[Parcel], now: float) -> list[bytes | str | int]:
    """Return what the script `import` is given of those that live."""
    values: list[bytes | str | int] = []
    for parcel in parcels:
        message = parcel.message
        stored = Stored(
            parcel.client,
            message.created,
            now,
            message.ttl,
            message.checksum,
            message.origin,
            message.origin_claims,
            message.body,
        )
        if parcel.expires > now:
            values += (message.id, _encoder.encode(stored))
            values += (repr(parcel.expires), message.claim_count)
    return values


def parcels(
    ids: Sequence[bytes],
    values: Sequence[bytes],
    holders: Sequence[bytes | None],
    extras: Sequence[bytes | None],
    expiries: Sequence[bytes],
) -> list[Parcel]:
    """Read messages that are all there."""
    found = messages(ids, values, holders, extras)
    return [
        Parcel(message, _stored.decode(value).client, float(expires))
        for message, value, expires in zip(found, values, expiries, strict=True)
    ]


def write_metadata(metadata: Metadata) -> bytes:
    return msgspec.json.encode(metadata)


def queue(name: str, revision: bytes, delays: bytes, metadata: bytes) -> Queue:
    """Read a queue's record."""
    return Queue(name, msgspec.json.decode(metadata), revision.decode(), delays == b"1")


def place(marker: str | None) -> tuple[str, str, str]:
    """Return the number to go on behind; or else the message id, and the instant that
    is early enough if that message is gone."""
    if marker is None:
        return "0", "", ""
    if NUMBER.fullmatch(marker):
        return marker, "", ""
    earliest = places.earliest(marker)
    return "", marker, "" if earliest is None else repr(earliest)


def terms(ttl: int, grace: int, now: float) -> tuple[int, str, int, str]:
    """Return a claim's ttl and end, and the ttl and expiry it gives to messages."""
    return ttl, repr(now + ttl), ttl + grace, repr(now + ttl + grace)


def rule(key: QueueKey, wanted: DeadLetter | None) -> tuple[str | int, ...]:
    """Return whether claims are counted, and which dead letters go where."""
    if wanted is None:
        return 0, "", "", ""
    if wanted.queue == key.name:
        return 1, "", "", ""
    return 1, wanted.queue, wanted.max_claims, "" if wanted.ttl is None else wanted.ttl

# SPDX-License-Identifier: Apache-2.0
"""How subscriptions and what is owed to them are written into the store, and read.

Lua reads the beginning of each: the subscriber, the numbers and instants in front.
"""

from collections.abc import Iterator, Sequence

import msgspec

from zaqar.model import Attempt, Delivery, Notice, Settled, Subscription
from zaqar.storage.delivering import KEPT_ATTEMPTS
from zaqar.storage.redis import packing

# One step of settling (scripts/settle_outbox.lua).
Step = tuple[str | bytes | int, ...]


class Stored(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A subscription without its id; `options` are JSON."""

    subscriber: str
    ttl: int
    created: float
    confirmed: bool
    options: bytes


_encoder = msgspec.msgpack.Encoder()
_stored = msgspec.msgpack.Decoder(Stored)
_attempt = msgspec.msgpack.Decoder(Attempt)
read_attempt = _attempt.decode


def pack(new: Subscription) -> tuple[str, str, str, bytes]:
    """Return id, subscriber, end and packed subscription."""
    options = msgspec.json.encode(new.options)
    stored = Stored(new.subscriber, new.ttl, new.created, new.confirmed, options)
    return new.id, new.subscriber, repr(new.expires), _encoder.encode(stored)


def subscription(id: bytes, packed: bytes) -> Subscription:
    stored = _stored.decode(packed)
    return Subscription(
        id.decode(),
        stored.subscriber,
        stored.ttl,
        stored.created,
        msgspec.json.decode(stored.options),
        stored.confirmed,
    )


def subscriptions(pairs: Sequence[bytes]) -> tuple[Subscription, ...]:
    """Read {id, packed subscription, ...}; the result is in the order of ids."""
    return tuple(
        subscription(id, packed)
        for id, packed in sorted(zip(pairs[::2], pairs[1::2], strict=True))
    )


def notice(id: bytes, value: bytes) -> Notice:
    """Read "number shown packed-message"; `shown` is empty without a delay."""
    _, shown, packed = value.split(b" ", 2)
    stored = packing.read_stored(packed)
    delay = round(float(shown) - stored.created) if shown else 0
    return Notice(id.decode(), stored.body, stored.ttl, delay)


def write_delivery(delivery: Delivery) -> Step:
    """Return what scripts are given of a delivery: message, failures, due, rest."""
    notice, due = delivery.notice, "" if delivery.due is None else repr(delivery.due)
    rest = b"%d %d %b" % (notice.ttl, notice.delay, notice.body)
    return notice.id, delivery.failures, due, rest


def deliveries(
    subscription: str, messages: Sequence[bytes], values: Sequence[bytes]
) -> Iterator[Delivery]:
    """Read "number failures due ttl delay body" of each message."""
    for id, value in zip(messages, values, strict=True):
        _, failures, due, ttl, delay, body = value.split(b" ", 5)
        notice = Notice(id.decode(), body, int(ttl), int(delay))
        instant = float(due) if due else None
        yield Delivery(subscription, notice, int(failures), instant)


def steps(settled: Settled) -> Iterator[Step]:
    """Return the steps of settling; cut anywhere, a repetition loses nothing."""
    for delivery in settled.waiting:
        yield "w", delivery.subscription, *write_delivery(delivery)
    for subscription, message in settled.finished:
        yield "f", subscription, message
    for id, attempts in settled.attempts.items():
        for attempt in attempts[-KEPT_ATTEMPTS:]:
            yield "a", id, _encoder.encode(attempt)
    for message in settled.notices:
        yield "n", message


def bound(marker: str | None) -> str:
    """Return where ids behind the marker begin, as ZRANGEBYLEX has it."""
    return "-" if marker is None else f"({marker}"

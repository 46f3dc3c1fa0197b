# SPDX-License-Identifier: Apache-2.0
"""The bodies of the messages: who made one, its counter and the time, in fixed width.

The time is the monotonic clock of this machine, so that poster and taker have to run
on the same machine.
"""

from time import monotonic_ns

import msgspec

RUN_DIGITS = 8
SMALLEST_BODY = 62
NOBODY = "-" * RUN_DIGITS  # the run of messages that no producer made
TTL = 3600


class Body(msgspec.Struct, gc=False):
    """What the tool posts and gets back."""

    stamp: str


class Received(msgspec.Struct, gc=False):
    """The part of a message that the tool looks at."""

    id: str
    body: Body
    href: str = ""


class Messages(msgspec.Struct, gc=False):
    """The answer to a claim, a pop or a listing."""

    messages: list[Received]


class Posted(msgspec.Struct, gc=False):
    """The answer to a post."""

    resources: list[str]


decode_posted = msgspec.json.Decoder(Posted).decode
decode_messages = msgspec.json.Decoder(Messages).decode


class Stamp(msgspec.Struct, frozen=True, gc=False):
    """A stamp taken apart."""

    run: str
    producer: int
    number: int
    posted: int


def read_stamp(text: str) -> Stamp:
    """Take a stamp apart; raise ValueError when it is none."""
    return Stamp(text[:8], int(text[8:12]), int(text[12:22]), int(text[22:41]))


def body_template(run: str, producer: int, size: int) -> bytes:
    """Return a body of `size` bytes with places for the counter and the time."""
    pad = "x" * (size - SMALLEST_BODY)
    text = f'{{"stamp":"{run}{producer:04d}%010d%019d","pad":"{pad}"}}'
    return text.encode()


def post_template(run: str, producer: int, size: int, batch: int) -> bytes:
    """Return the document of a post with two places for each of its messages."""
    message = b'{"ttl":%d,"body":%s}' % (TTL, body_template(run, producer, size))
    return b'{"messages":[' + b",".join([message] * batch) + b"]}"


def fill(template: bytes, first: int, batch: int) -> bytes:
    """Put the counters from `first` on and the time into a template."""
    now = monotonic_ns()
    if batch == 1:
        return template % (first, now)
    values: list[int] = []
    for number in range(first, first + batch):
        values.append(number)
        values.append(now)
    return template % tuple(values)

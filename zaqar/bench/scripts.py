# SPDX-License-Identifier: Apache-2.0
"""What a connection does: each script yields requests and is sent the replies.

A script yields `(operation, bytes)` to send a request, or a number of seconds to pause.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import cycle
from math import inf
from time import monotonic_ns

import msgspec

from zaqar.bench import stamps
from zaqar.bench.ledger import Ledger
from zaqar.bench.replies import Reply
from zaqar.bench.requests import Caller, Shape
from zaqar.bench.tally import Tally

Wish = tuple[str, bytes] | float
Script = Generator[Wish, Reply, None]

FAILURE_PAUSE = 0.02
FILL_BYTES = 200_000  # of one post that fills a queue
PATHS_KEPT = 200


@dataclass(frozen=True, slots=True)
class Work:
    """What the scripts of a run need to know; the same in every process."""

    run: str
    queues: tuple[str, ...]
    message_size: int = 256
    batch: int = 1
    claim_limit: int = 10
    list_limit: int = 10
    claim_ttl: int = 300
    consume: str = "delete"
    poll: float = 0.01

    @property
    def fill_shape(self) -> Shape:
        return Shape(
            self.message_size, min(100, FILL_BYTES // (self.message_size + 40) or 1)
        )


class Desk:
    """What the scripts of one process share."""

    def __init__(self, work: Work, ledger: Ledger) -> None:
        self.work = work
        self.ledger = ledger
        self.paths: list[str] = []  # of messages that `get` can ask for
        self.open_phase(None)

    def open_phase(self, budget: int | None) -> None:
        """Begin a phase that ends after `budget` messages, or with the time."""
        self.tally = Tally()
        self.stopping = False
        self.budget = budget

    def spend(self, count: int) -> None:
        """Take messages off the budget and stop when it is spent."""
        if self.budget is not None:
            self.budget -= count
            if self.budget <= 0:
                self.stopping = True

    def remember(self, body: bytes) -> None:
        """Keep the paths of messages just posted."""
        try:
            self.paths += stamps.decode_posted(body).resources
        except msgspec.MsgspecError:
            self.tally.troubles["post", "unreadable"] += 1

    def deliver(self, op: str, body: bytes) -> list[stamps.Received]:
        """Book the messages of a claim or a pop and return them."""
        now = monotonic_ns()
        try:
            messages = stamps.decode_messages(body).messages
            for message in messages:
                stamp = stamps.read_stamp(message.body.stamp)
                if stamp.run == self.work.run:
                    self.ledger.deliver(stamp.producer, stamp.number)
                    self.tally.end_to_end.record(now - stamp.posted)
        except (msgspec.MsgspecError, ValueError):
            self.tally.troubles[op, "unreadable"] += 1
            return []
        self.tally.messages[op] += len(messages)
        self.spend(len(messages))
        return messages


@dataclass(frozen=True, slots=True)
class Seat:
    """The place of one connection: its number is unique in the run."""

    number: int
    caller: Caller


def produce(desk: Desk, seat: Seat) -> Script:
    """Post messages to one queue after the other."""
    return post(desk, seat, Shape(desk.work.message_size, desk.work.batch))


def fill(desk: Desk, seat: Seat) -> Script:
    """Post in large batches, to have something to measure the rest with."""
    return post(desk, seat, desk.work.fill_shape)


def post(desk: Desk, seat: Seat, shape: Shape, posts: float = inf) -> Script:
    """Post messages, so often at most, and note which were acknowledged."""
    work, ledger, batch = desk.work, desk.ledger, shape.batch
    templates = cycle(
        seat.caller.post_template(queue, work.run, seat.number, shape)
        for queue in rotated(work.queues, seat.number)
    )
    while posts > 0 and not desk.stopping:
        posts -= 1
        first = ledger.reserve(seat.number, batch)
        reply = yield "post", stamps.fill(next(templates), first, batch)
        if reply.status == 201:
            ledger.acknowledge(seat.number, first, batch)
            desk.tally.messages["post"] += batch
            desk.spend(batch)
            if len(desk.paths) < PATHS_KEPT:
                desk.remember(reply.body)
        else:
            yield FAILURE_PAUSE


def consume(desk: Desk, seat: Seat) -> Script:
    """Take messages until the phase ends, pausing when all queues are empty."""
    return take(desk, seat, desk.work.consume, until_empty=False)


def drain(desk: Desk, seat: Seat) -> Script:
    """Take messages until every queue was found empty."""
    return take(desk, seat, desk.work.consume, until_empty=True)


def claim_and_delete(desk: Desk, seat: Seat) -> Script:
    return take(desk, seat, "delete", until_empty=False)


def claim_in_bulk(desk: Desk, seat: Seat) -> Script:
    return take(desk, seat, "bulk", until_empty=False)


def pop(desk: Desk, seat: Seat) -> Script:
    return take(desk, seat, "pop", until_empty=False)


def hold(desk: Desk, seat: Seat) -> Script:
    """Claim messages and keep them."""
    return take(desk, seat, "keep", until_empty=False)


def take(
    desk: Desk, seat: Seat, how: str, *, until_empty: bool, turns: float = inf
) -> Script:
    """Take messages from one queue after the other, so often at most."""
    work, caller = desk.work, seat.caller
    queues = rotated(work.queues, seat.number)
    asks = cycle(
        [(queue, taking_request(work, caller, queue, how)) for queue in queues]
    )
    op = "pop" if how == "pop" else "claim"
    empty = 0
    while turns > 0 and not desk.stopping:
        turns -= 1
        queue, ask = next(asks)
        reply = yield op, ask
        if not 200 <= reply.status < 300:
            yield FAILURE_PAUSE
            continue
        messages = desk.deliver(op, reply.body) if reply.body else []
        if messages:
            empty = 0
            yield from remove(caller, queue, messages, how)
            continue
        empty += 1
        if empty >= len(queues):
            if until_empty:
                return
            if desk.budget is not None:
                desk.stopping = True
            yield work.poll


def taking_request(work: Work, caller: Caller, queue: str, how: str) -> bytes:
    """Return the request that claims or pops."""
    path = caller.queue_path(queue)
    if how == "pop":
        return caller.request("DELETE", f"{path}/messages?pop={work.claim_limit}")
    body = b'{"ttl":%d,"grace":60}' % work.claim_ttl
    return caller.request("POST", f"{path}/claims?limit={work.claim_limit}", body)


def remove(
    caller: Caller, queue: str, messages: list[stamps.Received], how: str
) -> Iterator[Wish]:
    """Delete claimed messages, each by itself or all at once."""
    if how == "delete":
        tail = b" HTTP/1.1\r\n" + caller.fields() + b"\r\n"
        for message in messages:
            yield "delete", b"DELETE " + message.href.encode() + tail
    elif how == "bulk":
        ids = ",".join([message.id for message in messages])
        path = f"{caller.queue_path(queue)}/messages?ids={ids}"
        yield "bulk-delete", caller.request("DELETE", path)


def relay(desk: Desk, seat: Seat) -> Script:
    """Post as many messages as a claim takes, one by one, then take as many.

    So there are always enough of them, whoever takes whose, and no claim finds less.
    """
    work = desk.work
    one = Shape(work.message_size, 1)
    while not desk.stopping:
        yield from post(desk, seat, one, posts=work.claim_limit)
        yield from take(desk, seat, "delete", until_empty=False, turns=1)


def watch(desk: Desk, seat: Seat) -> Script:
    """List messages and ask for statistics, in turn."""
    return ask(desk, list_requests(desk, seat) + stats_requests(desk, seat))


def list_messages(desk: Desk, seat: Seat) -> Script:
    return ask(desk, list_requests(desk, seat))


def stats(desk: Desk, seat: Seat) -> Script:
    return ask(desk, stats_requests(desk, seat))


def get(desk: Desk, seat: Seat) -> Script:
    """Read single messages that were posted before, each in turn."""
    return ask(desk, [("get", seat.caller.request("GET", path)) for path in desk.paths])


def list_requests(desk: Desk, seat: Seat) -> list[Wish]:
    # What the tool lists it has posted itself.
    tail = f"/messages?limit={desk.work.list_limit}&echo=true"
    return [
        ("list", seat.caller.request("GET", seat.caller.queue_path(queue) + tail))
        for queue in rotated(desk.work.queues, seat.number)
    ]


def stats_requests(desk: Desk, seat: Seat) -> list[Wish]:
    return [
        ("stats", seat.caller.request("GET", seat.caller.queue_path(queue) + "/stats"))
        for queue in rotated(desk.work.queues, seat.number)
    ]


def ask(desk: Desk, wishes: list[Wish]) -> Script:
    """Send the same requests again and again."""
    for wish in cycle(wishes):
        if desk.stopping:
            return
        reply = yield wish
        if not 200 <= reply.status < 300:
            yield FAILURE_PAUSE


def make_queues(desk: Desk, seat: Seat) -> Script:
    """Create as many other queues as the budget says."""
    number = 0
    while not desk.stopping:
        path = seat.caller.queue_path(f"bench-{desk.work.run}-{seat.number}-{number}")
        reply = yield "put-queue", seat.caller.request("PUT", path, b"{}")
        number += 1
        if reply.status == 201:
            desk.spend(1)
        else:
            yield FAILURE_PAUSE


def rotated(queues: tuple[str, ...], number: int) -> tuple[str, ...]:
    """Return the queues beginning at another one for each connection."""
    start = number % len(queues)
    return queues[start:] + queues[:start]


SCRIPTS: dict[str, Callable[[Desk, Seat], Script]] = {
    "produce": produce,
    "consume": consume,
    "observe": watch,
    "drain": drain,
    "fill": fill,
    "hold": hold,
    "make-queues": make_queues,
    "post": produce,
    "claim-delete": claim_and_delete,
    "claim-bulk": claim_in_bulk,
    "pop": pop,
    "list": list_messages,
    "stats": stats,
    "get": get,
    "relay": relay,
}

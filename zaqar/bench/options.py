# SPDX-License-Identifier: Apache-2.0
"""The command line of the load tool."""

import argparse
from collections.abc import Sequence

from zaqar.bench import stamps
from zaqar.bench.requests import Target
from zaqar.bench.runs import OPERATIONS

DEFAULT_URL = "http://127.0.0.1:8888"
DESCRIPTION = """\
Load a message queue service and measure it. By default producers post, consumers
claim and delete, and every message is checked: none may be lost or come twice.
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; exit with a message when it makes no sense."""
    parser = argparse.ArgumentParser(
        "zaqar-bench",
        description=DESCRIPTION,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_target(parser)
    add_load(parser)
    add_messages(parser)
    add_output(parser)
    options = parser.parse_args(arguments)
    check(parser, options)
    return options


def check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse what does not go together, and fill in what depends on other options."""
    if options.url is None and not options.limit:
        options.url = DEFAULT_URL
    if options.url is not None:
        try:
            Target.parse(options.url)
        except ValueError as error:
            parser.error(str(error))
    for header in options.header:
        if ":" not in header or not header.isprintable():
            parser.error(f"not NAME:VALUE: {header!r}")
    if options.message_size < stamps.SMALLEST_BODY:
        parser.error(f"--message-size must be at least {stamps.SMALLEST_BODY}")
    roles = options.producers + options.consumers + options.observers
    if options.op is None and not roles:
        parser.error(
            "there is nobody to do anything: no producers, consumers, observers"
        )
    if options.duration <= 0:
        parser.error("--duration must be more than nothing")


def positive(text: str) -> int:
    """Read an integer of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def natural(text: str) -> int:
    """Read an integer of at least 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def quantity(text: str) -> float:
    """Read a finite number of at least 0."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError("must be a number and not negative")
    return number


def add_target(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is loaded."""
    add = parser.add_argument_group("what is loaded").add_argument
    url = f"the service ({DEFAULT_URL}; with --limit none)"
    add("--url", default=None, help=url)
    add("--project", default="bench", help="project id")
    header = "a header to send with each request, for instance a token"
    add("--header", action="append", default=[], metavar="NAME:VALUE", help=header)
    pid = "read the processor time of this process and its descendants; again for each"
    add(
        "--server-pid",
        type=positive,
        action="append",
        default=[],
        metavar="PID",
        help=pid,
    )
    limit = "load a bare Falcon application; with --url both, in turns"
    add("--limit", action="store_true", help=limit)
    workers = "processes of the bare application"
    add("--limit-workers", type=positive, default=2, metavar="N", help=workers)
    threads = "threads of each of them"
    add("--limit-threads", type=positive, default=8, metavar="N", help=threads)
    slices = "turns of each with --limit and --url"
    add("--slices", type=positive, default=3, metavar="N", help=slices)


def add_load(parser: argparse.ArgumentParser) -> None:
    """Add the options that say who does what, and for how long."""
    add = parser.add_argument_group("the load").add_argument
    add(
        "--producers",
        type=natural,
        default=4,
        metavar="N",
        help="connections that post",
    )
    add(
        "--consumers",
        type=natural,
        default=4,
        metavar="N",
        help="connections that take",
    )
    observers = "connections that list and ask for statistics"
    add("--observers", type=natural, default=1, metavar="N", help=observers)
    op = "measure one operation by itself instead: " + ", ".join(OPERATIONS)
    add("--op", choices=OPERATIONS, metavar="OPERATION", help=op)
    connections = "connections with --op"
    add("--connections", type=positive, default=8, metavar="N", help=connections)
    processes = "processes of this tool"
    add("--processes", type=positive, default=1, metavar="N", help=processes)
    duration = "seconds of measuring"
    add("--duration", type=quantity, default=10.0, metavar="S", help=duration)
    warmup = "seconds of load before the measuring"
    add("--warmup", type=quantity, default=1.0, metavar="S", help=warmup)
    rate = "requests per second in all, 0 for as many as there can be"
    add("--rate", type=quantity, default=0.0, metavar="N", help=rate)
    timeout = "seconds until an answer counts as not coming"
    add("--timeout", type=quantity, default=10.0, metavar="S", help=timeout)
    settle = "seconds that the consumers have at the end to empty the queues"
    add("--drain", type=quantity, default=30.0, metavar="S", help=settle)


def add_messages(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is posted and how it is taken."""
    add = parser.add_argument_group("the messages").add_argument
    add("--queues", type=positive, default=1, metavar="N", help="number of queues")
    size = "bytes of the body of one message"
    add("--message-size", type=positive, default=256, metavar="BYTES", help=size)
    add("--batch", type=positive, default=1, metavar="N", help="messages of a post")
    claim = "messages of a claim or pop"
    add("--claim-limit", type=positive, default=10, metavar="N", help=claim)
    add("--claim-ttl", type=positive, default=300, metavar="S", help="ttl of a claim")
    listing = "messages of a listing"
    add("--list-limit", type=positive, default=10, metavar="N", help=listing)
    consume = "delete claimed messages each by itself or in bulk; or pop"
    modes = ("delete", "bulk", "pop")
    add("--consume", choices=modes, default="delete", help=consume)
    poll = "seconds that a consumer waits when all queues are empty"
    add("--poll", type=quantity, default=0.01, metavar="S", help=poll)
    add("--keep", action="store_true", help="leave the queues of the run behind")


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is printed."""
    add = parser.add_argument_group("output").add_argument
    add("--json", action="store_true", help="print one line of JSON instead of a table")
    add("--quiet", action="store_true", help="print no progress")

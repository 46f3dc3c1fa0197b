# SPDX-License-Identifier: Apache-2.0
"""The console script: parses, starts what is needed, runs, prints."""

import argparse
import json
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from uuid import uuid4

from zaqar.bench import report
from zaqar.bench.fleet import Fleet, Outcome, Progress, WorkerFailed
from zaqar.bench.ledger import Verdict
from zaqar.bench.options import parse
from zaqar.bench.queues import Queues, Refused
from zaqar.bench.requests import Caller, Target
from zaqar.bench.runs import OperationRun, RolesRun, in_turns
from zaqar.bench.scripts import Work
from zaqar.bench.servers import ServerFailed, bare_server
from zaqar.bench.stamps import RUN_DIGITS
from zaqar.bench.worker import Plan


class Interruption:
    """Notes a Ctrl-C; a second one ends the tool at once."""

    def __init__(self) -> None:
        self.requested = False

    def __call__(self) -> bool:
        return self.requested

    def note(self, signum: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


class Printer:
    """Prints a line of progress each second."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.seconds = 0
        self.before = Progress(Counter(), Counter(), 0)

    def __call__(self, now: Progress) -> None:
        self.seconds += 1
        if now.requests.total() < self.before.requests.total():
            self.before = Progress(Counter(), Counter(), 0)  # the measuring began
        line = report.progress_line(self.seconds, self.before, now)
        print(f"{self.label:8} {line}", file=sys.stderr, flush=True)
        self.before = now


class Subject:
    """One target with its queues, its load processes and its measurement."""

    def __init__(
        self, target: Target, options: argparse.Namespace, interrupted: Interruption
    ) -> None:
        run = uuid4().hex[:RUN_DIGITS]
        names = tuple(f"bench-{run}-{number}" for number in range(options.queues))
        self.target = target
        self.options = options
        self.plan = Plan(
            target=target,
            work=work(run, names, options),
            project=options.project,
            headers=tuple(options.header),
            timeout=options.timeout,
        )
        caller = Caller(target, options.project, self.plan.headers)
        self.queues = Queues(caller, names, options.timeout)
        self.interrupted = interrupted

    def open(self, stack: ExitStack) -> None:
        """Make the queues and start the processes; the stack undoes both."""
        self.queues.create()
        if not self.options.keep:
            stack.callback(self.remove_queues)
        fleet = Fleet(self.plan, self.options.processes, self.interrupted)
        self.fleet = stack.enter_context(fleet)
        self.run = measurement(fleet, self.options)

    def remove_queues(self) -> None:
        """Delete the queues; a service that is gone by now is no reason to fail."""
        try:
            self.queues.delete()
        except Refused as error:
            print(f"zaqar-bench: queues were left behind: {error}", file=sys.stderr)

    def verdict(self, outcome: Outcome) -> Verdict | None:
        """Judge the messages where this can be done."""
        if outcome.interrupted or self.target.label == "bare":
            return None
        if not isinstance(self.run, RolesRun):
            return None
        try:
            return self.run.settle(self.queues, self.options.drain)
        except Refused as error:
            print(f"zaqar-bench: messages not checked: {error}", file=sys.stderr)
            return None


def work(run: str, names: tuple[str, ...], options: argparse.Namespace) -> Work:
    """Return what the scripts need to know."""
    return Work(
        run=run,
        queues=names,
        message_size=options.message_size,
        batch=options.batch,
        claim_limit=options.claim_limit,
        list_limit=options.list_limit,
        claim_ttl=options.claim_ttl,
        consume=options.consume,
        poll=options.poll,
    )


def measurement(fleet: Fleet, options: argparse.Namespace) -> OperationRun | RolesRun:
    """Return the measurement that the options ask for."""
    printer = None if options.quiet else Printer(fleet.plan.target.label)
    if options.op:
        return OperationRun(
            fleet,
            options.op,
            options.connections,
            rate=options.rate,
            warmup=options.warmup,
            report=printer,
        )
    return RolesRun(
        fleet,
        options.producers,
        options.consumers,
        options.observers,
        rate=options.rate,
        warmup=options.warmup,
        report=printer,
    )


def targets(options: argparse.Namespace, stack: ExitStack) -> list[Target]:
    """Return what is to be loaded, after starting the bare application if wanted."""
    found = []
    if options.url is not None:
        target = Target.parse(options.url)
        found.append(replace(target, pids=tuple(options.server_pid)))
    if options.limit:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="zaqar-bench-")))
        server = bare_server(
            folder,
            size=options.message_size,
            workers=options.limit_workers,
            threads=options.limit_threads,
        )
        found.append(stack.enter_context(server).target)
    return found


def measure(options: argparse.Namespace, interrupted: Interruption) -> report.Document:
    """Run everything and return the document that is printed."""
    with ExitStack() as stack:
        subjects = [
            Subject(target, options, interrupted) for target in targets(options, stack)
        ]
        for subject in subjects:
            subject.open(stack)
        slices = options.slices if len(subjects) > 1 else 1
        runs = [subject.run for subject in subjects]
        outcomes = in_turns(runs, options.duration, slices)
        found: report.Document = {
            "operation": options.op or "roles",
            "connections": connections(options),
        }
        for subject, outcome in zip(subjects, outcomes, strict=False):
            verdict = subject.verdict(outcome)
            part = found[subject.target.label] = report.document(outcome, verdict)
            if options.op:
                part["end_to_end"] = None  # would be the time since the filling
    if "service" in found and "bare" in found:
        found["ratios"] = report.ratios(found["service"], found["bare"])
    return found


def connections(options: argparse.Namespace) -> int:
    """Return how many connections carry the load."""
    roles: int = options.producers + options.consumers + options.observers
    alone: int = options.connections
    return alone if options.op else roles


def show(found: report.Document) -> None:
    """Print the document as tables."""
    parts = [
        report.table(label, found[label])
        for label in ("service", "bare")
        if label in found
    ]
    if "ratios" in found:
        parts.append(report.ratio_lines(found["ratios"]))
    print("\n\n".join(parts))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the load tool; return 0 when it could measure, 1 when not."""
    options = parse(arguments)
    interrupted = Interruption()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted.note)
    try:
        found = measure(options, interrupted)
    except (Refused, ServerFailed, WorkerFailed, OSError) as error:
        print(f"zaqar-bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    with suppress(BrokenPipeError):
        if options.json:
            print(json.dumps(found))
        else:
            show(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())

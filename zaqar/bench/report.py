# SPDX-License-Identifier: Apache-2.0
"""Turns what was measured into one document, and the document into a table."""

from collections import Counter
from typing import Any

import msgspec

from zaqar.bench.fleet import Outcome, Progress
from zaqar.bench.histogram import Histogram
from zaqar.bench.ledger import Verdict
from zaqar.bench.tally import Tally

Document = dict[str, Any]

PERCENTILES = {"p50_ms": 50, "p90_ms": 90, "p99_ms": 99, "p99_9_ms": 99.9}
TAKING = ("claim", "pop")
MILLION = 1_000_000


def document(outcome: Outcome, verdict: Verdict | None = None) -> Document:
    """Return everything that was measured on one target."""
    tally = outcome.tally
    window = tally.window
    requests = window.requests.total()
    return {
        "seconds": round(window.seconds, 3),
        "requests_per_second": rate(requests, window.seconds),
        "posted_per_second": rate(window.messages["post"], window.seconds),
        "taken_per_second": rate(taken(window.messages), window.seconds),
        "operations": {op: operation(tally, op) for op in sorted(tally.latency)},
        "end_to_end": latency(tally.end_to_end) if tally.end_to_end.count else None,
        "errors": errors(tally),
        "samples": tally.samples,
        "reconnects": tally.reconnects,
        "messages": None if verdict is None else msgspec.to_builtins(verdict),
        "server": server(outcome),
        "client": {
            "cpu_us_per_request": per(window.client_cpu / 1000, requests),
            "busiest_process_percent": round(window.busiest * 100, 1),
        },
        "interrupted": outcome.interrupted,
    }


def taken(messages: Counter[str]) -> int:
    """Return how many messages consumers took."""
    return sum(messages[op] for op in TAKING)


def rate(count: int, seconds: float) -> float:
    return round(count / seconds, 1) if seconds else 0.0


def per(amount: float, count: int) -> float | None:
    return round(amount / count, 2) if count else None


def operation(tally: Tally, op: str) -> Document:
    """Return counts and latencies of one operation."""
    window = tally.window
    return {
        "requests": window.requests[op],
        "per_second": rate(window.requests[op], window.seconds),
        "messages": window.messages[op],
        **latency(tally.latency[op]),
    }


def latency(histogram: Histogram) -> Document:
    """Return the usual percentiles in milliseconds."""
    found = {
        name: round(histogram.percentile(percent) / MILLION, 3)
        for name, percent in PERCENTILES.items()
    }
    return found | {"max_ms": round(histogram.largest / MILLION, 3)}


def errors(tally: Tally) -> Document:
    """Return failures by operation and status, or by what happened."""
    found: Counter[str] = Counter()
    for (op, status), count in tally.statuses.items():
        found[f"{op} {status}"] += count
    for (op, why), count in tally.troubles.items():
        found[f"{op} {why}"] += count
    return dict(sorted(found.items()))


def server(outcome: Outcome) -> Document | None:
    """Return the processor time of the server, if it was watched.

    The cost of a message is that of all requests shared by the messages taken; where
    nothing is taken, by those posted.
    """
    if outcome.server_cpu is None:
        return None
    window = outcome.tally.window
    micros = outcome.server_cpu / 1000
    moved = taken(window.messages) or window.messages["post"]
    return {
        "cpu_seconds": round(micros / MILLION, 3),
        "processors": round(micros / MILLION / window.seconds, 2)
        if window.seconds
        else 0,
        "cpu_us_per_request": per(micros, window.requests.total()),
        "cpu_us_per_message": per(micros, moved),
    }


def ratios(service: Document, limit: Document) -> Document:
    """Return the service's figures in terms of those of the bare application."""
    found = {"rate": quotient(service, limit, "requests_per_second")}
    ours, bare = service["server"], limit["server"]
    if ours and bare:
        unit = bare["cpu_us_per_request"]
        found["unit_us"] = unit
        for name in ("request", "message"):
            cost = ours[f"cpu_us_per_{name}"]
            units = round(cost / unit, 3) if cost and unit else None
            found[f"units_per_{name}"] = units
    return found


def quotient(ours: Document, bare: Document, name: str) -> float | None:
    return round(ours[name] / bare[name], 3) if bare[name] else None


def progress_line(seconds: int, before: Progress, now: Progress) -> str:
    """Return what happened since the last line of progress."""
    answered = now.requests.total() - before.requests.total()
    posted = now.messages["post"] - before.messages["post"]
    took = taken(now.messages) - taken(before.messages)
    return (
        f"{seconds:5d} s  {answered:7d} requests/s  {posted:7d} posted/s"
        f"  {took:7d} taken/s  {now.failures} failures"
    )


def table(name: str, found: Document) -> str:
    """Return a document of one target as text."""
    width = max([len(op) for op in found["operations"]] + [12])
    head = (
        f"{'operation':{width}} {'requests':>9} {'/s':>9} {'messages':>9}"
        f" {'p50 ms':>8} {'p90 ms':>8} {'p99 ms':>8} {'p99.9':>8} {'max':>8}"
    )
    lines = [f"{name}: {found['seconds']} s measured", "", head]
    for op, row in found["operations"].items():
        lines.append(
            f"{op:{width}} {row['requests']:9d} {row['per_second']:9.0f}"
            f" {row['messages']:9d} {times(row)}"
        )
    if found["end_to_end"]:
        lines.append(f"{'post to take':{width}} {'':29} {times(found['end_to_end'])}")
    lines += ["", *summary(found)]
    if found["interrupted"]:
        lines.append("interrupted: the figures cover what was measured until then")
    return "\n".join(lines)


def times(row: Document) -> str:
    """Return the latencies of a row of the table."""
    names = (*PERCENTILES, "max_ms")
    return " ".join(f"{row[name]:8.2f}" for name in names)


def summary(found: Document) -> list[str]:
    """Return the lines below the table."""
    lines = [
        f"requests/s {found['requests_per_second']:.0f}"
        f"   posted/s {found['posted_per_second']:.0f}"
        f"   taken/s {found['taken_per_second']:.0f}"
    ]
    if (cost := found["server"]) is not None:
        lines.append(
            f"server: {cost['cpu_us_per_request']} us of processor time a request,"
            f" {cost['cpu_us_per_message']} us a message,"
            f" {cost['processors']} processors busy"
        )
    client = found["client"]
    lines.append(
        f"client: {client['cpu_us_per_request']} us a request, busiest process"
        f" {client['busiest_process_percent']} %{client_warning(client)}"
    )
    lines += message_lines(found["messages"])
    for what, count in found["errors"].items():
        sample = found["samples"].get(what, "")
        lines.append(f"error: {what} x {count} {sample}".rstrip())
    if found["reconnects"]:
        lines.append(f"connections opened again: {found['reconnects']}")
    return lines


def client_warning(client: Document) -> str:
    busy: float = client["busiest_process_percent"]
    return " (the tool itself may be the limit: add --processes)" if busy > 85 else ""


def message_lines(verdict: Document | None) -> list[str]:
    """Return the verdict on lost and duplicated messages."""
    if verdict is None:
        return ["messages: not checked (that needs consumers, and a run to its end)"]
    line = (
        f"messages: {verdict['acknowledged']} acknowledged, {verdict['lost']} lost,"
        f" {verdict['duplicated']} duplicated, {verdict['left']} left in the queues"
    )
    examples = ", ".join(verdict["lost_examples"])
    return [line] + ([f"lost (producer:counter): {examples}"] if examples else [])


def ratio_lines(found: Document) -> str:
    """Return the comparison with the bare application as text."""
    lines = [f"rate: {shown(found['rate'])} of the bare application's"]
    if "unit_us" in found:
        lines.append(
            f"unit (one bare request): {found['unit_us']} us;"
            f" ours per request {shown(found['units_per_request'])},"
            f" per message {shown(found['units_per_message'])} units"
        )
    return "\n".join(lines)


def shown(number: float | None) -> str:
    return "unknown" if number is None else f"{number:.2f}"

# SPDX-License-Identifier: Apache-2.0
"""What it costs to know who asks: services on one store that differ in that only.

Knows what each is told and what its clients send; where a Keystone comes from is the
caller's business.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median, quantiles
from uuid import uuid4

from zaqar.bench.figures import PROJECT, Effort, Row, cost, failures, measurement, rate
from zaqar.bench.fleet import Outcome
from zaqar.bench.requests import Target
from zaqar.bench.runs import turns
from zaqar.keys import Key
from zaqar.signing import Terms, sign

OPERATIONS = ("post", "list")
KEY = Key("figures", "7c1d" * 16)
EXPIRES = "2999-01-01T00:00:00"


@dataclass(frozen=True)
class Way:
    """How requests say who asks.

    `sections` are the options of the service, `headers` what is sent to a queue;
    `target` is how many percent of the rate without it may cost at most.
    """

    name: str
    sections: str = ""
    headers: Callable[[str], tuple[str, ...]] = lambda queue: ()
    target: float | None = None


def signature(queue: str) -> tuple[str, ...]:
    """Return the headers of requests to the messages of a queue."""
    terms = Terms((f"/v2/queues/{queue}/messages",), ("GET", "POST"), PROJECT, EXPIRES)
    return (
        f"URL-Signature: {sign(terms, KEY)}",
        f"URL-Paths: {','.join(terms.paths)}",
        f"URL-Methods: {','.join(terms.methods)}",
        f"URL-Expires: {terms.expires}",
    )


def with_keystone(sections: str, token: str) -> Way:
    """Return the way of clients that have this token."""
    return Way("keystone", sections, lambda queue: (f"X-Auth-Token: {token}",), 25)


WAYS = {
    way.name: way
    for way in (
        Way("none"),
        Way("signed", f"[signed_url]\nsecret_key = {KEY.secret}", signature, 10),
        Way(
            "policies",
            "[DEFAULT]\npolicy_defaults = roles",
            lambda queue: ("X-Roles: member,reader",),
            5,
        ),
    )
}


def measure_identity(
    op: str, targets: Mapping[str, Target], ways: Mapping[str, Way], effort: Effort
) -> Row:
    """Measure one operation in every way, in turns; the first is what they cost of."""
    label = next(iter(targets.values())).label.rpartition(" ")[0]
    effort.tell(f"identity: {op}, {label}")
    with ExitStack() as stack:
        runs = []
        for name, target in targets.items():
            queue = f"figures-{uuid4().hex[:8]}"
            headers = ways[name].headers(queue)
            runs.append(
                measurement(
                    *(stack, target, op, effort.connections),
                    queue=queue,
                    headers=headers,
                )
            )
        rounds = list(turns(runs, effort.seconds, effort.slices))
    by_way = dict(zip(targets, zip(*rounds, strict=True), strict=True))
    base = next(iter(by_way.values()))
    return {
        "label": label,
        "op": op,
        "ways": {
            name: {**compared(outcomes, base), "target": ways[name].target}
            for name, outcomes in by_way.items()
        },
    }


def compared(outcomes: Sequence[Outcome], base: Sequence[Outcome]) -> Row:
    """Return what one way costs beside another, measured in the same turns.

    Ratios are medians of those of each turn, so that what else the machine does in one
    turn or another counts little; beside that of processor time are its quartiles.
    """
    pairs = list(zip(outcomes, base, strict=True))
    rates = [rate(ours) / (rate(theirs) or 1) for ours, theirs in pairs]
    costs = [cost(ours) / (cost(theirs) or 1) for ours, theirs in pairs]
    low, _, high = quantiles(costs, n=4) if len(costs) > 1 else costs * 3
    return {
        "per_second": round(median(map(rate, outcomes))),
        "us": round(median(map(cost, outcomes)), 1),
        "rate_lost_percent": round(100 * (1 - median(rates)), 1),
        "cpu_ratio": round(median(costs), 3),
        "cpu_quartiles": [round(low, 3), round(high, 3)],
        "failures": sum(map(failures, outcomes)),
    }

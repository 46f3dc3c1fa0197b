# SPDX-License-Identifier: Apache-2.0
"""What a project may have and do: its quotas, how they are written, rates.

Pure rules: knows no store, no clock and no configuration.
A project's own quota is a small JSON document: the fields that it has replace those of
the defaults. Unlimited is written UNLIMITED, and is None in a Quota.
"""

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from zaqar.errors import InvalidRequest

UNLIMITED = -1
# No field is larger: sums stay exact in a float.
MAX = 2**53
SLOWEST, FASTEST = 0.001, 1e5
# Seconds by which a request may come early: sums of floats lose so much. Far less than
# the interval of any rate.
NOISE = 1e-6


class Quota(msgspec.Struct, frozen=True):
    """The limits of one project; None: there is none.

    `bytes` are those of the bodies of stored messages. `burst` is how many requests may
    come at once; None: as many as come in a second.
    """

    queues: int | None = None
    messages: int | None = None
    bytes: int | None = None
    subscriptions: int | None = None
    requests_per_second: float | None = None
    burst: int | None = None

    @property
    def limits_something(self) -> bool:
        return msgspec.structs.replace(self, burst=None) != NONE

    @property
    def limits_stored(self) -> bool:
        return self.messages is not None or self.bytes is not None


FIELDS = Quota.__struct_fields__
NONE = Quota()

# A project's own fields.
Row = Mapping[str, float]


def checked(field: str, value: float) -> float | None:
    """Return the value as a Quota has it. Raises InvalidRequest."""
    if field not in FIELDS:
        raise InvalidRequest(f"{field} is no quota: there are {', '.join(FIELDS)}.")
    if value == UNLIMITED:
        return None
    if field == "requests_per_second":
        if not SLOWEST <= value <= FASTEST:
            raise InvalidRequest(
                f"{field} must be {SLOWEST} to {FASTEST:.0f}, or {UNLIMITED} "
                f"(unlimited), not {value}."
            )
        return float(value)
    lowest = int(field == "burst")
    if value != value // 1 or not lowest <= value <= MAX:
        raise InvalidRequest(
            f"{field} must be an integer from {lowest} to {MAX}, or {UNLIMITED} "
            f"(unlimited), not {value}."
        )
    return int(value)


def made(fields: Row, defaults: Quota = NONE) -> Quota:
    """Return the defaults with these fields in their place. Raises InvalidRequest."""
    changes: dict[str, Any] = {name: checked(name, fields[name]) for name in fields}
    return msgspec.structs.replace(defaults, **changes)


def write(row: Row) -> bytes:
    """Return the document of a project's own fields; empty if there are none."""
    return msgspec.json.encode(row, order="sorted") if row else b""


def read(document: bytes) -> Row:
    """Read a project's own fields. Raises InvalidRequest if that is no such document.

    Fields that this release does not know are left out.
    """
    try:
        found = msgspec.json.decode(document or b"{}", type=dict[str, int | float])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidRequest("What is stored of the quota cannot be read.") from None
    return {name: found[name] for name in FIELDS if name in found}


# Rates --------------------------------------------------------------------------------


def burst_of(quota: Quota) -> int:
    """Return how many requests may come at once, where their rate is limited."""
    rate = quota.requests_per_second or 0.0
    return max(1, math.ceil(rate)) if quota.burst is None else quota.burst


def take(due: float, now: float, rate: float, burst: int) -> tuple[float, float]:
    """Take one request out of a rate; `due` is all that is remembered of the others.

    Returns the new `due`, and how many seconds too early the request comes: with 0 it
    is taken, otherwise `due` stays. Each request that is taken moves `due` on by the
    interval of the rate, from `now` at least, and no further than the burst allows
    (GCRA). So of any time of t seconds burst + rate * t are taken at most.
    """
    interval = 1 / rate
    furthest = now + burst * interval
    # NOTE: not in max(): what cannot be compared is an early past too. A `due` too far
    # ahead is of another rate, or of a clock that began anew.
    due = min(due, furthest) if due > now else now
    early = due + interval - furthest
    return (due, early) if early > NOISE else (due + interval, 0.0)

# SPDX-License-Identifier: Apache-2.0
"""What is looked at of one store or registry, whether or not there are pools."""

import os
from collections.abc import Callable
from contextlib import closing
from typing import Protocol

from zaqar import stores
from zaqar.clock import WRONG, Clock
from zaqar.conf import Settings, SqliteSettings, StoreSettings
from zaqar.errors import ConfigurationError, StorageUnavailable
from zaqar.findings import Finding, error, ok, warning
from zaqar.policy import Policy
from zaqar.server.report import encryption, unsafe

WORKS = "It answers and can be written to."
REACH = "Start it, or correct where the configuration says it is."
# Clocks that differ by so many seconds differ by more than most claims last.
FAR_OFF = 60.0


class Handle(Protocol):
    """What a store and a registry have in common."""

    def ping(self) -> None: ...

    def clock(self) -> float: ...

    def close(self) -> None: ...


def settings(given: Settings) -> list[Finding]:
    """Check what the configuration turns on, and the policy."""
    found = [
        warning("configuration", f"{_sentence(problem)}.", mend)
        for problem, mend in unsafe(given)
    ]
    found.append(ok("encryption", f"{_sentence(encryption(given))}."))
    try:
        Policy(given.config)
    except ConfigurationError as failure:
        found.append(error("policy", str(failure), "Correct the file of the policy."))
    return found


def store(subject: str, given: StoreSettings) -> list[Finding]:
    """Look at a message store, and whether it answers and can be written to."""
    return examined(subject, given, stores.open_store)


def examined(
    subject: str, given: StoreSettings, open_: Callable[[StoreSettings], Handle]
) -> list[Finding]:
    """Look at what a store stands on, then open it and see whether it works."""
    found = []
    try:
        found += stores.examine(given, subject)
        if is_absent(given):
            return found
        with closing(open_(given)) as opened:
            opened.ping()
            found.append(ok(subject, WORKS))
            found += clock(subject, offset_of(opened))
    except ConfigurationError as failure:
        found.append(error(subject, str(failure), "Correct it in the configuration."))
    except StorageUnavailable as failure:
        found.append(error(subject, f"It does not answer: {failure}", REACH))
    return found


def is_absent(given: StoreSettings) -> bool:
    """Say whether it is a file that does not exist: opening would make it."""
    return isinstance(given, SqliteSettings) and not os.path.exists(given.path)


def offset_of(opened: Handle) -> float:
    """Return how many seconds its clock is ahead of this machine's."""
    measured = Clock(opened.clock)
    measured.measure()
    return measured.offset


def clock(subject: str, ahead: float) -> list[Finding]:
    """Tell whether a clock that is so many seconds ahead of ours is right."""
    if abs(ahead) <= WRONG:
        return []
    level = error if abs(ahead) > FAR_OFF else warning
    how = "ahead of" if ahead > 0 else "behind"
    return [
        level(
            subject,
            f"Its clock is {abs(ahead):.1f} s {how} this machine's.",
            "Set both by NTP.",
        )
    ]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]

# SPDX-License-Identifier: Apache-2.0
"""What looking at a part of the deployment tells: facts, and how to mend them."""

import msgspec

OK, WARNING, ERROR = "ok", "warning", "error"


class Finding(msgspec.Struct, frozen=True):
    """`level` is OK, WARNING or ERROR; `subject` names what was looked at.

    An ERROR keeps something from working, or loses what was promised to be kept; a
    WARNING may do so one day. `mend` says what to do, empty where nothing is wrong.
    """

    level: str
    subject: str
    problem: str
    mend: str = ""


def ok(subject: str, fact: str) -> Finding:
    return Finding(OK, subject, fact)


def warning(subject: str, problem: str, mend: str) -> Finding:
    return Finding(WARNING, subject, problem, mend)


def error(subject: str, problem: str, mend: str) -> Finding:
    return Finding(ERROR, subject, problem, mend)

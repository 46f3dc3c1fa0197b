# SPDX-License-Identifier: Apache-2.0
"""What a command answers: one JSON document for scripts, a text for people."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from prettytable import PrettyTable, TableStyle

# SECURITY: a name that somebody chose must not steer the terminal that shows it.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Answer(msgspec.Struct, frozen=True):
    """`document` is JSON with keys that stay as they are, `text` the same for people.

    `notes` are said on standard error. `code` is the exit code.
    """

    document: Mapping[str, Any]
    text: str
    notes: Sequence[str] = ()
    code: int = 0


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return rows below a header, each column as wide as it needs to be."""
    drawn = PrettyTable(list(header), align="l")
    drawn.set_style(TableStyle.SINGLE_BORDER)
    for row in rows:
        drawn.add_row([shown(cell) for cell in row])
    return drawn.get_string()


def details(document: Mapping[str, Any]) -> str:
    """Return one thing as a table of its fields."""
    return table(("field", "value"), document.items())


def shown(value: Any) -> str:
    """Return a value as a cell: lists with commas, nothing as a dash."""
    match value:
        case None | "" | () | []:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.1f}"
        case Mapping():
            pairs = [f"{name}={shown(each)}" for name, each in value.items()]
            return ", ".join(pairs) or "-"
        case list() | tuple():
            return ", ".join(map(shown, value))
    return CONTROL.sub("?", str(value))


def json(document: Mapping[str, Any]) -> str:
    encoded = msgspec.json.encode(document)
    return msgspec.json.format(encoded, indent=2).decode()

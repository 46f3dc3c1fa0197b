# SPDX-License-Identifier: Apache-2.0
"""The language in which a subscription says which messages it wants.

A filter is a JSON object. Each key names a field of the body, and each value is a list
of tests: a message is wanted if each field passes one of its tests. A test is a scalar,
which the field equals, or an object of one key:

    {"prefix": "web-"}                      the field is text that begins so
    {"numeric": [">=", 5, "<", 10]}         the field is a number within
    {"exists": true}                        the field is there, or with false is not

Steps of a path are divided by dots; in a key with a dot or a backslash a backslash
stands before it. A field that is a list passes if one of its first 256 items does.

Pure; time grows with the size of filter and body, and no body raises an error.
"""

import json
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from zaqar.errors import InvalidRequest

MAX_SIZE = 4096
MAX_FIELDS = 16
MAX_TESTS = 32
MAX_STEPS = 16
MAX_ITEMS = 256

COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
# One step: what is no dot and no backslash, or is one behind a backslash.
STEP = re.compile(r"(?:[^.\\]|\\[.\\])+")
PATH = re.compile(rf"{STEP.pattern}(?:\.{STEP.pattern})*", re.DOTALL)


class Missing:
    """What a field is that is not there, and a body that cannot be read."""


MISSING: Final = Missing()


class Field(msgspec.Struct, frozen=True):
    """The tests of a field, sorted by what they need to know."""

    steps: tuple[str, ...]
    equals: frozenset[tuple[str, Any]]
    prefixes: tuple[str, ...]
    ranges: tuple[tuple[tuple[str, float], ...], ...]
    exists: frozenset[bool]


Filter = tuple[Field, ...]


def compiled(document: Any) -> Filter:
    """Return the filter that a document describes. Raises InvalidRequest."""
    if not isinstance(document, dict) or not document:
        raise InvalidRequest("options.filter must be an object with at least a field.")
    if len(document) > MAX_FIELDS:
        raise InvalidRequest(f"options.filter may name at most {MAX_FIELDS} fields.")
    if len(json.dumps(document)) > MAX_SIZE:
        raise InvalidRequest(f"options.filter may have at most {MAX_SIZE} characters.")
    return tuple(_field(path, tests) for path, tests in document.items())


def read(body: bytes) -> Any:
    """Return what a filter looks at: the body's value, or MISSING."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return MISSING


def matches(wanted: Filter, value: Any) -> bool:
    """Say whether a body, as `read` returned it, is wanted."""
    return all(_passes(field, value) for field in wanted)


def _field(path: str, tests: Any) -> Field:
    name = f"options.filter[{json.dumps(path)}]"
    if not PATH.fullmatch(path):
        raise InvalidRequest(
            f"{name} is no path: steps between single dots, and a backslash before a "
            "dot or a backslash that belongs to a key."
        )
    steps = tuple(
        re.sub(r"\\(.)", r"\1", step, flags=re.DOTALL) for step in STEP.findall(path)
    )
    if len(steps) > MAX_STEPS:
        raise InvalidRequest(f"{name} may have at most {MAX_STEPS} steps.")
    if not isinstance(tests, list) or not 1 <= len(tests) <= MAX_TESTS:
        raise InvalidRequest(f"{name} must be a list of 1 to {MAX_TESTS} tests.")
    sorted_out: dict[str, list[Any]] = {
        kind: [] for kind in ("equals", "prefix", "numeric", "exists")
    }
    for number, test in enumerate(tests):
        kind, operand = _test(f"{name}[{number}]", test)
        sorted_out[kind].append(operand)
    return Field(
        steps,
        frozenset(sorted_out["equals"]),
        tuple(sorted_out["prefix"]),
        tuple(sorted_out["numeric"]),
        frozenset(sorted_out["exists"]),
    )


def _test(name: str, test: Any) -> tuple[str, Any]:
    """Return the kind of a test and what it compares with."""
    if scalar := _scalar(test):
        return "equals", scalar
    if isinstance(test, dict) and len(test) == 1:
        [(kind, operand)] = test.items()
        if kind == "prefix" and isinstance(operand, str):
            return kind, operand
        if kind == "exists" and isinstance(operand, bool):
            return kind, operand
        if kind == "numeric" and (bounds := _bounds(operand)):
            return kind, bounds
    raise InvalidRequest(
        f'{name} must be a scalar, {{"prefix": text}}, {{"exists": true or false}} or '
        f'{{"numeric": [sign, number, ..]}} with the signs {" ".join(COMPARISONS)}.'
    )


def _bounds(operand: Any) -> tuple[tuple[str, float], ...] | None:
    """Return one bound, or two, as pairs; None if it is something else."""
    if not isinstance(operand, list) or len(operand) not in (2, 4):
        return None
    pairs = tuple(zip(operand[::2], operand[1::2], strict=True))
    is_right = all(
        isinstance(sign, str) and sign in COMPARISONS and _is_number(number)
        for sign, number in pairs
    )
    return pairs if is_right else None


def _passes(field: Field, value: Any) -> bool:
    for step in field.steps:
        value = value.get(step, MISSING) if isinstance(value, dict) else MISSING
    if (value is not MISSING) in field.exists:
        return True
    items = value[:MAX_ITEMS] if isinstance(value, list) else [value]
    return any(_item_passes(field, item) for item in items)


def _item_passes(field: Field, item: Any) -> bool:
    if (scalar := _scalar(item)) is None:
        return False
    if scalar in field.equals:
        return True
    if scalar[0] == "text":
        return item.startswith(field.prefixes)  # type: ignore[no-any-return]
    return scalar[0] == "number" and any(
        all(COMPARISONS[sign](item, number) for sign, number in bounds)
        for bounds in field.ranges
    )


def _scalar(value: Any) -> tuple[str, Any] | None:
    """Return a scalar with its type, for true is not 1; None if it is none."""
    if value is None or isinstance(value, bool):
        return "constant", value
    if isinstance(value, str):
        return "text", value
    return ("number", value) if _is_number(value) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

# SPDX-License-Identifier: Apache-2.0
"""Facts of filters: the language, its bounds, and that no body breaks it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaqar.errors import InvalidRequest
from zaqar.notification.filters import MAX_ITEMS, compiled, matches, read


def wants(document: Any, body: Any) -> bool:
    return matches(compiled(document), read(json.dumps(body).encode()))


ALERT = {
    "severity": "high",
    "host": "web-7",
    "load": 7.5,
    "user": {"id": None, "tags": ["a", "b"]},
    "a.b": {"c\\d": 1},
    "ok": True,
    "": {"": 2},
}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"severity": ["high", "critical"]}, True),
        ({"severity": ["low"]}, False),
        ({"severity": ["HIGH"]}, False),
        ({"severity": ["high"], "host": ["db"]}, False),
        ({"severity": ["high"], "host": [{"prefix": "web-"}]}, True),
        ({"host": [{"prefix": ""}]}, True),
        ({"host": [{"prefix": "web-77"}]}, False),
        ({"load": [{"prefix": "7"}]}, False),
        ({"load": [{"numeric": [">=", 5, "<", 10]}]}, True),
        ({"load": [{"numeric": [">=", 5, "<", 7.5]}]}, False),
        ({"load": [{"numeric": ["=", 7.5]}]}, True),
        ({"load": [{"numeric": ["<", 1]}, {"numeric": [">", 7]}]}, True),
        ({"load": [7.5]}, True),
        ({"host": [{"numeric": [">", 0]}]}, False),
        ({"ok": [True]}, True),
        ({"ok": [1]}, False),
        ({"ok": [{"numeric": ["=", 1]}]}, False),
        ({"a\\.b.c\\\\d": [1.0]}, True),
        ({"a\\.b.c\\\\d": [True]}, False),
        ({"a.b": [{"exists": True}]}, False),
        ({"user.id": [None]}, True),
        ({"user.id": [{"exists": True}]}, True),
        ({"user.id": [{"exists": False}]}, False),
        ({"user.name": [{"exists": False}]}, True),
        ({"user.name": [None]}, False),
        ({"user.id.x": [{"exists": False}]}, True),
        ({"user.tags": ["b"]}, True),
        ({"user.tags": ["c", {"prefix": "b"}]}, True),
        ({"user.tags": ["c"]}, False),
        ({"user.tags.0": ["a"]}, False),
        ({"user": [{"exists": True}]}, True),
        ({"user": ["a"]}, False),
        ({"nothing": [{"exists": False}, "x"]}, True),
    ],
)
def test_filter(document: Any, expected: bool) -> None:
    assert wants(document, ALERT) is expected


@pytest.mark.parametrize("body", [None, 1, "severity", [], ["severity"], {}, True])
def test_a_body_without_fields_passes_only_what_must_be_absent(body: Any) -> None:
    assert not wants({"severity": ["high"]}, body)
    assert wants({"severity": [{"exists": False}]}, body)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"nope", b"[" * 100_000])
def test_a_body_that_cannot_be_read_raises_nothing(body: bytes) -> None:
    assert not matches(compiled({"a": [1]}), read(body))


def test_of_a_long_list_the_first_items_are_looked_at() -> None:
    items = [0] * (MAX_ITEMS - 1)

    assert wants({"a": [1]}, {"a": [*items, 1]})
    assert not wants({"a": [1]}, {"a": [*items, 0, 1]})


def deep(levels: int) -> Any:
    return 1 if not levels else {"prefix": deep(levels - 1)}


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ([], "options.filter must be an object"),
        ({}, "options.filter must be an object"),
        ("a", "options.filter must be an object"),
        ({f"f{n}": [1] for n in range(17)}, "at most 16 fields"),
        ({"a": ["x" * 5000]}, "at most 4096 characters"),
        ({"a": []}, r'filter\["a"\] must be a list of 1 to 32'),
        ({"a": "x"}, r'filter\["a"\] must be a list'),
        ({"a": list(range(33))}, "1 to 32 tests"),
        ({"": [1]}, r'filter\[""\] is no path'),
        ({".a": [1]}, "is no path"),
        ({"a.": [1]}, "is no path"),
        ({"a..b": [1]}, "is no path"),
        ({"a\\b": [1]}, "is no path"),
        ({"a\\": [1]}, "is no path"),
        ({".".join("a" * 17): [1]}, "at most 16 steps"),
        ({"a": [1, [2]]}, r'filter\["a"\]\[1\] must be a scalar'),
        ({"a": [{}]}, r'filter\["a"\]\[0\] must be a scalar'),
        ({"a": [{"suffix": "x"}]}, "must be a scalar"),
        ({"a": [{"prefix": "x", "exists": True}]}, "must be a scalar"),
        ({"a": [{"prefix": 1}]}, "must be a scalar"),
        ({"a": [{"exists": 1}]}, "must be a scalar"),
        ({"a": [{"exists": None}]}, "must be a scalar"),
        ({"a": [{"numeric": []}]}, "must be a scalar"),
        ({"a": [{"numeric": [">"]}]}, "must be a scalar"),
        ({"a": [{"numeric": [">", "1"]}]}, "must be a scalar"),
        ({"a": [{"numeric": [">", True]}]}, "must be a scalar"),
        ({"a": [{"numeric": ["!", 1]}]}, "must be a scalar"),
        ({"a": [{"numeric": [[], 1]}]}, "must be a scalar"),
        ({"a": [{"numeric": [">", 1, "<"]}]}, "must be a scalar"),
        ({"a": [{"numeric": [">", 1, "<", 2, "<", 3]}]}, "must be a scalar"),
        ({"a": [deep(100)]}, "must be a scalar"),
    ],
)
def test_another_document_is_refused_and_the_place_named(
    document: Any, told: str
) -> None:
    with pytest.raises(InvalidRequest, match=told):
        compiled(document)


# Against an oracle -------------------------------------------------------------------

numbers = st.integers(-3, 3) | st.sampled_from([0.5, 1.0, -1.5])
texts = st.text("ab", max_size=2)
scalars = st.none() | st.booleans() | numbers | texts
keys = st.sampled_from(["a", "b", "a.b", "\\"])
bodies = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=12,
)
signs = st.sampled_from(["=", ">", ">=", "<", "<="])
bounds = st.lists(st.tuples(signs, numbers), min_size=1, max_size=2)
tests = (
    scalars
    | texts.map(lambda text: {"prefix": text})
    | st.booleans().map(lambda there: {"exists": there})
    | bounds.map(lambda pairs: {"numeric": [part for pair in pairs for part in pair]})
)
paths = st.lists(keys, min_size=1, max_size=3)


def escaped(path: list[str]) -> str:
    return ".".join(step.replace("\\", "\\\\").replace(".", "\\.") for step in path)


def passes(test: Any, item: Any) -> bool:
    """Say it as the documentation does, test by test."""
    if not isinstance(test, dict):
        same_kind = isinstance(test, bool) == isinstance(item, bool)
        return same_kind and not isinstance(item, dict | list) and bool(test == item)
    [(kind, operand)] = test.items()
    if kind == "prefix":
        return isinstance(item, str) and item[: len(operand)] == operand
    if isinstance(item, bool) or not isinstance(item, int | float):
        return False
    compare = {
        "=": lambda a, b: a == b,
        ">": lambda a, b: a > b,
        ">=": lambda a, b: a >= b,
        "<": lambda a, b: a < b,
        "<=": lambda a, b: a <= b,
    }
    pairs = zip(operand[::2], operand[1::2], strict=True)
    return all(compare[sign](item, number) for sign, number in pairs)


def wanted_by_oracle(fields: list[tuple[list[str], list[Any]]], body: Any) -> bool:
    for path, alternatives in fields:
        value, is_there = body, True
        for step in path:
            is_there = is_there and isinstance(value, dict) and step in value
            value = value[step] if is_there else None
        items = [] if not is_there else value if isinstance(value, list) else [value]
        if not any(
            test["exists"] == is_there
            if isinstance(test, dict) and "exists" in test
            else any(passes(test, item) for item in items)
            for test in alternatives
        ):
            return False
    return True


@given(
    st.lists(
        st.tuples(paths, st.lists(tests, min_size=1, max_size=4)),
        min_size=1,
        max_size=3,
        unique_by=lambda field: tuple(field[0]),
    ),
    bodies,
)
def test_filter_is_what_the_oracle_says(
    fields: list[tuple[list[str], list[Any]]], body: Any
) -> None:
    document = {escaped(path): alternatives for path, alternatives in fields}

    assert wants(document, body) is wanted_by_oracle(fields, body)


@given(st.binary(max_size=40))
def test_no_bytes_raise_anything(body: bytes) -> None:
    matches(
        compiled({"a.b": [1, {"prefix": "x"}], "c": [{"exists": False}]}), read(body)
    )

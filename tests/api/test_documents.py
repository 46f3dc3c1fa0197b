# SPDX-License-Identifier: Apache-2.0
"""Hand-written parsing accepts and refuses what the JSON Schemas do.

The schemas in `tests/data/schemas` are the contract of each request document; the
parsing is written by hand for speed.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from msgspec import UNSET
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from tests.api import documents as drawn
from zaqar import limits, queue_settings
from zaqar.errors import BadInput
from zaqar.transport import documents

FOLDER = Path(__file__).parents[1] / "data/schemas"
LIMITS = limits.Limits()

EXAMPLES = 150


def check_post(body: bytes, *, delays: bool = False) -> None:
    drafts = documents.parse_post(body)
    if not drafts:
        raise BadInput("No message.")  # As the operation does.
    for draft in drafts:
        if draft.ttl is not None:
            limits.message_ttl(draft.ttl, LIMITS)
        if delays and draft.delay is not UNSET:
            limits.message_delay(draft.delay, LIMITS)


def check_delayed_post(body: bytes) -> None:
    check_post(body, delays=True)


def check_claim(body: bytes) -> None:
    wish = documents.parse_claim(body)
    limits.claim_ttl(wish.ttl, LIMITS)
    limits.claim_grace(wish.grace, LIMITS)
    limits.page_limit(wish.limit, "limit", LIMITS.max_messages_per_claim_or_pop)


def check_metadata(body: bytes) -> None:
    queue_settings.check_metadata(documents.parse_object(body), LIMITS)


def check_patch(body: bytes) -> None:
    queue_settings.parse_patch(documents.parse(body))


CASES: dict[str, tuple[Callable[[bytes], Any], st.SearchStrategy[Any]]] = {
    "post": (check_post, drawn.posts),
    "delayed_post": (check_delayed_post, drawn.posts),
    # Three fields alone are wrong too seldom.
    "claim": (check_claim, drawn.claims | drawn.wrong_claims),
    "purge": (documents.parse_purge, drawn.purges),
    "metadata": (check_metadata, drawn.metadata),
    "patch": (check_patch, drawn.patches),
}

# What JSON Schema has no words for: 60.0 is no integer here, and delays lie apart.


def is_integer(_: Any, instance: Any) -> bool:
    return isinstance(instance, int) and not isinstance(instance, bool)


def delays_apart(_: Any, wanted: bool, instance: Any, __: Any) -> Iterator[Any]:
    policy = instance if isinstance(instance, dict) else {}
    low, high = policy.get("minimum_delay", 5), policy.get("maximum_delay", 30)
    if isinstance(low, int) and isinstance(high, int) and high - low < 10:
        yield ValidationError("the delays are less than 10 seconds apart")


Validator = extend(
    Draft202012Validator,
    {"tenSecondsBetweenDelays": delays_apart},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", is_integer),
)


def validator(name: str) -> Any:
    # Without `$schema`, which would name another validator than ours.
    schemas = {path.name: json.loads(path.read_text()) for path in FOLDER.iterdir()}
    for schema in schemas.values():
        del schema["$schema"]
    registry: Any = Registry().with_resources(
        (key, DRAFT202012.create_resource(schema)) for key, schema in schemas.items()
    )
    return Validator(schemas[f"{name}.json"], registry=registry)


def is_accepted(check: Callable[[bytes], Any], document: Any) -> bool:
    try:
        check(json.dumps(document).encode())
    except BadInput:
        return False
    return True


@pytest.mark.parametrize("name", CASES)
def test_parsing_agrees_with_the_schema(name: str) -> None:
    check, strategy = CASES[name]
    schema = validator(name)
    seen = {True: 0, False: 0}

    @settings(max_examples=EXAMPLES, database=None)
    @given(document=strategy)
    def agree(document: Any) -> None:
        valid = schema.is_valid(document)
        seen[valid] += 1
        assert is_accepted(check, document) is valid, list(schema.iter_errors(document))

    agree()

    assert min(seen.values()) > EXAMPLES / 20, seen

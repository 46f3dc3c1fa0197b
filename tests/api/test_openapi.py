# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document tells the truth about routes and methods.

That answers conform is checked with every request of the `api` fixture.
"""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.api.conformance import METHODS, document, operation, template, validator
from tests.api.wire import Api

PATHS = sorted(document()["paths"])


def documented(path: str) -> set[str]:
    return {name.upper() for name in document()["paths"][path] if name in METHODS}


def example(path: str) -> str:
    for name in ("queue_name", "message_id", "claim_id"):
        path = path.replace(f"{{{name}}}", "x")
    return path


@pytest.mark.parametrize("path", PATHS)
def test_options_allow_exactly_the_methods_of_the_document(api: Api, path: str) -> None:
    answer = api.request("OPTIONS", example(path))

    allowed = set(answer.headers["Allow"].split(", ")) - {"OPTIONS"}
    # HEAD of a plain health route is a matter of taste.
    free = {"HEAD"} if path in ("/healthz", "/readyz") else set()
    assert allowed - free == documented(path)


def test_each_route_of_the_home_document_is_documented_unless_it_waits(
    api: Api,
) -> None:
    waiting = ("share", "subscription", "pool", "flavor")

    for name, resource in api.get("/v2/").json["resources"].items():
        if any(word in name for word in waiting):
            continue
        path = resource.get("href") or resource["href-template"]
        path = example(path.split("{?")[0])

        assert template(path), path
        for method in resource["hints"]["allow"]:
            assert operation(method, path), (method, path)


def test_operation_ids_are_unique() -> None:
    names = [
        item[method]["operationId"]
        for item in document()["paths"].values()
        for method in METHODS & set(item)
    ]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", sorted(document()["components"]["schemas"]))
def test_each_schema_is_a_json_schema(name: str) -> None:
    schema: dict[str, Any] = {"$ref": f"#/components/schemas/{name}"}

    Draft202012Validator.check_schema(document()["components"]["schemas"][name])
    list(validator(schema).iter_errors({}))

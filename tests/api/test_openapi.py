# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI documents tell the truth about routes and methods.

That answers conform is checked with every request of the `api` fixture.
"""

import re
from collections.abc import Callable
from http.client import HTTPMessage
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.api.conformance import (
    FILES,
    METHODS,
    check_version,
    document,
    item,
    load,
    operation,
    resolved,
    template,
    validator,
)
from tests.api.wire import Answer, Api

PATHS = sorted(document()["paths"])


def documented(path: str) -> set[str]:
    return {name.upper() for name in item(path) if name in METHODS}


def example(path: str) -> str:
    return re.sub(r"\{\w+\}", "x", path)


@pytest.mark.parametrize("path", PATHS)
def test_options_allow_exactly_the_methods_of_the_document(
    api_of: Callable[..., Api], path: str
) -> None:
    answer = api_of({"DEFAULT": {"pooling": True}}).request("OPTIONS", example(path))

    allowed = set(answer.headers["Allow"].split(", ")) - {"OPTIONS"}
    # HEAD of a plain health route is a matter of taste.
    free = {"HEAD"} if path in ("/healthz", "/readyz") else set()
    assert allowed - free == documented(path)


@pytest.mark.parametrize("home", ["/v1.1/", "/v2/"])
def test_each_route_of_the_home_document_is_documented(api: Api, home: str) -> None:
    for resource in api.get(home).json["resources"].values():
        path = resource.get("href") or resource["href-template"]
        path = example(path.split("{?")[0])

        assert template(path), path
        for method in resource["hints"]["allow"]:
            assert operation(method, path), (method, path)


@pytest.mark.parametrize("name", FILES)
def test_operation_ids_are_unique(name: str) -> None:
    items = [resolved(path) for path in load(name)["paths"].values()]
    names = [
        path[method]["operationId"] for path in items for method in METHODS & set(path)
    ]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", sorted(document()["components"]["schemas"]))
def test_each_schema_is_a_json_schema(name: str) -> None:
    schema: dict[str, Any] = {"$ref": f"#/components/schemas/{name}"}

    Draft202012Validator.check_schema(document()["components"]["schemas"][name])
    list(validator(schema).iter_errors({}))


@pytest.mark.parametrize(
    ("document", "leads_astray"),
    [
        ('{"messages": [{"href": "/v2/queues/q", "body": 1}]}', True),
        ('{"resources": ["/v2/queues/q/messages/m"]}', True),
        ('{"resources": {"rel/q": {"href-template": "/v2/queues"}}}', True),
        ('{"messages": [{"href": "/v1.1/q", "body": {"href": "/v2/"}}]}', False),
        ('{"queues": [{"href": "/v1.1/q", "metadata": {"href": "/"}}]}', False),
    ],
)
def test_path_of_another_version_is_seen(document: str, leads_astray: bool) -> None:
    answer = Answer(200, HTTPMessage(), document.encode())

    try:
        check_version("/v1.1/queues/q/messages", answer, "")
        seen = False
    except AssertionError:
        seen = True

    assert seen == leads_astray

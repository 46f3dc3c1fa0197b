# SPDX-License-Identifier: Apache-2.0
"""Checks answers against the OpenAPI documents, of each version and of topics.

Knows how an operation and a response are found in a document; the facts themselves
stand there, but for one: no answer leads from one version to the other.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml
from jsonschema import Draft202012Validator

from tests.api.wire import Answer, Api

FOLDER = Path(__file__).parents[2] / "doc/source/api"
MAIN = "openapi.yaml"
FILES = (MAIN, "openapi-topics.yaml", "openapi-v1.1.yaml")
METHODS = {"get", "head", "post", "put", "patch", "delete"}


class CheckedApi(Api):
    """A client that fails a test when an answer is not as documented."""

    def request(self, method: str, path: str, *args: Any, **more: Any) -> Answer:
        answer = super().request(method, path, *args, **more)
        check(method, path, answer)
        return answer


# Where clients may have written anything.
OPAQUE = ("body", "metadata", "options", "capabilities")


def load(name: str) -> dict[str, Any]:
    """Return a document; what it takes from the main one reads as its own."""
    text = (FOLDER / name).read_text().replace(f"{MAIN}#/", "#/")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


@cache
def document() -> dict[str, Any]:
    """Return the documents as one: their paths, and their components."""
    whole = load(MAIN)
    for name in FILES[1:]:
        other = load(name)
        add(whole["paths"], other["paths"])
        for kind, named in other["components"].items():
            add(whole["components"][kind], named)
    return whole


def add(whole: dict[str, Any], part: dict[str, Any]) -> None:
    assert not whole.keys() & part.keys(), "One name stands in two documents."
    whole.update(part)


def item(name: str) -> dict[str, Any]:
    """Return what stands below a path: its operations and their parameters."""
    return resolved(document()["paths"][name])


@cache
def routes() -> list[tuple[re.Pattern[str], str]]:
    """Return a pattern and the template of each path in the document."""
    return [
        (re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))), path)
        for path in document()["paths"]
    ]


def template(path: str) -> str | None:
    """Return the documented path that this path belongs to."""
    plain = unquote(path.partition("?")[0])
    return next((name for pattern, name in routes() if pattern.fullmatch(plain)), None)


def operation(method: str, path: str) -> dict[str, Any] | None:
    name = template(path)
    return item(name).get(method.lower()) if name else None


def check(method: str, path: str, answer: Answer) -> None:
    """Fail unless the document allows this answer to this request."""
    found = operation(method, path)
    if found is None:
        return
    responses = found["responses"]
    response = resolved(responses.get(str(answer.status)) or default(found, answer))
    where = f"{method} {path[:200]}: {answer}"
    if is_routed(answer):
        name = answer.headers.get("x-openstack-request-id", "")
        assert re.fullmatch(r"req-[0-9a-f-]{36}", name), f"No request id: {where}"
    for name, header in response.get("headers", {}).items():
        value = answer.headers.get(name)
        assert value is not None, f"{name} is missing in {where}"
        validate(resolved(header)["schema"], value, where)
    check_version(path, answer, where)
    content = response.get("content")
    if method == "HEAD" or not content:
        if template(path) not in ("/healthz", "/readyz"):
            assert answer.body == b"", f"A body where there is none in {where}"
        return
    kind = answer.headers.get_content_type()
    if answer.status == 406 or kind.endswith("/xml"):
        return
    assert kind in content, f"{kind} is not documented in {where}"
    validate(content[kind]["schema"], answer.json, where)


def check_version(path: str, answer: Answer, where: str) -> None:
    """Fail if the answer leads to another version than the one that was asked."""
    asked = re.match(r"/v[0-9.]+", path)
    if asked is None or answer.status >= 400:
        return
    found = [answer.headers["Location"]] if "Location" in answer.headers else []
    if answer.body and not (template(path) or "").endswith("/{queue_name}"):
        found += own_paths(answer.json)
    for own in found:
        assert own.startswith(f"{asked[0]}/"), f"{own} in {where}"


def own_paths(node: Any, key: str = "") -> Iterator[str]:
    """Yield the paths in a part of an answer, but not those that clients wrote."""
    if isinstance(node, dict):
        for name, value in node.items():
            # The entry of a version has the place of the mount in front.
            if name not in (*OPAQUE, "version"):
                yield from own_paths(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from own_paths(value, key)
    elif key in ("href", "href-template", "resources"):
        yield node


def is_routed(answer: Answer) -> bool:
    """Say whether the request reached a resource: there the answers get an id."""
    return b"404 Not Found" not in answer.body and answer.status != 414


def default(found: dict[str, Any], answer: Answer) -> dict[str, Any]:
    name = found["operationId"]
    assert answer.status >= 400, f"{name} documents no {answer}"
    assert "default" in found["responses"], f"{name} documents no {answer}"
    response: dict[str, Any] = found["responses"]["default"]
    return response


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        target: Any = document()
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/")]
        node = target
    return node


def validate(schema: dict[str, Any], instance: Any, where: str) -> None:
    error = next(iter(validator(schema).iter_errors(instance)), None)
    assert error is None, f"{error.message} at {error.json_path} in {where}"


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    """Return a validator for a schema that refers to the document's components."""
    return Draft202012Validator({**schema, "components": document()["components"]})

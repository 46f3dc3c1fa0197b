# SPDX-License-Identifier: Apache-2.0
"""Replays recorded exchanges: fills placeholders, sends, compares.

The form of the recordings is described in `tests/data/exchanges/README.rst`.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.api.wire import CLIENT, OTHER_CLIENT, Answer, Api

Step = dict[str, Any]

FOLDER = Path(__file__).parents[1] / "data/exchanges"
PLACEHOLDER = re.compile(r"\{(\w+)(?:\[(\d+)\])?\}")
REPEATED = re.compile(r"\{(\w)\*(\d+)\}")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
NUMBERED = ("message_id", "claim_id", "subscription_id", "marker", "signature")


def scenarios(name: str, prefix: str = "") -> dict[str, list[Step]]:
    """Return the steps of each scenario of a recording, in order.

    Their names begin with the prefix.
    """
    found: dict[str, list[Step]] = {}
    for line in (FOLDER / name).read_text().splitlines():
        step = json.loads(line)
        step["scenario"] = prefix + step["scenario"]
        found.setdefault(step["scenario"], []).append(step)
    return found


class Replay:
    """One run of one scenario: what it has learned so far fills the placeholders."""

    def __init__(self, api: Api, pool_uris: list[str] | None = None) -> None:
        self.api = api
        self.plain = {
            "project": api.project,
            "project2": api.as_project().project,
            "client": CLIENT,
            "client2": OTHER_CLIENT,
        }
        self.learned: dict[str, list[str]] = defaultdict(list)
        self.learned["pool_uri"] = pool_uris or []

    def run(self, step: Step, optional: frozenset[str] = frozenset()) -> list[str]:
        """Send one step and return what is wrong with its answer.

        The `optional` keys of the answer's document are not compared.
        """
        answer = self.send(step)
        if answer.status == step["status"]:
            self.learn(step, answer)
        self.catch_up(step)
        return list(self.differences(step, answer, optional))

    # Sending ------------------------------------------------------------------------

    def send(self, step: Step) -> Answer:
        query = self.fill(step["query"])
        headers = {"Client-ID": None, "X-Project-ID": None}
        body = self.fill(json.dumps(step["body"])) if "body" in step else None
        return self.api.request(
            step["method"],
            self.fill(step["path"]) + (f"?{query}" if query else ""),
            raw=self.fill(step["raw_body"]) if "raw_body" in step else body,
            headers=headers | {k: self.fill(v) for k, v in step["headers"].items()},
        )

    def fill(self, text: str) -> str:
        """Put values in the place of placeholders."""
        text = REPEATED.sub(lambda match: match[1] * int(match[2]), text)
        return PLACEHOLDER.sub(self.value, text)

    def value(self, match: re.Match[str]) -> str:
        name, number = match.groups()
        if number is None:
            return self.plain.get(name, match[0])
        values = self.learned[name]
        return values[int(number)] if int(number) < len(values) else match[0]

    # Learning -----------------------------------------------------------------------

    def learn(self, step: Step, answer: Answer) -> None:
        """Remember the ids, markers and signatures that this answer brings."""
        collection = step["path"].rsplit("/", 1)[-1]
        match step["method"], collection, answer.status:
            case "POST", "messages", 201:
                self.learned["message_id"] += answer.ids
            case "POST", "claims", 201:
                self.learned["claim_id"].append(answer.claim)
            case "POST", "subscriptions", 201:
                subscription = answer.json["subscription_id"]
                if subscription not in self.learned["subscription_id"]:
                    self.learned["subscription_id"].append(subscription)
            case "POST", "share", 200:
                self.learned["signature"].append(answer.json["signature"])
                self.learned["expires"].append(answer.json["expires"])
            case "GET", "messages", 200 if answer.json.get("links"):
                query = parse_qs(urlsplit(answer.next).query)
                self.learned["marker"].append(query["marker"][0])

    def catch_up(self, step: Step) -> None:
        """Make up a value for each placeholder that the recording had by now."""
        recorded = json.dumps([step["response_headers"], step["response_body"]])
        for name, number in PLACEHOLDER.findall(recorded):
            values = self.learned[name]
            while number and len(values) <= int(number):
                values.append(f"no-{name}-{len(values)}")

    # Comparing ----------------------------------------------------------------------

    def differences(
        self, step: Step, answer: Answer, optional: frozenset[str]
    ) -> Iterator[str]:
        status = step.get("contract_status", step["status"])
        if answer.status != status:
            yield f"status {answer.status}, not {status}: {answer}"
            return
        if status != step["status"] and "contract_body" not in step:
            if status >= 400:
                yield from error_form(answer)
            return
        if status == step["status"]:
            yield from self.header_differences(step["response_headers"], answer)
        if "contract_body" in step:
            yield from self.contract_differences(step["contract_body"], answer)
        else:
            yield from self.body_differences(step["response_body"], answer, optional)

    def header_differences(
        self, recorded: dict[str, str], answer: Answer
    ) -> Iterator[str]:
        for name in ("location", "allow"):
            expected = recorded.get(name)
            if not same(self.filled(expected), answer.headers.get(name)):
                yield f"{name} {answer.headers.get(name)!r}, not {expected!r}"
        kind = (answer.headers.get("content-type") or "").split(";")[0]
        if "content-type" in recorded and kind != recorded["content-type"]:
            yield f"content-type {kind!r}, not {recorded['content-type']!r}"

    def contract_differences(
        self, contract: dict[str, Any], answer: Answer
    ) -> Iterator[str]:
        for key, expected in contract.items():
            if key not in answer.json:
                yield f"no key {key} in {answer}"
            elif not same(self.filled(expected), answer.json[key], key):
                yield f"{key} differs from {expected} in {answer}"

    def body_differences(
        self, recorded: Any, answer: Answer, optional: frozenset[str]
    ) -> Iterator[str]:
        if recorded is None:
            if answer.body:
                yield f"a body where there is none: {answer}"
        elif isinstance(recorded, str):
            title = re.search("<title>(.*)</title>", recorded)
            assert title, "The only texts recorded are errors in XML."
            if title[0] not in answer.body.decode():
                yield f"no {title[0]} in {answer}"
        elif answer.status >= 400:
            yield from error_form(answer)
            if answer.json.get("title") != recorded["title"]:
                yield f"title is not {recorded['title']!r}: {answer}"
        elif not same(
            without(self.filled(recorded), optional), without(answer.json, optional)
        ):
            yield f"not {json.dumps(self.filled(recorded))}: {answer}"

    def filled(self, recorded: Any) -> Any:
        return json.loads(self.fill(json.dumps(recorded)))


def without(document: Any, keys: frozenset[str]) -> Any:
    if not isinstance(document, dict):
        return document
    return {key: value for key, value in document.items() if key not in keys}


def error_form(answer: Answer) -> Iterator[str]:
    if not isinstance(answer.json.get("title"), str):
        yield f"no title in {answer}"
    if not isinstance(answer.json.get("description", ""), str):
        yield f"description is no text in {answer}"


def same(expected: Any, actual: Any, key: str = "") -> bool:
    """Compare as the recordings ask: placeholders match, queries are sets."""
    match expected:
        case "{age}":
            return key == "age" and type(actual) is int and actual >= 0
        case "{timestamp}":
            return isinstance(actual, str) and bool(TIMESTAMP.fullmatch(actual))
        case "{number}":
            return type(actual) in (int, float)
        case "{text}":
            return isinstance(actual, str)
        case "{any_id}":
            return actual is None or isinstance(actual, str)
        case dict():
            return (
                isinstance(actual, dict)
                and expected.keys() == actual.keys()
                and all(same(value, actual[k], k) for k, value in expected.items())
            )
        case list():
            return (
                isinstance(actual, list)
                and len(expected) == len(actual)
                and all(map(same, expected, actual))
            )
        case str() if expected.startswith("/") and isinstance(actual, str):
            return split(expected) == split(actual)
        case _:
            return type(expected) is type(actual) and bool(expected == actual)


def split(href: str) -> tuple[str, dict[str, list[str]]]:
    """Return a path and its query as a set of parameters."""
    path, _, query = href.partition("?")
    if "{" in path:  # A template of the home document.
        return href, {}
    return path, parse_qs(query, keep_blank_values=True, strict_parsing=bool(query))

# SPDX-License-Identifier: Apache-2.0
"""Random sequences of requests, most of them nearly right.

Whatever is sent: no 5xx, errors are JSON with a title and mostly a description, every
answer is as documented, and a request that is refused changes nothing.
Ids that earlier requests of a sequence brought are used by later ones, so that a good
part of the requests gets as far as the store.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api import documents as drawn
from tests.api.conformance import METHODS, CheckedApi, document, item
from tests.api.wire import PATCH_TYPE, Answer, quoted
from tests.pooled import Admin
from tests.servers import Server

SEQUENCES = 100
ADMIN_SEQUENCES = 40
LENGTH = 12

QUEUES = ["q", "a.b", "A_-0"]
FAR_ENOUGH = 0.3

raws = (
    st.binary(max_size=20)
    | drawn.values.map(lambda value: json.dumps(value).encode())
    | st.sampled_from([b"", b"{", b"[]", b"null", b'{"a": NaN}', b"[" * 2000])
)
odd_texts = st.sampled_from(
    [
        "",
        "x",
        "0",
        "-1",
        "21",
        "1e3",
        "true",
        "TRUE",
        "\x00",
        "é",
        "%",
        "a,b",
        "x" * 300,
    ]
)


@dataclass(frozen=True)
class Shape:
    """A route with what may be sent to it."""

    method: str
    path: str
    body: drawn.Json = field(default_factory=st.none)
    query: dict[str, drawn.Json] = field(default_factory=dict)
    kind: str = "application/json"


flags = drawn.often(st.sampled_from(["true", "false", "1"]), odd_texts)
limits = drawn.often(st.integers(1, 20).map(str), odd_texts)
pages = {"limit": limits, "marker": st.sampled_from(["{marker}", "q", "{message}"])}
ids = st.sampled_from(["{message}", "{message},{other}", "{other},{message},bogus"])

LIST = "/v2/queues/{queue}/subscriptions"

SHAPES = [
    Shape(
        "GET",
        "/v2/queues",
        query={**pages, "detailed": flags, "name": odd_texts, "with_count": flags}
        | {"a": odd_texts},
    ),
    Shape("GET", "/v2/queues/{queue}"),
    Shape("HEAD", "/v2/queues/{queue}"),
    Shape("PUT", "/v2/queues/{queue}", drawn.metadata),
    Shape("PATCH", "/v2/queues/{queue}", drawn.patches, kind=PATCH_TYPE),
    Shape("DELETE", "/v2/queues/{queue}"),
    Shape("GET", "/v2/queues/{queue}/stats"),
    Shape("POST", "/v2/queues/{queue}/purge", drawn.purges),
    Shape("POST", "/v2/queues/{queue}/share", drawn.shares),
    *[Shape("POST", "/v2/queues/{queue}/messages", drawn.posts)] * 4,
    Shape(
        "GET",
        "/v2/queues/{queue}/messages",
        query={**pages, "echo": flags, "include_claimed": flags}
        | {"include_delayed": flags},
    ),
    Shape("GET", "/v2/queues/{queue}/messages", query={"ids": ids}),
    Shape("DELETE", "/v2/queues/{queue}/messages", query={"ids": ids}),
    Shape("DELETE", "/v2/queues/{queue}/messages", query={"pop": limits}),
    Shape("GET", "/v2/queues/{queue}/messages/{message}"),
    Shape(
        "DELETE",
        "/v2/queues/{queue}/messages/{message}",
        query={"claim_id": st.sampled_from(["{claim}", "{claim}", "bogus"])},
    ),
    *[Shape("POST", "/v2/queues/{queue}/claims", drawn.claims, {"limit": limits})] * 2,
    Shape("GET", "/v2/queues/{queue}/claims/{claim}"),
    Shape("PATCH", "/v2/queues/{queue}/claims/{claim}", drawn.claims),
    Shape("DELETE", "/v2/queues/{queue}/claims/{claim}"),
    *[Shape("POST", f"{LIST}", drawn.subscriptions)] * 3,
    Shape("GET", f"{LIST}", query=pages | {"marker": st.just("{subscription}")}),
    Shape("GET", f"{LIST}/{{subscription}}"),
    Shape("PATCH", f"{LIST}/{{subscription}}", drawn.subscription_changes),
    Shape("DELETE", f"{LIST}/{{subscription}}"),
    Shape("PUT", f"{LIST}/{{subscription}}/confirm", drawn.confirmations),
    Shape("GET", f"{LIST}/{{subscription}}/deliveries", query=pages),
    Shape("POST", f"{LIST}/{{subscription}}/deliveries", drawn.replays),
    Shape("GET", "/v2/ping"),
    Shape("GET", "/"),
    Shape("GET", "/v2/"),
]


def shape_of(path: str) -> str:
    """Return a path or template with all its names in braces alike."""
    return re.sub(r"\{\w+\}", "{}", path)


DOCUMENTED = {
    (method.upper(), shape_of(path))
    for path in document()["paths"]
    for method in METHODS & set(item(path))
}
# What v1.1 and topics have too takes the same, and ignores what it does not know.
SHAPES += [
    shape
    for old, new in (("/v2", "/v1.1"), ("/v2/queues", "/v2/topics"))
    for shape in (replace(s, path=s.path.replace(old, new, 1)) for s in SHAPES)
    if shape not in SHAPES and (shape.method, shape_of(shape.path)) in DOCUMENTED
]

# What administrators may ask; a name is drawn as that of a queue is.
ADMIN_SHAPES = [
    shape
    for version in ("/v2", "/v1.1")
    for shape in (
        Shape("GET", f"{version}/pools", query={**pages, "detailed": flags}),
        Shape("GET", f"{version}/pools/{{queue}}", query={"detailed": flags}),
        *[Shape("PUT", f"{version}/pools/{{queue}}", drawn.pools)] * 3,
        Shape("PATCH", f"{version}/pools/{{queue}}", drawn.pool_changes),
        Shape("DELETE", f"{version}/pools/{{queue}}"),
        Shape("GET", f"{version}/flavors", query={**pages, "detailed": flags}),
        Shape("GET", f"{version}/flavors/{{queue}}", query={"detailed": flags}),
        *[Shape("PUT", f"{version}/flavors/{{queue}}", drawn.flavors)] * 2,
        Shape("PATCH", f"{version}/flavors/{{queue}}", drawn.flavors),
        Shape("DELETE", f"{version}/flavors/{{queue}}"),
    )
]


@dataclass(frozen=True)
class Sent:
    """One request of a sequence; ids are still names in braces."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    raw: bytes | None
    headers: dict[str, str | None]
    queue: str
    number: int


header_changes = drawn.often(
    st.just({}),
    st.sampled_from(
        [
            {"Client-ID": None},
            {"Client-ID": "x"},
            {"X-Project-ID": None},
            {"X-Project-ID": ""},
            {"Accept": "application/xml"},
            {"Accept": "text/html"},
            {"Content-Type": "application/x-www-form-urlencoded"},
            {"Content-Type": "text/plain"},
            {"URL-Signature": "x"},
            {"X-Roles": "admin"},
        ]
    ),
)
queue_names = drawn.often(
    st.sampled_from(QUEUES),
    st.sampled_from(["..", "a b", "é", "x" * 65, "a/b", "\x00"]),
)


@st.composite
def requests(draw: st.DrawFn, shapes: list[Shape]) -> Sent:
    shape = draw(st.sampled_from(shapes))
    query = draw(st.fixed_dictionaries({}, optional=shape.query))
    if "ids" in shape.query or "pop" in shape.query:
        query = draw(st.fixed_dictionaries(shape.query))
    broken = draw(drawn.often(st.just(False), st.just(True)))
    method = draw(
        drawn.often(st.just(shape.method), st.sampled_from(["POST", "PUT", "DELETE"]))
    )
    return Sent(
        method=method,
        path=shape.path,
        query=query,
        body=draw(shape.body),
        raw=draw(raws) if broken else None,
        headers={"Content-Type": shape.kind, **draw(header_changes)},
        queue=draw(queue_names),
        number=draw(st.integers(0, 5)),
    )


# How often requests of a version came to what.
Outcomes = Counter[tuple[str, str]]


class Run:
    """One sequence in one new project."""

    def __init__(self, api: CheckedApi, outcomes: Outcomes) -> None:
        self.api = api
        self.outcomes = outcomes
        names = ("message", "claim", "marker", "subscription")
        self.known: dict[str, list[str]] = {name: [] for name in names}
        self.stored = self.snapshot()

    def send(self, sent: Sent) -> None:
        answer = self.api.request(
            sent.method,
            self.fill(sent.path, sent),
            raw=self.body(sent),
            headers=sent.headers,
            **{name: self.fill(value, sent) for name, value in sent.query.items()},
        )
        self.outcomes[sent.path.split("/")[1], outcome(answer)] += 1
        self.check(sent, answer)
        self.learn(answer)

    def body(self, sent: Sent) -> bytes | None:
        if sent.raw is not None:
            return sent.raw
        return None if sent.body is None else json.dumps(sent.body).encode()

    def fill(self, text: str, sent: Sent) -> str:
        other = {"{other}": self.pick("message", sent.number + 1)}
        names = {f"{{{name}}}": self.pick(name, sent.number) for name in self.known}
        for name, value in (names | other | {"{queue}": quoted(sent.queue)}).items():
            text = text.replace(name, value)
        return text

    def pick(self, name: str, number: int) -> str:
        known = self.known[name]
        return known[-1 - number % len(known)] if known else f"no-{name}"

    def learn(self, answer: Answer) -> None:
        found = answer.json if answer.status in (200, 201) and answer.body else {}
        if "resources" in found and answer.status == 201:
            self.known["message"] += answer.ids
        elif "subscription_id" in found:
            self.known["subscription"].append(found["subscription_id"])
        elif found.get("links"):
            self.known["marker"].append(answer.next.rpartition("marker=")[2])
        if "/claims/" in answer.headers.get("Location", ""):
            self.known["claim"].append(answer.claim)

    def check(self, sent: Sent, answer: Answer) -> None:
        assert answer.status < 500, (sent, answer)
        if answer.status >= 400 and answer.body and answer.status != 406:
            assert_error_form(sent, answer)
        if sent.method in ("GET", "HEAD"):
            return
        stored = self.snapshot()
        if answer.status >= 400:
            assert stored == self.stored, (sent, answer)
        self.stored = stored

    def snapshot(self) -> Any:
        """Return what the project holds, without ages."""
        return [
            (each, self.contents(each["href"]))
            for kind in ("queues", "topics")
            for each in self.api.get(f"/v2/{kind}", detailed="true").json[kind]
        ]

    def contents(self, path: str) -> Any:
        query = {"echo": "true", "include_claimed": "true", "include_delayed": "true"}
        shown = self.api.get(f"{path}/messages", limit=20, **query).json["messages"]
        told = self.api.get(f"{path}/subscriptions", limit=20).json["subscriptions"]
        return [
            *((each["href"], each["ttl"], each["body"]) for each in shown),
            *(each | {"age": None} for each in told),
        ]


class AdminRun(Run):
    """One sequence of an administrator; pools are those that the last one left."""

    def snapshot(self) -> Any:
        assert isinstance(self.api, Admin)
        return self.api.pools(), self.api.flavors()


def assert_error_form(sent: Sent, answer: Answer) -> None:
    if answer.headers.get_content_type().endswith("/xml"):
        assert b"<title>" in answer.body
        return
    error = answer.json
    assert error["title"], (sent, answer)
    if answer.status not in (404, 405):
        assert error["description"], (sent, answer)


def outcome(answer: Answer) -> str:
    """Say how far the request got: to the store, or where it was refused."""
    if answer.status in (200, 201, 204) and answer.headers.get("Allow") is None:
        return "store"
    if answer.status == 404 and answer.body and b"404 Not Found" not in answer.body:
        return "store"
    if answer.status in (403, 409) or b'"Unable to ' in answer.body:
        return "store"
    return str(answer.status)


def outcomes_of(
    start: Callable[[Outcomes], Run], shapes: list[Shape], sequences: int
) -> Outcomes:
    """Send random sequences, each in a run of its own; return how far they got."""
    outcomes: Outcomes = Counter()

    @settings(max_examples=sequences, database=None)
    @given(sequence=st.lists(requests(shapes), min_size=LENGTH, max_size=LENGTH))
    def fuzz(sequence: list[Sent]) -> None:
        run = start(outcomes)
        for sent in sequence:
            run.send(sent)

    fuzz()
    assert outcomes.total() >= sequences * LENGTH
    return outcomes


def test_nothing_that_is_sent_breaks_the_service(server: Server) -> None:
    outcomes = outcomes_of(
        lambda outcomes: Run(CheckedApi(server.address), outcomes), SHAPES, SEQUENCES
    )

    total = outcomes.total()
    for version in ("v1.1", "v2"):
        of_version = sum(n for (each, _), n in outcomes.items() if each == version)
        assert of_version > 0.05 * total, outcomes
        assert outcomes[version, "store"] > FAR_ENOUGH * of_version, outcomes
        assert outcomes[version, "400"] > 0.05 * of_version, outcomes


def test_nothing_that_an_administrator_sends_breaks_the_service(
    servers: Callable[..., Server],
) -> None:
    server = servers({"DEFAULT": {"pooling": True}, "server": {"workers": 1}})

    outcomes = outcomes_of(
        lambda outcomes: AdminRun(Admin(server.address), outcomes),
        ADMIN_SHAPES,
        ADMIN_SEQUENCES,
    )
    Admin(server.address).clear()

    total = outcomes.total()
    for version in ("v1.1", "v2"):
        assert outcomes[version, "store"] > 0.15 * total, outcomes
        assert outcomes[version, "400"] > 0.05 * total, outcomes


def test_every_documented_operation_is_fuzzed_but_for_the_constant_ones() -> None:
    shapes = [*SHAPES, *ADMIN_SHAPES]
    fuzzed = {(shape.method, shape_of(shape.path)) for shape in shapes}
    constant = {"/v2", "/v1.1", "/healthz", "/readyz"}
    constant |= {"/v2/health", "/v1.1/health"}
    pings = {("HEAD", "/v2/ping"), ("HEAD", "/v1.1/ping")}

    for method, path in DOCUMENTED - fuzzed - pings:
        assert path in constant, (method, path)

# SPDX-License-Identifier: Apache-2.0
"""One project can neither see nor change what is another's, on any route.

The requests are taken from the table of routes. The stranger knows all names and ids
of the owner and goes by the owner's client id; it must be answered as if it had made
them up, in status, headers and body. A route without an entry in `REQUESTS` fails.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from falcon.routing import map_http_methods
from uuid_utils import uuid7

from tests.api.signed import Guest, shared
from tests.api.wire import PATCH_TYPE, Answer, Api, Headers
from tests.pooled import Admin
from tests.servers import Server
from tests.stores import on_each_store
from zaqar import conf, service
from zaqar.transport.wsgi.build import routes

SECRET = "nobody else's"


@dataclass(frozen=True)
class Request:
    """What is sent to a route; names in braces stand for what the owner has."""

    document: Any = None
    query: str = ""
    headers: dict[str, str | None] = field(default_factory=dict)


NEW_MESSAGE = {"messages": [{"body": "mine"}]}
CLAIM = {"ttl": 600, "grace": 600}
PATCH = [{"op": "add", "path": "/metadata/a", "value": "mine"}]
SUBSCRIBER = {"subscriber": "mailto:ada@example.org"}

LIST = "/queues/{queue_name}/subscriptions"

# For each method and route below the prefix of the version: what may be asked there.
REQUESTS: dict[tuple[str, str], list[Request]] = {
    ("GET", "/queues"): [Request(), Request(query="detailed=true&limit=20")],
    ("GET", "/queues/{queue_name}"): [Request()],
    ("HEAD", "/queues/{queue_name}"): [Request()],
    ("PUT", "/queues/{queue_name}"): [Request({"a": "mine"})],
    ("PATCH", "/queues/{queue_name}"): [
        Request(PATCH, headers={"Content-Type": PATCH_TYPE})
    ],
    ("DELETE", "/queues/{queue_name}"): [Request()],
    ("GET", "/queues/{queue_name}/stats"): [Request()],
    ("POST", "/queues/{queue_name}/purge"): [Request()],
    ("POST", "/queues/{queue_name}/share"): [Request({"methods": ["GET", "DELETE"]})],
    ("POST", "/queues/{queue_name}/messages"): [Request(NEW_MESSAGE)],
    ("GET", "/queues/{queue_name}/messages"): [
        Request(query="echo=true"),
        Request(query="echo=true&include_claimed=true&include_delayed=true"),
        Request(query="echo=true&include_claimed=true&marker={other_id}"),
        Request(query="ids={message_id},{other_id}"),
    ],
    ("DELETE", "/queues/{queue_name}/messages"): [
        Request(query="ids={message_id},{other_id}"),
        Request(query="ids={message_id}&claim_ids={claim_id}"),
        Request(query="pop=20"),
    ],
    ("GET", "/queues/{queue_name}/messages/{message_id}"): [Request()],
    ("DELETE", "/queues/{queue_name}/messages/{message_id}"): [
        Request(query="claim_id={claim_id}")
    ],
    ("POST", "/queues/{queue_name}/claims"): [Request(CLAIM)],
    ("GET", "/queues/{queue_name}/claims/{claim_id}"): [Request()],
    ("PATCH", "/queues/{queue_name}/claims/{claim_id}"): [Request(CLAIM)],
    ("DELETE", "/queues/{queue_name}/claims/{claim_id}"): [Request()],
    ("GET", f"{LIST}"): [Request(), Request(query="limit=20")],
    ("POST", f"{LIST}"): [
        Request(SUBSCRIBER),
        Request({"subscriber": "mailto:mine@example.org"}),
    ],
    ("GET", f"{LIST}/{{subscription_id}}"): [Request()],
    ("PATCH", f"{LIST}/{{subscription_id}}"): [
        Request({"ttl": 60}),
        Request({"subscriber": "mailto:mine@example.org", "options": {}}),
    ],
    ("DELETE", f"{LIST}/{{subscription_id}}"): [Request()],
    ("PUT", f"{LIST}/{{subscription_id}}/confirm"): [Request({"confirmed": True})],
    ("GET", f"{LIST}/{{subscription_id}}/deliveries"): [Request()],
    ("POST", f"{LIST}/{{subscription_id}}/deliveries"): [Request()],
}
# Topics have what queues have, but for these.
NO_TOPIC = ("/share", "/claims", "/claims/{claim_id}")
REQUESTS |= {
    (method, path.replace("/queues", "/topics", 1)): requests
    for (method, path), requests in REQUESTS.items()
    if not path.endswith(NO_TOPIC)
}
# Nothing of a topic is claimed.
REQUESTS["DELETE", "/topics/{queue_name}/messages/{message_id}"] = [Request()]
# The same for flavors, which need pools and an administrator.
# NOTE: PUT is not among them: pools bear the name of a flavor and not its project
# (contract), so administrators of two projects who use one name share its pools.
OF_FLAVORS: dict[tuple[str, str], list[Request]] = {
    ("GET", "/flavors"): [Request(), Request(query="detailed=true&limit=20")],
    ("GET", "/flavors/{flavor}"): [Request(), Request(query="detailed=true")],
    ("PATCH", "/flavors/{flavor}"): [
        Request({"pool_list": ["spare"], "capabilities": {"by": "stranger"}})
    ],
    ("DELETE", "/flavors/{flavor}"): [Request()],
}
SHARED = {("PUT", "/flavors/{flavor}")}
# Routes on which nothing of a project is to be had.
OF_NO_PROJECT = {"health", "pools", "pools/{pool}"}


Route = tuple[str, str, str]


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Route]:
    """Version, method and path of all that a project can ask for."""
    monkeypatch.setenv("HOME", str(tmp_path))
    config = tmp_path / "zaqar.conf"
    config.write_text("[DEFAULT]\nadmin_mode = true\npooling = true\n")
    built = service.build(conf.load(["--config-file", str(config)]))
    try:
        return [
            (f"/{version}", method, f"/{path}")
            for route in routes(built)
            if not route.anonymous
            for _, version, path in [route.path.split("/", 2)]
            if path not in OF_NO_PROJECT
            for method in map_http_methods(route.resource)
        ]
    finally:
        built.close()


def test_each_route_says_what_a_stranger_may_try(table: list[Route]) -> None:
    known = REQUESTS.keys() | OF_FLAVORS.keys() | SHARED
    assert {(method, path) for _, method, path in table} == known
    assert {version for version, _, _ in table} == {"/v1.1", "/v2"}


class Owner:
    """A project with a queue and a topic of three messages and a subscription each.

    One message of the queue is claimed.
    """

    def __init__(self, api: Api) -> None:
        self.api = api
        api.create("q", a=SECRET)
        api.put("/v2/topics/q", {"a": SECRET})
        self._names = {kind: self._fill(kind) for kind in ("queues", "topics")}
        claim = api.claim("q", 1).claim
        for names in self._names.values():
            names["claim_id"] = claim

    def _fill(self, kind: str) -> dict[str, str]:
        bodies = [{"body": f"{SECRET} {n}"} for n in (1, 2, 3)]
        ids = self.api.post(f"/v2/{kind}/q/messages", {"messages": bodies}).ids
        wish = {**SUBSCRIBER, "options": {"of": SECRET}}
        made = self.api.post(f"/v2/{kind}/q/subscriptions", wish)
        return {
            "queue_name": "q",
            "message_id": ids[0],
            "other_id": ids[1],
            "subscription_id": made.json["subscription_id"],
        }

    def names(self, route: Route) -> dict[str, str]:
        """Return what the names in a route stand for."""
        return self._names["topics" if route[2].startswith("/topics") else "queues"]

    def holdings(self) -> list[Any]:
        """Return all that the project has, without ages."""
        claim_id = self._names["queues"]["claim_id"]
        claim = self.api.get(f"/v2/queues/q/claims/{claim_id}").json
        return [
            *(self._holdings(kind) for kind in self._names),
            (claim.get("ttl"), len(claim.get("messages", []))),
            {k: v for k, v in self.api.stats("q").items() if isinstance(v, int)},
        ]

    def _holdings(self, kind: str) -> list[Any]:
        every = {"echo": "true", "include_claimed": "true", "include_delayed": "true"}
        path = f"/v2/{kind}/q"
        listed = self.api.get(f"{path}/messages", limit=20, **every).json["messages"]
        found = self.api.get(f"{path}/subscriptions", limit=20).json["subscriptions"]
        return [
            self.api.get(f"/v2/{kind}", detailed="true").json[kind],
            [(m["href"], m["ttl"], m["body"]) for m in listed],
            [each | {"age": None} for each in found],
        ]

    def is_shown_in(self, answer: Answer) -> bool:
        """Say whether an answer has anything of the project.

        An error may repeat the names that were sent.
        """
        ids = [id for of in self._names.values() for id in of.values() if id != "q"]
        words = [SECRET] if answer.status >= 400 else [SECRET, *ids]
        return any(word in answer.body.decode() for word in words)


def send(api: Api, route: Route, request: Request, names: dict[str, str]) -> Answer:
    version, method, path = route
    query = f"?{request.query}" if request.query else ""
    return api.request(
        method,
        version + (path + query).format_map(names),
        request.document,
        headers=request.headers,
    )


def made_up(names: dict[str, str]) -> dict[str, str]:
    """Return ids that look like these and belong to nobody."""
    return {what: str(uuid7()) if is_id(what) else name for what, name in names.items()}


def is_id(what: str) -> bool:
    return what.endswith("_id")


# What is another in each answer, and of the same length: ids, projects, signatures
# and when they end.
NEW = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32,}|\d+T[\d:]+")


def outcome(answer: Answer) -> tuple[int, list[tuple[str, str]], str]:
    """Return status, headers and body, without what is another in each answer."""
    headers = sorted(
        (name.lower(), NEW.sub("new", value))
        for name, value in answer.headers.items()
        if name.lower() != "date"
    )
    return answer.status, headers, NEW.sub("new", answer.body.decode())


def assert_strangers_find_nothing(
    owner: Owner, fresh: Callable[[], Api], table: list[Route], version: str
) -> None:
    """Send everything that a version knows; `fresh` makes clients of empty projects.

    Each of them is used up when the next is made.
    """
    before = owner.holdings()

    for route in table:
        names = owner.names(route)
        for request in REQUESTS.get(route[1:], ()) if route[0] == version else ():
            answer = send(fresh(), route, request, names)
            nothing = send(fresh(), route, request, made_up(names))
            namesake = fresh()
            namesake.create("q")
            namesake.send("q", "mine")
            namesake.post("/v2/topics/q/messages", NEW_MESSAGE)
            same_name = send(namesake, route, request, names)

            # Nobody may prove something here by not getting in.
            assert answer.status not in (401, 403), (route, request, answer)
            assert outcome(answer) == outcome(nothing), (route, request)
            for each in (answer, same_name):
                assert not owner.is_shown_in(each), (route, request, each)
            assert owner.holdings() == before, (route, request)


@on_each_store
@pytest.mark.parametrize("version", ["/v1.1", "/v2"])
def test_stranger_finds_nothing_and_changes_nothing(
    server: Server, table: list[Route], version: str
) -> None:
    owner = Owner(Api(server.address))

    assert_strangers_find_nothing(owner, owner.api.as_project, table, version)


@pytest.mark.parametrize("version", ["/v1.1", "/v2"])
def test_what_the_stranger_tries_does_something_for_the_owner(
    server: Server, table: list[Route], version: str
) -> None:
    """Otherwise the test above would prove nothing."""
    for route in table:
        for request in REQUESTS.get(route[1:], ()) if route[0] == version else ():
            owner = Owner(Api(server.address))
            before = owner.holdings()

            names = owner.names(route)
            answer = send(owner.api, route, request, names)
            nothing = send(owner.api.as_project(), route, request, names)

            assert answer.status < 300, (route, request, answer)
            assert (answer.status, answer.body) != (
                nothing.status,
                nothing.body,
            ) or owner.holdings() != before, (route, request, answer)


class SignedApi(Api):
    """A client with a signed URL for all that can be shared of a queue."""

    def __init__(self, owner: Api, queue: str) -> None:
        super().__init__(owner.address, project=owner.project, client=owner.client)
        wish = {
            "paths": ["messages", "claims", "subscriptions"],
            "methods": ["GET", "POST", "PUT", "PATCH", "DELETE"],
        }
        self.guest = Guest.of(owner, shared(owner, queue, **wish))

    def headers(self, changes: Headers) -> dict[str, str]:
        return super().headers(self.guest.headers | dict(changes))


def is_lent(route: Route) -> bool:
    version, method, path = route
    parts = ("messages", "claims", "subscriptions")
    below = tuple(f"/queues/{{queue_name}}/{part}" for part in parts)
    return version == "/v2" and method != "HEAD" and path.startswith(below)


@on_each_store
@pytest.mark.parametrize("version", ["/v1.1", "/v2"])
def test_guest_of_another_queue_or_project_finds_nothing_and_changes_nothing(
    server: Server, table: list[Route], version: str
) -> None:
    owner = Owner(Api(server.address))
    owner.api.create("r")
    before = owner.holdings()
    neighbour = SignedApi(owner.api, "r")

    for route in table:
        known = owner.names(route)
        for request in REQUESTS.get(route[1:], ()) if route[0] == version else ():
            answer, nothing = (
                send(SignedApi(owner.api.as_project(), "q"), route, request, names)
                for names in (known, made_up(known))
            )
            refused, elsewhere = (
                send(neighbour, route, request, {**known, "queue_name": queue})
                for queue in ("q", "r")
            )

            assert outcome(answer) == outcome(nothing), (route, request)
            assert refused.status == 404, (route, request, refused)
            if not is_lent(route):
                assert answer.status == elsewhere.status == 404, (route, request)
            for each in (answer, refused, elsewhere):
                assert not owner.is_shown_in(each), (route, request, each)
            assert owner.holdings() == before, (route, request)


@pytest.mark.parametrize("version", ["/v1.1", "/v2"])
def test_stranger_finds_no_flavor_and_changes_none(
    admin: Admin, table: list[Route], version: str
) -> None:
    admin.register("own")
    admin.register("spare")
    # Names of one length.
    known, unknown = "lavender", "marigold"
    admin.put(f"/v2/flavors/{known}", {"pool_list": ["own"]})
    admin.put(f"/v1.1/flavors/{known}", {"capabilities": {"of": SECRET}})
    before = [admin.flavors(), admin.get("/v1.1/flavors?detailed=true").json]

    for route in table:
        for request in OF_FLAVORS.get(route[1:], ()) if route[0] == version else ():
            answer, nothing = (
                send(admin.as_project(), route, request, {"flavor": name})
                for name in (known, unknown)
            )

            status, headers, body = outcome(answer)
            assert outcome(nothing) == (status, headers, body.replace(known, unknown))
            assert SECRET not in answer.body.decode()
            assert "own" not in answer.body.decode()
            after = [admin.flavors(), admin.get("/v1.1/flavors?detailed=true").json]
            assert after == before, (route, request)

# SPDX-License-Identifier: Apache-2.0
"""The real openstacksdk against a running server.

The service is found as in a cloud: a catalogue names an endpoint, and keystoneauth
discovers the version there. Only the token is made up.
"""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from keystoneauth1 import access, discover, session
from keystoneauth1.identity import base
from openstack import exceptions
from openstack.connection import Connection

from tests.servers import Server
from tests.stores import on_each_store

pytestmark = [
    on_each_store,
    # openstacksdk warns of what it will drop, and uses it itself.
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
]

ENDPOINTS = ["/", "", "/v2", "/v2/"]


class Catalogue(base.BaseIdentityPlugin):  # type: ignore[misc]
    """Gives a token of a project and a catalogue with one messaging endpoint."""

    def __init__(self, endpoint: str, project: str) -> None:
        super().__init__(auth_url=None)
        self.document = {
            "methods": ["password"],
            "user": {"id": "u", "name": "u", "domain": {"id": "d", "name": "d"}},
            "project": {"id": project, "name": "p", "domain": {"id": "d", "name": "d"}},
            "issued_at": "2020-01-01T00:00:00.000000Z",
            "expires_at": "2999-01-01T00:00:00.000000Z",
            "catalog": [
                {
                    "type": "messaging",
                    "name": "messaging",
                    "id": "s",
                    "endpoints": [
                        {
                            "id": "e",
                            "interface": "public",
                            "region": "r",
                            "region_id": "r",
                            "url": endpoint,
                        }
                    ],
                }
            ],
        }

    def get_auth_ref(self, session: Any, **_: Any) -> Any:
        return access.create(body={"token": self.document}, auth_token="made up")

    def get_cache_id_elements(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def connect(server: Server) -> Callable[..., Any]:
    """Return a function that connects to an endpoint of the server in a project."""

    def make(path: str = "/", project: str | None = None) -> Any:
        auth = Catalogue(server.url + path, project or uuid.uuid4().hex)
        return Connection(session=session.Session(auth=auth)).message

    return make


@pytest.fixture
def message(connect: Callable[..., Any]) -> Any:
    return connect()


def post(message: Any, queue: str, *bodies: Any) -> list[str]:
    """Post bodies and return the ids of the messages."""
    documents = [{"body": body, "ttl": 300} for body in bodies]
    hrefs = message.post_message(queue, documents)
    return [href.rsplit("/", 1)[1] for href in hrefs]


# Discovery ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", ENDPOINTS)
def test_version_is_discovered_on_every_spelling_of_the_endpoint(
    server: Server, path: str
) -> None:
    anonymous = session.Session()

    found = discover.Discover(anonymous, server.url + path)

    [version] = [v for v in found.version_data() if v["version"] == (2, 0)]
    assert version["url"] == f"{server.url}/v2/"
    assert version["status"] == "CURRENT"


@pytest.mark.parametrize("path", ENDPOINTS)
def test_service_works_behind_every_spelling_of_its_endpoint(
    connect: Callable[..., Any], path: str
) -> None:
    message = connect(path)

    assert message.create_queue(name="q").name == "q"
    assert [queue.name for queue in message.queues()] == ["q"]
    assert message.get_endpoint_data().api_version == (2, 0)


# Queues ------------------------------------------------------------------------------


def test_queue_is_created_got_and_deleted(message: Any) -> None:
    created = message.create_queue(
        name="q", description="what", _default_message_ttl=100
    )
    assert created.name == "q"

    got = message.get_queue("q")
    assert got.description == "what"
    assert got.default_message_ttl == 100
    assert got.max_messages_post_size == 262144

    message.delete_queue("q", ignore_missing=False)
    assert list(message.queues()) == []


def test_absent_queue_can_be_deleted(message: Any) -> None:
    message.delete_queue("nobody", ignore_missing=False)


@pytest.mark.parametrize("query", [{}, {"limit": 1}, {"limit": 4}])
def test_all_queues_are_listed(message: Any, query: dict[str, int]) -> None:
    names = [f"q{n:02}" for n in range(12)]
    for name in names:
        message.create_queue(name=name)

    assert [queue.name for queue in message.queues(**query)] == names


def test_queues_are_listed_behind_a_marker(message: Any) -> None:
    for name in "abc":
        message.create_queue(name=name)

    assert [queue.name for queue in message.queues(marker="a")] == ["b", "c"]


# Messages ----------------------------------------------------------------------------


@pytest.mark.parametrize("body", [1, "text", {"a": [1, None]}, [], 1.5, "ü☃"])
def test_posted_message_comes_back(message: Any, body: Any) -> None:
    [name] = post(message, "q", body)

    got = message.get_message("q", name)

    assert got.id == name
    assert got.body == body
    assert got.ttl == 300
    assert got.age >= 0
    assert got.href == f"/v2/queues/q/messages/{name}"


@pytest.mark.parametrize("query", [{}, {"limit": 1}, {"limit": 7}])
def test_all_messages_are_listed_by_the_id_of_the_last_one(
    message: Any, query: dict[str, int]
) -> None:
    ids = post(message, "q", *range(25))

    listed = list(message.messages("q", **query))

    assert [each.id for each in listed] == ids
    assert [each.body for each in listed] == [*range(25)]


def test_messages_of_an_absent_queue_are_an_empty_list(message: Any) -> None:
    assert list(message.messages("nobody")) == []


def test_claimed_messages_are_listed_when_asked_for(message: Any) -> None:
    ids = post(message, "q", 1, 2)
    claim(message, limit=1)

    assert [each.id for each in message.messages("q")] == ids[1:]
    shown = message.messages("q", include_claimed=True, echo=True)
    assert [each.id for each in shown] == ids


def test_unknown_message_is_an_error(message: Any) -> None:
    message.create_queue(name="q")

    with pytest.raises(exceptions.NotFoundException):
        message.get_message("q", "bogus")


def test_message_is_deleted(message: Any) -> None:
    first, second = post(message, "q", 1, 2)

    message.delete_message("q", first, ignore_missing=False)
    message.delete_message("q", first, ignore_missing=False)

    assert [each.id for each in message.messages("q")] == [second]


# Claims ------------------------------------------------------------------------------


def claim(message: Any, **attributes: Any) -> str:
    """Claim messages of queue `q` and return the claim's id.

    NOTE: `create_claim` of openstacksdk 4.22 fails behind a good answer, with any
    server: it looks for the id in a field that it has overwritten before.
    """
    body = {"ttl": 100, "grace": 60, **attributes}
    headers = {"Client-ID": str(uuid.uuid4())}
    headers["X-PROJECT-ID"] = message.get_project_id()
    answer = message.post("/queues/q/claims", json=body, headers=headers)
    assert answer.status_code == 201
    location: str = answer.headers["Location"]
    return location.split("claims/")[1]


def test_claim_takes_the_limit_from_its_body(message: Any) -> None:
    post(message, "q", *range(5))

    got = message.get_claim("q", claim(message, limit=2))

    assert [each["body"] for each in got.messages] == [0, 1]
    assert got.ttl == 100


def test_claim_of_an_empty_queue_is_no_error(message: Any) -> None:
    message.create_queue(name="q")

    assert message.create_claim("q", ttl=60, grace=60).messages is None


def test_claimed_message_is_deleted_with_its_claim(message: Any) -> None:
    name, other = post(message, "q", 1, 2)
    held = claim(message)

    with pytest.raises(exceptions.ForbiddenException):
        message.delete_message("q", name, ignore_missing=False)
    message.delete_message("q", name, claim=held, ignore_missing=False)

    left = message.get_claim("q", held).messages
    assert [each["id"] for each in left] == [other]


def test_claim_is_renewed_and_released(message: Any) -> None:
    [name] = post(message, "q", 1)
    held = claim(message)

    message.update_claim("q", held, ttl=200, grace=70)
    assert message.get_claim("q", held).ttl == 200

    message.delete_claim("q", held, ignore_missing=False)
    message.delete_claim("q", held, ignore_missing=False)
    assert [each.id for each in message.messages("q")] == [name]
    with pytest.raises(exceptions.NotFoundException):
        message.get_claim("q", held)


def test_projects_do_not_see_each_other(connect: Callable[..., Any]) -> None:
    one, two = connect(), connect()
    post(one, "q", 1)

    assert list(two.queues()) == []
    assert list(two.messages("q")) == []


# Subscriptions -----------------------------------------------------------------------


HOOK = "https://192.0.43.8/hook"


def test_subscription_is_created_got_and_deleted(message: Any) -> None:
    made = message.create_subscription(
        "q", subscriber=HOOK, ttl=2**36, options={"a": 1}
    )

    got = message.get_subscription("q", made.subscription_id)
    assert (got.subscriber, got.ttl, got.source) == (HOOK, 2**36, "q")
    assert (got.options, got.age >= 0) == ({"a": 1}, True)

    message.delete_subscription("q", got.id, ignore_missing=False)
    with pytest.raises(exceptions.NotFoundException):
        message.get_subscription("q", got.id)


def test_all_subscriptions_are_listed(message: Any) -> None:
    known = [f"mailto:{n}@example.org" for n in range(7)]
    for subscriber in known:
        message.create_subscription("q", subscriber=subscriber, ttl=600)

    found = message.subscriptions("q", limit=3)

    assert [each.subscriber for each in found] == known


def test_subscriber_that_has_confirmed_is_a_conflict(
    message: Any, server: Server
) -> None:
    made = message.create_subscription("q", subscriber=HOOK)
    path = f"/queues/q/subscriptions/{made.subscription_id}/confirm"
    headers = {"Client-ID": str(uuid.uuid4()), "X-Project-ID": message.get_project_id()}
    answer = message.put(path, json={"confirmed": True}, headers=headers)
    assert answer.status_code == 204, answer.text

    with pytest.raises(exceptions.ConflictException):
        message.create_subscription("q", subscriber=HOOK)

# SPDX-License-Identifier: Apache-2.0
"""The real python-zaqarclient against a running server.

What the client offers on `/v2` is driven as its users do: Heat, Horizon, Mistral, aodh
and the `openstack messaging` commands call these methods.
"""

import uuid
from typing import Any

import pytest
from zaqarclient.queues import client as queues
from zaqarclient.transport import errors

from tests.servers import Server
from tests.stores import on_each_store

pytestmark = on_each_store

DEFAULTS = {
    "_max_messages_post_size": 262144,
    "_default_message_ttl": 3600,
    "_default_message_delay": 0,
    "_dead_letter_queue": None,
    "_dead_letter_queue_messages_ttl": None,
    "_max_claim_count": None,
    "_enable_encrypt_messages": False,
}


@pytest.fixture
def project() -> str:
    return uuid.uuid4().hex


def connect(server: Server, project: str) -> Any:
    options = {"backend": "noauth", "options": {"os_project_id": project}}
    return queues.Client(server.url, version=2, conf={"auth_opts": options})


@pytest.fixture
def client(server: Server, project: str) -> Any:
    return connect(server, project)


@pytest.fixture
def other(server: Server, project: str) -> Any:
    """Another client of the same project."""
    return connect(server, project)


# Service -----------------------------------------------------------------------------


def test_ping_says_that_the_service_is_there(client: Any) -> None:
    assert client.ping() is True


def test_home_document_is_got(client: Any) -> None:
    assert "rel/queues" in client.homedoc()["resources"]


def test_health_is_refused_without_the_admin_role(client: Any) -> None:
    with pytest.raises(errors.ForbiddenError):
        client.health()


# Queues ------------------------------------------------------------------------------


def test_queue_object_alone_creates_nothing(client: Any) -> None:
    client.queue("q")

    assert list(client.queues()[0]) == []


def test_queue_is_created_and_deleted(client: Any) -> None:
    queue = client.queue("q", force_create=True)
    assert [q.name for q in client.queues()[0]] == ["q"]

    queue.delete()
    queue.delete()

    assert list(client.queues()[0]) == []


def test_exists_tells_the_truth(client: Any) -> None:
    client.queue("q", force_create=True)

    assert client.queue("q").exists() is True
    assert client.queue("nobody").exists() is False


def test_queues_are_listed_in_pages(client: Any) -> None:
    names = [f"q{n:02}" for n in range(12)]
    for name in names:
        client.queue(name, force_create=True)

    first, _ = client.queues(limit=5)
    assert [q.name for q in first] == names[:5]
    everything, _ = client.queues(limit=5)
    assert [q.name for q in everything.stream()] == names
    behind, _ = client.queues(marker="q09")
    assert [q.name for q in behind] == names[10:]


def test_list_tells_details_and_count(client: Any) -> None:
    client.queue("q", force_create=True).metadata({"a": 1})

    found, count = client.queues(detailed=True, with_count=True)

    [queue] = found
    assert count == 1
    assert queue.href == "/v2/queues/q"
    assert queue.metadata_dict == DEFAULTS | {"a": 1}


def test_metadata_of_an_absent_queue_is_the_default(client: Any) -> None:
    assert client.queue("nobody").metadata() == DEFAULTS


def test_metadata_can_be_set_on_a_queue_that_was_never_created(client: Any) -> None:
    """Heat creates a queue with metadata like this."""
    assert client.queue("q").metadata({"a": 1}) == DEFAULTS | {"a": 1}


def test_metadata_is_replaced_as_a_whole(client: Any) -> None:
    queue = client.queue("q", force_create=True)
    queue.metadata({"a": 1, "b": 2, "_default_message_ttl": 100})

    # The client removes each key that it sees and was not given, also the reserved
    # keys that are shown but were never set.
    assert queue.metadata({"b": 3, "c": 4}) == DEFAULTS | {"b": 3, "c": 4}
    assert queue.metadata(force_reload=True) == DEFAULTS | {"b": 3, "c": 4}
    assert queue.metadata({}) == DEFAULTS


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("_max_messages_post_size", 1000),
        ("_default_message_ttl", 120),
        ("_default_message_delay", 5),
        ("_enable_encrypt_messages", False),
    ],
)
def test_reserved_metadata_is_set_over_its_default(
    client: Any, key: str, value: Any
) -> None:
    # NOTE: the client cannot set a key that is shown as null: it adds the key and
    # removes it again in one patch.
    queue = client.queue("q", force_create=True)

    assert queue.metadata({key: value}) == DEFAULTS | {key: value}


def test_bad_metadata_is_refused(client: Any) -> None:
    with pytest.raises(errors.MalformedRequest) as caught:
        client.queue("q").metadata({"_default_message_ttl": 1})

    assert "_default_message_ttl" in str(caught.value)


def test_stats_count(client: Any) -> None:
    queue = client.queue("q")
    assert queue.stats == {"messages": {"claimed": 0, "free": 0, "total": 0}}

    queue.post([{"body": n, "ttl": 60} for n in range(3)])
    queue.claim(ttl=60, grace=60, limit=1)

    stats = queue.stats["messages"]
    assert (stats["claimed"], stats["free"], stats["total"]) == (1, 2, 3)
    assert {"oldest", "newest"} <= stats.keys()


@pytest.mark.parametrize("types", [None, ["messages"], ["messages", "subscriptions"]])
def test_purge_empties_a_queue(client: Any, types: list[str] | None) -> None:
    queue = client.queue("q")
    queue.post([{"body": n} for n in range(3)])

    queue.purge(resource_types=types)

    assert queue.stats["messages"]["total"] == 0


# Messages ----------------------------------------------------------------------------


@pytest.mark.parametrize("body", [1, "text", None, {"a": [1, None]}, [], 1.5, "ü☃"])
def test_posted_message_comes_back(client: Any, body: Any) -> None:
    queue = client.queue("q")

    answer = queue.post({"body": body, "ttl": 300})

    [href] = answer["resources"]
    message = queue.message(href.rsplit("/", 1)[1])
    assert message.body == body
    assert message.ttl == 300
    assert message.href == href
    assert message.claim_id is None


def test_message_without_ttl_gets_the_default(client: Any) -> None:
    queue = client.queue("q")
    queue.post({"body": {"alarm": 1}})

    [message] = queue.messages(echo=True)

    assert message.ttl == 3600


def test_messages_are_listed_in_pages(client: Any) -> None:
    queue = client.queue("q")
    queue.post([{"body": n, "ttl": 60} for n in range(25)])

    assert [m.body for m in queue.messages(echo=True, limit=7)] == [*range(7)]
    streamed = queue.messages(echo=True, limit=7).stream()
    assert [m.body for m in streamed] == [*range(25)]


def test_listing_goes_on_behind_the_id_of_a_message(client: Any) -> None:
    queue = client.queue("q")
    queue.post([{"body": n, "ttl": 60} for n in range(5)])
    [*_, last] = queue.messages(echo=True, limit=2)

    behind = queue.messages(echo=True, marker=last.id)

    assert [m.body for m in behind] == [2, 3, 4]


def test_own_messages_are_hidden_unless_echoed(client: Any, other: Any) -> None:
    client.queue("q").post({"body": "mine"})
    other.queue("q").post({"body": "theirs"})

    assert [m.body for m in client.queue("q").messages()] == ["theirs"]
    both = client.queue("q").messages(echo=True)
    assert [m.body for m in both] == ["mine", "theirs"]


def test_claimed_messages_are_listed_when_asked_for(client: Any) -> None:
    queue = client.queue("q")
    queue.post([{"body": n} for n in range(2)])
    claim = queue.claim(limit=1)

    assert [m.body for m in queue.messages(echo=True)] == [1]
    shown = list(queue.messages(echo=True, include_claimed=True))
    assert [m.body for m in shown] == [0, 1]
    assert shown[0].claim_id == claim.id


def test_messages_are_got_and_deleted_by_their_ids(client: Any) -> None:
    queue = client.queue("q")
    hrefs = queue.post([{"body": n} for n in range(4)])["resources"]
    ids = [href.rsplit("/", 1)[1] for href in hrefs]

    assert [m.body for m in queue.messages(ids[2], ids[0])] == [2, 0]

    queue.delete_messages(ids[0], ids[1])
    assert [m.body for m in queue.messages(echo=True)] == [2, 3]


def test_message_is_deleted_by_itself(client: Any) -> None:
    queue = client.queue("q")
    queue.post([{"body": n} for n in range(2)])

    next(iter(queue.messages(echo=True))).delete()

    assert [m.body for m in queue.messages(echo=True)] == [1]


def test_unknown_message_is_an_error(client: Any) -> None:
    queue = client.queue("q", force_create=True)

    with pytest.raises(errors.ResourceNotFound):
        queue.message("bogus")
    with pytest.raises(errors.ResourceNotFound):
        queue.messages("bogus", "other")


def test_pop_takes_messages_until_none_is_left(client: Any) -> None:
    """Heat and os-collect-config call pop in a loop; empty is the normal case."""
    queue = client.queue("q")
    queue.post([{"body": n} for n in range(3)])

    assert [m.body for m in queue.pop(2)] == [0, 1]
    assert [m.body for m in queue.pop()] == [2]
    assert list(queue.pop()) == []
    assert list(client.queue("nobody").pop(5)) == []


def test_bad_post_is_refused_with_a_reason(client: Any) -> None:
    with pytest.raises(errors.MalformedRequest) as caught:
        client.queue("q").post({"body": 1, "ttl": 1})

    assert "ttl" in str(caught.value)


# Claims ------------------------------------------------------------------------------


def test_claim_hands_out_messages_with_its_id(client: Any) -> None:
    queue = client.queue("q")
    queue.post([{"body": n} for n in range(3)])

    claim = queue.claim(ttl=600, grace=60, limit=2)

    messages = list(claim)
    assert [m.body for m in messages] == [0, 1]
    assert {m.claim_id for m in messages} == {claim.id}
    assert claim.ttl == 600
    assert claim.age >= 0


def test_claim_without_arguments_has_the_defaults(client: Any) -> None:
    """The client sends null for ttl and grace then."""
    queue = client.queue("q")
    queue.post({"body": 1})

    claim = queue.claim()

    assert [m.body for m in claim] == [1]
    assert queue.claim(id=claim.id).ttl == 300


def test_claim_of_an_empty_queue_has_no_messages(client: Any) -> None:
    claim = client.queue("q").claim(ttl=60, grace=60)

    assert claim.id is None
    assert list(claim) == []


def test_claim_is_found_by_its_id(client: Any) -> None:
    queue = client.queue("q")
    queue.post([{"body": n} for n in range(2)])
    claim = queue.claim(ttl=100, grace=60)

    again = queue.claim(id=claim.id)

    assert [m.body for m in again] == [0, 1]
    assert again.ttl == 100


def test_claimed_messages_are_worked_off(client: Any) -> None:
    queue = client.queue("q")
    queue.post([{"body": n} for n in range(3)])

    claim = queue.claim(ttl=60, grace=60)
    for message in claim:
        message.delete()

    assert queue.stats["messages"]["total"] == 0
    with pytest.raises(errors.ResourceNotFound):
        list(queue.claim(id=claim.id))


def test_claimed_message_cannot_be_deleted_without_its_claim(client: Any) -> None:
    queue = client.queue("q")
    queue.post({"body": 1})
    [message] = queue.messages(echo=True)
    queue.claim()

    with pytest.raises(errors.ForbiddenError):
        message.delete()


def test_claim_is_renewed_and_released(client: Any) -> None:
    queue = client.queue("q")
    queue.post({"body": 1})
    claim = queue.claim(ttl=100, grace=60)

    claim.update(ttl=200, grace=70)
    assert queue.claim(id=claim.id).ttl == 200

    claim.delete()
    assert [m.body for m in queue.messages(echo=True)] == [1]
    with pytest.raises(errors.ResourceNotFound):
        list(queue.claim(id=claim.id))


def test_projects_do_not_see_each_other(server: Server, client: Any) -> None:
    client.queue("q").post({"body": 1})
    stranger = connect(server, uuid.uuid4().hex)

    assert list(stranger.queues()[0]) == []
    assert list(stranger.queue("q").messages(echo=True)) == []


# Subscriptions ------------------------------------------------------------------------


HOOK = "https://192.0.43.8/hook"


def test_subscription_is_created_and_got_at_once(client: Any) -> None:
    made = client.subscription(
        "q", subscriber=HOOK, ttl=600, options={"post_data": '"$zaqar_message$"'}
    )

    got = client.subscription("q", id=made.id)
    assert (got.subscriber, got.ttl) == (HOOK, 600)
    assert got.options == {"post_data": '"$zaqar_message$"'}
    assert (got.confirmed, got.age >= 0) == (False, True)


def test_heat_subscribes_for_ever_and_without_options(client: Any) -> None:
    made = client.subscription("q", subscriber=HOOK, ttl=220367260800, options=None)

    assert (made.ttl, made.options) == (220367260800, {})


def test_same_subscriber_gets_the_subscription_that_it_has(client: Any) -> None:
    """aodh subscribes with every alarm."""
    first = client.subscription("q", subscriber=HOOK, ttl=600)

    assert client.subscription("q", subscriber=HOOK, ttl=600).id == first.id


def test_subscriptions_are_listed_in_pages(client: Any) -> None:
    known = [f"mailto:{n}@example.org" for n in range(5)]
    for subscriber in known:
        client.subscription("q", subscriber=subscriber, ttl=600)

    assert [s.subscriber for s in client.subscriptions("q", limit=2)] == known[:2]
    everything = client.subscriptions("q", limit=2).stream()
    assert [s.subscriber for s in everything] == known
    assert list(client.subscriptions("nobody")) == []


def test_subscription_is_updated_and_deleted(client: Any) -> None:
    made = client.subscription("q", subscriber=HOOK, ttl=600, options={"a": 1})

    made.update({"subscriber": None, "ttl": 120, "options": None})
    got = client.subscription("q", id=made.id)
    assert (got.subscriber, got.ttl, got.options) == (HOOK, 120, {"a": 1})

    got.delete()
    got.delete()
    with pytest.raises(errors.ResourceNotFound):
        client.subscription("q", id=made.id)


def test_bad_subscription_is_refused_with_a_reason(client: Any) -> None:
    with pytest.raises(errors.MalformedRequest) as caught:
        client.subscription("q", subscriber="ftp://example.org/", ttl=600)

    assert "subscriber" in str(caught.value)


@pytest.mark.parametrize(
    ("types", "left"), [(None, 0), (["messages"], 1), (["subscriptions"], 0)]
)
def test_purge_removes_subscriptions_where_asked(
    client: Any, types: list[str] | None, left: int
) -> None:
    client.subscription("q", subscriber=HOOK, ttl=600)

    client.queue("q").purge(resource_types=types)

    assert len(list(client.subscriptions("q"))) == left


# Signed URLs --------------------------------------------------------------------------


def guest_of(server: Server, signed: Any, **changes: Any) -> Any:
    """Connect with what a signed URL says, and nothing else."""
    options = {**signed, "os_project_id": signed["project"], **changes}
    auth = {"backend": "signed-url", "options": options}
    return queues.Client(server.url, version=2, conf={"auth_opts": auth})


def test_guest_with_a_signed_url_works_on_the_queue(
    server: Server, client: Any
) -> None:
    signed = client.queue("q", auto_create=False).signed_url(
        paths=["messages", "claims"],
        methods=["GET", "POST", "PATCH", "DELETE"],
        ttl_seconds=60,
    )
    queue = guest_of(server, signed).queue("q", auto_create=False)

    queue.post([{"body": n, "ttl": 300} for n in range(4)])
    listed = [message.body for message in queue.messages(echo=True)]
    popped = [message.body for message in queue.pop(count=1)]
    claim = queue.claim(ttl=60, grace=60, limit=1)
    [claimed] = list(claim)
    claim.update(ttl=120, grace=60)
    claimed.delete()

    assert (listed, popped, claimed.body) == ([0, 1, 2, 3], [0], 1)
    assert client.queue("q").stats["messages"]["total"] == 2


def test_signed_url_of_a_reader_is_good_for_reading_only(
    server: Server, client: Any
) -> None:
    """Heat signs like this, without a time: the URL is good for a day."""
    client.queue("q").post([{"body": "hello", "ttl": 300}])
    signed = client.queue("q").signed_url()
    queue = guest_of(server, signed).queue("q", auto_create=False)

    assert signed["methods"] == ["GET"]
    assert [message.body for message in queue.messages(echo=True)] == ["hello"]
    for refused in (lambda: list(queue.pop()), queue.delete, lambda: queue.stats):
        with pytest.raises(errors.ResourceNotFound):
            refused()
    assert client.queue("q").stats["messages"]["total"] == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"os_project_id": "another"},
        {"expires": "2999-01-01T00:00:00"},
        {"methods": ["GET", "DELETE"]},
        {"signature": ""},
    ],
)
def test_changed_signed_url_opens_nothing(
    server: Server, client: Any, changes: dict[str, Any]
) -> None:
    signed = client.queue("q").signed_url()
    queue = guest_of(server, signed, **changes).queue("q", auto_create=False)

    with pytest.raises(errors.ResourceNotFound):
        list(queue.messages(echo=True))


def test_sharing_in_the_past_is_refused_with_a_reason(client: Any) -> None:
    with pytest.raises(errors.MalformedRequest, match="expires"):
        client.queue("q").signed_url(ttl_seconds=-60)

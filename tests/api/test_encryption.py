# SPDX-License-Identifier: Apache-2.0
"""Facts of queues that encrypt: clients do not see it, and stores see nothing else."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.api.conformance import CheckedApi
from tests.api.wire import (
    INVALID_BODY,
    INVALID_REQUEST,
    Answer,
    Api,
    assert_error,
)
from tests.pooled import Admin
from tests.servers import Server
from tests.stores import on_each_store, on_sqlite
from tests.test_encryption import cbc

FIRST, SECOND = "first" * 8, "second" * 8
KEYS = {"message_encryption_key": FIRST, "message_encryption_key_id": "2026-05"}
ROTATED = {
    "message_encryption_key": SECOND,
    "message_encryption_key_id": "2026-11",
    "message_encryption_previous_keys": f"2026-05:{FIRST}",
}
LOST = {"message_encryption_key": SECOND, "message_encryption_key_id": "2026-11"}
UNAVAILABLE = (503, "Service temporarily unavailable")
ENCRYPTS = "_enable_encrypt_messages"
BODIES = [
    {"a": [1, 2.50, None], "ü": "\u2028"},
    ["x", {}],
    "a text",
    "",
    7,
    True,
    None,
    "\x01" + "2026-05",
    "x" * 100_000,
]

Serve = Callable[..., Api]


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Options that let servers of one kind of store share it."""
    folder = tmp_path_factory.mktemp("encrypted")
    return {
        f"drivers:{kind}:sqlite": {"uri": f"sqlite:///{folder}/{kind}.db"}
        for kind in ("message_store", "management_store")
    }


@pytest.fixture
def serve(
    servers: Callable[..., Server], places: dict[str, dict[str, str]]
) -> Callable[..., Api]:
    """Return a function that gives a client of a server with these keys; the project
    and the store are always the same."""
    project = uuid4().hex

    def client(keys: dict[str, Any], **more: Any) -> Api:
        options = {**places, "transport": keys, **more}
        return CheckedApi(servers(options).address, project=project)

    return client


@pytest.fixture
def api(serve: Serve) -> Api:
    return serve(KEYS)


@pytest.fixture
def file(places: dict[str, dict[str, str]]) -> Path:
    """The file of the SQLite store."""
    uri = places["drivers:message_store:sqlite"]["uri"]
    return Path(uri.removeprefix("sqlite:///"))


def switch(api: Api, queue: str, on: bool) -> Answer:
    change = {"op": "add", "path": f"/metadata/{ENCRYPTS}", "value": on}
    return api.patch_queue(queue, change)


def every_reading(api: Api, queue: str, ids: list[str]) -> Iterator[tuple[str, Answer]]:
    """Read these messages in each way that shows bodies; they are gone afterwards."""
    path = f"{api.version}/queues/{queue}"
    yield "list", api.listing(queue)
    yield "ids", api.get(f"{path}/messages", ids=",".join(ids))
    claim = api.claim(queue)
    yield "claim", claim
    yield "claim again", api.get(f"{path}/claims/{claim.claim}")
    api.delete(f"{path}/claims/{claim.claim}")
    yield "pop", api.delete(f"{path}/messages", pop=20)


# What clients see ---------------------------------------------------------------------


@on_each_store
@pytest.mark.parametrize("version", ["/v2", "/v1.1"])
def test_each_reading_shows_what_was_posted(api: Api, version: str) -> None:
    api = api.in_version(version)
    api.in_version("/v2").create("q", **{ENCRYPTS: True})
    ids = api.send("q", *BODIES)

    for id, body in zip(ids, BODIES, strict=True):
        assert api.get(f"{version}/queues/q/messages/{id}").json["body"] == body
    for how, answer in every_reading(api, "q", ids):
        document = answer.json
        shown = document["messages"] if isinstance(document, dict) else document
        assert [each["body"] for each in shown] == BODIES, how
    assert api.in_version("/v2").stats("q")["total"] == 0


@on_each_store
def test_bodies_come_back_in_the_text_that_was_posted(api: Api) -> None:
    api.create("q", **{ENCRYPTS: True})
    text = '{"b" :1.50,  "a": "\\u00fc", "b": [ ]}'

    api.post("/v2/queues/q/messages", raw=f'{{"messages": [{{"body": {text} }}]}}')

    assert text.encode() in api.listing("q").body


@on_each_store
def test_switching_leaves_what_is_there_readable(api: Api) -> None:
    api.create("q")
    api.send("q", "plain")
    switch(api, "q", on=True)
    api.send("q", "sealed")
    switch(api, "q", on=False)
    api.send("q", "plain again")
    ids = api.listing("q").ids

    for _, answer in every_reading(api, "q", ids):
        assert answer.bodies == ["plain", "sealed", "plain again"]


@on_each_store
def test_dead_letters_are_read_wherever_they_have_come_to(api: Api) -> None:
    once = {"_max_claim_count": 1}
    api.create("q", **{ENCRYPTS: True}, _dead_letter_queue="second", **once)
    api.create("second", _dead_letter_queue="third", **once)
    api.create("third")
    api.send("q", "moved on")

    for queue in ("q", "second"):
        claim = api.claim(queue)
        assert claim.bodies == ["moved on"]
        api.delete(f"/v2/queues/{queue}/claims/{claim.claim}")
        assert api.claim(queue).status == 204

    [id] = api.listing("third").ids
    for how, answer in every_reading(api, "third", [id]):
        assert answer.bodies == ["moved on"], how


@pytest.mark.parametrize(
    "body",
    [
        "\x01\x072026-05\x01q" + "x" * 60,
        "gcm1:2026-05:q:AAAA",
        {"v": 1, "key": "2026-05", "nonce": "AAAA", "box": "AAAA"},
    ],
)
def test_what_looks_sealed_comes_back_as_it_was_posted(api: Api, body: Any) -> None:
    api.create("open")
    api.create("sealed", **{ENCRYPTS: True})
    for queue in ("open", "sealed"):
        for _, answer in every_reading(api, queue, api.send(queue, body)):
            assert answer.bodies == [body]


@on_sqlite
def test_a_sealed_body_that_is_posted_again_is_no_key_to_another(
    api: Api, file: Path
) -> None:
    api.create("q", **{ENCRYPTS: True})
    api.send("q", "mine")
    [stored] = stored_bodies(file, api.project)
    text = stored.decode("latin-1")

    stranger = api.as_project()
    stranger.send("q", text)

    assert stranger.listing("q").bodies == [text]


def test_sizes_are_those_of_what_was_posted(serve: Serve) -> None:
    api = serve(KEYS)
    document = {"messages": [{"body": "x" * 32}]}  # 60 bytes
    api.create("q", **{ENCRYPTS: True}, _max_messages_post_size=60)

    assert api.post("/v2/queues/q/messages", document).status == 201


def test_the_checksum_is_that_of_the_plain_body(serve: Serve) -> None:
    api = serve(KEYS, DEFAULT={"enable_checksum": True})
    api.create("q", **{ENCRYPTS: True})
    ids = api.send("q", "hello")

    for _, answer in every_reading(api, "q", ids):
        [message] = answer.json["messages"]
        assert message["checksum"] == "MD5:5deaee1c1332199e5b5bc7c5e4f7f0c2"


# What stores see ----------------------------------------------------------------------


def stored_bodies(file: Path, project: str) -> list[bytes]:
    with sqlite3.connect(file) as connection:
        rows = connection.execute(
            "SELECT body FROM messages JOIN queues ON queues.number = messages.queue"
            " WHERE project = ? ORDER BY seq",
            (project,),
        ).fetchall()
    connection.close()
    return [body for (body,) in rows]


@on_sqlite
@pytest.mark.parametrize("version", ["/v2", "/v1.1"])
def test_nothing_of_a_body_is_on_the_disk(api: Api, file: Path, version: str) -> None:
    secret, known = f"secret-{uuid4().hex}", f"known-{uuid4().hex}"
    api.create("q", **{ENCRYPTS: True})
    api.create("open")
    api = api.in_version(version)
    api.send("q", {"card": secret})
    api.send("open", {"card": known})

    disk = b"".join(path.read_bytes() for path in file.parent.glob(f"{file.name}*"))

    assert known.encode() in disk
    assert secret.encode() not in disk
    assert FIRST.encode() not in disk


@on_sqlite
def test_bodies_that_were_exchanged_are_shown_to_nobody(
    api: Api, file: Path, serve: Serve
) -> None:
    api.create("q", **{ENCRYPTS: True})
    one, two, _ = api.send("q", "one", "two", "three")
    with sqlite3.connect(file, timeout=20) as connection:
        bodies = dict(connection.execute("SELECT id, body FROM messages"))
        for id, body in ((one, bodies[two]), (two, bodies[one])):
            connection.execute("UPDATE messages SET body = ? WHERE id = ?", (body, id))
    connection.close()

    assert api.listing("q").bodies == ["three"]
    # Bad ones stand before the good one.
    assert api.listing("q", limit=1).bodies == ["three"]
    assert_error(api.get(f"/v2/queues/q/messages/{one}"), *UNAVAILABLE)
    assert api.claim("q", limit=1).bodies == ["three"]
    assert api.stats("q")["claimed"] == 3


@on_sqlite
@pytest.mark.parametrize("other", ["another project", "another queue"])
def test_a_body_from_elsewhere_is_not_shown(api: Api, file: Path, other: str) -> None:
    there = api.as_project() if other == "another project" else api
    name = "q" if other == "another project" else "p"
    api.create("q", **{ENCRYPTS: True})
    there.create(name, **{ENCRYPTS: True})
    [mine] = api.send("q", "mine")
    [theirs] = there.send(name, "theirs")
    with sqlite3.connect(file, timeout=20) as connection:
        # The whole message takes the place of the other one, with its id.
        [(body,)] = connection.execute(
            "SELECT body FROM messages WHERE id = ?", (theirs,)
        )
        connection.execute(
            "UPDATE messages SET body = ?, id = ? WHERE id = ?", (body, theirs, mine)
        )
    connection.close()

    assert api.listing("q").json["links"] == []
    assert_error(api.get(f"/v2/queues/q/messages/{theirs}"), *UNAVAILABLE)
    assert there.listing(name).bodies == ["theirs"]


# Keys ---------------------------------------------------------------------------------


@on_each_store
def test_after_a_rotation_old_messages_and_new_ones_are_read(serve: Serve) -> None:
    before, after = serve(KEYS), serve(ROTATED)
    before.create("q", **{ENCRYPTS: True})
    before.send("q", "old")
    ids = [*after.listing("q").ids, *after.send("q", "new")]

    for how, answer in every_reading(after, "q", ids):
        assert answer.bodies == ["old", "new"], how


@on_each_store
def test_without_their_key_messages_wait_and_keep_nobody_waiting(serve: Serve) -> None:
    before, lost = serve(KEYS), serve(LOST)
    before.create("q", **{ENCRYPTS: True})
    [old] = before.send("q", "old")
    path = "/v2/queues/q/messages"

    for answer in (
        lost.get(f"{path}/{old}"),
        lost.get(path, ids=old),
        lost.delete(path, pop=1),
    ):
        assert_error(answer, *UNAVAILABLE)
        assert int(answer.headers["Retry-After"]) > 0
        assert "q" in answer.description
    assert lost.listing("q").json == {"messages": [], "links": []}

    [new] = lost.send("q", "new")
    assert lost.listing("q", limit=1).bodies == ["new"]
    assert lost.get(path, ids=f"{old},{new}").bodies == ["new"]
    assert lost.delete(path, pop=1).bodies == ["new"]
    lost.send("q", "newer")
    claim = lost.claim("q", limit=1)
    assert claim.bodies == ["newer"]
    lost.delete(f"{path}/{claim.ids[0]}", claim_id=claim.claim)

    # Popping has not lost the one that could not be read.
    assert before.listing("q", include_claimed="true").bodies == ["old"]


@on_sqlite
def test_where_nothing_else_is_met_the_answer_is_no_empty_page(serve: Serve) -> None:
    before, lost = serve(KEYS), serve(LOST)
    before.create("q", **{ENCRYPTS: True})
    before.send("q", *range(21))

    for answer in (
        lost.listing("q", limit=1),
        lost.delete("/v2/queues/q/messages", pop=1),
        lost.claim("q", limit=1),
    ):
        assert_error(answer, *UNAVAILABLE)

    assert before.stats("q") | {"oldest": 0, "newest": 0} == {
        "claimed": 5,
        "free": 16,
        "total": 21,
        "oldest": 0,
        "newest": 0,
    }
    lost.send("q", "new")
    assert lost.listing("q", limit=2).bodies == ["new"]


@on_sqlite
def test_without_any_key_nothing_is_stored_in_plain_text(
    serve: Serve, file: Path
) -> None:
    before, without = serve(KEYS), serve({})
    before.create("q", **{ENCRYPTS: True})
    before.send("q", "old")

    answer = without.post("/v2/queues/q/messages", {"messages": [{"body": "x"}]})

    assert_error(answer, *UNAVAILABLE)
    assert "message_encryption_key" in answer.description
    assert without.listing("q").json["messages"] == []
    assert len(stored_bodies(file, before.project)) == 1
    # Its other metadata may change, and it may stop encrypting.
    color = {"op": "add", "path": "/metadata/color", "value": 1}
    assert without.patch_queue("q", color).status == 200
    assert switch(without, "q", on=False).status == 200
    without.send("q", "plain")
    assert without.listing("q").bodies == ["plain"]


@pytest.mark.parametrize("how", ["put", "patch", "patch of a queue that is there"])
def test_a_server_without_a_key_refuses_to_encrypt(serve: Serve, how: str) -> None:
    api = serve({})
    if how == "put":
        answer = api.put("/v2/queues/q", {ENCRYPTS: True})
    else:
        if how != "patch":
            api.create("q")
        answer = switch(api, "q", on=True)

    assert_error(answer, *(INVALID_REQUEST if how == "put" else INVALID_BODY))
    assert ENCRYPTS in answer.description
    assert "[transport] message_encryption_key" in answer.description
    assert not api.get("/v2/queues/q").json[ENCRYPTS]


def test_the_builtin_key_is_taken_where_it_is_allowed(serve: Serve) -> None:
    api = serve({"message_encryption_allow_builtin_key": True})
    api.create("q", **{ENCRYPTS: True})
    api.send("q", "hello")

    assert api.listing("q").bodies == ["hello"]


@on_sqlite
def test_the_log_tells_once_which_key_is_missing(
    servers: Callable[..., Server], serve: Serve, places: dict[str, dict[str, str]]
) -> None:
    before, lost = serve(KEYS), serve(LOST)
    before.create("q", **{ENCRYPTS: True})
    [id] = before.send("q", "not for the log")

    for _ in range(3):
        lost.listing("q")

    log = servers({**places, "transport": LOST}).output()
    [line] = [line for line in log.splitlines() if f"Message {id}" in line]
    assert "cannot be decrypted" in line
    assert "'2026-05'" in line
    assert "not for the log" not in log


# Pools --------------------------------------------------------------------------------


@pytest.fixture
def admin(servers: Callable[..., Server]) -> Iterator[Admin]:
    """An administrator of a server with two pools, each of a flavor of its own."""
    admin = Admin(servers({"DEFAULT": {"pooling": True}, "transport": KEYS}).address)
    for name in ("one", "two"):
        admin.register(name, flavor=name)
        answer = admin.put(f"/v2/flavors/{name}", {"pool_list": [name]})
        assert answer.status == 201, answer
    yield admin
    for name in ("one", "two"):
        admin.delete(f"/v2/flavors/{name}")
    admin.clear()


def test_a_dead_letter_is_read_in_another_pool(admin: Admin) -> None:
    dead = {"_dead_letter_queue": "dead", "_max_claim_count": 1}
    admin.create("q", **{ENCRYPTS: True}, _flavor="one", **dead)
    admin.create("dead", _flavor="two")
    admin.send("q", "moved on")
    claim = admin.claim("q")
    admin.delete(f"/v2/queues/q/claims/{claim.claim}")

    assert admin.claim("q").status == 204

    for how, answer in every_reading(admin, "dead", admin.listing("dead").ids):
        assert answer.bodies == ["moved on"], how


def test_a_queue_goes_on_encrypting_in_another_pool(
    admin: Admin, servers: Callable[..., Server]
) -> None:
    secret = f"secret-{uuid4().hex}"
    admin.create("q", **{ENCRYPTS: True}, _flavor="one")
    change = {"op": "replace", "path": "/metadata/_flavor", "value": "two"}
    assert admin.patch_queue("q", change).status == 200
    ids = admin.send("q", secret)

    folder = servers({"DEFAULT": {"pooling": True}, "transport": KEYS}).folder
    disk = b"".join(path.read_bytes() for path in (folder / "pools").iterdir())
    assert secret.encode() not in disk
    assert ids[0].encode() in disk
    for _, answer in every_reading(admin, "q", ids):
        assert answer.bodies == [secret]


# Migration ----------------------------------------------------------------------------


def test_texts_of_the_reference_are_read_where_that_is_asked_for(serve: Serve) -> None:
    old = json.loads(cbc('{"a": "ü"}'.encode(), FIRST))
    pickled = json.loads(cbc(b"\x80\x04}\x94.", FIRST))
    api, reader = serve(KEYS), serve(KEYS | {"message_encryption_read_cbc": True})
    api.create("q")
    ids = api.send("q", old, pickled, "plain")
    shown = [old, pickled, "plain"]

    # The queue does not encrypt: a client may have written it.
    assert reader.listing("q").bodies == shown
    switch(api, "q", on=True)
    ids += api.send("q", old)

    assert api.listing("q").bodies == [*shown, old]
    for how, answer in every_reading(reader, "q", ids):
        # What was sealed is what was posted.
        assert answer.bodies == ['{"a": "ü"}', pickled, "plain", old], how

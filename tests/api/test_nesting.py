# SPDX-License-Identifier: Apache-2.0
"""How deep JSON may be nested: 512, whatever reads it, and what is in it."""

from collections.abc import Callable

import pytest

from tests.api.wire import INVALID_BODY, PATCH_TYPE, Answer, Api, assert_error

LIMIT = 512
QUEUE = "/v2/queues/q"
POST = "/v2/queues/q/messages"

Send = Callable[[Api, int, str], Answer]


def nested(depth: int, core: str, opening: str = "[", closing: str = "]") -> str:
    return opening * depth + core + closing * depth


def put(api: Api, depth: int, core: str) -> Answer:
    return api.put(QUEUE, raw=f'{{"a": {nested(depth - 1, core)}}}')


def put_objects(api: Api, depth: int, core: str) -> Answer:
    return api.put(QUEUE, raw=nested(depth, core or "1", '{"":', "}"))


def patch(api: Api, depth: int, core: str) -> Answer:
    change = f'{{"op": "add", "path": "/metadata/a", "value": {nested(depth - 2, core)}'
    return api.patch(QUEUE, raw=f"[{change}}}]", headers={"Content-Type": PATCH_TYPE})


def post(api: Api, depth: int, core: str) -> Answer:
    raw = f'{{"messages": [{{"body": {nested(depth - 3, core)}}}]}}'
    return api.post(POST, raw=raw)


SENDS = [put, put_objects, patch, post]


@pytest.fixture(params=[False, True], ids=["plain", "checksum"])
def api(request: pytest.FixtureRequest, api_of: Callable[..., Api]) -> Api:
    """A client of a server without and with checksums."""
    return api_of(
        {
            "DEFAULT": {"enable_checksum": request.param},
            "server": {"workers": 1, "threads": 4},
        }
    )


def assert_readable(api: Api, queues: int) -> None:
    """Check that nothing that is stored breaks what reads it."""
    listed = api.get("/v2/queues", detailed="true")
    assert listed.status == 200
    assert len(listed.json["queues"]) == queues
    assert api.get(QUEUE).status == 200
    page = api.listing("q")
    assert page.status == 200
    for message in page.json["messages"]:
        assert api.get(message["href"]).status == 200
    assert api.stats("q")["total"] == len(page.json["messages"])
    claimed = api.claim("q")
    assert claimed.status in (201, 204)
    if claimed.status == 201:
        assert api.get(f"/v2/queues/q/claims/{claimed.claim}").status == 200


@pytest.mark.parametrize("send", SENDS)
@pytest.mark.parametrize("core", ["", "1234567890123456789"])
def test_512_deep_is_accepted(api: Api, send: Send, core: str) -> None:
    answer = send(api, LIMIT, core)

    assert answer.status in (200, 201), answer
    assert_readable(api, queues=1)


@pytest.mark.parametrize("send", SENDS)
@pytest.mark.parametrize("core", ["", "1234567890123456789"])
@pytest.mark.parametrize("depth", [513, 600, 1000, 1500, 12_000])
def test_more_is_refused_with_the_limit(
    api: Api, send: Send, core: str, depth: int
) -> None:
    answer = send(api, depth, core)

    assert_error(answer, *INVALID_BODY)
    assert str(LIMIT) in answer.description
    assert_readable(api, queues=0)


@pytest.mark.parametrize("depth", [60_000, 100_000])
def test_a_post_of_brackets_alone_is_refused_with_the_limit(
    api: Api, depth: int
) -> None:
    answer = post(api, depth, "")

    assert_error(answer, *INVALID_BODY)
    assert str(LIMIT) in answer.description
    assert_readable(api, queues=0)


def test_many_brackets_beside_each_other_are_not_deep(api: Api) -> None:
    body = "[" + ",".join(["[]"] * 2_000) + "]"

    assert api.post(POST, raw=f'{{"messages": [{{"body": {body}}}]}}').status == 201
    assert api.post(POST, {"messages": [{"body": "[{" * 1_000}]}).status == 201

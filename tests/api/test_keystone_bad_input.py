# SPDX-License-Identifier: Apache-2.0
"""The bad input of the other tests, from clients with real tokens of Keystone.

The tests are the same: those here have another client. A few routes and headers that
mean something else behind Keystone have tests of their own.
"""

import inspect
from collections.abc import Callable, Iterator

import pytest

from tests.api import test_bad_input, test_json
from tests.api.bearer import Bearer
from tests.api.test_fuzz import FAR_ENOUGH, SHAPES, Run, outcomes_of
from tests.api.test_headers import FAILURES, HEADER_FAILURES, NAMED
from tests.api.wire import Api, assert_error
from tests.keystone_servers import KeystoneServer
from tests.servers import Server, merge

SEQUENCES = 10

# Those that start a server by themselves have nothing to do with who asks.
TESTS = {
    name: test
    for module in (test_bad_input, test_json)
    for name, test in inspect.getmembers(module, inspect.isfunction)
    if name.startswith("test_") and "api" in inspect.signature(test).parameters
}
globals().update(TESTS)


@pytest.fixture(scope="module")
def guarded(servers: Callable[..., Server], keystone: KeystoneServer) -> Server:
    workers = {"server": {"workers": 2, "threads": 4}}
    return servers(merge(keystone.options(), workers))


@pytest.fixture(scope="module")
def token(keystone: KeystoneServer) -> str:
    return keystone.token("blue-member", "blue")


@pytest.fixture
def api(guarded: Server, token: str) -> Iterator[Api]:
    """A client in a project that has nothing yet."""
    api = Bearer(guarded.address, token=token)
    yield api
    api.cleared()


def test_random_requests_with_a_token_do_not_break_the_service(api: Bearer) -> None:
    outcomes = outcomes_of(
        lambda outcomes: Run(api.cleared(), outcomes), SHAPES, SEQUENCES
    )

    total = outcomes.total()
    for kind, least in (("store", FAR_ENOUGH), ("400", 0.05)):
        got = sum(outcomes[version, kind] for version in ("v1.1", "v2"))
        assert got > least * total, outcomes


@pytest.mark.parametrize(("method", "path"), NAMED)
def test_client_id_is_checked_and_the_project_of_a_client_ignored(
    api: Api, method: str, path: str
) -> None:
    for headers, title in HEADER_FAILURES:
        answer = api.request(method, path, headers=headers)

        if "Client-ID" not in headers:
            assert title.encode() not in answer.body
        elif method == "HEAD":
            assert answer.status == 400
        else:
            assert_error(answer, 400, title)


@pytest.mark.parametrize("token", [None, "garbage"])
def test_no_token_is_the_first_failure(guarded: Server, token: str | None) -> None:
    nobody, headers = Bearer(guarded.address, token=token), {}
    for method, path, repaired, _ in FAILURES:
        headers |= repaired
        answer = nobody.request(method, path, raw=b"{", headers=headers)

        # A signature is the one thing that is looked at in the place of a token.
        assert answer.status == (404 if headers.get("URL-Signature") else 401), path

# SPDX-License-Identifier: Apache-2.0
"""Pages of other origins: what browsers ask, and what they let a page see."""

import subprocess
import sys
from collections.abc import Callable

import pytest
from oslo_config import cfg

from tests.api.wire import Answer, Api, assert_error
from zaqar.cors_settings import OPTIONS
from zaqar.transport.auth import Application, Authentication, Environ, StartResponse
from zaqar.transport.wsgi.cors import Cors
from zaqar.transport.wsgi.request_log import Refusals

pytest.importorskip("oslo_middleware", reason="oslo.middleware is not installed")

PAGE = "https://console.example:8443"
POST = "/v2/queues/q/messages"
ALLOWED = "Access-Control-Allow-Origin"


@pytest.fixture(params=["gunicorn", "granian"])
def api(api_of: Callable[..., Api], request: pytest.FixtureRequest) -> Api:
    if request.param == "granian":
        pytest.importorskip("granian")
    origins = f"{PAGE}, https://other.example"
    return api_of(
        {"cors": {"allowed_origin": origins}, "server": {"engine": request.param}}
    )


def preflight(api: Api, path: str = POST, **changes: str | None) -> Answer:
    """Ask as a browser does before a page posts JSON with a token."""
    headers: dict[str, str | None] = {
        "Accept": "*/*",
        "Access-Control-Request-Headers": "client-id,content-type,x-auth-token",
        "Access-Control-Request-Method": "POST",
        "Origin": PAGE,
        "Sec-Fetch-Mode": "cors",
        "Client-ID": None,
        "X-Project-ID": None,
    }
    given = {name.replace("_", "-"): value for name, value in changes.items()}
    return api.request("OPTIONS", path, headers={**headers, **given})


@pytest.mark.parametrize("path", [POST, "/v2/queues", "/v1.1/queues", "/", "/nowhere"])
def test_a_page_that_may_ask_is_told_so(api: Api, path: str) -> None:
    answer = preflight(api, path)

    assert answer.status == 200
    assert answer.headers[ALLOWED] == PAGE
    assert answer.headers["Access-Control-Allow-Methods"] == "POST"
    told = answer.headers["Access-Control-Allow-Headers"].lower().split(",")
    assert set(told) == {"client-id", "content-type", "x-auth-token"}
    assert answer.headers["Access-Control-Max-Age"] == "3600"
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize(
    "changes",
    [
        {"Origin": "https://evil.example"},
        {"Origin": PAGE + ".evil.example"},
        {"Origin": PAGE.upper()},
        {"Origin": "null"},
        {"Access_Control_Request_Method": "TRACE"},
        {"Access_Control_Request_Headers": "x-secret"},
    ],
)
def test_a_page_that_may_not_ask_is_told_nothing(
    api: Api, changes: dict[str, str | None]
) -> None:
    answer = preflight(api, **changes)

    assert answer.status == 200
    assert ALLOWED not in answer.headers


def test_a_page_may_see_answers_and_errors(api: Api) -> None:
    page = {"Origin": PAGE}

    posted = api.post(POST, {"messages": [{"body": "x" * 1000}]}, headers=page)
    listed = api.get(POST, headers=page, echo="true")
    missing = api.get("/v2/nowhere", headers=page)
    refused = api.get("/v2/queues", headers={**page, "Client-ID": None})

    assert [posted.status, listed.status] == [201, 200]
    assert listed.bodies == ["x" * 1000]
    assert missing.status == 404
    assert_error(refused, 400, "Missing header value")
    for answer in (posted, listed, missing, refused):
        assert answer.headers[ALLOWED] == PAGE
        assert "OpenStack-Request-ID" in answer.headers["Access-Control-Expose-Headers"]
        assert answer.headers["x-openstack-request-id"].startswith("req-")


def test_others_are_answered_as_ever(api: Api) -> None:
    plain, strange = (
        api.get("/v2/queues"),
        api.get("/v2/queues", headers={"Origin": "https://evil.example"}),
    )

    assert plain.status == strange.status == 200
    for answer in (plain, strange):
        assert not [name for name in answer.headers if "access-control" in name.lower()]


def group(**values: object) -> cfg.ConfigOpts.GroupAttr:
    config = cfg.ConfigOpts()
    config([], default_config_files=[], default_config_dirs=[])
    config.register_opts(OPTIONS, group="cors")
    for name, value in values.items():
        config.set_override(name, value, group="cors")
    return config.cors


class Nobody:
    """Verifies no token."""

    def identify(self, environ: Environ) -> Application | None:
        def refuse(environ: Environ, start_response: StartResponse) -> list[bytes]:
            start_response("401 Unauthorized", [("Content-Type", "application/json")])
            return [b"{}"]

        return refuse


def never(environ: Environ, start_response: StartResponse) -> list[bytes]:
    raise AssertionError("Nobody was let in.")


def asked(app: Application, **environ: str) -> tuple[str, dict[str, str]]:
    """Return status and headers."""
    seen: list[tuple[str, dict[str, str]]] = []
    given = {
        "PATH_INFO": "/v2/queues",
        "SERVER_NAME": "x",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        **environ,
    }
    parts = app(given, lambda status, headers, *_: seen.append((status, dict(headers))))
    b"".join(parts)
    return seen[0]


@pytest.fixture
def closed() -> Application:
    refused = Refusals(logged=False)
    return Cors(
        Authentication(never, Nobody(), [], refused), group(allowed_origin=[PAGE])
    )


def test_a_browser_needs_no_token_to_ask_whether_it_may_ask(
    closed: Application,
) -> None:
    status, headers = asked(
        closed,
        REQUEST_METHOD="OPTIONS",
        HTTP_ORIGIN=PAGE,
        HTTP_ACCESS_CONTROL_REQUEST_METHOD="GET",
    )

    assert status.startswith("200 ")
    assert headers[ALLOWED] == PAGE


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_page_without_a_token_reads_that_it_needs_one(
    closed: Application, method: str
) -> None:
    status, headers = asked(closed, REQUEST_METHOD=method, HTTP_ORIGIN=PAGE)

    assert status.startswith("401 ")
    assert headers[ALLOWED] == PAGE
    assert headers["x-openstack-request-id"].startswith("req-")


def test_any_page_may_be_allowed() -> None:
    app = Cors(never, group(allowed_origin=["*"]))

    _, headers = asked(
        app,
        REQUEST_METHOD="OPTIONS",
        HTTP_ORIGIN="https://any.example",
        HTTP_ACCESS_CONTROL_REQUEST_METHOD="PUT",
    )

    assert headers[ALLOWED] == "*"


def test_what_is_off_is_not_even_imported() -> None:
    code = (
        "import sys, zaqar.transport.wsgi.build, zaqar.conf; zaqar.conf.load([]);"
        "print([name for name in ('oslo_middleware', 'webob') if name in sys.modules])"
    )

    found = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )

    assert found.stdout == "[]\n"

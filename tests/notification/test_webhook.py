# SPDX-License-Identifier: Apache-2.0
"""Facts of webhooks: what is posted, what counts as delivered, and bad subscribers."""

import asyncio
import hashlib
import hmac
import json
import resource
import ssl
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.notification import arrange
from tests.notification.arrange import NOTIFICATION, OPEN, SHORT, sent, target
from tests.notification.sinks import Flood, Sink, answer, drip, hang, served
from tests.tls import Authority
from zaqar.errors import InvalidRequest
from zaqar.notification.senders import Outcome, check, opened
from zaqar.notification.senders.webhook import signature

TYPES = ("http", "https")
BRIEF = arrange.settings(allow_private_targets=True, delivery_timeout=SHORT)


def delivered(
    *answers: Any, options: dict[str, Any] | None = None, **changes: Any
) -> tuple[Outcome, Sink]:
    """Deliver once to a sink that answers so."""

    async def run() -> tuple[Outcome, Sink]:
        async with served(Sink(*answers)) as sink:
            [outcome] = await sent(target(sink.url, options), **changes)
            return outcome, sink

    return asyncio.run(run())


# What is posted ----------------------------------------------------------------------


def test_a_notification_is_one_post_with_its_json() -> None:
    outcome, sink = delivered(answer("204 No Content"))

    assert outcome.delivered and outcome.status == 204 and not outcome.error
    [request] = sink.requests
    assert request.line == "POST /hook HTTP/1.1"
    assert request.body == NOTIFICATION.document
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == f"127.0.0.1:{sink.port}"
    assert request.headers["zaqar-delivery-id"] == "0190f3c2-d1"
    assert request.headers["zaqar-attempt"] == "1"
    assert "zaqar-signature" not in request.headers
    assert "cookie" not in request.headers


def test_headers_of_the_options_are_laid_over_ours() -> None:
    headers = {"content-TYPE": "text/plain", "X-Mine": "ä b", "user-agent": "me"}

    _, sink = delivered(answer(), options={"post_headers": headers})

    names = [name.lower() for name, _ in sink.requests[0].fields]
    found = sink.requests[0].headers
    assert (found["content-type"], found["x-mine"]) == ("text/plain", "ä b")
    assert found["user-agent"] == "me"
    assert len(names) == len(set(names))


def test_a_template_has_the_notification_in_each_place() -> None:
    template = '{"a": "$zaqar_message$", "b": ["$zaqar_message$"], "c": "é"}'

    _, sink = delivered(answer(), options={"post_data": template})

    one = json.loads(NOTIFICATION.document)
    assert json.loads(sink.requests[0].body) == {"a": one, "b": [one], "c": "é"}


def test_a_template_that_comes_to_too_much_is_not_sent() -> None:
    options = {"post_data": '"$zaqar_message$"' * 3}
    limit = 3 * len(NOTIFICATION.document) - 1
    given = arrange.settings(allow_private_targets=True, max_post_data_size=limit)

    outcome, sink = delivered(answer(), options=options, given=given)

    assert not outcome.delivered and outcome.final
    assert str(limit) in outcome.error
    assert not sink.requests


def test_a_secret_signs_delivery_time_and_body() -> None:
    _, sink = delivered(answer(), options={"secret": "sesämé"})

    headers, body = sink.requests[0].headers, sink.requests[0].body
    signed = f"0190f3c2-d1.{headers['zaqar-timestamp']}.".encode() + body
    mac = hmac.new("sesämé".encode(), signed, hashlib.sha256)
    assert headers["zaqar-signature"] == f"sha256={mac.hexdigest()}"


def test_a_known_signature_stays_as_it_is() -> None:
    assert signature("s", "d", "1", b"{}") == (
        "sha256=" + hmac.new(b"s", b"d.1.{}", hashlib.sha256).hexdigest()
    )


def test_an_attempt_names_its_number_and_the_same_delivery() -> None:
    async def run() -> Sink:
        async with served(Sink(answer("500 Oops"), answer())) as sink:
            tries = (target(sink.url), target(sink.url, attempt=2))
            first, second = await sent(*tries)
            assert (first.delivered, second.delivered) == (False, True)
            return sink

    headers = [request.headers for request in asyncio.run(run()).requests]

    assert [each["zaqar-attempt"] for each in headers] == ["1", "2"]
    assert headers[0]["zaqar-delivery-id"] == headers[1]["zaqar-delivery-id"]


def test_cookies_are_not_kept_and_proxies_of_the_environment_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def run() -> Sink:
        async with served(Sink(answer("200 OK", b"", "Set-Cookie: a=b"))) as sink:
            outcomes = await sent(target(sink.url), target(sink.url))
            assert all(outcome.delivered for outcome in outcomes)
            return sink

    for request in asyncio.run(run()).requests:
        assert "cookie" not in request.headers


def test_connections_are_used_again() -> None:
    async def run() -> int:
        async with (
            served(Sink(answer("200 OK", b"thanks"))) as sink,
            opened(OPEN, None) as senders,
        ):
            for _ in range(5):
                assert (await senders.send(target(sink.url))).delivered
                # The rest of the answer is read beside what goes on.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            return sink.connections

    assert asyncio.run(run()) < 5


# What counts -------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "299 Fine"])
def test_2xx_is_delivered(status: str) -> None:
    outcome, _ = delivered(answer(status))

    assert outcome.delivered and outcome.status == int(status[:3])


@pytest.mark.parametrize(
    "status",
    ["301 Moved", "304 Same", "307 There", "400 Bad", "404 No", "408 Slow", "429 Busy"],
)
def test_3xx_and_4xx_are_final(status: str) -> None:
    outcome, sink = delivered(answer(status, b"", f"Location: {'/other'}"))

    assert (outcome.delivered, outcome.final) == (False, True)
    assert outcome.status == int(status[:3])
    assert len(sink.requests) == 1


@pytest.mark.parametrize("status", ["500 Oops", "503 Later", "599 Odd"])
def test_5xx_is_tried_again(status: str) -> None:
    outcome, _ = delivered(answer(status))

    assert (outcome.delivered, outcome.final) == (False, False)
    assert outcome.status == int(status[:3])


def test_a_redirect_to_a_denied_address_reaches_nobody() -> None:
    async def run() -> tuple[Outcome, Sink]:
        async with served(Sink(answer())) as inner:
            moved = answer("302 Found", b"", f"Location: {inner.url}")
            async with served(Sink(moved)) as sink:
                [outcome] = await sent(target(sink.url))
                return outcome, inner

    outcome, inner = asyncio.run(run())

    assert (outcome.final, outcome.status) == (True, 302)
    assert not inner.connections


def test_nobody_listening_is_tried_again() -> None:
    async def run() -> Outcome:
        async with served(Sink(answer())) as sink:
            url = sink.url
        return (await sent(target(url)))[0]

    outcome = asyncio.run(run())

    assert (outcome.delivered, outcome.final, outcome.status) == (False, False, None)
    assert "no connection" in outcome.error


def test_a_name_without_address_is_tried_again() -> None:
    def ask(host: str, port: int) -> list[str]:
        raise OSError("nobody knows it")

    [outcome] = asyncio.run(sent(target("http://nowhere.example/"), ask=ask))

    assert not outcome.final
    assert outcome.error == "The name of the host has no address."


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
        b"\x00" * 1000,
    ],
)
def test_garbage_is_tried_again(said: bytes) -> None:
    async def behave(reader: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(said)

    outcome, _ = delivered(behave, given=BRIEF)

    assert (outcome.delivered, outcome.final, outcome.status) == (False, False, None)
    assert outcome.error


@pytest.mark.parametrize(
    "uri", ["ftp://127.0.0.1/", "http://", "http://127.1/", "nothing", "http://[::1"]
)
def test_a_subscriber_that_cannot_be_called_is_final(uri: str) -> None:
    [outcome] = asyncio.run(sent(target(uri)))

    assert (outcome.delivered, outcome.final) == (False, True)


# Bad subscribers ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "behaviour",
    [
        hang,
        drip(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
        drip(b"", b"H"),
        drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["hanging", "dripping header", "dripping start", "endless 1xx"],
)
def test_who_never_ends_the_header_gets_one_time_out(behaviour: Any) -> None:
    outcome, _ = delivered(behaviour, given=BRIEF)

    assert (outcome.delivered, outcome.final, outcome.status) == (False, False, None)
    assert outcome.error


def test_a_hanging_subscriber_holds_up_nobody_else() -> None:
    async def run() -> list[Outcome]:
        async with (
            served(Sink(hang)) as bad,
            served(Sink(answer())) as good,
            opened(OPEN, None) as senders,
        ):
            stuck = [
                asyncio.create_task(senders.send(target(bad.url))) for _ in range(300)
            ]
            outcomes = [await senders.send(target(good.url)) for _ in range(20)]
            assert not any(task.done() for task in stuck)
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)
            return outcomes

    assert all(outcome.delivered for outcome in asyncio.run(run()))


def test_the_header_decides_and_a_dripping_body_is_hung_up_on() -> None:
    async def run() -> Outcome:
        body = drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x")
        async with served(Sink(body)) as sink, opened(OPEN, None) as senders:
            outcome = await senders.send(target(sink.url))
            await asyncio.wait_for(sink.abandoned.wait(), arrange.PATIENT)
            return outcome

    assert asyncio.run(run()).delivered


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n"
        b"Content-Encoding: gzip\r\n\r\n",
    ],
)
def test_of_a_huge_answer_little_is_taken(head: bytes) -> None:
    async def run() -> tuple[Outcome, int]:
        flood = Flood(head, 10_000_000_000)
        async with served(Sink(flood)) as sink, opened(OPEN, None) as senders:
            outcome = await senders.send(target(sink.url))
            await asyncio.wait_for(sink.abandoned.wait(), arrange.PATIENT)
            return outcome, flood.taken

    outcome, taken = asyncio.run(run())

    assert outcome.delivered
    # What the two systems hold in between is not ours to bound.
    assert taken < 50_000_000


def test_endless_headers_are_not_kept() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    flood = Flood(b"HTTP/1.1 200 OK\r\n", 10_000_000_000, b"X-A: b\r\n" * 8192)

    outcome, _ = delivered(flood)

    assert (outcome.delivered, outcome.final) == (False, False)
    assert flood.taken < 200_000_000
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100_000


# TLS ---------------------------------------------------------------------------------


def ask_here(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


def over_tls(tmp_path: Path, name: str, trusted: bool = True) -> tuple[Outcome, Sink]:
    """Deliver to https://hook.example, whose certificate is of `name`."""
    authority = Authority(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue(name))
    sink = Sink(answer())
    context.sni_callback = lambda _, server, __: sink.server_names.append(server)
    given = arrange.settings(
        allow_private_targets=True, ca_file=str(authority.path) if trusted else ""
    )

    async def run() -> Outcome:
        async with served(sink, context):
            url = f"https://hook.example:{sink.port}/hook"
            return (await sent(target(url), given=given, ask=ask_here))[0]

    return asyncio.run(run()), sink


def test_the_address_is_checked_and_the_name_kept_for_tls_and_host(
    tmp_path: Path,
) -> None:
    outcome, sink = over_tls(tmp_path, "hook.example")

    assert outcome.delivered, outcome.error
    assert sink.server_names == ["hook.example"]
    assert sink.requests[0].headers["host"] == f"hook.example:{sink.port}"


@pytest.mark.parametrize(
    ("name", "trusted"), [("other.example", True), ("hook.example", False)]
)
def test_a_certificate_that_does_not_prove_the_name_is_refused(
    tmp_path: Path, name: str, trusted: bool
) -> None:
    outcome, sink = over_tls(tmp_path, name, trusted)

    assert (outcome.delivered, outcome.final) == (False, False)
    assert "certificate" in outcome.error
    assert not sink.requests


# Options -----------------------------------------------------------------------------

URI = "http://127.0.0.1/"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "options must be an object"),
        ({"post_headers": []}, "options.post_headers must be an object"),
        ({"post_headers": {"a b": "c"}}, "no name of a header"),
        ({"post_headers": {"": "c"}}, "no name of a header"),
        ({"post_headers": {"é": "c"}}, "no name of a header"),
        ({"post_headers": {"a\r\nb": "c"}}, "no name of a header"),
        ({"post_headers": {"A": "b\r\nC: d"}}, "options.post_headers.A must be"),
        ({"post_headers": {"A": "b\x00"}}, "options.post_headers.A must be"),
        ({"post_headers": {"A": 1}}, "options.post_headers.A must be"),
        ({"post_headers": {"A": None}}, "options.post_headers.A must be"),
        ({"post_headers": {"A": "\ud800"}}, "options.post_headers.A must be"),
        ({"post_headers": {"A": "b" * 9000}}, "at most 8192"),
        ({"post_headers": {f"A{n}": "b" for n in range(51)}}, "at most 50"),
        *(
            ({"post_headers": {name: "x"}}, f"post_headers.{name} cannot be set")
            for name in (
                *("Host", "content-length", "Transfer-Encoding", "CONNECTION"),
                *("Keep-Alive", "TE", "Trailer", "Upgrade", "Expect"),
                *("Proxy-Authorization", "Zaqar-Signature", "zaqar-delivery-id"),
            )
        ),
        ({"post_data": {}}, "options.post_data must be a string"),
        ({"post_data": "\ud800"}, "options.post_data must be text"),
        ({"post_data": "x" * 1048577}, "at most 1048576 bytes"),
        ({"post_data": '"$zaqar_message$"' * 40_000}, "at most 1048576 bytes"),
        ({"secret": ""}, "options.secret"),
        ({"secret": 1}, "options.secret"),
        ({"secret": "x" * 257}, "options.secret"),
        ({"filter": {}}, "options.filter"),
        ({"_retry_policy": {"minimum_delay": -1}}, "_retry_policy.minimum_delay"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(options: Any, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        check(URI, options, OPEN, TYPES)


@pytest.mark.parametrize(
    "options",
    [
        None,
        {},
        {"anything": "else"},
        {"post_headers": None, "post_data": None, "secret": None, "filter": None},
        {"post_headers": {"X-Tab": "a\tb", "Authorization": "Bearer x"}},
        {"post_data": '{"env": "$zaqar_message$"}', "secret": "s"},
    ],
)
def test_options_that_can_be_are_accepted(options: Any) -> None:
    check(URI, options, OPEN, TYPES)


def test_a_user_in_the_uri_and_a_header_for_it_exclude_each_other() -> None:
    options = {"post_headers": {"authorization": "Bearer x"}}

    with pytest.raises(InvalidRequest, match="Authorization"):
        check("http://me:pw@127.0.0.1/", options, OPEN, TYPES)


@pytest.mark.parametrize("uri", ["HTTP://127.0.0.1/", "https://127.0.0.1"])
def test_case_of_a_scheme_means_nothing(uri: str) -> None:
    check(uri, None, OPEN, TYPES)


@pytest.mark.parametrize("uri", ["ftp://h/", "mailto:a@b.example", "", "h", "://h"])
def test_a_scheme_that_is_switched_off_or_unknown_is_refused(uri: str) -> None:
    with pytest.raises(InvalidRequest, match="scheme of subscriber must be one of"):
        check(uri, None, OPEN, TYPES)


def test_a_scheme_that_nobody_delivers_to_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="nothing delivers"):
        check("gopher://h/", None, OPEN, ("gopher",))


def test_options_that_were_stored_before_a_rule_fail_for_good() -> None:
    outcome, sink = delivered(answer(), options={"post_headers": {"Host": "x"}})

    assert outcome.final and "Host" in outcome.error
    assert not sink.requests


def test_the_check_that_is_documented_for_receivers_works() -> None:
    page = Path(__file__).parents[2] / "doc/source/user/notifications.rst"
    block = page.read_text().split(".. code-block:: python\n\n")[1].split("\nEach ")[0]
    names: dict[str, Any] = {}
    exec(dedent(block), names)
    is_genuine = names["is_genuine"]

    _, sink = delivered(answer(), options={"secret": "s"})

    body, got = sink.requests[0].body, sink.requests[0].headers
    headers = {name.title(): value for name, value in got.items()}
    assert is_genuine("s", headers, body)
    assert not is_genuine("t", headers, body)
    assert not is_genuine("s", headers, body + b" ")
    assert not is_genuine("s", headers | {"Zaqar-Delivery-Id": "other"}, body)
    assert not is_genuine("s", headers, body, int(headers["Zaqar-Timestamp"]) + 301)

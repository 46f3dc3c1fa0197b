# SPDX-License-Identifier: Apache-2.0
"""Hostile and broken requests: each gets a clear 4xx, and nothing is stored.

After each of them the server answers the next request as if nothing had happened.
"""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.api.wire import (
    INVALID_BODY,
    INVALID_REQUEST,
    Answer,
    Api,
    Connection,
    assert_error,
    quoted,
    request_bytes,
)
from tests.servers import ENGINE, Server

POST = "/v2/queues/q/messages"
BODY = b'{"messages": [{"body": 1}]}'


def assert_refused(answer: Answer) -> None:
    """Check a 4xx with title and description, whatever the title is."""
    assert 400 <= answer.status < 500, answer
    assert answer.headers.get_content_type() == "application/json", answer
    assert answer.title, answer
    assert answer.description, answer


def assert_nothing_stored(api: Api) -> None:
    assert api.queues() == []
    assert api.put("/v2/queues/alive").status == 201


def send(api: Api, data: bytes, *, finish: bool = False) -> Answer:
    with Connection(api.address) as connection:
        connection.send(data)
        if finish:
            connection.finish()
        return connection.answer()


# Names --------------------------------------------------------------------------------

NAMES = [
    "a%2Fb",
    "%2F",
    "%2e%2e%2fq",
    "a%00",
    "%00",
    "a%0A",
    "a%0D%0A",
    "%0A",
    "a%09b",
    "a%20",
    "%20a",
    "a%7F",
    "a%E2%80%8B",
    "a%C2%A0",
    "%FF",
    "%C3%28",
    "%ED%A0%80",
    "a%",
    "a%2",
    "a%zz",
    "a%252F",
    "a;b",
    "a'b",
    "a%22b",
    "a\\b",
    "a%3Cb%3E",
    "${a}",
    "a*",
    "a&b",
    "a=b",
    "a@b",
    "a!",
    "x" * 5_000,
]
LOOK_ALIKES = [
    "а",
    "ｑ",
    "ⅽ",
    "１",
    "٣",
    "a‐b",
    "a＿b",
    "a․b",
    "é",
    "e\u0301",
    "🐟",
    "\u212a",
]


@pytest.mark.parametrize("name", NAMES + [quoted(name) for name in LOOK_ALIKES])
@pytest.mark.parametrize(
    ("method", "below"),
    [("PUT", ""), ("GET", ""), ("POST", "/messages"), ("POST", "/claims")],
)
def test_bad_queue_name_is_refused(
    api: Api, method: str, below: str, name: str
) -> None:
    raw = BODY if below == "/messages" else None

    answer = api.request(method, f"/v2/queues/{name}{below}", raw=raw)

    if "%2f" in name.lower() and answer.status == 404:
        assert_error(answer, 404, "404 Not Found")
    else:
        assert_error(answer, 400, "Invalid queue identification")
        assert "64" in answer.description
    assert_nothing_stored(api)


@pytest.mark.parametrize("name", ["..", ".", "%2E%2E", "%2e"])
@pytest.mark.parametrize("below", ["", "/stats", "/messages"])
def test_dots_that_are_steps_in_a_path_are_no_names(
    api: Api, name: str, below: str
) -> None:
    answer = api.get(f"/v2/queues/{name}{below}")

    assert_error(answer, 400, "Invalid queue identification")


@pytest.mark.skipif(ENGINE != "gunicorn", reason="granian decodes the path itself")
@pytest.mark.parametrize(
    "path",
    [
        "/v2/queues/m%2Fstats",
        "/v2/queues/m%2fstats",
        "/v2/queues%2Fm",
        "/v2%2Fqueues",
        "/v2/queues/m/messages%2Fx?echo=true",
        "/v2%2Fping",
    ],
)
def test_an_encoded_slash_is_no_step_in_a_path(api: Api, path: str) -> None:
    api.send("m", 1)

    assert_error(api.get(path), 404, "404 Not Found")


def test_an_encoded_slash_in_a_query_is_a_character(api: Api) -> None:
    assert api.get("/v2/queues?marker=a%2Fb").status == 200


@pytest.mark.parametrize("path", ["/v2/queues/../queues", "/v2/../v2/queues"])
def test_dots_do_not_climb(api: Api, path: str) -> None:
    assert_error(api.get(path), 404, "404 Not Found")


@pytest.mark.parametrize(
    "path",
    ["/v2/queues/q/messages/..%2f..%2fother", "/v2/queues/q/messages/%00",
     "/v2/queues/q/messages/a%0Ab", "/v2/queues/q/claims/%FF",
     "/v2/queues/q/claims/a%2Fb", "/v2/queues/q/messages/' OR 1=1 --"],
)  # fmt: skip
def test_odd_ids_do_not_exist(api: Api, path: str) -> None:
    api.send("q", 1)

    assert api.get(path.replace(" ", "%20")).status == 404


@pytest.mark.parametrize("value", ["%00", "%FF", "%", "%zz", "'", "%0A", "ü", "\u202e"])
def test_odd_query_values_do_no_harm(api: Api, value: str) -> None:
    api.send("q", 1)
    odd = value if value.isascii() else quoted(value)

    for query in (f"marker={odd}", f"ids={odd}", f"{odd}={odd}", f"echo=true&{odd}"):
        assert api.get(f"{POST}?{query}").status in (200, 404)
    for query in (f"marker={odd}", f"name={odd}", f"{odd}={odd}", f"key={odd}"):
        assert api.get(f"/v2/queues?{query}").status == 200
    assert api.delete(f"{POST}?ids={odd}").status == 204
    assert api.delete(f"{POST}/x?claim_id={odd}").status == 204
    assert api.stats("q")["total"] == 1


@pytest.mark.parametrize("text", ['"\\ud800"', '"\\udc00\\ud800"', '{"\\ud800": 1}'])
def test_lone_surrogates_do_no_harm(api: Api, text: str) -> None:
    metadata = api.put("/v2/queues/q", raw=f'{{"a": {text}}}')
    posted = api.post(POST, raw=f'{{"messages": [{{"body": {text}}}]}}')

    assert metadata.status in (201, 400)
    assert posted.status in (201, 400)
    assert api.get("/v2/queues/q").status == 200
    assert api.listing("q").status == 200


# Documents ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 5, 13, len(BODY) - 1])
def test_truncated_document_is_refused(api: Api, size: int) -> None:
    assert_error(api.post(POST, raw=BODY[:size]), *INVALID_BODY)
    assert_nothing_stored(api)


def test_description_names_what_is_wrong(api: Api) -> None:
    def description(raw: str) -> str:
        return api.post(POST, raw=raw).description

    assert "messages" in description("{}")
    assert "body" in description('{"messages": [{}]}')
    assert "ttl" in description('{"messages": [{"body": 1, "ttl": "x"}]}')
    assert "1" in description('{"messages": [{"body": 1}, {"body": 1, "ttl": 1}]}')


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [("PUT", "/v2/queues/q", 65536), ("POST", POST, 262144)],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_body_over_the_limit_is_refused(
    api: Api, method: str, path: str, limit: int, chunked: bool
) -> None:
    raw = b"[" + b" " * (limit * 3) + b"]"
    headers = {"Transfer-Encoding": "chunked"} if chunked else {}

    answer = api.request(
        method, path, raw=iter([raw]) if chunked else raw, headers=headers
    )

    assert_error(answer, *INVALID_REQUEST)
    assert str(limit) in answer.description
    assert_nothing_stored(api)


@pytest.mark.parametrize(
    "path", ["/v2/queues/q/claims", "/v2/queues/q/purge", "/v2/queues/q/claims/c"]
)
def test_small_documents_have_a_limit_too(api: Api, path: str) -> None:
    method = "PATCH" if path.endswith("/c") else "POST"

    answer = api.request(method, path, raw=b"{" + b" " * 300_000 + b"}")

    assert_refused(answer)
    assert_nothing_stored(api)


def test_huge_content_length_is_refused_before_the_body_comes(api: Api) -> None:
    headers = api.headers({"Content-Length": str(10**12)})

    answer = send(api, request_bytes("POST", POST, headers, b"{"))

    assert_error(answer, *INVALID_REQUEST)
    assert "262144" in answer.description
    assert_nothing_stored(api)


# Headers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Big": "x" * 65536},
        {f"X-Header-{n}": "x" for n in range(1000)},
        {"Client-ID": "x" * 65536},
        {"X" * 65536: "x"},
    ],
    ids=["64 KiB value", "1000 headers", "64 KiB client id", "64 KiB name"],
)
def test_too_many_or_too_large_headers_are_refused(
    api: Api, headers: dict[str, str]
) -> None:
    data = request_bytes("PUT", "/v2/queues/q", api.headers(headers))

    assert_refused(send(api, data))
    assert_nothing_stored(api)


@pytest.mark.parametrize("size", [10_000, 100_000, 1_000_000])
def test_long_request_line_is_refused(api: Api, size: int) -> None:
    path = "/v2/queues?marker=" + "x" * size

    assert_refused(send(api, request_bytes("GET", path, api.headers({}))))
    assert_nothing_stored(api)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"GET",
        b"GET /",
        b"GET / HTTP/9.9",
        b"GET / FTP/1.1",
        b"G\x00T / HTTP/1.1",
        b"GET /\x00 HTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b"{} / HTTP/1.1",
        b"\x16\x03\x01\x02\x00\x01\x00",
        "GET /v2/queues/ü HTTP/1.1".encode(),
    ],
)
def test_broken_request_line_is_refused_or_the_connection_closed(
    api: Api, line: bytes
) -> None:
    with Connection(api.address) as connection:
        connection.send(line + b"\r\nHost: localhost\r\n\r\n")
        connection.finish()
        first = connection.stream.peek(1)
        if first:
            assert_refused(connection.answer())

    assert_nothing_stored(api)


@pytest.mark.parametrize(
    "header",
    [
        b"No colon",
        b": no name",
        b"Space : x",
        b"Na\x00me: x",
        b"Name: x\x00y",
        b"Na(me: x",
    ],
)
def test_broken_header_is_refused(api: Api, header: bytes) -> None:
    headers = request_bytes("PUT", "/v2/queues/q", api.headers({}))
    data = headers.removesuffix(b"\r\n") + header + b"\r\n\r\n"

    assert_refused(send(api, data))
    assert_nothing_stored(api)


# Framing ------------------------------------------------------------------------------


@pytest.mark.parametrize("length", ["-1", "x", "1.0", "0x10", "+5", "5,5", "1e3", "٣"])
def test_bad_content_length_is_refused(api: Api, length: str) -> None:
    data = request_bytes("POST", POST, api.headers({}))
    header = b"Content-Length: " + length.encode() + b"\r\n\r\n"

    assert_refused(send(api, data.removesuffix(b"\r\n") + header + BODY))
    assert_nothing_stored(api)


def test_two_content_lengths_are_refused(api: Api) -> None:
    data = request_bytes("POST", POST, api.headers({}))
    lengths = f"Content-Length: {len(BODY)}\r\nContent-Length: 5\r\n\r\n".encode()

    assert_refused(send(api, data.removesuffix(b"\r\n") + lengths + BODY))
    assert_nothing_stored(api)


def test_content_length_beside_chunks_is_refused(api: Api) -> None:
    headers = api.headers({"Content-Length": "5", "Transfer-Encoding": "chunked"})
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)

    assert_refused(send(api, request_bytes("POST", POST, headers, body)))
    assert_nothing_stored(api)


@pytest.mark.parametrize("coding", ["gzip", "x", "gzip, chunked", "chunked, gzip"])
def test_other_transfer_codings_are_refused(api: Api, coding: str) -> None:
    headers = api.headers({"Transfer-Encoding": coding})
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)

    answer = send(api, request_bytes("POST", POST, headers, body))

    assert 400 <= answer.status < 500 or answer.status == 501
    assert answer.title
    assert_nothing_stored(api)


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\n" + BODY + b"\r\n0\r\n\r\n",
        b"-5\r\n" + BODY + b"\r\n0\r\n\r\n",
        b"5\r\n" + BODY + b"\r\n0\r\n\r\n",
        b"fffffffffffffffffffffffff\r\n" + BODY + b"\r\n0\r\n\r\n",
        b"\r\n" + BODY + b"\r\n0\r\n\r\n",
        b"0x5\r\nabcde\r\n0\r\n\r\n",
    ],
)
def test_bad_chunk_framing_is_refused(api: Api, body: bytes) -> None:
    headers = api.headers({"Transfer-Encoding": "chunked"})

    answer = send(api, request_bytes("POST", POST, headers, body), finish=True)

    assert_refused(answer)
    assert_nothing_stored(api)


@pytest.mark.parametrize("sent", [0, 1, 10, len(BODY) - 1])
def test_half_sent_body_stores_nothing(api: Api, sent: int) -> None:
    headers = api.headers({"Content-Length": str(len(BODY))})

    with Connection(api.address) as connection:
        connection.send(request_bytes("POST", POST, headers, BODY[:sent]))
        connection.finish()
        if connection.stream.peek(1):
            assert_refused(connection.answer())

    assert_nothing_stored(api)


def test_half_sent_chunks_store_nothing(api: Api) -> None:
    headers = api.headers({"Transfer-Encoding": "chunked"})
    body = b"%x\r\n%s\r\n" % (len(BODY), BODY)

    with Connection(api.address) as connection:
        connection.send(request_bytes("POST", POST, headers, body))
        connection.finish()
        if connection.stream.peek(1):
            assert_refused(connection.answer())

    assert_nothing_stored(api)


def test_half_sent_headers_do_not_disturb_others(api: Api) -> None:
    with ExitStack() as stack:
        for _ in range(3):  # Fewer than the threads of one worker process.
            connection = stack.enter_context(Connection(api.address))
            connection.send(b"GET /v2/queues HTTP/1.1\r\nHost: loc")

        assert api.put("/v2/queues/q").status == 201
        assert api.queues() == ["q"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET /v2/queues HTTP/1.1\r\nHost: loc",
        b"POST /v2/queues/q/messages HTTP/1.1\r\nHost: localhost\r\n"
        b"Client-ID: 3381af92-2b9e-11e3-b191-71861300734c\r\n"
        b"X-Project-ID: p\r\nContent-Length: 100\r\n\r\n{",
    ],
    ids=["idle", "half a head", "half a body"],
)
def test_clients_that_say_nothing_do_not_keep_others_waiting(
    tmp_path: Path, data: bytes
) -> None:
    (tmp_path / "policy.yaml").write_text("{}")
    server = Server(tmp_path, {"server": {"workers": 1, "threads": 2}})
    server.wait_until_ready()
    api = Api(server.address)
    try:
        with ExitStack() as stack:
            for _ in range(4):
                stack.enter_context(Connection(server.address)).send(data)

            assert api.request("GET", "/v2/queues", patience=4).status == 200
    finally:
        server.stop()


def test_pipelined_requests_are_answered_in_order(api: Api) -> None:
    data = b""
    for n in range(10):
        body = b'{"messages": [{"body": %d}]}' % n
        headers = api.headers({"Content-Length": str(len(body))})
        data += request_bytes("POST", POST, headers, body)
    data += request_bytes("GET", f"{POST}?echo=true", api.headers({}))

    with Connection(api.address) as connection:
        connection.send(data)
        statuses = [connection.answer().status for _ in range(10)]
        listed = connection.answer()

    assert statuses == [201] * 10
    assert listed.bodies == [*range(10)]


def test_refused_body_is_not_read_as_the_next_request(api: Api) -> None:
    smuggled = request_bytes("PUT", "/v2/queues/smuggled", api.headers({}))
    headers = api.headers({"Content-Length": str(len(smuggled)), "Client-ID": "bad"})

    with Connection(api.address) as connection:
        connection.send(request_bytes("POST", POST, headers, smuggled))
        assert_refused(connection.answer())
        connection.send(request_bytes("GET", "/v2/queues", api.headers({})))
        connection.finish()
        while connection.stream.peek(1):
            assert connection.answer().status != 201

    assert_nothing_stored(api)


def test_connection_is_usable_after_a_refusal(api: Api) -> None:
    bad = b'{"messages": [{"body": 1, "ttl": 1}]}'

    with Connection(api.address) as connection:
        for _ in range(5):
            headers = api.headers({"Content-Length": str(len(bad))})
            connection.send(request_bytes("POST", POST, headers, bad))
            assert_error(connection.answer(), *INVALID_REQUEST)
            headers = api.headers({"Content-Length": str(len(BODY))})
            connection.send(request_bytes("POST", POST, headers, BODY))
            assert connection.answer().status == 201

    assert api.stats("q")["total"] == 5

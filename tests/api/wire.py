# SPDX-License-Identifier: Apache-2.0
"""A plain HTTP client for tests: sends what it is told, hides nothing.

Each request uses a connection of its own, so the requests of a test meet different
worker processes. Knows the identity headers and no other rule of the API.
"""

import http.client
import io
import json
import socket
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote, urlencode

Address = tuple[str, int]
Headers = Mapping[str, str | None]

PATCH_TYPE = "application/openstack-messaging-v2.0-json-patch"
CLIENT = "3381af92-2b9e-11e3-b191-71861300734c"
OTHER_CLIENT = "c4fcfa5f-52f5-4b0b-a4d4-7ba8cd2b2e3b"
SECONDS = 20


@dataclass(frozen=True)
class Answer:
    """What came back, as it came."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def title(self) -> str:
        title: str = self.json["title"]
        return title

    @property
    def description(self) -> str:
        description: str = self.json["description"]
        return description

    @property
    def bodies(self) -> list[Any]:
        """Return the bodies of the messages in this answer."""
        return [message["body"] for message in self.json["messages"]]

    @property
    def ids(self) -> list[str]:
        """Return the ids of messages that were posted, listed, claimed or popped."""
        document = self.json
        if "resources" in document:
            return [href.rsplit("/", 1)[1] for href in document["resources"]]
        return [message["id"] for message in document["messages"]]

    @property
    def claim(self) -> str:
        """Return the id of the claim that was made."""
        return self.headers["Location"].rsplit("/", 1)[1]

    @property
    def next(self) -> str:
        """Return the path of the next page."""
        [link] = self.json["links"]
        assert link["rel"] == "next"
        href: str = link["href"]
        return href

    def __str__(self) -> str:
        return f"{self.status} {self.body[:500]!r}"


class Api:
    """A client of one project; `as_client` gives another client of the project.

    `version` is the prefix of the paths that it makes itself.
    """

    def __init__(
        self,
        address: Address,
        *,
        project: str | None = None,
        client: str = CLIENT,
        version: str = "/v2",
    ) -> None:
        self.address = address
        self.project = project or uuid.uuid4().hex
        self.client = client
        self.version = version

    def as_client(self, client: str = OTHER_CLIENT) -> Self:
        return self._other(client=client)

    def as_project(self, project: str | None = None) -> Self:
        return self._other(project=project)

    def in_version(self, version: str) -> Self:
        return self._other(version=version)

    def _other(self, **changes: str | None) -> Self:
        same = {
            "project": self.project,
            "client": self.client,
            "version": self.version,
        }
        return type(self)(self.address, **{**same, **changes})  # type: ignore[arg-type]

    def request(
        self,
        method: str,
        path: str,
        document: Any = None,
        *,
        raw: bytes | str | Iterable[bytes] | None = None,
        headers: Headers | None = None,
        patience: float = SECONDS,
        **query: Any,
    ) -> Answer:
        """Send one request and return its answer.

        `document` is sent as JSON; `raw` as it is (an iterable in chunks). A header of
        None is left out. A query value that is a list is repeated.
        """
        if query:
            path += "?" + urlencode(query, doseq=True, safe=",")
        body = raw if document is None else json.dumps(document).encode()
        connection = http.client.HTTPConnection(*self.address, timeout=patience)
        try:
            connection.request(
                method,
                path,
                body.encode() if isinstance(body, str) else body,
                self.headers(headers or {}),
                encode_chunked=not (body is None or isinstance(body, bytes | str)),
            )
            return answer_of(connection.getresponse())
        finally:
            connection.close()

    def headers(self, changes: Headers) -> dict[str, str]:
        headers: dict[str, str | None] = {
            "Client-ID": self.client,
            "X-Project-ID": self.project,
        }
        given = {name.lower() for name in changes}
        kept = {k: v for k, v in headers.items() if k.lower() not in given}
        return {k: v for k, v in (kept | dict(changes)).items() if v is not None}

    def get(self, path: str, **more: Any) -> Answer:
        return self.request("GET", path, **more)

    def put(self, path: str, document: Any = None, **more: Any) -> Answer:
        return self.request("PUT", path, document, **more)

    def post(self, path: str, document: Any = None, **more: Any) -> Answer:
        return self.request("POST", path, document, **more)

    def delete(self, path: str, **more: Any) -> Answer:
        return self.request("DELETE", path, **more)

    def patch(self, path: str, document: Any = None, **more: Any) -> Answer:
        return self.request("PATCH", path, document, **more)

    def patch_queue(self, queue: str, *operations: Mapping[str, Any]) -> Answer:
        return self.patch(
            f"/v2/queues/{queue}",
            list(operations),
            headers={"Content-Type": PATCH_TYPE},
        )

    # What tests arrange again and again --------------------------------------------

    def create(self, queue: str, **metadata: Any) -> None:
        answer = self.put(f"{self.version}/queues/{queue}", metadata)
        assert answer.status == 201, answer

    def send(self, queue: str, *bodies: Any, **more: Any) -> list[str]:
        """Post messages with these bodies and return their ids."""
        answer = self.post(
            f"{self.version}/queues/{queue}/messages",
            {"messages": [{"body": body, **more} for body in bodies]},
        )
        assert answer.status == 201, answer
        return answer.ids

    def claim(self, queue: str, limit: int = 20, **claim: Any) -> Answer:
        return self.post(f"{self.version}/queues/{queue}/claims", claim, limit=limit)

    def listing(self, queue: str, **query: Any) -> Answer:
        """List messages, those that this client posted included."""
        return self.get(
            f"{self.version}/queues/{queue}/messages", **{"echo": "true", **query}
        )

    def stats(self, queue: str) -> dict[str, Any]:
        answer = self.get(f"{self.version}/queues/{queue}/stats")
        assert answer.status == 200, answer
        stats: dict[str, Any] = answer.json["messages"]
        return stats

    def queues(self) -> list[str]:
        """Return the names of the project's queues (of the first page)."""
        answer = self.get(f"{self.version}/queues", limit=20)
        assert answer.status == 200, answer
        return [queue["name"] for queue in answer.json["queues"]]


class Connection:
    """A bare TCP connection, for requests that no client would send."""

    def __init__(self, address: Address) -> None:
        self.socket = socket.create_connection(address, timeout=SECONDS)
        self.stream = self.socket.makefile("rb")

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def finish(self) -> None:
        """Tell the server that nothing more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)

    def answer(self, method: str = "GET") -> Answer:
        """Read one answer and leave the connection as it is."""
        response = http.client.HTTPResponse(Borrowed(self.stream), method=method)
        response.begin()
        return answer_of(response)

    def ended(self) -> bool:
        """Say whether the server has closed the connection."""
        try:
            return self.stream.read(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.stream.close()
        self.socket.close()


class Borrowed:
    """Lends a stream to `HTTPResponse`, which closes what it is given."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self.stream = stream

    def makefile(self, _mode: str) -> io.BufferedReader:
        return Kept(self.stream)  # type: ignore[return-value]


class Kept:
    """A stream that ignores `close`."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self.read, self.readline = stream.read, stream.readline
        self.readinto, self.read1 = stream.readinto, stream.read1
        self.peek = stream.peek

    def flush(self) -> None:
        """Nothing was written."""

    def close(self) -> None:
        """The connection closes it."""


def answer_of(response: http.client.HTTPResponse) -> Answer:
    return Answer(response.status, response.headers, response.read())


def request_bytes(
    method: str, path: str, headers: Mapping[str, str], body: bytes = b""
) -> bytes:
    """Return the bytes of a request, exactly as given."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def quoted(name: str) -> str:
    """Return a name percent-encoded for use as one part of a path."""
    return quote(name, safe="")


def assert_error(answer: Answer, status: int, title: str) -> None:
    """Check an error: status, title, its form and its headers."""
    assert (answer.status, answer.title) == (status, title), answer
    assert answer.headers.get_content_type() == "application/json"
    assert isinstance(answer.json.get("description", ""), str)


INVALID_REQUEST = (400, "Invalid API request")
INVALID_BODY = (400, "Invalid request body")
INVALID_PARAMETER = (400, "Invalid parameter")
NOT_FOUND = (404, "Not found")
NO_ROUTE = (404, "404 Not Found")

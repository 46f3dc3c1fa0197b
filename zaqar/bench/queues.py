# SPDX-License-Identifier: Apache-2.0
"""Makes the queues of a run, looks what is left in them, and removes them."""

import http.client
from collections.abc import Iterator
from typing import Any

import msgspec

from zaqar.bench import stamps
from zaqar.bench.ledger import Ledger
from zaqar.bench.requests import Caller, Target

PAGES = 5000
Answer = tuple[int, bytes]


class Refused(Exception):
    """Raised when the service does not do what the run needs."""


class Queues:
    """The queues of one run, used with a plain blocking client."""

    def __init__(self, caller: Caller, names: tuple[str, ...], timeout: float) -> None:
        self.caller = caller
        self.names = names
        self.timeout = timeout

    def create(self) -> None:
        """Make all queues; raise Refused when that fails."""
        self._for_each("PUT", (201, 204))

    def delete(self) -> None:
        """Remove all queues; raise Refused when that fails."""
        self._for_each("DELETE", (204,))

    def find_left(self, run: str, ledger: Ledger) -> None:
        """Note in the ledger which messages of the run are still in the queues."""
        for name in self.names:
            for page in self._pages(self.caller.queue_path(name)):
                try:
                    found = [
                        stamps.read_stamp(each.body.stamp) for each in page.messages
                    ]
                except ValueError as error:
                    raise Refused(f"a strange message in {name}: {error}") from error
                for stamp in found:
                    if stamp.run == run:
                        ledger.left.add(stamp.producer, stamp.number)

    def _pages(self, path: str) -> Iterator["Listing"]:
        path += "/messages?limit=20&echo=true&include_claimed=true&include_delayed=true"
        with Client(self.caller, self.timeout) as client:
            for _ in range(PAGES):
                status, body = client.call("GET", path)
                if status != 200:
                    raise Refused(f"GET {path} answered {status}")
                try:
                    page = msgspec.json.decode(body, type=Listing)
                except msgspec.MsgspecError as error:
                    raise Refused(f"GET {path}: unreadable answer: {error}") from error
                if not page.messages or not page.links:
                    return
                yield page
                path = page.links[0].href

    def _for_each(self, method: str, wanted: tuple[int, ...]) -> None:
        with Client(self.caller, self.timeout) as client:
            for name in self.names:
                path = self.caller.queue_path(name)
                status, body = client.call(method, path)
                if status not in wanted:
                    text = body[:200].decode("utf-8", "replace")
                    raise Refused(f"{method} {path} answered {status}: {text}")


class Link(msgspec.Struct):
    """The way to the next page."""

    href: str


class Listing(msgspec.Struct):
    """A page of messages."""

    messages: list[stamps.Received]
    links: list[Link]


class Client:
    """One keep-alive connection; a failure of it is a Refused."""

    def __init__(self, caller: Caller, timeout: float) -> None:
        target: Target = caller.target
        self.headers: dict[str, str] = {}
        for line in caller.fields().decode().splitlines():
            name, _, value = line.partition(":")
            self.headers[name] = value.strip()
        self.wire = http.client.HTTPConnection(
            target.host, target.port, timeout=timeout
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: Any) -> None:
        self.wire.close()

    def call(self, method: str, path: str) -> Answer:
        """Send a request without a body and return status and body."""
        try:
            self.wire.request(method, path, headers=self.headers)
            answer = self.wire.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            where = f"{self.wire.host}:{self.wire.port}"
            raise Refused(f"{method} {path} at {where} failed: {error!r}") from error

# SPDX-License-Identifier: Apache-2.0
"""The bytes of requests, built before the run as far as possible."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit
from uuid import uuid4

from zaqar.bench import stamps


@dataclass(frozen=True, slots=True)
class Target:
    """A service to load. `pids` are the processes whose processor time is read."""

    host: str
    port: int
    prefix: str = ""
    label: str = "service"
    pids: tuple[int, ...] = ()

    @classmethod
    def parse(cls, url: str) -> "Target":
        """Read a URL; raise ValueError when it cannot be loaded."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"not an http://host[:port] address: {url}")
        prefix = parts.path.rstrip("/")
        return cls(parts.hostname, parts.port or 80, prefix)

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Caller:
    """One client: where it calls, and who it says it is."""

    target: Target
    project: str
    extra: tuple[str, ...] = ()
    client: str = field(default_factory=lambda: str(uuid4()))

    def queue_path(self, queue: str) -> str:
        return f"{self.target.prefix}/v2/queues/{queue}"

    def fields(self) -> bytes:
        """Return the header fields that every request carries."""
        lines = [
            f"Host: {self.target.authority}",
            f"Client-ID: {self.client}",
            f"X-Project-ID: {self.project}",
            "Accept: application/json",
            *self.extra,
        ]
        return "".join(f"{line}\r\n" for line in lines).encode()

    def request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Return a whole request."""
        start = f"{method} {path} HTTP/1.1\r\n".encode() + self.fields()
        if body is None:
            return start + b"\r\n"
        kind = b"Content-Type: application/json\r\n"
        return start + kind + b"Content-Length: %d\r\n\r\n" % len(body) + body

    def post_template(
        self, queue: str, run: str, producer: int, shape: "Shape"
    ) -> bytes:
        """Return a whole post with places for counters and times, see `stamps.fill`."""
        document = stamps.post_template(run, producer, shape.size, shape.batch)
        length = len(stamps.fill(document, 0, shape.batch))
        path = self.queue_path(queue) + "/messages"
        start = self.request("POST", path, b"")
        start = start.replace(b"Content-Length: 0", b"Content-Length: %d" % length)
        return start.replace(b"%", b"%%") + document


@dataclass(frozen=True, slots=True)
class Shape:
    """How a post looks: bytes of one body, messages in one request."""

    size: int
    batch: int

# SPDX-License-Identifier: Apache-2.0
"""Subscribers: servers in the loop of a test that take requests and behave badly."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Request:
    """What a sink got: request line, headers by lower-case name, body."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self.line, *lines = head.decode().split("\r\n")
        self.fields = [tuple(line.split(": ", 1)) for line in lines if line]
        self.headers = {name.lower(): value for name, value in self.fields}
        self.body = body


class Sink:
    """Answers each request with the next of `answers`, then always with the last."""

    def __init__(self, *answers: bytes | Behaviour) -> None:
        self._answers = list(answers)
        self.requests: list[Request] = []
        self.connections = 0
        # Set when a peer has hung up before it was answered in full.
        self.abandoned = asyncio.Event()
        self.port = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.server_names: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task
        self.tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.tasks.discard(task)
            writer.transport.abort()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            request = Request(head, b"")
            length = int(request.headers.get("content-length", 0))
            request.body = await reader.readexactly(length)
            self.requests.append(request)
            is_last = len(self._answers) == 1
            answer = self._answers[0] if is_last else self._answers.pop(0)
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
                continue
            try:
                await answer(reader, writer)
            except OSError:
                self.abandoned.set()
            writer.close()
            await writer.wait_closed()
            break


@asynccontextmanager
async def served(
    sink: Sink, tls: ssl.SSLContext | None = None, port: int = 0
) -> AsyncIterator[Sink]:
    server = await asyncio.start_server(sink.serve, "127.0.0.1", port, ssl=tls)
    sink.port = server.sockets[0].getsockname()[1]
    try:
        yield sink
    finally:
        server.close()
        tasks = [*sink.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answer(status: str = "200 OK", body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say nothing until the other one hangs up."""
    await reader.read()
    raise ConnectionResetError


def drip(start: bytes, piece: bytes) -> Behaviour:
    """Say the start, and then a piece again and again, slowly."""

    async def behave(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(start)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)

    return behave


class Flood:
    """Says the start and then as much as is taken, and counts it."""

    def __init__(self, start: bytes, size: int, piece: bytes = b"x" * 65536) -> None:
        self._start, self._size, self._piece = start, size, piece
        self.taken = 0

    async def __call__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(self._start)
        while self.taken < self._size:
            writer.write(self._piece)
            await writer.drain()
            self.taken += len(self._piece)

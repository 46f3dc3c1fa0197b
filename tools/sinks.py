# SPDX-License-Identifier: Apache-2.0
"""The subscribers of the delivery tools: one process that takes what is posted to it.

It writes down each delivery before it answers, so a line may be of an answer that
nobody got. Knows nothing of what must hold.
"""

import asyncio
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from launch import HOST, free_port

# As long as the longest of the posts' bodies that the tools send.
MAX_BODY = 1 << 20
spawn = multiprocessing.get_context("spawn")


class Taken(msgspec.Struct, frozen=True, array_like=True):
    """One delivery: `delivery` is its id, `tag` what was posted."""

    at: float
    subscriber: str
    delivery: str
    tag: Any


class _Told(msgspec.Struct, frozen=True):
    body: Any


class Sinks:
    """The process, which listens from its start on, and the ledger that it keeps."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "taken.ledger"
        self.path.touch()
        self.port = free_port()
        self._read = 0
        self._process = spawn.Process(target=_serve, args=(self.port, str(self.path)))
        self._process.start()

    def url(self, subscriber: str) -> str:
        return f"http://{HOST}:{self.port}/{subscriber}"

    def news(self) -> list[Taken]:
        """Return what was taken since the last time."""
        with self.path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        return [_decoder.decode(line) for line in whole.splitlines()]

    def size(self) -> int:
        """Return how long the ledger is, in bytes: it tells whether anything came."""
        return self.path.stat().st_size

    def end(self) -> None:
        self._process.kill()
        self._process.join()


_decoder = msgspec.json.Decoder(Taken)


def _serve(port: int, path: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    file = os.open(path, os.O_WRONLY | os.O_APPEND)
    told = msgspec.json.Decoder(_Told)

    async def take(request: web.Request) -> web.Response:
        data = await request.read()
        delivery = request.headers.get("Zaqar-Delivery-Id", "")
        tag = told.decode(data).body
        line = Taken(time.time(), request.path[1:], delivery, tag)
        os.write(file, msgspec.json.encode(line) + b"\n")
        return web.Response()

    async def run() -> None:
        application = web.Application(client_max_size=MAX_BODY)
        application.router.add_post("/{subscriber}", take)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, HOST, port).start()
        await asyncio.Event().wait()

    asyncio.run(run())

# SPDX-License-Identifier: Apache-2.0
"""The HTTP client of deliveries: one POST, no redirect, and of the answer the status.

It connects to addresses that the guard allows and to no others. Sets no deadline; its
caller does.
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from zaqar import __version__
from zaqar.notification.guard import AddressDenied, Lookup, check_address
from zaqar.notification.senders.base import PostFailed
from zaqar.notification.settings import NotificationSettings

# An answer that ends within these is read, for its connection can be used again; from
# any other one we hang up. Nobody waits for that.
MAX_ANSWER = 65536
ANSWER_SECONDS = 1.0
LOOKUP_THREADS = 64
HEADERS = {"User-Agent": f"zaqar/{__version__}", "Accept-Encoding": "identity"}


class Client:
    """To be entered and left as an asynchronous context."""

    def __init__(
        self, settings: NotificationSettings, tls: ssl.SSLContext, ask: Lookup
    ) -> None:
        self._settings, self._tls, self._ask = settings, tls, ask
        self._endings: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._lookups = ThreadPoolExecutor(LOOKUP_THREADS, "lookup")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=Resolver(self._ask, self._lookups),
                socket_factory=self._socket,
                ssl=self._tls,
                # Those who hang must not take the connections of others.
                limit=0,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            auto_decompress=False,
            trust_env=False,
            headers=HEADERS,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._endings:
            task.cancel()
        await asyncio.gather(*self._endings, return_exceptions=True)
        await self._session.close()
        self._lookups.shutdown(wait=False, cancel_futures=True)

    def _socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Make the socket of a connection. SECURITY: every one passes here, and with
        the very address that is connected to, however it was found."""
        family, kind, protocol, _, address = info
        check_address(address[0], self._settings)
        return socket.socket(family, kind, protocol)

    async def post(self, url: URL, body: bytes, headers: Mapping[str, str]) -> int:
        """Return the status of the answer. Raises PostFailed."""
        try:
            response = await self._session.post(
                url, data=body, headers=headers, allow_redirects=False
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failure(error) from error
        if not response.content.at_eof():
            task = asyncio.create_task(_end(response))
            self._endings.add(task)
            task.add_done_callback(self._endings.discard)
        return response.status


class Resolver(AbstractResolver):
    """Asks for the addresses of names in threads of its own, which may be held up."""

    def __init__(self, ask: Lookup, threads: ThreadPoolExecutor) -> None:
        self._ask, self._threads = ask, threads

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        addresses = await loop.run_in_executor(self._threads, self._ask, host, port)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """The threads belong to the client."""


async def _end(response: aiohttp.ClientResponse) -> None:
    """Read a short answer to its end; hang up from any other."""
    with suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError):
        async with asyncio.timeout(ANSWER_SECONDS):
            size = 0
            while size <= MAX_ANSWER and (data := await response.content.readany()):
                size += len(data)
    response.close()


def _failure(error: Exception) -> PostFailed:
    """Say what happened in words of ours: whoever subscribed reads them."""
    inner = getattr(error, "os_error", error)
    if isinstance(inner, AddressDenied):
        return PostFailed(str(inner), final=True)
    match error:
        case aiohttp.InvalidURL():
            return PostFailed("The URI cannot be called.", final=True)
        case aiohttp.ClientConnectorDNSError():
            return PostFailed("The name of the host has no address.")
        case aiohttp.ClientConnectorCertificateError():
            return PostFailed("The certificate of the host is not valid for it.")
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return PostFailed("The host does not speak TLS as we do.")
        case aiohttp.ClientConnectorError():
            return PostFailed(f"There is no connection: {error.strerror or 'failed'}.")
        case aiohttp.ClientResponseError() | ValueError():
            return PostFailed("The answer is no HTTP.")
    return PostFailed("The connection was closed before the answer.")

# SPDX-License-Identifier: Apache-2.0
"""One non-blocking connection: connects, sends, receives, connects again.

Knows the socket and epoll; what is sent and when belongs to the worker.
"""

import errno
import select
import socket

from zaqar.bench.replies import LOST, ProtocolError, Reply, ReplyReader
from zaqar.bench.requests import Target
from zaqar.bench.scripts import Script

# PERF: a buffer of 256 KiB for each recv costs 118 us of processor time a request, one
# of 16 KiB 81 us (medians of three runs in turns, busy machine, 8 connections).
CHUNK = 16384
FIRST_BACKOFF = 0.02
LONGEST_BACKOFF = 1.0


# States. CLOSED has no socket; IDLE is connected and has nothing outstanding.
# PERF: comparing with a plain integer takes 80 ns, with a member of an Enum 230 ns.
CLOSED, CONNECTING, IDLE, BUSY = range(4)


class Connection:
    """A socket, the script that it serves and the request that is outstanding."""

    __slots__ = (
        "_address",
        "_epoll",
        "_reader",
        "_unsent",
        "backoff",
        "fd",
        "op",
        "opened",
        "request",
        "script",
        "sent",
        "sock",
        "started",
        "state",
    )

    def __init__(
        self, address: tuple[socket.AddressFamily, str, int], epoll: select.epoll
    ):
        self._address = address
        self._epoll = epoll
        self._reader = ReplyReader()
        self._unsent = b""
        self.state: int = CLOSED
        self.sock: socket.socket | None = None
        self.fd = -1
        self.opened = 0  # how often it was connected
        self.backoff = 0.0  # seconds to wait before the next attempt to connect
        self.script: Script | None = None
        self.op = ""
        self.request = b""
        self.started = 0  # when the request was due
        self.sent = 0  # when it was handed to the kernel, or the connecting began

    def send(self, now: int) -> bool:
        """Send the request, connecting first if need be; return False on failure."""
        self.sent = now
        if self.state is CLOSED:
            return self._connect()
        return self._transmit(self.request)

    def writable(self) -> bool:
        """Go on after the kernel said that the socket can be written to."""
        assert self.sock is not None
        if self.state is CONNECTING:
            if self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                return False
            self._connected()
            return self._transmit(self.request)
        return self._transmit(self._unsent)

    def receive(self) -> Reply | None:
        """Read what has come; LOST means that the connection ended or made no sense."""
        assert self.sock is not None
        try:
            data = self.sock.recv(CHUNK)
            if data:
                return self._reader.feed(data)
        except BlockingIOError:
            return None
        except (OSError, ProtocolError):
            return LOST
        return self._reader.end() or LOST

    @property
    def half_sent(self) -> bool:
        """Say whether a reply came before the whole request had gone."""
        return bool(self._unsent)

    def close(self) -> None:
        """Close the socket; the next request connects again."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None
        self.state = CLOSED
        self._unsent = b""
        self._reader.reset()

    def fail(self) -> None:
        """Close after a failure to connect and wait longer before the next attempt."""
        self.close()
        self.backoff = min(max(self.backoff * 2, FIRST_BACKOFF), LONGEST_BACKOFF)

    def _connect(self) -> bool:
        family, host, port = self._address
        self.sock = sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.fd = sock.fileno()
        self.state = CONNECTING
        code = sock.connect_ex((host, port))
        self._epoll.register(self.fd, select.EPOLLIN | select.EPOLLOUT)
        return code in (0, errno.EINPROGRESS)

    def _connected(self) -> None:
        self.state = IDLE
        self.opened += 1
        self.backoff = 0.0
        self._epoll.modify(self.fd, select.EPOLLIN)

    def _transmit(self, data: bytes) -> bool:
        assert self.sock is not None
        self.state = BUSY
        try:
            count = self.sock.send(data)
        except BlockingIOError:
            count = 0
        except OSError:
            return False
        if count < len(data):
            self._unsent = data[count:]
            self._epoll.modify(self.fd, select.EPOLLIN | select.EPOLLOUT)
        elif self._unsent:
            self._unsent = b""
            self._epoll.modify(self.fd, select.EPOLLIN)
        return True


def resolve(target: Target) -> tuple[socket.AddressFamily, str, int]:
    """Look the address up once, so that no run waits for name servers."""
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    family, _, _, _, address = found[0]
    return family, str(address[0]), int(address[1])

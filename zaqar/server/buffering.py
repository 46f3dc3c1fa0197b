# SPDX-License-Identifier: Apache-2.0
"""A gunicorn worker whose threads never wait for clients.

Its loop reads requests into buffers and hands each to a thread when all of it is there;
what a client does not take of an answer at once the loop sends too. Who is slow holds a
connection and a bounded buffer, for a bounded time, and no thread.
"""

import errno
import resource
import selectors
import socket
import time
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from gunicorn.http.errors import LimitRequestHeaders, NoMoreData, ParseException
from gunicorn.http.parser import RequestParser
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker

from zaqar.server.connections import SECONDS, Connection, Phase, Waiting
from zaqar.server.framing import Unframed, head_is_too_large
from zaqar.server.refusals import CONTINUE, is_of_client, refusal, too_slow

MAX_CONNECTIONS = 1000
# Bytes of requests that are not whole and of answers that were not taken.
MAX_HELD = 64 << 20
# Bytes of a body, where nobody says what the service takes.
MAX_BODY = 1 << 20
# Bytes that are read at once; and those that are thrown away after the last answer: a
# client should read it before it hears that nobody listens.
PIECE = 65536
MAX_DROPPED = 16 << 20
# Between two looks for those that have waited too long.
CHECK_SECONDS = 0.5
# Between two lines of the log about clients that had to go.
TOLD_SECONDS = 60.0

NO_MORE_FILES = (errno.EMFILE, errno.ENFILE)
NO_LONGER_THERE = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED)


class Output:
    """Keeps an answer; gunicorn takes it for the socket of the client."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.parts.append(data)

    send = sendall

    def shutdown(self, _how: int) -> None:
        """End an answer that failed half-way; the loop closes the connection."""
        raise OSError("This is no socket.")

    def close(self) -> None:
        """Do nothing, as the loop closes the connection."""


class Exchange(NamedTuple):
    """What gunicorn takes for the connection while it serves one request."""

    sock: Output
    client: Any
    server: Any


class Worker(ThreadWorker):  # type: ignore[misc]
    """Serves with threads what its loop has received.

    All methods run in the loop, but for `handle` and what it calls.
    """

    max_body = MAX_BODY

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waiting = Waiting()
        self._steps = {
            Phase.IDLE: self._receive,
            Phase.RECEIVING: self._receive,
            Phase.SENDING: self._send,
            Phase.CLOSING: self._drop,
        }
        # The rest is for the store, and for what the process has open besides.
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
        self._most = MAX_CONNECTIONS if files < 0 else min(files, MAX_CONNECTIONS)
        # Beyond these, which wait for threads, none is accepted.
        self.worker_connections = self._most + MAX_CONNECTIONS // 4
        self._piece = memoryview(bytearray(PIECE))
        self._checked = 0.0
        self._evicted, self._told = 0, -TOLD_SECONDS

    # Reading -------------------------------------------------------------------------

    def accept(self, listener: Any) -> None:
        """Take a new connection; where there are too many, one that waits has to go."""
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno in NO_MORE_FILES:
                self._evict(*Phase)
            elif error.errno not in NO_LONGER_THERE:
                raise
            return
        if self.nr_conns >= self._most:
            self._evict(*Phase)
        self.nr_conns += 1
        self._receive(Connection(sock, client, listener.getsockname()))

    def _receive(self, conn: Connection) -> None:
        try:
            size = conn.sock.recv_into(self._piece)
        except BlockingIOError:
            self._serve_or_wait(conn)
            return
        except OSError:
            self._close(conn)
            return
        conn.buffer += self._piece[:size]
        conn.ended = not size
        if conn.buffer:
            self._serve_or_wait(conn)
        else:
            self._close(conn)

    def _serve_or_wait(self, conn: Connection) -> None:
        """Hand the first request in the buffer to a thread, or wait for its rest."""
        try:
            whole = conn.cut(self.max_body)
            if not whole and (conn.ended or self._is_refused_already(conn)):
                raise Unframed
        except Unframed:
            conn.take_all()
            whole = True
        if whole:
            self._waiting.leave(conn)
            self.enqueue_req(conn)
            return
        if conn.asks:
            conn.continued = True
            with suppress(OSError):
                conn.sock.send(CONTINUE)
        self._wait(conn, Phase.RECEIVING if conn.buffer else Phase.IDLE)

    def _is_refused_already(self, conn: Connection) -> bool:
        """Say whether the beginning of a head is wrong, whatever may follow it."""
        if conn.has_head or not conn.buffer:
            return False
        try:
            next(RequestParser(self.cfg, [bytes(conn.buffer)], conn.client))
        except (NoMoreData, StopIteration):
            return False
        except ParseException:
            return True
        return True

    # Serving -------------------------------------------------------------------------

    def handle(self, conn: Connection) -> bool:
        """Serve a request, in a thread; return whether another one may follow."""
        exchange = Exchange(Output(), conn.client, conn.server)
        keep = self._answer(conn, exchange)
        answer = memoryview(b"".join(exchange.sock.parts))
        with suppress(BlockingIOError):
            # PERF: clients take nearly all answers at once, and the loop is spared.
            answer = answer[conn.sock.send(answer) :]
        conn.unsent = answer
        return keep

    def _answer(self, conn: Connection, exchange: Exchange) -> bool:
        """Parse and serve a request; return whether another one may follow."""
        req: Any = None
        try:
            parser = RequestParser(self.cfg, [conn.request], conn.client)
            with suppress(NoMoreData):
                req = next(parser)
            if not conn.whole and head_is_too_large(conn.request):
                raise LimitRequestHeaders("The headers are too large")
            if req is None:
                return False
            if not conn.whole:
                req.force_close()
            if conn.continued:
                req._expected_100_continue = False
            return self.handle_request(req, exchange) and _is_used_up(parser)
        except StopIteration:
            return False
        except Exception as exc:
            self.handle_error(req, exchange.sock, conn.client, exc)
            return False

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer in JSON what could not be parsed, or failed before its answer."""
        if is_of_client(exc):
            self.log.warning("Request refused from %s: %s", addr, exc)
        else:
            self.log.exception("A request from %s failed.", addr)
        client.sendall(refusal(exc))

    def finish_request(self, conn: Connection, fs: Any) -> None:
        """Go on with a connection whose request a thread has served."""
        try:
            conn.keep = not fs.cancelled() and fs.result()
        except OSError as error:
            self.log.debug("A client does not take its answer: %s", error)
            self._close(conn)
        except Exception:
            self.log.exception("A connection failed.")
            self._close(conn)
        else:
            conn.continued, conn.request = False, b""
            if conn.unsent:
                self._wait(conn, Phase.SENDING)
            else:
                self._go_on(conn)

    # Writing, and the end ------------------------------------------------------------

    def _send(self, conn: Connection) -> None:
        try:
            conn.unsent = conn.unsent[conn.sock.send(conn.unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self._close(conn)
            return
        if conn.unsent:
            self._waiting.count(conn)
        else:
            self._go_on(conn)

    def _go_on(self, conn: Connection) -> None:
        """Wait for the next request, or part in a way that the answer is read."""
        if conn.keep:
            self._serve_or_wait(conn)
            return
        conn.buffer.clear()
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            conn.ended = True
        if conn.ended:
            self._close(conn)
        else:
            self._wait(conn, Phase.CLOSING)

    def _drop(self, conn: Connection) -> None:
        """Read what a client still sends after its last answer."""
        try:
            size = conn.sock.recv_into(self._piece)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        conn.dropped += size
        if not size or conn.dropped > MAX_DROPPED:
            self._close(conn)

    def _close(self, conn: Connection) -> None:
        self._waiting.leave(conn)
        self._watch(conn, 0)
        self.nr_conns -= 1
        conn.sock.close()

    # Waiting -------------------------------------------------------------------------

    def _wait(self, conn: Connection, phase: Phase) -> None:
        """Wait for the client; its time began when this phase did."""
        if conn.phase is not phase:
            self._waiting.leave(conn)
            self._waiting.enter(conn, phase)
            sends = phase is Phase.SENDING
            self._watch(conn, selectors.EVENT_WRITE if sends else selectors.EVENT_READ)
            if phase is Phase.IDLE and not self.alive:
                self._cap_keepalive(time.monotonic() + STOP_KEEPALIVE_LINGER)
        self._waiting.count(conn)
        while self._waiting.held > MAX_HELD:
            self._evict(Phase.RECEIVING, Phase.SENDING)

    def _watch(self, conn: Connection, events: int) -> None:
        if conn.watched == events:
            return
        if conn.watched:
            self.poller.unregister(conn.sock)
        if events:
            self.poller.register(conn.sock, events, partial(self._step, conn))
        conn.watched = events

    def _step(self, conn: Connection, _sock: Any) -> None:
        if conn.phase is not None:
            self._steps[conn.phase](conn)
        else:
            # PERF: most clients send nothing while they are served, so that the
            # poller need not forget them each time.
            self._watch(conn, 0)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """As gunicorn's; a worker that stops wakes up when a deadline passes."""
        if not self.alive:
            timeout = self._waiting.until_deadline(timeout)
        super().wait_for_and_dispatch_events(timeout)

    def murder_pending(self) -> None:
        """Close what has waited too long; who is late by a second is not told apart."""
        now = time.monotonic()
        if self.alive and now - self._checked < CHECK_SECONDS:
            return
        self._checked = now
        for conn in self._waiting.expired():
            if conn.phase is Phase.RECEIVING:
                with suppress(OSError):
                    conn.sock.send(too_slow(int(SECONDS[Phase.RECEIVING])))
            self._close(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        """Let idle connections go by then: the worker stops."""
        self._waiting.hurry(Phase.IDLE, deadline)

    def _evict(self, *phases: Phase) -> None:
        """Close the connection that waits longest, in the first phase with any."""
        conn = self._waiting.oldest(*phases)
        if conn is None:
            return
        self._close(conn)
        self._evicted += 1
        if time.monotonic() - self._told >= TOLD_SECONDS:
            self._told = time.monotonic()
            self.log.warning(
                "Too many clients are slow or idle: this worker has closed %d of their "
                "connections.",
                self._evicted,
            )


def _is_used_up(parser: RequestParser) -> bool:
    """Say whether the parser found the end of the request where the loop did."""
    try:
        return parser.finish_body() and not parser.unreader.take_buffered()
    except (ParseException, OSError):
        return False

# SPDX-License-Identifier: Apache-2.0
"""A worker against sockets that behave badly on purpose."""

import socket
import threading
from collections.abc import Callable
from contextlib import closing
from multiprocessing import Pipe
from time import monotonic_ns

import pytest

from zaqar.bench.requests import Target
from zaqar.bench.scripts import Work
from zaqar.bench.worker import SECOND, Phase, Plan, Worker

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CLOSING = ANSWER.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


class Peer:
    """Accepts connections and lets a function deal with each, in a thread."""

    def __init__(self, handle: Callable[[socket.socket], None]) -> None:
        self.handle = handle
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.accepted = 0
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        while True:
            try:
                wire, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            with wire:
                wire.settimeout(5)
                try:
                    self.handle(wire)
                except OSError:
                    continue

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


def measured(handle, *, timeout=5.0, seconds=0.3):
    """Return what a worker measures that asks a peer for statistics."""
    ours, theirs = Pipe()
    with closing(Peer(handle)) as peer, closing(ours), closing(theirs):
        target = Target("127.0.0.1", peer.listener.getsockname()[1])
        plan = Plan(target, Work(run="abcdefgh", queues=("q",)), timeout=timeout)
        worker = Worker(plan, theirs)
        until = monotonic_ns() + int(seconds * SECOND)
        tally = worker.run(Phase(seats=(("stats", 0),), until=until))
        worker.disconnect()
        worker.epoll.close()
        return tally, peer.accepted


def answers(answer, count=10**9):
    """Return a handler that answers so many requests and hangs up."""

    def handle(wire):
        for _ in range(count):
            if not wire.recv(4096):
                return
            wire.sendall(answer)

    return handle


def test_a_connection_is_kept_for_all_requests():
    tally, accepted = measured(answers(ANSWER))

    assert tally.latency["stats"].count > 1
    assert (accepted, tally.reconnects, tally.failures()) == (1, 0, 0)


def test_a_server_that_closes_after_each_reply_is_followed():
    tally, accepted = measured(answers(CLOSING, 1))

    assert accepted > 1
    assert tally.reconnects == accepted - 1
    assert tally.failures() == 0


def test_a_connection_dropped_under_a_request_is_counted_and_opened_again():
    def handle(wire):
        wire.recv(4096)

    tally, accepted = measured(handle)

    assert accepted > 1
    assert set(tally.troubles) == {("stats", "dropped")}


@pytest.mark.parametrize("junk", [b"nonsense\r\n\r\n", ANSWER + b"more"])
def test_nonsense_counts_as_a_dropped_connection(junk):
    tally, _ = measured(answers(junk))

    assert set(tally.troubles) == {("stats", "dropped")}


def test_an_answer_that_does_not_come_is_given_up_after_the_timeout():
    def handle(wire):
        while wire.recv(4096):
            pass

    tally, _ = measured(handle, timeout=0.1, seconds=0.2)

    assert tally.troubles["stats", "timed out"] >= 1
    assert not tally.latency


def test_a_slow_answer_in_small_pieces_is_read():
    def handle(wire):
        while wire.recv(4096):
            for place in range(0, len(ANSWER), 7):
                wire.sendall(ANSWER[place : place + 7])

    tally, _ = measured(handle)

    assert tally.latency["stats"].count >= 1
    assert tally.failures() == 0


def test_a_stop_ends_a_phase_at_once():
    ours, theirs = Pipe()
    with (
        closing(Peer(answers(ANSWER))) as peer,
        closing(ours),
        closing(theirs),
    ):
        target = Target("127.0.0.1", peer.listener.getsockname()[1])
        worker = Worker(Plan(target, Work(run="abcdefgh", queues=("q",))), theirs)
        ours.send("stop")
        begin = monotonic_ns()
        worker.run(Phase(seats=(("stats", 0),), until=begin + 60 * SECOND))
        worker.disconnect()
        worker.epoll.close()

    assert worker.abandoned


def test_requests_are_sent_at_the_rate_that_was_asked_for():
    ours, theirs = Pipe()
    with (
        closing(Peer(answers(ANSWER))) as peer,
        closing(ours),
        closing(theirs),
    ):
        target = Target("127.0.0.1", peer.listener.getsockname()[1])
        worker = Worker(Plan(target, Work(run="abcdefgh", queues=("q",))), theirs)
        until = monotonic_ns() + 3 * SECOND // 10
        tally = worker.run(Phase(seats=(("stats", 0),), until=until, rate=50))
        worker.disconnect()
        worker.epoll.close()

    assert 1 <= tally.latency["stats"].count <= 17

# SPDX-License-Identifier: Apache-2.0
"""A bell wakes who listens, and whoever cannot be woken harms nobody who rings."""

import asyncio
import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from zaqar.notification.waking import Bell, Ear

FOR_EVER = 10**6


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "store.bell"


@pytest.fixture
def bell(path: Path) -> Bell:
    return Bell(str(path))


@pytest.fixture
def pipe(bell: Bell) -> Iterator[int]:
    with bell.listening() as pipe:
        yield pipe


def rings(pipe: int) -> bool:
    """Say whether it has rung since this was asked last."""
    try:
        return bool(os.read(pipe, 1 << 20))
    except BlockingIOError:
        return False


def test_who_listens_hears_each_ring_but_no_other(bell: Bell, pipe: int) -> None:
    assert not rings(pipe)
    for _ in range(2):
        bell.ring()

        assert rings(pipe)
        assert not rings(pipe)


def test_nobody_else_may_ring_or_listen(path: Path, pipe: int) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_ringing_harms_nobody_where_nobody_listens(bell: Bell, path: Path) -> None:
    bell.ring()
    assert not path.exists()
    with bell.listening():
        pass

    # Its pipe is still there.
    bell.ring()

    with bell.listening() as pipe:
        # Who comes later looks for work first; it is not woken for what was before.
        assert not rings(pipe)
        bell.ring()
        assert rings(pipe)


def test_pipe_that_is_full_rings_and_holds_up_nobody(bell: Bell, pipe: int) -> None:
    with pytest.raises(BlockingIOError):
        while True:
            os.write(pipe, b"!" * 4096)

    bell.ring()

    assert rings(pipe)
    bell.ring()
    assert rings(pipe)


def test_listener_that_is_killed_leaves_nothing_in_the_way(
    bell: Bell, path: Path
) -> None:
    child = os.fork()
    if child == 0:
        with bell.listening():
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert path.exists()

    bell.ring()

    with bell.listening() as pipe:
        assert not rings(pipe)
        bell.ring()
        assert rings(pipe)


def test_each_of_many_who_ring_is_heard_by_somebody(bell: Bell, pipe: int) -> None:
    with bell.listening() as other:
        bell.ring()

        assert [rings(pipe), rings(other)] == [True, False]


def test_pipe_of_another_user_is_not_used(
    bell: Bell, pipe: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)

    bell.ring()

    assert not rings(pipe)
    with pytest.raises(PermissionError), bell.listening():
        pass


@pytest.mark.parametrize("kind", ["file", "folder", "link", "socket"])
def test_what_is_no_pipe_stays_as_it_is(bell: Bell, path: Path, kind: str) -> None:
    path.parent.mkdir()
    if kind == "file":
        path.write_bytes(b"what it is")
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        (path.parent / "other").write_bytes(b"")
        path.symlink_to("other")
    else:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as taken:
            taken.bind(os.path.relpath(path))
    before = path.lstat().st_mode

    bell.ring()
    with pytest.raises(OSError), bell.listening():
        pass

    assert path.lstat().st_mode == before
    if kind == "file":
        assert path.read_bytes() == b"what it is"


def test_ear_waits_for_the_bell_or_for_the_end(bell: Bell) -> None:
    async def run() -> None:
        stopping = asyncio.Event()
        with Ear(bell) as ear:
            await ear.wait(stopping, 0.0)
            for _ in range(3):
                asyncio.get_running_loop().call_soon(bell.ring)
                await ear.wait(stopping, FOR_EVER)
            waiting = asyncio.create_task(ear.wait(stopping, FOR_EVER))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            stopping.set()
            await waiting

    asyncio.run(run())


def test_ring_before_the_wait_is_not_lost(bell: Bell) -> None:
    async def run() -> None:
        with Ear(bell) as ear:
            bell.ring()
            await ear.wait(asyncio.Event(), FOR_EVER)

    asyncio.run(run())


def test_ear_that_cannot_listen_waits_its_time(path: Path, bell: Bell) -> None:
    path.parent.write_bytes(b"no folder")

    async def run() -> None:
        with Ear(bell) as ear:
            bell.ring()
            await ear.wait(asyncio.Event(), 0.01)

    asyncio.run(run())

# SPDX-License-Identifier: Apache-2.0
"""Stores and registries that fail when they are told to."""

from typing import Any

from zaqar.errors import StorageUnavailable


class Killed(BaseException):
    """Stands for the end of the process: nobody handles it."""


class Faulty:
    """Hands calls on to `target` until it is told to fail.

    `is_down`: every call raises StorageUnavailable. `lives`: so many calls go through,
    then the process is killed; before the call, or with `after` when it is done.
    """

    def __init__(self, target: Any, shared: "Fuse | None" = None) -> None:
        self.target = target
        self.fuse = shared or Fuse()
        self.is_down = False
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.target, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if name == "close":
                return method(*args, **kwargs)
            self.calls.append(name)
            if self.is_down:
                raise StorageUnavailable("It is down.")
            self.fuse.before()
            result = method(*args, **kwargs)
            self.fuse.after()
            return result

        return call


class Fuse:
    """Kills the process at the n-th of the calls that share it; None: never."""

    def __init__(self, lives: int | None = None, *, is_done: bool = False) -> None:
        self.lives = lives
        self.is_done = is_done

    def before(self) -> None:
        if self.lives == 0 and not self.is_done:
            raise Killed()

    def after(self) -> None:
        if self.lives == 0:
            raise Killed()
        if self.lives is not None:
            self.lives -= 1

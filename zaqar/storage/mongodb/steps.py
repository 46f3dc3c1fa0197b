# SPDX-License-Identifier: Apache-2.0
"""What each method of the store has around it."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar, cast

from zaqar.storage.mongodb.failures import Patience


class Stepping(Protocol):
    """What has such methods."""

    _patience: Patience
    _is_ready: bool

    def _prepare(self) -> None: ...


S = TypeVar("S", bound=Stepping)
P = ParamSpec("P")
T = TypeVar("T")


def step(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Let a method answer in time, with StorageUnavailable if the servers cannot."""

    @wraps(method)
    def limited(self: S, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._patience.answering():
            if not self._is_ready:
                self._prepare()
            return method(self, *args, **kwargs)

    return cast(Callable[Concatenate[S, P], T], limited)

# SPDX-License-Identifier: Apache-2.0
"""Moves dead letters to their queue, which may lie in another slot.

The script that takes them out keeps them in the source, numbered, until the target has
them. The target notes the last number that it took, so a move that is done twice, by
two callers or after a crash, has the effect of one.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

from zaqar.model import QueueKey
from zaqar.storage.redis import packing
from zaqar.storage.redis.client import Client, Script
from zaqar.storage.redis.keys import Keys
from zaqar.storage.redis.packing import Letter

Numbered = tuple[int, Letter]

RECEIVE = Script("receive", "upkeep", "open", "append")
SENT = Script("sent")


class Letters:
    """`create` makes a queue if it is absent."""

    def __init__(
        self, client: Client, keys: Keys, create: Callable[[QueueKey, float], object]
    ) -> None:
        self._client = client
        self._keys = keys
        self._create = create

    def move(
        self, source: QueueKey, life: bytes, leaving: Sequence[bytes], now: float
    ) -> None:
        """Bring what is leaving the source, {letter, number, ...}, to its targets."""
        letters = [
            (int(number), packing.read_letter(letter))
            for letter, number in zip(leaving[::2], leaving[1::2], strict=True)
        ]
        if not letters:
            return
        for target, group in groupby(letters, key=lambda one: one[1].target):
            self._post(source, QueueKey(source.project, target), life, group, now)
        record = self._keys.record(source)
        self._client.run(SENT, record, life, letters[-1][0])

    def _post(
        self,
        source: QueueKey,
        target: QueueKey,
        life: bytes,
        letters: Iterable[Numbered],
        now: float,
    ) -> None:
        values: list[Any] = []
        for number, letter in letters:
            value, expires = packing.moved(letter, source.name, now)
            values += (number, letter.id, value, expires)
        record = self._keys.record(target)
        while status := self._client.run(RECEIVE, record, repr(now), life, *values)[0]:
            if status == 2:
                self._create(target, now)

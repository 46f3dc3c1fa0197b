# SPDX-License-Identifier: Apache-2.0
"""How many bytes of bodies a reading of an outbox takes; pure.

What comes first is taken whatever its size, or it would never be; behind what is left
nothing is taken, or it would come in another order.
"""

from collections.abc import Collection


class Portion:
    """Bytes that one reading may still take; `cut`: something was left."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._is_first = True
        self.cut = False

    def takes(self, size: int) -> bool:
        """Take the next body, or leave it and all behind it."""
        if self.cut or not (self._is_first or size <= self._left):
            self.cut = True
            return False
        self._is_first = False
        self._left -= size
        return True


class Portions:
    """The same for some owners, who share it; what is left of one leaves the others."""

    def __init__(self, size: int, owners: int) -> None:
        self._all = Portion(size)
        self._each = size // max(1, owners)
        self._of: dict[str, Portion] = {}

    @property
    def cut(self) -> bool:
        return self._all.cut or any(portion.cut for portion in self._of.values())

    @property
    def is_used_up(self) -> bool:
        return self._all.cut

    def take(self, owner: str, size: int) -> bool:
        mine = self._of.setdefault(owner, Portion(self._each))
        return mine.takes(size) and self._all.takes(size)


def in_turn(ids: Collection[str], now: float) -> list[str]:
    """Return them, beginning with another one from time to time."""
    ordered = sorted(ids)
    first = int(now * 1000) % len(ordered) if ordered else 0
    return ordered[first:] + ordered[:first]

# SPDX-License-Identifier: Apache-2.0
"""The list of outboxes that have something due; it lies in another slot than they.

An outbox itself is the truth (scripts/outbox.lua). The list is told in a second step at
which instant somebody has to look at it; what somebody left untold the sweep tells.
"""

from collections.abc import Collection, Sequence

from zaqar.model import QueueKey
from zaqar.storage.redis.client import Client, Script
from zaqar.storage.redis.index import Outbox
from zaqar.storage.redis.keys import Keys, key_of, member, project_of

# As in scripts/common.lua.
NEVER = 9e15

TAKE = Script("take_due", base="worklist")
ANNOUNCE = Script("announce", base="worklist")


class Worklist:
    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._list = keys.outboxes

    def take(
        self,
        holder: str,
        *,
        until: float,
        limit: int,
        without: Collection[str],
        anew: bool,
        now: float,
    ) -> list[tuple[float, QueueKey]]:
        """Return queues to look at, and since when they wait; the longest first.

        For others they come back after `until`, or when something else is told of them;
        for the holder, who may have lost sight of them, in half that time, or at once
        if it begins `anew`.
        """
        # A dispatcher that serves hundreds of queues asks ten times a second; it
        # would lease all of them again each time.
        again = now + (until - now) / 2
        values = (repr(now), holder, repr(until), limit, repr(again), int(anew))
        found = self._client.run(TAKE, self._list, *values, *map(project_of, without))
        pairs = zip(map(float, found[1::2]), map(key_of, found[::2]), strict=True)
        return sorted(pairs, key=lambda pair: pair[0])

    def announce(self, key: QueueKey, told: Sequence[bytes], holder: str = "") -> None:
        """Tell what a script replied: at which instant to look at it (b"": never), and
        when it said so.

        A holder that is named has not leased it.
        """
        self._client.run(ANNOUNCE, self._list, holder, member(key), *told)

    def mend(self, outboxes: Sequence[Outbox], now: float) -> None:
        """Tell what nobody told of these outboxes, as they were a moment ago."""
        waiting = [outbox for outbox in outboxes if outbox.look < NEVER]
        if not waiting:
            return
        entries = [member(outbox.key) for outbox in waiting]
        known = self._client.ask(self._list, ("ZMSCORE", self._list, *entries))
        values: list[object] = []
        for outbox, entry, score in zip(waiting, entries, known, strict=True):
            if score is None or float(score) > outbox.look >= 0:
                # What is said at 0 never overrides an instant that is earlier.
                values += (entry, repr(max(outbox.look, 0.0) or now), 0)
        if values:
            self._client.run(ANNOUNCE, self._list, "", *values)

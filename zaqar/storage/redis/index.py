# SPDX-License-Identifier: Apache-2.0
"""The list of all queues, which lies in another slot than they do.

A queue's own record is the truth. The index is changed in a second step: whoever
creates or deletes a queue first notes that in `pending`; afterwards it brings the entry
of the index in line with the record, and looks at the record once more after that.
Of what somebody left undone the sweep does the rest.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple
from uuid import uuid4

from zaqar.model import Page, Queue, QueueKey
from zaqar.storage.matching import matches
from zaqar.storage.redis import packing
from zaqar.storage.redis.client import Client
from zaqar.storage.redis.keys import Keys, key_of, member, project_range

# After so many seconds the sweep takes over.
ABANDONED = 30.0
PAGE = 500
TOKEN = 32


class Outbox(NamedTuple):
    """When the list of outboxes looks at this one (negative: it is leased), and before
    when no subscription ends (scripts/outbox.lua)."""

    key: QueueKey
    look: float
    ends: float


class Index:
    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def clock(self, *, attempts: int = -1) -> float:
        """Return the time of the server that has the list: one for all services, also
        in a cluster."""
        return self._client.clock(self._keys.index, attempts=attempts)

    def announce(self, key: QueueKey, *, creates: bool) -> bytes:
        """Note that the queue is being created or deleted; give it to `conclude`.

        A queue that is being created is listed from now on: entries without a record
        are passed over.
        """
        keys, entry = self._keys, member(key)
        note = uuid4().hex.encode() + entry
        noted = ("ZADD", keys.pending, repr(self.clock()), note)
        commands: list[tuple[object, ...]] = [noted]
        if creates:
            commands.append(("ZADD", keys.index, 0, entry))
        self._client.ask_all(keys.index, commands)
        return note

    def conclude(self, note: bytes) -> None:
        """Bring the entry of the index in line with the record."""
        keys, entry = self._keys, note[TOKEN:]
        add, remove = ("ZADD", keys.index, 0, entry), ("ZREM", keys.index, entry)
        exists, seen = self._exists(entry), None
        while exists != seen:
            self._client.ask(keys.index, add if exists else remove)
            exists, seen = self._exists(entry), exists
        self._client.ask(keys.index, ("ZREM", keys.pending, note))

    def _exists(self, entry: bytes) -> bool:
        record = self._keys.record(key_of(entry))
        return bool(self._client.ask(record, ("EXISTS", record)))

    def repair(self) -> None:
        """Finish what others have begun long ago."""
        keys, until = self._keys, self.clock() - ABANDONED
        command = ("ZRANGEBYSCORE", keys.pending, "-inf", repr(until))
        for note in self._client.ask(keys.index, command):
            self.conclude(note)

    def count(self, project: str) -> int:
        """Return how many queues the project has."""
        first, last = project_range(project, None)
        command = ("ZLEXCOUNT", self._keys.index, first, last)
        counted: int = self._client.ask(self._keys.index, command)
        return counted

    def of(self, project: str) -> Iterator[list[QueueKey]]:
        """Go through the queues of the project, some at a time; absent ones too."""
        first, last = project_range(project, None)
        while entries := self._entries(first, last, PAGE):
            yield [key_of(entry) for entry in entries]
            first = b"(" + entries[-1]

    def page(
        self,
        project: str,
        marker: str | None,
        limit: int,
        name: str,
        match: Mapping[str, str | int],
    ) -> Page[Queue]:
        """Return a page of the project's queues."""
        found: list[Queue] = []
        first, last = project_range(project, marker)
        size = min(limit, PAGE) if not (name or match) else PAGE
        while len(found) < limit:
            entries = self._entries(first, last, size)
            keys = [key for key in map(key_of, entries) if name in key.name]
            for queue in self.read(keys):
                if matches(queue.metadata, match) and len(found) < limit:
                    found.append(queue)
            if len(entries) < size:
                break
            first = b"(" + entries[-1]
        return Page(tuple(found), found[-1].name if found else None)

    def read(self, keys: list[QueueKey]) -> Iterator[Queue]:
        """Return those of the queues that exist."""
        for key, record in zip(keys, self._fields(keys, "v", "y", "d"), strict=True):
            if record[0] is not None:
                yield packing.queue(key.name, *record)

    def _fields(self, keys: list[QueueKey], *fields: str) -> list[list[bytes]]:
        records = [self._keys.record(key) for key in keys]
        return self._client.ask_each(
            [(record, ("HMGET", record, *fields)) for record in records]
        )

    def _entries(self, first: bytes, last: bytes, size: int) -> list[bytes]:
        command = ("ZRANGEBYLEX", self._keys.index, first, last, "LIMIT", 0, size)
        entries: list[bytes] = self._client.ask(self._keys.index, command)
        return entries

    def due(self, now: float) -> Iterator[tuple[list[QueueKey], list[Outbox]]]:
        """Go through all queues, some at a time.

        Return those that wait for their time or for the end of a move, and the outboxes
        of those that are watched.
        """
        first = b"-"
        while entries := self._entries(first, b"+", PAGE):
            due, outboxes = [], []
            keys = [key_of(entry) for entry in entries]
            fields = self._fields(keys, "t", "g", "u", "z")
            for key, (wake, leaving, look, ends) in zip(keys, fields, strict=True):
                if wake is not None and (float(wake) <= now or leaving):
                    due.append(key)
                if look is not None:
                    outboxes.append(Outbox(key, float(look), float(ends)))
            yield due, outboxes
            first = b"(" + entries[-1]

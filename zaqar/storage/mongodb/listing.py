# SPDX-License-Identifier: Apache-2.0
"""Finds messages for those who only look: pages of a queue, and messages by id."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from zaqar.model import Message, Page
from zaqar.storage import places
from zaqar.storage.mongodb.documents import (
    Document,
    ids_in,
    is_live,
    message_of,
    number_at,
)
from zaqar.storage.mongodb.gathering import Gathering
from zaqar.storage.mongodb.reading import Reading, of_messages
from zaqar.storage.mongodb.viewing import Viewing

# A number of a message.
NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
# A listing that skips a client's own messages looks at so many at once.
SKIPPING = 100


class Ask(NamedTuple):
    marker: str | None
    limit: int
    skip_client: str | None
    claimed: bool
    delayed: bool


class Listing:
    def __init__(self, database: Any, reading: Reading, viewing: Viewing) -> None:
        self._messages = database.messages
        self._reading = reading
        self._viewing = viewing
        self._gathering: Gathering[float, Page[Message]] = Gathering()

    def page(self, name: str, ask: Ask, now: float) -> Page[Message]:
        def send(instants: list[float]) -> list[Page[Message]]:
            return [self._page(name, ask, max(instants))] * len(instants)

        return self._gathering.join((name, ask), now, send)

    def _page(self, name: str, ask: Ask, now: float) -> Page[Message]:
        marker, limit, skip_client, claimed, delayed = ask
        after = self._place(name, marker)
        found: list[Document] = []
        delays = False
        while after is not None:
            size = limit - len(found)
            if skip_client is not None:
                size = max(size, SKIPPING)
            view = self._viewing.view_behind(
                name, after, size, now, claimed=claimed, delayed=delayed
            )
            delays = view.queue["delays"]
            found += [each for each in view.visible if each["client"] != skip_client]
            is_more = (
                len(view.found) == size and view.found[-1]["number"] < view.horizon
            )
            after = view.found[-1]["number"] if is_more else None
            if len(found) >= limit:
                break
        found = found[:limit]
        return Page(
            tuple(message_of(each, now) for each in found),
            str(found[-1]["number"]) if found else None,
            delays,
        )

    def _place(self, name: str, marker: str | None) -> int | None:
        """Return the number to go on behind; None if there is no such place."""
        if marker is None:
            return 0
        if NUMBER.fullmatch(marker):
            return int(marker)
        found = self._messages.find_one(
            {"_id": name + marker, "queue": name}, {"number": 1}
        )
        if found is not None:
            return int(found["number"])
        instant = places.earliest(marker)
        return None if instant is None else number_at(instant) - 1

    def find(self, name: str, ids: Sequence[str], *, now: float) -> list[Message]:
        view = self._reading.view(name, of_messages({"$match": ids_in(name, ids)}))
        found = {each["_id"]: each for each in view.visible if is_live(each, now)}
        wanted = dict.fromkeys(name + id for id in ids)
        return [message_of(found[id], now) for id in wanted if id in found]

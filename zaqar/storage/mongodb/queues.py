# SPDX-License-Identifier: Apache-2.0
"""The queues themselves: create, replace, list, delete, and what deleting leaves."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pymongo import WriteConcern
from pymongo.errors import DuplicateKeyError, PyMongoError

from zaqar.errors import QueueChanged, QueueNotFound
from zaqar.model import Metadata, Page, Queue, QueueKey
from zaqar.storage.matching import matches
from zaqar.storage.mongodb.documents import (
    STATES,
    Document,
    name_of,
    number_at,
    queue_of,
    wall,
    wall_id,
    write_metadata,
)
from zaqar.storage.mongodb.posting import FORGIVEN
from zaqar.storage.mongodb.watching import OF_WATCHING, abandoned

CHUNK = 1000
# So many chunks of a deleted queue's messages are removed at once; the sweep does the
# rest.
AT_ONCE = 20
SHOWN = {"name": 1, "metadata": 1, "revision": 1, "delays": 1}
NEW_LIFE: Document = {"posting": [], "buried": [], "total": 0, "claimed": 0}


class Queues:
    def __init__(self, database: Any) -> None:
        self._queues = database.queues
        self._messages = database.messages
        self._soon = database.messages.with_options(write_concern=WriteConcern(1))

    def find(self, key: QueueKey) -> Queue:
        """Raises QueueNotFound."""
        found = self._queues.find_one({"_id": name_of(key), "live": True}, SHOWN)
        if found is None:
            raise QueueNotFound(key.name)
        return queue_of(found)

    def some(self, project: str, names: Sequence[str]) -> list[Queue]:
        """Return those of the queues that exist."""
        ids = [name_of(QueueKey(project, name)) for name in dict.fromkeys(names)]
        wanted = {"_id": {"$in": ids}, "live": True}
        found = self._queues.find(wanted, SHOWN, batch_size=len(ids) + 1)
        return [queue_of(each) for each in found]

    def create(
        self,
        key: QueueKey,
        metadata: Metadata,
        delays: bool,
        revision: str,
        now: float,
    ) -> bool:
        """Create the queue if it is absent; say whether this revision created it."""
        try:
            return self.find(key).revision == revision
        except QueueNotFound:
            pass
        born: Document = {
            "project": key.project,
            "name": key.name,
            "live": True,
            "revision": revision,
            "delays": delays,
            "metadata": write_metadata(metadata),
            **NEW_LIFE,
        }
        # What was sent is data, even if it begins with a dollar.
        fields: Document = {field: {"$literal": born[field]} for field in born}
        base = {"$max": [{"$ifNull": ["$last", 0]}, number_at(now)]}
        fields |= {"base": base, "last": base, "counts": {"$ifNull": ["$counts", 0]}}
        try:
            self._queues.update_one(
                {"_id": name_of(key), "live": {"$ne": True}},
                [{"$set": fields}, {"$unset": ["count"]}],
                upsert=True,
            )
        except DuplicateKeyError:
            return self.find(key).revision == revision
        self._build_wall(name_of(key))
        return True

    def _build_wall(self, name: str) -> None:
        its = wall(name)
        # The queue is there; without a wall it is only slower.
        with suppress(PyMongoError):
            self._soon.update_one(
                {"_id": its["_id"], "queue": name}, {"$setOnInsert": its}, upsert=True
            )

    def replace(
        self,
        key: QueueKey,
        metadata: Metadata,
        delays: bool,
        revision: str,
        expect: str,
    ) -> None:
        """Raises QueueNotFound or QueueChanged."""
        done = self._queues.update_one(
            {"_id": name_of(key), "live": True, "revision": expect},
            {
                "$set": {
                    "revision": revision,
                    "delays": delays,
                    "metadata": write_metadata(metadata),
                }
            },
        )
        if done.matched_count:
            return
        found = self.find(key)
        if found.revision != revision:
            raise QueueChanged(found)

    def page(
        self,
        project: str,
        marker: str | None,
        limit: int,
        name: str,
        match: Mapping[str, str | int],
    ) -> Page[Queue]:
        """Return a page of the project's queues, by name."""
        found: list[Queue] = []
        size = CHUNK if name or match else limit
        for document in self._behind(project, marker, size):
            if name not in document["name"]:
                continue
            queue = queue_of(document)
            if matches(queue.metadata, match):
                found.append(queue)
                if len(found) == limit:
                    break
        return Page(tuple(found), found[-1].name if found else None)

    def _behind(
        self, project: str, marker: str | None, size: int
    ) -> Iterator[Document]:
        while True:
            wanted: Document = {"project": project, "live": True}
            if marker is not None:
                wanted["name"] = {"$gt": marker}
            some = list(
                self._queues.find(
                    wanted, SHOWN, sort=[("name", 1)], limit=size, batch_size=size
                )
            )
            yield from some
            if len(some) < size:
                return
            marker = some[-1]["name"]

    def count(self, project: str) -> int:
        counted: int = self._queues.count_documents({"project": project, "live": True})
        return counted

    def delete(self, key: QueueKey) -> None:
        """End the queue's life at once, then remove what it had."""
        name = name_of(key)
        ended = self._queues.find_one_and_update(
            {"_id": name, "live": True},
            [
                {
                    "$set": {
                        "live": False,
                        "base": "$last",
                        "ended": "$$NOW",
                        "counts": {"$add": ["$counts", 1]},
                        "abandoned": abandoned(),
                        **NEW_LIFE,
                    }
                },
                {"$unset": ["count", *OF_WATCHING]},
            ],
            projection={"last": 1},
        )
        if ended is not None:
            self._remove(name, ended["last"])

    def remove_remains(self) -> None:
        """Remove what deleted queues have left, and in the end their documents.

        Also of those that have been created anew.
        """
        for grave in self._queues.find(
            {"ended": {"$exists": True}}, {"base": 1, "live": 1}
        ):
            while not self._remove(grave["_id"], grave["base"]):
                pass
            if not grave["live"]:
                name = grave["_id"]
                self._soon.delete_one({"_id": wall_id(name), "queue": name})
            age = {"$subtract": ["$$NOW", "$ended"]}
            empty = {
                "_id": grave["_id"],
                "base": grave["base"],
                "$expr": {"$gt": [age, FORGIVEN]},
            }
            self._queues.delete_one(
                empty | {"live": False, "abandoned": {"$exists": False}}
            )
            self._queues.update_one(empty | {"live": True}, {"$unset": {"ended": 1}})

    def _remove(self, name: str, last: int) -> bool:
        """Remove messages up to a number; say whether these were all."""
        old: Document = {"queue": name, "state": {"$in": STATES}}
        for _ in range(AT_ONCE):
            numbers = [
                each["number"]
                for each in self._messages.find(
                    old | {"number": {"$lte": last}},
                    {"_id": 0, "number": 1},
                    sort=[("number", 1)],
                    limit=CHUNK,
                    batch_size=CHUNK,
                )
            ]
            if numbers:
                self._messages.delete_many(old | {"number": {"$lte": numbers[-1]}})
            if len(numbers) < CHUNK:
                return True
        return False

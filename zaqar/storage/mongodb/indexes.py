# SPDX-License-Identifier: Apache-2.0
"""The indexes of the collections; every query of the store is covered by one."""

from typing import Any

from pymongo import ASCENDING, IndexModel


def _index(name: str, *fields: str, only: str = "", unique: bool = False) -> IndexModel:
    """Return an index; `only` leaves out the documents without that field."""
    options: dict[str, Any] = {"name": name}
    if only:
        options["partialFilterExpression"] = {only: {"$exists": True}}
    if unique:
        options["unique"] = True
    return IndexModel([(field, ASCENDING) for field in fields], **options)


QUEUES = [
    _index("listed", "project", "live", "name"),
    _index("ended", "ended", only="ended"),
]
MESSAGES = [
    # Begins with the shard key, as one of them must.
    _index("places", "queue", "state", "number"),
    _index("due", "queue", "due", only="due"),
    _index("claims", "queue", "claim", "number", only="claim"),
    _index("heads", "queue", "head", only="head", unique=True),
    _index("notes", "queue", "uncounted", "popped_at", "number", only="uncounted"),
]

BINDINGS = [
    _index("bound", "project", "name"),
    _index("pools", "pool"),
]


def create(database: Any) -> None:
    """Create what is absent; safe to do again and by several processes at once."""
    database.queues.create_indexes(QUEUES)
    database.messages.create_indexes(MESSAGES)


def create_for_registry(database: Any) -> None:
    """Do the same for the registry."""
    database.bindings.create_indexes(BINDINGS)

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
    _index("owing", "owes", only="watched"),
    _index("abandoned", "abandoned.outbox", only="abandoned.outbox"),
]
MESSAGES = [
    # Begins with the shard key, as one of them must.
    _index("places", "queue", "state", "number"),
    _index("due", "queue", "due", only="due"),
    _index("claims", "queue", "claim", "number", only="claim"),
    _index("heads", "queue", "head", only="head", unique=True),
    _index("notes", "queue", "uncounted", "popped_at", "number", only="uncounted"),
    # Of notices; a message has no `outbox`.
    _index("notices", "queue", "outbox", "place", only="outbox"),
    _index("told", "queue", "outbox", "id", only="outbox"),
]
SUBSCRIPTIONS = [
    _index("subscribers", "queue", "outbox", "subscriber", unique=True),
    _index("ends", "expires"),
]
DELIVERIES = [
    _index("waiting", "queue", "outbox", "waiting", "due", "order", only="waiting"),
    _index("untried", "queue", "outbox", "untried", only="untried"),
    _index("failed", "queue", "outbox", "failed", "id", only="failed"),
]
# All of the store of messages.
STORE = {
    "queues": QUEUES,
    "messages": MESSAGES,
    "subscriptions": SUBSCRIPTIONS,
    "deliveries": DELIVERIES,
}

BINDINGS = [
    _index("bound", "project", "name"),
    _index("pools", "pool"),
]


def create(database: Any) -> None:
    """Create what is absent; safe to do again and by several processes at once."""
    for collection, its in STORE.items():
        database[collection].create_indexes(its)


def create_for_registry(database: Any) -> None:
    """Do the same for the registry."""
    database.bindings.create_indexes(BINDINGS)

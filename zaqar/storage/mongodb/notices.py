# SPDX-License-Identifier: Apache-2.0
"""Notices: what the outbox of a watched queue is told of its messages.

A notice (collection `messages`, so that it is stored by the same insertion)::

    _id        see `_id`
    queue      see `notices_of`; so it is none of the queue's messages
    outbox     the one that is told, see watching.py
    number     the message's
    place      the same; if it is delayed, the number of the end of its delay: in this
               order notices are told
    since      the instant at which the message can be seen
    until      the same, if it is delayed
    id, body, ttl, delay (absent: none)      of the message

A notice can be read, is dropped or is over where a message of its number is (see
reading.py and posting.py). Nothing that happens to the message later concerns it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from zaqar.model import Notice
from zaqar.storage.mongodb.documents import Document, number_at
from zaqar.storage.mongodb.reading import BY_ID, View

# What the recipient needs, and what tells whether it may be read.
SHOWN = {"_id": 0, "id": 1, "body": 1, "ttl": 1, "delay": 1, "number": 1, "since": 1}


class Watch(NamedTuple):
    """What a post has to know: where it tells, and whether the queue delays.

    `held`: until when somebody holds the outbox.
    """

    outbox: int
    delays: bool
    held: float


class Notices:
    def __init__(self, database: Any) -> None:
        self._messages = database.messages

    def take_back(self, name: str, messages: Sequence[Document]) -> None:
        """Remove the notices of messages that were there already."""
        numbers = {each["_id"]: each["number"] for each in messages}
        stored = self._messages.find(
            {"queue": name, "_id": {"$in": list(numbers)}}, {"number": 1}, hint=BY_ID
        )
        others = [
            _id(name, numbers[each["_id"]])
            for each in stored
            if each["number"] != numbers[each["_id"]]
        ]
        self._messages.delete_many(
            {"queue": notices_of(name), "_id": {"$in": others}}, hint=BY_ID
        )

    def remove(self, name: str, first: int, last: int) -> None:
        """Remove those of a post that was dropped."""
        numbers = {"$gte": _id(name, first), "$lte": _id(name, last)}
        self._messages.delete_many(
            {"queue": notices_of(name), "_id": numbers}, hint=BY_ID
        )

    def settle(self, name: str, outbox: int, ids: Sequence[str]) -> None:
        """Remove those that need nothing more."""
        its = {"queue": notices_of(name), "outbox": outbox}
        self._messages.delete_many(its | {"id": {"$in": list(ids)}}, hint="told")


def notices_of(name: str) -> str:
    """Return the `queue` of the notices of a queue; those of messages begin with a
    digit.
    """
    return f"told {name}"


def _id(name: str, number: int) -> str:
    return f"{notices_of(name)} {number:019}"


def new_notice(name: str, watch: Watch, message: Document) -> Document:
    """Return the notice of a message that has its number."""
    number, visible = message["number"], message.get("visible")
    notice: Document = {
        "_id": _id(name, number),
        "queue": notices_of(name),
        "outbox": watch.outbox,
        "number": number,
        "place": number,
        "since": since(watch, message),
        "id": message["_id"].removeprefix(name),
        "body": message["body"],
        "ttl": message["ttl"],
    }
    if watch.delays and visible is not None:
        notice |= {
            "place": max(number, number_at(visible)),
            "until": visible,
            "delay": round(visible - message["created"]),
        }
    return notice


def since(watch: Watch, message: Document) -> float:
    """Return the instant at which a message can be seen."""
    created: float = message["created"]
    return message.get("visible", created) if watch.delays else created


def readable(view: View, outbox: int, limit: int, now: float) -> list[Document]:
    """Return the stages that read the first notices that are due.

    What is not delayed is due, whatever the clock of its writer said.
    """
    newest = max(view.queue["last"], number_at(now))
    return [
        {
            "$match": {
                "queue": notices_of(view.queue["_id"]),
                "outbox": outbox,
                "place": {"$lte": newest},
                "number": {"$lt": view.horizon},
                "until": {"$not": {"$gt": now}},
            }
        },
        {"$sort": {"place": 1}},
        {"$limit": limit},
        {"$project": SHOWN},
    ]


def first(view: View, outbox: int) -> list[Document]:
    """Return the stages that read since when the first notice waits, or until when."""
    its = {"queue": notices_of(view.queue["_id"]), "outbox": outbox}
    return [
        {"$match": its | {"number": {"$lt": view.horizon}}},
        {"$sort": {"place": 1}},
        {"$limit": 1},
        {"$project": {"_id": 0, "since": 1}},
    ]


def notice_of(document: Document) -> Notice:
    return Notice(
        document["id"], document["body"], document["ttl"], document.get("delay", 0)
    )

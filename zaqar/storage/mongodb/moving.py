# SPDX-License-Identifier: Apache-2.0
"""Messages on their way to another store, or from one."""

from collections.abc import Sequence

from zaqar.model import Parcel
from zaqar.storage.mongodb.documents import FREE, Document, message_of
from zaqar.storage.mongodb.posting import Posting
from zaqar.storage.mongodb.viewing import Viewing


class Moving:
    def __init__(self, viewing: Viewing, posting: Posting) -> None:
        self._viewing = viewing
        self._posting = posting

    def export(self, name: str, limit: int, now: float) -> list[Parcel]:
        """Return the oldest messages of all states. Raises QueueNotFound."""
        view = self._viewing.view_behind(
            name, 0, limit, now, claimed=True, delayed=True
        )
        return [
            Parcel(message_of(each, now), each["client"], each["expires"])
            for each in view.visible
        ]

    def receive(self, name: str, parcels: Sequence[Parcel], now: float) -> None:
        """Append the messages that live and are not there yet. Raises QueueNotFound."""
        # What is due goes first: it may have the same ids.
        self._viewing.view(name, now)
        alive = [_arriving(name, each) for each in parcels if each.expires > now]
        if alive:
            self._posting.post_alone(name, alive, now)


def _arriving(name: str, parcel: Parcel) -> Document:
    """Return a message as it is inserted, but for its number."""
    message = parcel.message
    document: Document = {
        "_id": name + message.id,
        "queue": name,
        "state": FREE,
        "due": parcel.expires,
        "expires": parcel.expires,
        "ttl": message.ttl,
        "created": message.created,
        "client": parcel.client,
        "body": message.body,
    }
    if message.checksum is not None:
        document["checksum"] = message.checksum
    if message.claim_count:
        document["claims"] = message.claim_count
    if message.origin is not None:
        document |= {"origin": message.origin, "origin_claims": message.origin_claims}
    return document

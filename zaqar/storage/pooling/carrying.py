# SPDX-License-Identifier: Apache-2.0
"""Carries messages, or subscriptions, from one store to another.

Messages are deleted here once they are there: who dies in between is followed by
another one that finds them twice, and the second store leaves out what it has.
"""

from zaqar.model import QueueKey
from zaqar.storage.base import Store

CHUNK = 100


def carry_subscriptions(
    source: Store, target: Store, key: QueueKey, now: float
) -> None:
    """Subscribe all who are told of the queue in one store in the other one too."""
    marker: str | None = None
    while True:
        page = source.list_subscriptions(key, marker=marker, limit=CHUNK, now=now)
        for subscription in page.items:
            target.add_subscription(key, subscription, now=now)
        if not page.items:
            return
        marker = page.marker


def carry(source: Store, target: Store, key: QueueKey, now: float) -> int:
    """Move all messages of the queue to the one of the same key in another store.

    Returns how many. Raises QueueNotFound where one of both is absent.
    """
    carried = 0
    while parcels := source.export_messages(key, CHUNK, now=now):
        target.import_messages(key, parcels, now=now)
        ids = [parcel.message.id for parcel in parcels]
        source.delete_messages(key, ids, now=now)
        carried += len(ids)
    return carried

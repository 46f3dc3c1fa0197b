# SPDX-License-Identifier: Apache-2.0
"""Carries messages from one store to another.

They are deleted here once they are there: who dies in between is followed by another
one that finds them twice, and the second store leaves out what it has.
"""

from zaqar.model import QueueKey
from zaqar.storage.base import Store

CHUNK = 100


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

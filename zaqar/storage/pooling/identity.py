# SPDX-License-Identifier: Apache-2.0
"""Tells stores apart, whatever the URIs say under which they are reached.

Two pools in one store would take each other's queues for outboxes, and lose messages.
So each store bears a random name: the metadata of a queue that no client can name.
"""

import time
from contextlib import suppress
from uuid import uuid4
from weakref import WeakKeyDictionary

from zaqar.errors import QueueNotFound
from zaqar.model import QueueKey
from zaqar.storage.base import Store

# SECURITY: a header cannot hold the project, so no client has it.
KEY = QueueKey("\x00store", "identity")

_known: WeakKeyDictionary[Store, str] = WeakKeyDictionary()


def identity(store: Store) -> str:
    """Return the name of the store, given to it now if it has none."""
    with suppress(QueueNotFound):
        return str(store.get_queue(KEY).metadata["id"])
    store.put_queue(
        KEY,
        {"id": uuid4().hex},
        delays=False,
        revision=uuid4().hex,
        now=time.time(),
    )
    return str(store.get_queue(KEY).metadata["id"])


def is_same(one: Store, other: Store) -> bool:
    """Say whether two handles reach the same store; asks each handle once."""
    for store in (one, other):
        if store not in _known:
            _known[store] = identity(store)
    return _known[one] == _known[other]

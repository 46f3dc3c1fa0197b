# SPDX-License-Identifier: Apache-2.0
"""Lets posts to one queue that come at the same time share their trips.

Who comes while nobody posts to the queue does it at once. Others wait for that one to
come back; meanwhile they gather, and then one of them posts for all.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Hashable

from zaqar.errors import StorageUnavailable
from zaqar.storage.mongodb.documents import Document

# Seconds; a post is answered in time or not at all.
PATIENCE = 9.0
TURNS = 64


class Gathered:
    """Posts that go together; `failure` is what became of them."""

    def __init__(self) -> None:
        self.documents: list[Document] = []
        self.posts = 0
        self.failure: BaseException | None = None
        self.is_done = threading.Event()


class Gathering:
    """`send` posts documents; it raises what is to be raised to each who gathered."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._open: dict[Hashable, Gathered] = {}
        self._turns: dict[int, threading.Lock] = defaultdict(threading.Lock)

    def post(
        self,
        group: Hashable,
        documents: list[Document],
        send: Callable[[list[Document]], None],
    ) -> None:
        """Send the documents, with those of others of the group if there are any."""
        with self._guard:
            gathered = self._open.get(group)
            leads = gathered is None
            if gathered is None:
                gathered = self._open[group] = Gathered()
            gathered.documents += documents
            gathered.posts += 1
        if leads:
            self._lead(group, gathered, send)
        elif not gathered.is_done.wait(PATIENCE):
            raise StorageUnavailable("MongoDB did not answer in time.")
        if gathered.failure is None:
            return
        if gathered.posts == 1 or isinstance(gathered.failure, StorageUnavailable):
            raise gathered.failure
        # What one of them has done wrong is not the fault of the others.
        send(documents)

    def _lead(
        self,
        group: Hashable,
        gathered: Gathered,
        send: Callable[[list[Document]], None],
    ) -> None:
        turn = self._turns[hash(group) % TURNS]
        taken = turn.acquire(timeout=PATIENCE)
        with self._guard:
            del self._open[group]
        try:
            if not taken:
                raise StorageUnavailable("MongoDB did not answer in time.")
            send(gathered.documents)
        except BaseException as error:
            gathered.failure = error
        finally:
            if taken:
                turn.release()
            gathered.is_done.set()

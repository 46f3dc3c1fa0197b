# SPDX-License-Identifier: Apache-2.0
"""The MongoDB store: the operations of `storage/base.py`, in few trips.

No transactions: a service that dies in one would lock what it wrote for a minute. Each
operation is one write to one document, or writes of which each leaves the store whole:
a claim or a pop takes message by message what is still free, a post becomes visible by
one write at its end. What touches many messages (purge, deletion of several, release)
reaches them one by one; a reader may come in between.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

from zaqar.errors import StorageUnavailable
from zaqar.model import (
    Claim,
    DeadLetter,
    Message,
    Metadata,
    NewMessage,
    Page,
    Parcel,
    Queue,
    QueueKey,
    QueueStats,
    Usage,
)
from zaqar.storage.mongodb import indexes, opening
from zaqar.storage.mongodb.claiming import Terms
from zaqar.storage.mongodb.counting import CHUNK, Counting
from zaqar.storage.mongodb.deleting import Deleting
from zaqar.storage.mongodb.documents import name_of, new_message
from zaqar.storage.mongodb.ends import Ends
from zaqar.storage.mongodb.failures import Patience, answering
from zaqar.storage.mongodb.floors import Floors
from zaqar.storage.mongodb.letters import Letters
from zaqar.storage.mongodb.listing import Ask, Listing
from zaqar.storage.mongodb.measuring import Measuring
from zaqar.storage.mongodb.moving import Moving
from zaqar.storage.mongodb.outboxes import Outboxes
from zaqar.storage.mongodb.popping import Popping
from zaqar.storage.mongodb.posting import Posting
from zaqar.storage.mongodb.queues import Queues
from zaqar.storage.mongodb.reading import Reading
from zaqar.storage.mongodb.settling import Settling
from zaqar.storage.mongodb.statistics import Statistics
from zaqar.storage.mongodb.steps import step
from zaqar.storage.mongodb.subscribers import MongoOutboxes
from zaqar.storage.mongodb.subscribing import Subscribing
from zaqar.storage.mongodb.taking import Taking, Wish
from zaqar.storage.mongodb.turns import Turns
from zaqar.storage.mongodb.viewing import Viewing
from zaqar.storage.mongodb.watching import Watching


class MongoStore(MongoOutboxes):
    """Queues in a MongoDB database; shared by threads, opened after a fork.

    Raises ConfigurationError if the URI or the server cannot serve; a server that does
    not answer yet is waited for by each call. `relaxed` posts in one trip less, and
    gives up that readers miss nothing.
    """

    def __init__(self, uri: str, *, ordering: str = "strict", **options: Any) -> None:
        self._database = opening.connect(uri, **options)
        self._patience = Patience()
        self._is_relaxed = ordering == "relaxed"
        self._reading = Reading(self._database, relaxed=self._is_relaxed)
        self._counting = Counting(self._database)
        self._queues = Queues(self._database)
        self._posting = Posting(
            self._database,
            self._reading,
            self._counting,
            relaxed=ordering == "relaxed",
        )
        self._floors = Floors(self._database, relaxed=ordering == "relaxed")
        self._letters = Letters(self._database, self._posting, self._create_empty)
        self._settling = Settling(self._database, self._letters.resume, self._floors)
        self._viewing = Viewing(
            self._database,
            self._reading,
            self._settling,
            self._posting,
            self._floors,
        )
        self._moving = Moving(self._viewing, self._posting)
        self._statistics = Statistics(
            self._database,
            self._viewing,
            self._counting,
            Ends(self._floors, relaxed=ordering == "relaxed"),
        )
        self._listing = Listing(self._database, self._reading, self._viewing)
        self._deleting = Deleting(
            self._database, self._reading, self._viewing, self._counting
        )
        self._turns = Turns(f"{uri} {self._database.name}")
        self._popping = Popping(
            self._database, self._viewing, self._counting, self._turns
        )
        self._taking = Taking(
            self._database,
            self._reading,
            self._viewing,
            self._counting,
            self._letters,
            self._floors,
            self._turns,
        )
        self._measuring = Measuring(self._database)
        self._watching = Watching(self._database)
        self._subscribing = Subscribing(self._database, self._watching)
        self._outboxes = Outboxes(
            self._database,
            self._reading,
            self._posting,
            self._watching,
            self._subscribing,
        )
        self._is_ready = False
        with suppress(StorageUnavailable):
            self._prepare()

    def _prepare(self) -> None:
        """Create what is absent of the indexes, once there is a server that can."""
        with answering():
            indexes.create(self._database)
        self._is_ready = True

    # Queues ---------------------------------------------------------------------------

    @step
    def put_queue(
        self,
        key: QueueKey,
        metadata: Metadata,
        *,
        delays: bool,
        revision: str,
        expect: str | None = None,
        now: float,
    ) -> bool:
        if expect is not None:
            self._queues.replace(key, metadata, delays, revision, expect)
            return False
        return self._queues.create(key, metadata, delays, revision, now)

    def _create_empty(self, key: QueueKey, now: float) -> None:
        self._queues.create(key, {}, False, uuid4().hex, now)

    @step
    def get_queue(self, key: QueueKey) -> Queue:
        return self._queues.find(key)

    @step
    def delete_queue(self, key: QueueKey) -> None:
        self._queues.delete(key)

    @step
    def list_queues(
        self,
        project: str,
        *,
        marker: str | None = None,
        limit: int,
        name: str = "",
        match: Mapping[str, str | int] | None = None,
    ) -> Page[Queue]:
        return self._queues.page(project, marker, limit, name, match or {})

    @step
    def get_queues(self, project: str, names: Sequence[str]) -> list[Queue]:
        return self._queues.some(project, names)

    @step
    def count_queues(self, project: str) -> int:
        return self._queues.count(project)

    @step
    def queue_stats(self, key: QueueKey, *, now: float) -> QueueStats:
        return self._statistics.read(key, now)

    @step
    def count_subscriptions(self, project: str, *, now: float) -> int:
        return self._measuring.subscriptions(project, now)

    @step
    def measure_usage(self, project: str, *, sizes: bool, now: float) -> Usage:
        return self._measuring.measure(project, sizes=sizes, now=now)

    @step
    def purge_queue(
        self, key: QueueKey, *, messages: bool, subscriptions: bool, now: float
    ) -> None:
        if messages:
            self._deleting.all_free(name_of(key), now)
        if subscriptions:
            self._watching.end(name_of(key))

    # Messages -------------------------------------------------------------------------

    @step
    def post_messages(
        self,
        key: QueueKey,
        messages: Sequence[NewMessage],
        *,
        client: str,
        revision: str,
        now: float,
    ) -> bool:
        name = name_of(key)
        documents = [new_message(name, each, client, now) for each in messages]
        return self._posting.post(name, documents, now, revision)

    @step
    def list_messages(
        self,
        key: QueueKey,
        *,
        marker: str | None = None,
        limit: int,
        skip_client: str | None = None,
        claimed: bool = False,
        delayed: bool = False,
        now: float,
    ) -> Page[Message]:
        ask = Ask(marker, limit, skip_client, claimed, delayed)
        return self._listing.page(name_of(key), ask, now)

    @step
    def get_messages(
        self, key: QueueKey, ids: Sequence[str], *, now: float
    ) -> list[Message]:
        return self._listing.find(name_of(key), ids, now=now)

    @step
    def delete_message(
        self, key: QueueKey, id: str, *, claim: str | None = None, now: float
    ) -> None:
        self._deleting.one(name_of(key), id, claim, now)

    @step
    def delete_messages(
        self,
        key: QueueKey,
        ids: Sequence[str],
        *,
        claims: Sequence[str] | None = None,
        now: float,
    ) -> None:
        self._deleting.several(name_of(key), ids, claims, now)

    @step
    def pop_messages(self, key: QueueKey, limit: int, *, now: float) -> list[Message]:
        return self._popping.pop(name_of(key), limit, now)

    # Claims ---------------------------------------------------------------------------

    @step
    def create_claim(
        self,
        key: QueueKey,
        claim: str,
        *,
        ttl: int,
        grace: int,
        limit: int,
        dead_letter: DeadLetter | None = None,
        revision: str,
        now: float,
    ) -> list[Message]:
        terms = Terms(claim, ttl, grace, now, dead_letter is not None)
        return self._taking.claim(
            key, Wish(limit, terms), dead_letter=dead_letter, revision=revision
        )

    @step
    def get_claim(self, key: QueueKey, claim: str, *, now: float) -> Claim:
        return self._taking.find(key, claim, now)

    @step
    def renew_claim(
        self, key: QueueKey, claim: str, *, ttl: int, grace: int, now: float
    ) -> None:
        self._taking.renew(key, claim, ttl=ttl, grace=grace, now=now)

    @step
    def release_claim(self, key: QueueKey, claim: str, *, now: float) -> None:
        self._taking.release(name_of(key), claim, now)

    # Messages on their way to another store -------------------------------------------

    @step
    def export_messages(self, key: QueueKey, limit: int, *, now: float) -> list[Parcel]:
        return self._moving.export(name_of(key), limit, now)

    @step
    def import_messages(
        self, key: QueueKey, parcels: Sequence[Parcel], *, now: float
    ) -> None:
        self._moving.receive(name_of(key), parcels, now)

    # Upkeep ---------------------------------------------------------------------------

    @step
    def capabilities(self) -> tuple[str, ...]:
        fifo = ("FIFO",) * (not self._is_relaxed)
        durability = ("DURABILITY",) * opening.is_durable(self._database)
        return (*fifo, "CLAIMS", *durability, "AOD", "HIGH_THROUGHPUT")

    @step
    def ping(self) -> None:
        opening.check_health(self._database)

    @step
    def clock(self) -> float:
        return opening.clock(self._database)

    @step
    def sweep(self, *, now: float) -> int:
        names = self._reading.names_due(now)
        collected = sum(self._settling.settle(name, now) for name in names)
        for name in self._reading.names_uncounted():
            while self._counting.count(name) == CHUNK:
                pass
        self._subscribing.collect(now)
        self._outboxes.mend(now)
        self._watching.remove_remains()
        self._queues.remove_remains()
        return collected

    def close(self) -> None:
        self._database.client.close()
        self._turns.close()

# SPDX-License-Identifier: Apache-2.0
"""What operations cost: commands on the wire, and work that grows with nothing."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import pytest
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

from tests.contract.arrange import (
    CLIENT,
    KEY,
    T0,
    claim,
    create,
    draft,
    ids_of,
    message_id,
    post,
)
from tests.contract.concurrency import together
from zaqar.model import DeadLetter, Message, Parcel, QueueKey
from zaqar.storage.mongodb import indexes, opening
from zaqar.storage.mongodb.claiming import Terms
from zaqar.storage.mongodb.counting import HELD, NOTHING
from zaqar.storage.mongodb.documents import (
    GONE,
    Document,
    name_of,
    new_message,
    number_at,
)
from zaqar.storage.mongodb.store import MongoStore


class Arranged:
    """A queue with its revision, some of its ids, and a claim with what it holds."""

    def __init__(
        self, store: MongoStore, revision: str, ids: list[str], held: str
    ) -> None:
        self.store = store
        self.revision = revision
        self.ids = ids
        self.held = held
        self.now = T0

    def claim(self, dead_letter: DeadLetter | None = None, limit: int = 10) -> Any:
        return self.store.create_claim(
            KEY,
            "c",
            ttl=60,
            grace=60,
            limit=limit,
            dead_letter=dead_letter,
            revision=self.revision,
            now=self.now,
        )

    def parcels(self) -> list[Parcel]:
        messages = [
            Message(message_id(self.now), b"1", 300, self.now) for _ in range(50)
        ]
        return [Parcel(message, CLIENT, self.now + 300) for message in messages]

    def post(self, count: int, delay: int = 0) -> None:
        drafts = [draft(delay=delay) for _ in range(count)]
        self.store.post_messages(
            KEY, drafts, client=CLIENT, revision=self.revision, now=self.now
        )


Operation = Callable[[MongoStore, Arranged], Any]

# What each operation does, and how many commands it may send.
OPERATIONS: dict[str, tuple[int, Operation]] = {
    "post": (3, lambda store, its: its.post(1)),
    "post many": (3, lambda store, its: its.post(100)),
    "post delayed": (3, lambda store, its: its.post(5, delay=100)),
    "list": (
        2,
        lambda store, its: store.list_messages(
            KEY, limit=20, claimed=True, delayed=True, now=its.now
        ),
    ),
    "list what is free": (
        2,
        lambda store, its: store.list_messages(KEY, limit=20, now=its.now),
    ),
    "list behind an id": (
        2,
        lambda store, its: store.list_messages(
            KEY, marker=its.ids[6], limit=20, now=its.now
        ),
    ),
    "list behind a number": (
        2,
        lambda store, its: store.list_messages(
            KEY, marker=str(number_at(T0) + 5000), limit=20, claimed=True, now=its.now
        ),
    ),
    "get": (2, lambda store, its: store.get_messages(KEY, its.ids, now=its.now)),
    "delete": (
        2,
        lambda store, its: store.delete_message(KEY, its.ids[-1], now=its.now),
    ),
    "delete claimed": (
        2,
        lambda store, its: store.delete_message(
            KEY, its.ids[0], claim=its.held, now=its.now
        ),
    ),
    "delete what is absent": (
        2,
        lambda store, its: store.delete_message(KEY, "absent", now=its.now),
    ),
    "delete many": (
        2,
        lambda store, its: store.delete_messages(KEY, its.ids[-8:-1], now=its.now),
    ),
    "delete many claimed": (
        2,
        lambda store, its: store.delete_messages(
            KEY, its.ids[1:4], claims=[its.held], now=its.now
        ),
    ),
    "pop": (2, lambda store, its: store.pop_messages(KEY, 10, now=its.now)),
    "claim": (4, lambda store, its: its.claim()),
    "claim one": (4, lambda store, its: its.claim(limit=1)),
    "claim counted": (4, lambda store, its: its.claim(DeadLetter("dead", 5))),
    "get claim": (
        2,
        lambda store, its: store.get_claim(KEY, its.held, now=its.now),
    ),
    "renew": (
        2,
        lambda store, its: store.renew_claim(
            KEY, its.held, ttl=60, grace=60, now=its.now
        ),
    ),
    "release": (
        2,
        lambda store, its: store.release_claim(KEY, its.held, now=its.now),
    ),
    "stats": (1, lambda store, its: store.queue_stats(KEY, now=its.now)),
    "export": (1, lambda store, its: store.export_messages(KEY, 10, now=its.now)),
    "import": (4, lambda store, its: store.import_messages(KEY, its.parcels(), now=T0)),
    "import one": (
        4,
        lambda store, its: store.import_messages(KEY, its.parcels()[:1], now=T0),
    ),
    "get queue": (1, lambda store, its: store.get_queue(KEY)),
    "get queues": (
        1,
        lambda store, its: store.get_queues(
            KEY.project, [KEY.name, *(f"q{number}" for number in range(300))]
        ),
    ),
    "list queues": (1, lambda store, its: store.list_queues(KEY.project, limit=10)),
    "count queues": (1, lambda store, its: store.count_queues(KEY.project)),
}


class Wire(CommandListener):
    """Notes the commands that go to the server."""

    def __init__(self) -> None:
        self.commands: list[Document] = []

    def started(self, event: CommandStartedEvent) -> None:
        self.commands.append(dict(event.command))

    def succeeded(self, event: CommandSucceededEvent) -> None:
        pass

    def failed(self, event: CommandFailedEvent) -> None:
        pass

    @property
    def names(self) -> list[str]:
        return [next(iter(command)) for command in self.commands]


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """What the stores send that are opened from now on."""
    wire = Wire()
    client = partial(MongoClient, event_listeners=[wire])
    monkeypatch.setattr(opening, "MongoClient", client)
    return wire


@pytest.fixture(params=["strict", "relaxed"])
def store(
    opener: Callable[..., MongoStore], wire: Wire, request: pytest.FixtureRequest
) -> Iterator[MongoStore]:
    store = opener(ordering=request.param)
    yield store
    store.close()


# Commands on the wire


def arranged(store: MongoStore) -> Arranged:
    """A new queue of 40 messages, of which the oldest 5 are claimed."""
    store.delete_queue(KEY)
    revision = create(store)
    ids = post(store, 40)
    held, messages = claim(store, limit=5)
    return Arranged(store, revision, ids_of(messages) + ids[-20:], held)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_sends_few_commands(store: MongoStore, wire: Wire, name: str) -> None:
    ceiling, operation = OPERATIONS[name]
    its = arranged(store)
    wire.commands.clear()

    operation(store, its)

    assert 0 < len(wire.commands) <= ceiling, wire.names


@pytest.mark.parametrize("ordering", ["strict", "relaxed"])
def test_relaxed_order_saves_a_trip(
    opener: Callable[..., MongoStore], wire: Wire, ordering: str
) -> None:
    store = opener(ordering=ordering)
    its = arranged(store)
    wire.commands.clear()

    its.post(10)

    assert len(wire.commands) == {"strict": 3, "relaxed": 2}[ordering], wire.names
    store.close()


# Work of the server

DEEP, FRESH = "deep", "fresh"
DEPTH, OTHERS, OTHER_DEPTH = 60_000, 40, 1000
QUEUES = OTHERS + 1
CLAIMED_ONES, GONE_ONES, DELAYED_ONES = 5000, 600, 5000
OWNERS = ("$queue", "$waiting", "$untried")
# So many keys may be examined in vain by each command.
PROBES = 5


def filled(store: MongoStore) -> Arranged:
    """Store 100,000 messages: one deep queue in all states, others beside it."""
    for number in range(OTHERS):
        key = QueueKey(f"{KEY.project}{number % 3 or ''}", f"other{number}")
        fill(store, key, OTHER_DEPTH)
    create(store)
    documents = fill(store, KEY, DEPTH)
    held, taken = documents[0]["claim"], documents[:10]
    free = documents[CLAIMED_ONES + GONE_ONES :]
    ids = [each["_id"].removeprefix(name_of(KEY)) for each in taken + free[-20:]]
    return Arranged(store, store.get_queue(KEY).revision, ids, held)


def fill(store: MongoStore, key: QueueKey, count: int) -> list[Document]:
    """Store messages as they are after many operations; the oldest are claimed."""
    if key != KEY:
        create(store, key)
    name, first = name_of(key), number_at(T0) + 1
    claimed, gone, delayed = (
        ones * count // DEPTH for ones in (CLAIMED_ONES, GONE_ONES, DELAYED_ONES)
    )
    documents = []
    for place in range(count):
        delay = 100 if place >= count - delayed else 0
        ttl = 300 + place % 100
        document = new_message(name, draft(ttl=ttl, delay=delay), CLIENT, T0)
        document["number"] = first + place
        if place < claimed:
            document |= Terms(f"held{place // 10}", 60, 60, T0).fields
            document["counted"] = HELD
        elif place < claimed + gone:
            document = {
                **{field: document[field] for field in ("_id", "queue", "number")},
                "state": GONE,
                "uncounted": 3 + NOTHING,
            }
        documents.append(document)
    insert(store._database.messages, documents)
    store._database.queues.update_one(
        {"_id": name},
        {"$set": {"last": first + count, "total": count, "claimed": claimed}},
    )
    return documents


def insert(collection: Any, documents: list[Document]) -> None:
    """Store documents, a few thousand at a time: the client of a store waits for no
    command longer than four seconds."""
    for first in range(0, len(documents), 2000):
        collection.insert_many(documents[first : first + 2000], ordered=False)


class Query(NamedTuple):
    """What one part of a command reads, and what that costs."""

    command: str
    query: Document
    stages: set[str]
    keys: int
    found: int

    @property
    def is_covered(self) -> bool:
        """Whether an index leads to what is found, and not to much else."""
        if "DISTINCT_SCAN" in self.stages:
            # A walk over the queues, of which few may have what is looked for.
            return self.keys <= 2 * QUEUES
        in_vain = self.keys - 2 * self.found
        return not self.stages & {"COLLSCAN", "SORT", "$sort"} and in_vain <= PROBES


class Explained(Wire):
    """Lets the server explain each query just before it is sent."""

    def __init__(self, uri: str, database: str) -> None:
        super().__init__()
        self.database: Database[Document] = MongoClient(uri)[database]
        self.queries: list[Query] = []
        self.failures: list[Exception] = []
        self.is_on = False

    def started(self, event: CommandStartedEvent) -> None:
        # The driver swallows what is raised here.
        try:
            for query in queries_in(dict(event.command)) if self.is_on else ():
                self.queries.append(self._explain(event.command_name, query))
        except Exception as failure:
            self.failures.append(failure)

    def _explain(self, command: str, query: Document) -> Query:
        told = self.database.command("explain", query, verbosity="executionStats")
        if "stages" in told:
            stages = {next(iter(stage)) for stage in told["stages"]}
            told = told["stages"][0]["$cursor"]
        else:
            stages = set()
        stages |= set(stages_of(told["queryPlanner"]["winningPlan"]))
        facts = told["executionStats"]
        return Query(
            command, query, stages, facts["totalKeysExamined"], facts["nReturned"]
        )

    def of(self, work: Callable[[], object]) -> list[Query]:
        """Return the queries of the work."""
        self.queries.clear()
        self.is_on = True
        try:
            work()
        finally:
            self.is_on = False
        assert self.failures == []
        return list(self.queries)


def stages_of(plan: Any) -> Iterator[str]:
    """Name the stages of a plan, from the top to the bottom."""
    if isinstance(plan, list):
        for each in plan:
            yield from stages_of(each)
    elif isinstance(plan, dict):
        if "stage" in plan:
            yield plan["stage"]
        for each in plan.values():
            yield from stages_of(each)


def queries_in(command: Document) -> list[Document]:
    """Return what a command reads: a query for each collection and each update."""
    match next(iter(command.items())):
        case "aggregate", collection:
            return list(_pipelines(collection, command["pipeline"]))
        case "find", collection:
            return [_find(collection, command["filter"], **_more(command))]
        case "update", collection:
            return [
                _find(
                    collection,
                    each["q"],
                    limit=int(not each.get("multi")),
                    **_more(each),
                )
                for each in command["updates"]
            ]
        case "delete", collection:
            return [
                _find(collection, each["q"], **_more(each))
                for each in command["deletes"]
            ]
        case "findAndModify", collection:
            return [_find(collection, command["query"], limit=1)]
        case "distinct", collection:
            return [
                {
                    "distinct": collection,
                    "key": command["key"],
                    "query": command["query"],
                }
            ]
        case name, _:
            assert name in ("insert", "getMore", "hello"), name
            return []


def _find(collection: str, wanted: Document, **options: Any) -> Document:
    return {"find": collection, "filter": wanted, **options}


def _more(command: Document) -> Document:
    return {
        field: command[field]
        for field in ("sort", "limit", "projection", "hint")
        if field in command
    }


def _pipelines(collection: str, pipeline: list[Document]) -> Iterator[Document]:
    """Split a pipeline by what it reads."""
    own: list[Document] = []
    for stage in pipeline:
        if "$unionWith" in stage:
            union = stage["$unionWith"]
            yield from _pipelines(union["coll"], union["pipeline"])
        else:
            own.append(stage)
    yield {"aggregate": collection, "pipeline": list(_ungrouped(own)), "cursor": {}}


def _ungrouped(pipeline: list[Document]) -> Iterator[Document]:
    """Leave out that messages are added up: what is read is what is found.

    But whose they are is found without reading all of them.
    """
    for stage in pipeline:
        if "$group" in stage and stage["$group"]["_id"] not in OWNERS:
            return
        yield stage


class Depth:
    """The deep queue, and what its store asks the server."""

    def __init__(self, uri: str, patch: pytest.MonkeyPatch) -> None:
        self.explained = Explained(uri, DEEP)
        client = partial(MongoClient, event_listeners=[self.explained])
        patch.setattr(opening, "MongoClient", client)
        self.explained.database.client.drop_database(DEEP)
        self.store = MongoStore(uri, database=DEEP)
        self.its = filled(self.store)

    def close(self) -> None:
        self.store.close()
        self.explained.database.client.drop_database(DEEP)
        self.explained.database.client.close()


@pytest.fixture(scope="module")
def deep(mongo_uri: str) -> Iterator[Depth]:
    with pytest.MonkeyPatch.context() as patch:
        depth = Depth(mongo_uri, patch)
        yield depth
        depth.close()


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_query_of_an_operation_is_covered_by_an_index(
    deep: Depth, name: str
) -> None:
    _, operation = OPERATIONS[name]

    queries = deep.explained.of(lambda: operation(deep.store, deep.its))

    assert [query for query in queries if not query.is_covered] == []
    assert queries != []


def test_query_without_an_index_is_found_out(deep: Depth) -> None:
    messages = deep.store._database.messages

    asked = deep.explained.of(
        lambda: [
            messages.find_one({"client": "nobody"}),
            messages.find_one({"queue": name_of(KEY), "client": "nobody"}),
            list(messages.find({"queue": name_of(KEY)}, sort=[("due", -1)], limit=1)),
        ]
    )

    assert [query.is_covered for query in asked] == [False, False, False]


# What is done now and then, and with many messages at once
UPKEEP: dict[str, Callable[[MongoStore], Any]] = {
    "sweep": lambda store: store.sweep(now=T0 + 1),
    "sweep of claims": lambda store: store.sweep(now=T0 + 61),
    "stats": lambda store: store.queue_stats(KEY, now=T0 + 61),
    "page of 1000": lambda store: store.list_messages(KEY, limit=1000, now=T0 + 61),
    "pop of 300": lambda store: store.pop_messages(KEY, 300, now=T0 + 61),
    "purge": lambda store: store.purge_queue(
        QueueKey(KEY.project, "other0"), messages=True, subscriptions=True, now=T0 + 61
    ),
    "sweep of delays": lambda store: store.sweep(now=T0 + 101),
    "sweep of messages": lambda store: store.sweep(now=T0 + 303),
    "deletion": lambda store: store.delete_queue(QueueKey(KEY.project, "other3")),
}


# NOTE: they go on from what the one before has left.
@pytest.mark.parametrize("name", UPKEEP)
def test_each_query_of_upkeep_is_covered_by_an_index(deep: Depth, name: str) -> None:
    queries = deep.explained.of(lambda: UPKEEP[name](deep.store))

    assert [query for query in queries if not query.is_covered] == []
    assert queries != []


# Indexes


def test_indexes_are_made_by_several_handles_at_once(mongo_uri: str) -> None:
    with MongoClient[Document](mongo_uri) as client:
        client.drop_database(FRESH)
        stores = together(6, lambda _: MongoStore(mongo_uri, database=FRESH))
        again = MongoStore(mongo_uri, database=FRESH)

        assert {
            (collection, name)
            for collection in indexes.STORE
            for name in client[FRESH][collection].index_information()
        } == {
            (collection, name)
            for collection, its in indexes.STORE.items()
            for name in ("_id_", *(index.document["name"] for index in its))
        }
        assert [post(store) for store in [*stores, again]]
        client.drop_database(FRESH)
    for store in [*stores, again]:
        store.close()

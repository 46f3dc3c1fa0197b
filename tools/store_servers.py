# SPDX-License-Identifier: Apache-2.0
"""The stores of the fault tool that are servers of their own.

They are those of the tests, which know where the programs are; so these modules need
the requirements of the tests.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from launch import Options
from pymongo import MongoClient
from stores import StoreServer, read_claims
from verdicts import StoredClaim

from zaqar.model import QueueKey
from zaqar.storage.mongodb.documents import CLAIMED, name_of
from zaqar.storage.mongodb.store import MongoStore
from zaqar.storage.redis.keys import Keys
from zaqar.storage.redis.store import RedisStore

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.cutting import Cutter
from tests.mongo_servers import MongoReplicaSet, MongoServer
from tests.redis_servers import RedisServer


class Redis:
    """A server with an append-only file, and a proxy between it and the service."""

    def __init__(self, folder: Path) -> None:
        place = folder / "redis"
        place.mkdir()
        self._server = RedisServer(place, "--appendfsync", "always")
        self._proxy = Cutter(self._server.port)
        self._proxy.halves = True
        uri = f"redis://127.0.0.1:{self._proxy.port}?socket_timeout=1"
        self.options: Options = {
            "drivers": {"message_store": "redis"},
            "drivers:message_store:redis": {"uri": uri},
        }

    def start(self) -> None:
        self._server.start()
        self._proxy.open()

    def kill(self) -> None:
        self._server.kill()
        # As the server itself, the proxy refuses connections then.
        self._proxy.close()

    def stop_for_a_while(self) -> None:
        self._server.stop_for_a_while()

    def go_on(self) -> None:
        self._server.go_on()

    def cut(self, count: int) -> None:
        self._proxy.cuts = count

    def uncut(self) -> int:
        return self._proxy.cuts

    def rows(self, queues: Iterable[QueueKey]) -> Mapping[str, int]:
        keys = Keys("zaqar")
        answers = {
            key.name: self._server.ask("HLEN", f"{keys.record(key)}:m")
            for key in queues
        }
        return {name: int(answer.lstrip(":")) for name, answer in answers.items()}

    def claims(self, held: Iterable[tuple[QueueKey, str]]) -> dict[str, StoredClaim]:
        store = RedisStore(self._server.uri)
        try:
            return read_claims(store, held)
        finally:
            store.close()

    def check(self) -> str:
        return "ok"

    def end(self) -> None:
        self._proxy.close()
        self._server.go_on()
        self._server.kill()


class Mongo:
    """A replica set of one, and a proxy between it and the service."""

    def __init__(self, folder: Path) -> None:
        place = folder / "mongodb"
        place.mkdir()
        self._server = MongoServer(place)
        self._proxy = Cutter(self._server.port, is_answer_to_an_operation)
        self._proxy.halves = True
        # Directly: the members of the set would tell where they are without the proxy.
        uri = f"mongodb://127.0.0.1:{self._proxy.port}/?directConnection=true"
        self.options: Options = {
            "DEFAULT": {"unreliable": True},
            "drivers": {"message_store": "mongodb"},
            "drivers:message_store:mongodb": {"uri": uri},
        }

    def start(self) -> None:
        self._server.start()
        self._proxy.open()

    def kill(self) -> None:
        self._server.kill()
        # As the server itself, the proxy refuses connections then.
        self._proxy.close()

    def stop_for_a_while(self) -> None:
        self._server.stop_for_a_while()

    def go_on(self) -> None:
        self._server.go_on()

    def cut(self, count: int) -> None:
        self._proxy.cuts = count

    def uncut(self) -> int:
        return self._proxy.cuts

    def rows(self, queues: Iterable[QueueKey]) -> Mapping[str, int]:
        return count_messages(self._server.uri, queues)

    def claims(self, held: Iterable[tuple[QueueKey, str]]) -> dict[str, StoredClaim]:
        return mongo_claims(self._server.uri, held)

    def check(self) -> str:
        return "ok"

    def end(self) -> None:
        self._proxy.close()
        self._server.go_on()
        self._server.kill()


class MongoSet:
    """A replica set of three. Faults strike the primary; to be cut off is to step down.

    What was killed or stopped comes back as a secondary.
    """

    def __init__(self, folder: Path) -> None:
        place = folder / "mongodb"
        place.mkdir()
        self._set = MongoReplicaSet(place)
        self._struck: MongoServer | None = None
        self.options: Options = {
            "drivers": {"message_store": "mongodb"},
            "drivers:message_store:mongodb": {"uri": self._set.uri},
        }

    def kill(self) -> None:
        self._struck = self._set.kill_primary()

    def start(self) -> None:
        if self._struck is not None:
            self._struck.start()
        self._set.wait_until_whole()

    def stop_for_a_while(self) -> None:
        self._struck = self._set.primary()
        self._struck.stop_for_a_while()

    def go_on(self) -> None:
        self._set.go_on()
        self._set.wait_until_whole()

    def cut(self, count: int) -> None:
        if count:
            self._set.step_down(seconds=6)
            self._set.wait_until_whole()

    def uncut(self) -> int:
        return 0

    def rows(self, queues: Iterable[QueueKey]) -> Mapping[str, int]:
        return count_messages(self._set.uri, queues)

    def claims(self, held: Iterable[tuple[QueueKey, str]]) -> dict[str, StoredClaim]:
        return mongo_claims(self._set.uri, held)

    def check(self) -> str:
        return "ok"

    def end(self) -> None:
        self._set.go_on()
        self._set.kill()


def is_answer_to_an_operation(data: bytes) -> bool:
    """Tell it from what a MongoDB server says of itself, also when nobody asks."""
    return b"isWritablePrimary" not in data


def count_messages(uri: str, queues: Iterable[QueueKey]) -> Mapping[str, int]:
    with MongoClient[Any](uri) as client:
        messages = client.zaqar.messages
        return {
            key.name: messages.count_documents(
                {"queue": name_of(key), "state": {"$lte": CLAIMED}}
            )
            for key in queues
        }


def mongo_claims(
    uri: str, held: Iterable[tuple[QueueKey, str]]
) -> dict[str, StoredClaim]:
    store = MongoStore(uri, database="zaqar")
    try:
        return read_claims(store, held)
    finally:
        store.close()


KINDS: dict[str, Callable[[Path], StoreServer]] = {
    "redis": Redis,
    "mongodb": Mongo,
    "mongodb-3": MongoSet,
}

# SPDX-License-Identifier: Apache-2.0
"""The stores of the delivery tools: configured, killed, and read for what is owed.

Those that are servers are those of the tests, which know where the programs are; so
this needs the requirements of the tests.
"""

import sys
import time
from pathlib import Path
from typing import Any

from launch import Options, sqlite_file

from zaqar.model import QueueKey
from zaqar.storage.mongodb.store import MongoStore
from zaqar.storage.redis.store import RedisStore
from zaqar.storage.sqlite.store import SqliteStore

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.mongo_servers import MongoServer
from tests.redis_servers import RedisServer

STORES = ("sqlite", "redis", "mongodb")
PROJECT, QUEUE = "deliveries", "told"
KEY = QueueKey(PROJECT, QUEUE)
LASTING = 10 * 86400
# A message and a subscription that is to be told of it.
Pair = tuple[str, str]


class Store:
    """A store, past the service: what waits in its outbox, and its end."""

    def __init__(self, name: str, folder: Path) -> None:
        self.server: Any = None
        if name == "sqlite":
            self.options: Options = sqlite_file(folder, "FULL")
            self._open: Any = lambda: SqliteStore(str(folder / "messages.db"))
            return
        if name == "redis":
            self.server = RedisServer(folder, "--appendfsync", "always")
            self._open = lambda: RedisStore(self.server.uri)
        else:
            self.server = MongoServer(folder)
            self._open = lambda: MongoStore(self.server.uri, database="zaqar")
        self.options = {
            "DEFAULT": {"unreliable": True},
            "drivers": {"message_store": name},
            f"drivers:message_store:{name}": {"uri": self.server.uri},
        }

    def waiting(self) -> set[Pair]:
        """Return what is still to be delivered: messages and subscriptions."""
        store = self._open()
        try:
            work = store.read_outbox(
                KEY, notices=10**6, deliveries=10**6, now=time.time() + 86400
            )
        finally:
            store.close()
        notices = {(n.id, s.id) for n in work.notices for s in work.subscriptions}
        return notices | {(d.notice.id, d.subscription) for d in work.deliveries}

    def end(self) -> None:
        if self.server is not None:
            self.server.kill()

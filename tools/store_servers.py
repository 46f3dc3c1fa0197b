# SPDX-License-Identifier: Apache-2.0
"""The stores of the fault tool that are servers of their own.

They are those of the tests, which know where the programs are; so these modules need
the requirements of the tests.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from launch import Options
from stores import StoreServer, read_claims
from verdicts import StoredClaim

from zaqar.model import QueueKey
from zaqar.storage.redis.keys import Keys
from zaqar.storage.redis.store import RedisStore

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.cutting import Cutter
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


KINDS: dict[str, Callable[[Path], StoreServer]] = {"redis": Redis}

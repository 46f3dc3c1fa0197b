# SPDX-License-Identifier: Apache-2.0
"""The MongoDB registry: directory, map of queues, quotas; one document for each.

The directory (collection `directory`)::

    _id        "directory"; absent before the first write
    document, version

A binding (collection `bindings`)::

    _id        text that names project and queue, see `name_of`
    project, name, pool, version

A quota (collection `quotas`)::

    _id        the project
    document

A conditional write is an update or an insert of one document. Both are written to a
majority, and only what a majority has is read: no queue is used where it does not stay.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pymongo.errors import DuplicateKeyError
from pymongo.read_concern import ReadConcern

from zaqar.errors import BindingChanged, DirectoryChanged, StorageUnavailable
from zaqar.model import Binding, QueueKey
from zaqar.storage.mongodb import indexes, opening
from zaqar.storage.mongodb.documents import Document, name_of
from zaqar.storage.mongodb.failures import Patience, answering

DIRECTORY = {"_id": "directory"}
BINDING = {"_id": 0, "pool": 1, "version": 1}
CHUNK = 1000
# Seconds for which a write waits until a majority has what it met.
PATIENCE = 4.0


class MongoRegistry:
    """The registry in a MongoDB database, which may be that of a store.

    Shared by threads, opened after a fork; takes the options of `MongoStore`, of which
    `ordering` means nothing here, and raises as it.
    """

    def __init__(self, uri: str, *, ordering: str = "strict", **options: Any) -> None:
        self._database = opening.connect(uri, **options)
        self._patience = Patience()
        majority = ReadConcern("majority")
        database: Any = self._database
        self._directory = database.directory.with_options(read_concern=majority)
        self._bindings = database.bindings.with_options(read_concern=majority)
        self._quotas = database.quotas.with_options(read_concern=majority)
        self._is_ready = False
        with suppress(StorageUnavailable):
            self._prepare()

    def _prepare(self) -> None:
        """Create what is absent of the indexes, once there is a server that can."""
        with answering():
            indexes.create_for_registry(self._database)
        self._is_ready = True

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Answer in time, with StorageUnavailable if the servers cannot."""
        with self._patience.answering():
            if not self._is_ready:
                self._prepare()
            yield

    # The directory --------------------------------------------------------------------

    def read_directory(self) -> tuple[bytes, str]:
        with self._answering():
            found = self._directory.find_one(DIRECTORY)
        return (b"", "") if found is None else (found["document"], found["version"])

    def write_directory(self, document: bytes, version: str, *, expect: str) -> None:
        new = {"document": document, "version": version}

        def write() -> bool:
            if not expect:
                return _is_inserted(self._directory, DIRECTORY | new)
            wanted = DIRECTORY | {"version": expect}
            done = self._directory.update_one(wanted, {"$set": new})
            return bool(done.matched_count)

        def look() -> str:
            found = self._directory.find_one(DIRECTORY, {"version": 1})
            return str(found["version"]) if found else ""

        with self._answering():
            if not _is_written(write, look, expect, version):
                raise DirectoryChanged()

    # The map of queues ----------------------------------------------------------------

    def find_queue(self, key: QueueKey) -> Binding | None:
        with self._answering():
            return self._find(name_of(key))

    def _find(self, name: str) -> Binding | None:
        found = self._bindings.find_one({"_id": name}, BINDING)
        return None if found is None else Binding(**found)

    def bind_queue(
        self, key: QueueKey, binding: Binding, *, expect: Binding | None
    ) -> None:
        name = name_of(key)
        new = {"pool": binding.pool, "version": binding.version}

        def write() -> bool:
            if expect is None:
                born = {"_id": name, "project": key.project, "name": key.name, **new}
                return _is_inserted(self._bindings, born)
            wanted = {"_id": name, "version": expect.version}
            return bool(self._bindings.update_one(wanted, {"$set": new}).matched_count)

        self._change(name, write, expect, binding.version)

    def unbind_queue(self, key: QueueKey, expect: Binding) -> None:
        name = name_of(key)
        wanted = {"_id": name, "version": expect.version}
        self._change(
            name,
            lambda: bool(self._bindings.delete_one(wanted).deleted_count),
            expect,
            None,
        )

    def _change(
        self,
        name: str,
        write: Callable[[], bool],
        expect: Binding | None,
        version: str | None,
    ) -> None:
        """Write unless it has been done. Raises BindingChanged."""
        stored: list[Binding | None] = []

        def look() -> str | None:
            stored[:] = [self._find(name)]
            return _version(stored[0])

        with self._answering():
            if not _is_written(write, look, _version(expect), version):
                raise BindingChanged(stored[0])

    def list_queues(
        self, project: str, *, marker: str | None = None, limit: int, name: str = ""
    ) -> list[tuple[str, Binding]]:
        found: list[tuple[str, Binding]] = []
        size = CHUNK if name else min(limit, CHUNK)
        while len(found) < limit:
            with self._answering():
                some = self._behind(project, marker, size)
            for each in some:
                if name in each["name"]:
                    binding = Binding(each["pool"], each["version"])
                    found.append((each["name"], binding))
            if len(some) < size:
                break
            marker = some[-1]["name"]
        return found[:limit]

    def _behind(self, project: str, marker: str | None, size: int) -> list[Document]:
        wanted: Document = {"project": project}
        if marker is not None:
            wanted["name"] = {"$gt": marker}
        shown = BINDING | {"name": 1}
        order = [("name", 1)]
        return list(
            self._bindings.find(wanted, shown, sort=order, limit=size, batch_size=size)
        )

    def count_queues(self, project: str) -> int:
        return self._count({"project": project})

    def count_bound(self, pool: str) -> int:
        return self._count({"pool": pool})

    def _count(self, wanted: Document) -> int:
        with self._answering():
            counted: int = self._bindings.count_documents(wanted)
        return counted

    def unbind_pool(self, pool: str, limit: int) -> int:
        freed = 0
        while freed < limit:
            size = min(limit - freed, CHUNK)
            with self._answering():
                some = self._bindings.find({"pool": pool}, {"_id": 1}, limit=size)
                ids = [each["_id"] for each in some]
                # Not what was bound to another pool meanwhile.
                gone = {"_id": {"$in": ids}, "pool": pool}
                freed += self._bindings.delete_many(gone).deleted_count if ids else 0
            if len(ids) < size:
                break
        return freed

    # Quotas ---------------------------------------------------------------------------

    def get_quota(self, project: str) -> bytes:
        with self._answering():
            found = self._quotas.find_one({"_id": project})
        return b"" if found is None else found["document"]

    def set_quota(self, project: str, document: bytes) -> None:
        wanted = {"_id": project}
        with self._answering():
            if document:
                new = {"$set": {"document": document}}
                self._quotas.update_one(wanted, new, upsert=True)
            else:
                self._quotas.delete_one(wanted)

    def list_quotas(
        self, *, marker: str | None = None, limit: int
    ) -> list[tuple[str, bytes]]:
        wanted: Document = {} if marker is None else {"_id": {"$gt": marker}}
        with self._answering():
            found = self._quotas.find(wanted, sort=[("_id", 1)], limit=limit)
            return [(each["_id"], each["document"]) for each in found]

    def take_request(self, project: str, *, rate: float, burst: int) -> None:
        return None

    # Upkeep ---------------------------------------------------------------------------

    def ping(self) -> None:
        with self._answering():
            opening.check_health(self._database)

    def clock(self) -> float:
        with self._answering():
            return opening.clock(self._database)

    def close(self) -> None:
        self._database.client.close()


def _version(binding: Binding | None) -> str | None:
    return None if binding is None else binding.version


def _is_inserted(collection: Any, document: Document) -> bool:
    try:
        collection.insert_one(document)
    except DuplicateKeyError:
        return False
    return True


def _is_written(
    write: Callable[[], bool],
    look: Callable[[], str | None],
    expect: str | None,
    version: str | None,
) -> bool:
    """Write, and say whether that, or the same write before, has been done.

    What a write has met may not be known to a majority yet, and so cannot be seen:
    then the write is tried again. Raises StorageUnavailable.
    """
    deadline = time.monotonic() + PATIENCE
    while not write():
        stored = look()
        if stored == version:
            return True
        if stored != expect:
            return False
        if time.monotonic() > deadline:
            raise StorageUnavailable("A majority does not learn of an earlier write.")
        time.sleep(0.005)
    return True

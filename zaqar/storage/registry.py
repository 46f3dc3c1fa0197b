# SPDX-License-Identifier: Apache-2.0
"""The interface of a registry: what all nodes agree on. Each method is one atomic step.

`tests/contract/registry.py` holds every fact that a registry must keep.
"""

from typing import Protocol

from zaqar.model import Binding, QueueKey


class Registry(Protocol):
    """What all nodes agree on: pools and flavors, the map of queues, quotas.

    The directory is one small document that is read and written whole; what it means
    is `zaqar.directory`'s. The map says which queue lives in which pool. Both are
    versioned: a write names the version that it was made from, so of two racing writers
    one learns that it has to look again. Keys are any text; projects do not mix.
    The quota of a project is a small document too; what it means is `zaqar.quotas`'s.
    Raises StorageUnavailable.
    """

    def read_directory(self) -> tuple[bytes, str]:
        """Return the directory and its version; both empty before the first write."""
        ...

    def write_directory(self, document: bytes, version: str, *, expect: str) -> None:
        """Replace the directory if its version is `expect`.

        `version` is a new random text. Repeated with the version that is stored
        already, nothing is done. Raises DirectoryChanged.
        """
        ...

    def find_queue(self, key: QueueKey) -> Binding | None:
        """Return where the queue lives; None if it is not bound."""
        ...

    def bind_queue(
        self, key: QueueKey, binding: Binding, *, expect: Binding | None
    ) -> None:
        """Bind the queue if its binding has the version of `expect` (None: has none).

        Repeated with the version that is stored already, nothing is done.
        Raises BindingChanged, which tells what is stored.
        """
        ...

    def unbind_queue(self, key: QueueKey, expect: Binding) -> None:
        """Set the queue free if its binding has the version of `expect`, else nothing.

        Raises BindingChanged if it has another one; an unbound queue is left alone.
        """
        ...

    def list_queues(
        self, project: str, *, marker: str | None = None, limit: int, name: str = ""
    ) -> list[tuple[str, Binding]]:
        """Return bound queues of the project behind `marker`, by name in byte order.

        `name` keeps those whose name contains it. Less than `limit`: there are no more.
        """
        ...

    def count_queues(self, project: str) -> int:
        """Return how many queues of the project are bound."""
        ...

    def count_bound(self, pool: str) -> int:
        """Return how many queues are bound to the pool with this id."""
        ...

    def unbind_pool(self, pool: str, limit: int) -> int:
        """Set some queues of the pool free, `limit` at most; return how many.

        Less than `limit`: there are no more.
        """
        ...

    def get_quota(self, project: str) -> bytes:
        """Return what is stored of the project's own quota; empty: nothing."""
        ...

    def set_quota(self, project: str, document: bytes) -> None:
        """Store the project's own quota, whatever it was before; empty: none."""
        ...

    def list_quotas(
        self, *, marker: str | None = None, limit: int
    ) -> list[tuple[str, bytes]]:
        """Return projects with a quota of their own behind `marker`, in byte order.

        Less than `limit`: there are no more.
        """
        ...

    def take_request(self, project: str, *, rate: float, burst: int) -> float | None:
        """Take a request out of a rate that all nodes share (`quotas.take`).

        Returns how many seconds too early it comes; 0: it is taken. None: this registry
        shares no rates, each node has its own. One quick attempt.
        """
        ...

    def ping(self) -> None:
        """Check that the registry answers, by a write."""
        ...

    def clock(self) -> float:
        """Return the time of the registry itself, as `Store.clock`."""
        ...

    def close(self) -> None:
        """Give back files and connections. The registry is not used afterwards."""
        ...

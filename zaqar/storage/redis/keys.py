# SPDX-License-Identifier: Apache-2.0
"""The names of keys, and of queues in the index.

A queue is `<prefix>:{<project>/<name>}`, both percent-encoded: neither holds a brace, a
slash or a colon then, so no two queues share a key, and the hash tag is the queue.
"""

from functools import lru_cache
from urllib.parse import quote, unquote

from zaqar.model import QueueKey


class Keys:
    """The keys under one prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        # All queues, `member` each, score 0.
        self.index = f"{prefix}:{{index}}:queues"
        # Queues that somebody creates or deletes just now: token + member by time.
        self.pending = f"{prefix}:{{index}}:pending"
        # See scripts/worklist.lua.
        self.outboxes = f"{prefix}:{{index}}:outboxes"
        # See scripts/registry.lua.
        self.registry = f"{prefix}:{{registry}}"
        self.pulse = f"{prefix}:{{index}}:pulse"
        # PERF: quoting takes 2 µs.
        self.record = lru_cache(maxsize=10_000)(self._record)

    def rate(self, project: str) -> str:
        """Return the key of the rate of a project's requests; in a slot of its own.

        See scripts/take.lua.
        """
        return f"{self._prefix}:{{rate:{quote(project, safe='')}}}"

    def _record(self, key: QueueKey) -> str:
        project, name = quote(key.project, safe=""), quote(key.name, safe="")
        return f"{self._prefix}:{{{project}/{name}}}"


def member(key: QueueKey) -> bytes:
    """Return the queue's entry in the index: in byte order of names in each project."""
    return f"{project_of(key.project)}/{key.name}".encode()


def project_of(project: str) -> str:
    """Return what stands before the slash in entries of the project."""
    return quote(project, safe="")


def key_of(entry: bytes) -> QueueKey:
    """Read an entry of the index."""
    project, _, name = entry.decode().partition("/")
    return QueueKey(unquote(project), name)


def project_range(project: str, marker: str | None) -> tuple[bytes, bytes]:
    """Return the bounds of the project's entries behind the marker."""
    first = f"{project_of(project)}/"
    start = f"[{first}" if marker is None else f"({first}{marker}"
    # "0" follows "/".
    return start.encode(), f"({first[:-1]}0".encode()

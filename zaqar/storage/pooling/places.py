# SPDX-License-Identifier: Apache-2.0
"""The map of queues as this process knows it: which pool each queue lives in.

What is known may be outdated; so whoever is told by a store that the queue is not there
asks again (`read`) before believing it.
"""

import time
from uuid import uuid4

from zaqar.errors import BindingChanged, StorageUnavailable
from zaqar.model import Binding, QueueKey
from zaqar.storage.registry import Registry

# Seconds for which a binding is used without asking again (contract: at most 10).
KNOWN = 8.0
MAX_KNOWN = 50_000
# Seconds for which a registry that did not answer is not asked about known queues.
SILENCE = 4.0


class Places:
    """Shared by the threads of a process."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: dict[QueueKey, tuple[Binding, float]] = {}
        self._silent_until = 0.0

    def known(self, key: QueueKey) -> tuple[Binding | None, bool]:
        """Return the binding, and whether it was read just now."""
        found = self._known.get(key)
        if found is None:
            return self.read(key), True
        binding, since = found
        now = time.monotonic()
        if now - since < KNOWN or now < self._silent_until:
            return binding, False
        try:
            return self.read(key), True
        except StorageUnavailable:
            # The queue works as long as its pool does, whatever the registry does; and
            # not every request shall wait for that.
            self._silent_until = time.monotonic() + SILENCE
            return binding, False

    def read(self, key: QueueKey) -> Binding | None:
        """Return the binding that is stored; None: there is none."""
        return self._keep(key, self._registry.find_queue(key))

    def bind(self, key: QueueKey, pool: str, *, expect: Binding | None) -> Binding:
        """Bind the queue to the pool with this id. Raises BindingChanged."""
        binding = Binding(pool, uuid4().hex)
        try:
            self._registry.bind_queue(key, binding, expect=expect)
        except BindingChanged as error:
            self._keep(key, error.binding)
            raise
        self._keep(key, binding)
        return binding

    def unbind(self, key: QueueKey, expect: Binding) -> None:
        """Set the queue free, unless somebody else bound it anew meanwhile."""
        try:
            self._registry.unbind_queue(key, expect)
        except BindingChanged as error:
            self._keep(key, error.binding)
        else:
            self._keep(key, None)

    def _keep(self, key: QueueKey, binding: Binding | None) -> Binding | None:
        if binding is None:
            self._known.pop(key, None)
            return None
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[key] = binding, time.monotonic()
        return binding

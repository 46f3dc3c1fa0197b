# SPDX-License-Identifier: Apache-2.0
"""The service: what operations need, put together once for each process."""

import time
import uuid
from collections.abc import Callable
from typing import TypeVar

import msgspec

from zaqar import conf, stores
from zaqar.bodies import Bodies
from zaqar.clock import Clock
from zaqar.conf import Settings
from zaqar.errors import QueueChanged, QueueNotFound, StorageUnavailable
from zaqar.limits import Limits
from zaqar.model import Metadata, Queue, QueueKey
from zaqar.node_usage import NodeUsage
from zaqar.notification.waking import Bell
from zaqar.operations.quotas import Quotas
from zaqar.policy import Policy
from zaqar.queue_settings import QueueSettings, settings_of
from zaqar.storage.base import Store
from zaqar.storage.pooling.pools import Pools
from zaqar.storage.registry import Registry

T = TypeVar("T")

# How often an operation starts again because the queue's settings changed meanwhile.
ATTEMPTS = 30
MAX_KNOWN_QUEUES = 10_000


class KnownQueue(msgspec.Struct, frozen=True):
    """A queue's revision and what its metadata comes to; no revision: it is absent."""

    revision: str | None
    settings: QueueSettings


class KnownQueues:
    """What this process knows of queues, checked by the store whenever it is used.

    Operations send the revision along; the store refuses it with QueueChanged or
    QueueNotFound when it is not the queue's own. So nothing here is ever stale.
    """

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store = store
        self._limits = limits
        self._known: dict[QueueKey, KnownQueue] = {}
        self.absent = KnownQueue(None, settings_of({}, limits))

    def get(self, key: QueueKey) -> KnownQueue:
        """Return what is known of the queue; of an absent one, the defaults."""
        known = self._known.get(key)
        if known is None:
            try:
                known = self.remember(key, self._store.get_queue(key))
            except QueueNotFound:
                return self.absent
        return known

    def remember(self, key: QueueKey, queue: Queue) -> KnownQueue:
        known = KnownQueue(queue.revision, settings_of(queue.metadata, self._limits))
        if len(self._known) >= MAX_KNOWN_QUEUES:
            self._known.clear()
        self._known[key] = known
        return known

    def forget(self, key: QueueKey) -> None:
        self._known.pop(key, None)

    def was_outdated(self, key: QueueKey) -> bool:
        """Look at the queue again; say whether something else was known of it."""
        known = self._known.pop(key, None)
        return known is not None and self.get(key) != known

    def attempt(self, key: QueueKey, step: Callable[[KnownQueue], T]) -> T:
        """Run the step with what is known of the queue, again if that was outdated."""
        for _ in range(ATTEMPTS):
            try:
                return step(self.get(key))
            except QueueChanged as error:
                self.remember(key, error.queue)
            except QueueNotFound:
                self.forget(key)
        raise StorageUnavailable(f"The settings of queue {key.name} keep changing.")


class Service:
    """The store, the rules and the clock; shared by the threads of a process.

    `pools` are those that the store routes to, None where there are none. `registry` is
    theirs, or that of quotas. `now` is the clock of this machine.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        policy: Policy,
        now: Callable[[], float] = time.time,
        *,
        pools: Pools | None = None,
        registry: Registry | None = None,
    ) -> None:
        self.settings = settings
        self.limits = settings.limits
        self.store = store
        self.pools = pools
        self.policy = policy
        # Corrected by `clock.measure()`, which nothing does by itself.
        self.clock = Clock(store.clock, now)
        self.now = self.clock.now
        self.queues = KnownQueues(store, settings.limits)
        # Rung when there is something to deliver.
        self.bell = Bell(settings.bell)
        self._registry = registry
        # PERF: None where there are none, so that they cost one comparison.
        self.quotas = _quotas(self, registry) if settings.quotas.are_on else None
        self.bodies = Bodies(
            settings.encryption_keys,
            read_cbc=settings.read_cbc,
            encrypts=self._encrypts,
        )

    def create_queue(self, key: QueueKey, metadata: Metadata) -> bool:
        """Create the queue if it is absent; say whether it is new.

        Raises QuotaExceeded.
        """
        if self.quotas is not None:
            self.quotas.admit_queue(key)
        return self.store.put_queue(
            key,
            metadata,
            delays=settings_of(metadata, self.limits).delays,
            revision=new_revision(),
            now=self.now(),
        )

    def _encrypts(self, key: QueueKey) -> bool:
        """Say whether the queue encrypts, by what the store says now."""
        try:
            metadata = self.store.get_queue(key).metadata
        except QueueNotFound:
            return False
        return settings_of(metadata, self.limits).encrypts

    def close(self) -> None:
        self.store.close()
        if self._registry is not None and self.pools is None:
            self._registry.close()
        if self.quotas is not None:
            self.quotas.close()


def _quotas(service: Service, registry: Registry | None) -> Quotas:
    """Raises ConfigurationError."""
    given = service.settings.quotas
    return Quotas(
        given.defaults,
        service.store,
        NodeUsage(given.folder),
        service.now,
        registry=registry,
        has_rows=given.per_project,
    )


def new_revision() -> str:
    return uuid.uuid4().hex


def build(settings: Settings) -> Service:
    """Put the service together, its clock set to the store's if that answers.

    After the fork, where processes are forked. Raises ConfigurationError.
    """
    pools = stores.open_pools(settings)
    store = stores.open_service_store(settings, pools)
    registry = None if pools is None else pools.registry
    if registry is None and settings.quotas.per_project:
        registry = stores.open_registry(conf.management_store(settings))
    policy = Policy(settings.config)
    built = Service(settings, store, policy, pools=pools, registry=registry)
    built.clock.measure()
    return built

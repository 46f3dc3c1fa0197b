# SPDX-License-Identifier: Apache-2.0
"""Finds queues that owe their subscribers something, and has couriers serve them."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from oslo_log import log

from zaqar.bodies import unreadable
from zaqar.errors import KeyUnavailable, StorageUnavailable, ZaqarError
from zaqar.model import Context, Notice, QueueKey, Settled, Subscription, Work, owner_of
from zaqar.notification import confirmation, filters, payload, retry
from zaqar.notification.courier import LEASE_SECONDS, Courier, Fate, Office
from zaqar.notification.holdings import Holdings
from zaqar.notification.senders import Outcome, Senders, Target
from zaqar.notification.shares import Shares
from zaqar.notification.waking import Ear
from zaqar.operations import messages
from zaqar.queue_settings import RETRY_POLICY
from zaqar.service import Service

LOG = log.getLogger(__name__)
T = TypeVar("T")

# How often it is looked for work that nobody rings for: of other machines, and what was
# delayed or is tried again.
POLL_SECONDS = 0.1
UNAVAILABLE_SECONDS = 1.0
# Queues that are held at once, and that one look takes; shared by tenants, those of
# which a round is served and attempts that run; and calls of the store.
HELD = 3000
LOOK = 200
QUEUES = 600
ATTEMPTS = 2000
# Bytes of bodies that a round reads of notices, and as many of deliveries; and what
# rounds that are under way at once share, each in its turn.
ROUND_BYTES = 4 * 1024 * 1024
ROUNDS_BYTES = 64 * 1024 * 1024
THREADS = 8
# The options of a subscription that deliveries look at.
DEAD_LETTER_QUEUE = "dead_letter_queue"
FILTER = "filter"
# The client that posts dead letters.
CLIENT = uuid.UUID(int=0).hex


class Dispatcher:
    """Delivers for all queues that nobody else delivers for; runs in one loop."""

    def __init__(self, service: Service, senders: Senders, holder: str) -> None:
        """Take outboxes by the name of `holder`, which no other one has now."""
        self._service = service
        self._senders = senders
        self._holder = holder
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="outbox")
        self._queues, self._attempts = Shares(QUEUES), Shares(ATTEMPTS)
        self._held = Holdings(HELD)
        # Those that are being sent, and no longer.
        self._shared: WeakValueDictionary[
            tuple[QueueKey, str], payload.Notification
        ] = WeakValueDictionary()
        # Not before it took over what was held by its name.
        self._has_begun = False
        self._office = Office(
            read=self._read,
            settle=self._settle,
            release=self._release,
            choose=self._choose,
            send=self._send,
            judge=self._judge,
            place=lambda key: self._queues.place(owner_of(key)[0]),
            is_crowded=lambda key: self._held.is_full(key.project),
            held=lambda: len(self._held),
            now=service.now,
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Deliver until told to stop; what is being sent then is finished."""
        with Ear(self._service.bell) as ear:
            while not stopping.is_set():
                await ear.wait(stopping, await self._look(stopping))
        if tasks := self._held.tasks:
            await asyncio.wait(tasks)
        self._threads.shutdown()

    async def _look(self, stopping: asyncio.Event) -> float:
        """Look for work; return after how many seconds to look again."""
        try:
            await self._look_for_work(stopping)
            return POLL_SECONDS
        except StorageUnavailable as error:
            LOG.warning("Deliveries wait for the store: %s", error)
        except Exception:
            LOG.exception("Looking for deliveries failed; it goes on.")
        return UNAVAILABLE_SECONDS

    async def _look_for_work(self, stopping: asyncio.Event) -> None:
        # Little at a time: who takes too much is passed over the next time.
        while await self._lease_some(stopping):
            pass

    async def _lease_some(self, stopping: asyncio.Event) -> bool:
        """Begin with queues that have something due; say whether there may be more."""
        anew = not self._has_begun
        limit = HELD if anew else min(LOOK, self._held.left)
        if limit <= 0:
            return False
        before = self._held.keys
        keys = await self._call(
            self._service.store.lease_outboxes,
            self._holder,
            seconds=LEASE_SECONDS,
            limit=limit,
            without=self._held.full,
            anew=anew,
            now=self._service.now(),
        )
        self._has_begun, has_news = True, False
        for key in keys:
            if key in self._held:
                continue
            if key in before:
                # Its courier has released it, before the answer or after it: it may be
                # ours or not, and is asked for again.
                await self._release(key)
                continue
            self._held.add(key, asyncio.create_task(self._serve(key, stopping)))
            has_news = True
        return anew or (has_news and len(keys) >= limit and not stopping.is_set())

    async def _serve(self, key: QueueKey, stopping: asyncio.Event) -> None:
        try:
            await Courier(key, self._office).serve(stopping)
        except Exception:
            LOG.exception("Delivering for queue %s failed; it is tried again.", key)
        finally:
            self._held.remove(key)

    async def _call(self, function: Callable[..., T], *given: Any, **named: Any) -> T:
        """Run a call of the store, which waits, in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._threads, partial(function, *given, **named)
        )

    # What couriers ask of the service -------------------------------------------------

    async def _read(
        self, key: QueueKey, notices: int, deliveries: int, busy: frozenset[str]
    ) -> Work:
        return await self._call(
            self._service.store.read_outbox,
            key,
            notices=notices,
            deliveries=deliveries,
            size=min(ROUND_BYTES, ROUNDS_BYTES // max(1, self._queues.taken)),
            busy=busy,
            now=self._service.now(),
        )

    async def _settle(self, key: QueueKey, settled: Settled) -> None:
        await self._call(
            self._service.store.settle_outbox,
            key,
            self._holder,
            settled,
            seconds=LEASE_SECONDS,
            now=self._service.now(),
        )

    async def _release(self, key: QueueKey) -> None:
        await self._call(
            self._service.store.release_outbox,
            key,
            self._holder,
            now=self._service.now(),
        )

    def _choose(self, key: QueueKey, work: Work) -> dict[str, list[Notice]]:
        """Return the notices that each subscription is to be told of."""
        needs_consent = self._service.settings.notification.require_confirmation
        read = cache(partial(self._value, key))
        return {
            subscription.id: []
            if needs_consent and not subscription.confirmed
            else _passing(subscription.options.get(FILTER), work.notices, read)
            for subscription in work.subscriptions
        }

    def _value(self, key: QueueKey, notice: Notice) -> Any:
        """Return what filters look at. Raises KeyUnavailable."""
        return filters.read(self._body(key, notice))

    async def _send(
        self, key: QueueKey, subscription: Subscription, notice: Notice, attempt: int
    ) -> Outcome:
        try:
            notification = self._notification(key, subscription, notice)
        except ZaqarError as error:
            return Outcome(False, 0.0, error=str(error))
        project, _ = owner_of(key)
        target = Target(
            subscription.subscriber,
            subscription.options,
            project,
            key.name,
            f"{notice.id}.{subscription.id}",
            attempt,
            notification,
        )
        async with self._attempts.place(project):
            return await self._senders.send(target)

    def _notification(
        self, key: QueueKey, subscription: Subscription, notice: Notice
    ) -> payload.Notification:
        if confirmation.is_one(notice):
            settings = self._service.settings
            return confirmation.document(
                key,
                subscription.id,
                notice,
                settings.signing_keys[0],
                settings.notification,
            )
        # Memory for one, however many are told of it at once.
        shared = self._shared.get((key, notice.id))
        if shared is None:
            body = self._body(key, notice)
            shared = payload.notification(key.name, body, notice.ttl, notice.delay)
            self._shared[key, notice.id] = shared
        return shared

    def _body(self, key: QueueKey, notice: Notice) -> bytes:
        """Return the body as it was posted. Raises KeyUnavailable."""
        body = self._service.bodies.open(key, notice.id, notice.body)
        if body is None:
            raise unreadable(key)
        return body

    async def _judge(
        self,
        key: QueueKey,
        subscription: Subscription,
        notice: Notice,
        failures: int,
        outcome: Outcome,
    ) -> Fate:
        """Decide when it is tried again, or where it ends."""
        try:
            delay = None
            if not outcome.final:
                policy = await self._call(self._policy, key, subscription)
                delay = retry.delay_before(policy, failures)
            if delay is not None:
                return Fate(self._service.now() + delay)
            LOG.warning(
                "Message %s of queue %s was not delivered for subscription %s: %s",
                notice.id,
                key.name,
                subscription.id,
                outcome.error,
            )
            buried = await self._call(self._bury, key, subscription, notice)
            return Fate(None, buried=buried)
        except StorageUnavailable:
            return Fate(self._service.now() + UNAVAILABLE_SECONDS)

    def _policy(self, key: QueueKey, subscription: Subscription) -> retry.RetryPolicy:
        metadata = self._service.store.get_queue(key).metadata
        return retry.chosen(
            subscription.options.get(RETRY_POLICY), metadata.get(RETRY_POLICY)
        )

    def _bury(self, key: QueueKey, subscription: Subscription, notice: Notice) -> bool:
        """Post the message to the subscription's dead letter queue, if it has one."""
        name = subscription.options.get(DEAD_LETTER_QUEUE)
        if not name or confirmation.is_one(notice):
            return False
        project, _ = owner_of(key)
        try:
            body = self._body(key, notice)
            messages.post(
                Context(project, CLIENT),
                self._service,
                name,
                [messages.Draft(body, notice.ttl)],
                size=len(body),
            )
        except ZaqarError as error:
            # A key that is missing may stay so, and is no reason to try for ever.
            is_key = isinstance(error, KeyUnavailable)
            if isinstance(error, StorageUnavailable) and not is_key:
                raise
            LOG.error("Queue %s takes no dead letter: %s", name, error)
            return False
        return True


def _passing(
    wanted: Any, notices: Sequence[Notice], read: Callable[[Notice], Any]
) -> list[Notice]:
    """Return the notices that pass a filter, if there is one."""
    if not wanted or not notices:
        return list(notices)
    try:
        compiled = filters.compiled(wanted)
    except ZaqarError:
        return list(notices)

    def passes(notice: Notice) -> bool:
        try:
            return filters.matches(compiled, read(notice))
        except ZaqarError:
            # Nobody knows: what cannot be sent is seen to where it is sent.
            return True

    return [notice for notice in notices if passes(notice)]

# SPDX-License-Identifier: Apache-2.0
"""Holds projects to their quotas: each operation that uses one up asks here first.

Rates are kept by the registry where all nodes share them, otherwise by the node. What
is stored is measured by the store now and then; in between, what this node lets in is
added. So a project that is at its limit costs a little, and no other anything.
"""

import math
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import TypeVar

import msgspec
from oslo_log import log

from zaqar import quotas
from zaqar.errors import (
    InvalidRequest,
    QueueNotFound,
    QuotaExceeded,
    StorageUnavailable,
)
from zaqar.model import KINDS, QueueKey, Subscription, Usage, owner_of, space_of
from zaqar.node_usage import NodeUsage, Record, clock
from zaqar.quotas import Quota
from zaqar.storage.base import Store
from zaqar.storage.registry import Registry

LOG = log.getLogger(__name__)
T = TypeVar("T")

# Seconds for which the quota of a project is believed, and for which a registry that
# did not answer is not asked.
KNOWN = 8.0
SILENCE = 4.0
MAX_KNOWN = 50_000
# Seconds that a request waits for a quota to be read or usage to be measured.
PATIENCE = 1.5
# Seconds after which usage is measured again although there seems to be room: other
# nodes let messages in too.
REFRESH = 5.0
# Of each measurement's time so many times as much passes before the next, but for a
# store that hangs.
REST, LONGEST_REST = 50, 60.0
# What is said to who has too many things: when to try again, in seconds.
COME_BACK = 10


class Quotas:
    """Shared by the threads of a process.

    `registry` shares rates, if it can; where it `has_rows`, projects have quotas of
    their own there. `now` is the service's clock.
    """

    def __init__(
        self,
        defaults: Quota,
        store: Store,
        node: NodeUsage,
        now: Callable[[], float],
        *,
        registry: Registry | None = None,
        has_rows: bool = False,
    ) -> None:
        self._defaults = defaults
        self._store = store
        self._node = node
        self._now = now
        self._registry = registry
        self._has_rows = has_rows
        self._known: dict[str, tuple[Quota, float]] = {}
        # Until when the registry is not asked, for quotas and for rates.
        self._quotas_silent = self._rates_silent = 0.0
        self._guard = threading.Lock()
        self._measuring: dict[str, Future[None]] = {}
        self._rests_until = 0.0

    def of(self, project: str) -> Quota:
        """Return the quota of a project, as it was at most 10 s ago.

        If the registry does not answer: as it was known, or the defaults.
        """
        if not self._has_rows:
            return self._defaults
        found = self._known.get(project)
        asked = clock()
        if found is not None and asked - found[1] < KNOWN:
            return found[0]
        if asked < self._quotas_silent:
            return self._defaults if found is None else found[0]
        try:
            quota = self._read(project)
        except StorageUnavailable as error:
            LOG.warning("Quotas stay as they are known: %s", error)
            self._quotas_silent = clock() + SILENCE
            return self._defaults if found is None else found[0]
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[project] = quota, asked
        return quota

    def _read(self, project: str) -> Quota:
        """Raises StorageUnavailable."""
        assert self._registry is not None
        get = self._registry.get_quota
        document = _within(PATIENCE, lambda: get(project))
        try:
            return quotas.made(quotas.read(document), self._defaults)
        except InvalidRequest as error:
            LOG.warning("The quota of project %r is not used: %s", project, error)
            return self._defaults

    # Requests -------------------------------------------------------------------------

    def admit_request(self, project: str) -> None:
        """Raise QuotaExceeded if the project's requests come too fast."""
        quota = self.of(project)
        rate = quota.requests_per_second
        if rate is None:
            return
        burst = quotas.burst_of(quota)
        early = self._shared(project, rate, burst)
        if early is None:

            def take(record: Record) -> float:
                record.due, early = quotas.take(record.due, clock(), rate, burst)
                return early

            early = self._node.change(project, take)
        if early:
            raise QuotaExceeded("requests_per_second", rate, math.ceil(early))

    def _shared(self, project: str, rate: float, burst: int) -> float | None:
        """Ask the registry; None: it shares no rates, or does not answer."""
        if self._registry is None or clock() < self._rates_silent:
            return None
        try:
            return self._registry.take_request(project, rate=rate, burst=burst)
        except StorageUnavailable as error:
            LOG.warning("Rates of requests are those of this node: %s", error)
            self._rates_silent = clock() + SILENCE
            return None

    # Things that are counted ----------------------------------------------------------

    def admit_queue(self, key: QueueKey) -> None:
        """Raise QuotaExceeded if the queue is new and the project has no room for it.

        Topics are queues here. Those who ask at the same moment do not see each
        other's.
        """
        project, _ = owner_of(key)
        limit = self.of(project).queues
        if limit is None or self._count_queues(project) < limit:
            return
        try:
            self._store.get_queue(key)
        except QueueNotFound:
            raise QuotaExceeded("queues", limit, COME_BACK) from None

    def _count_queues(self, project: str) -> int:
        spaces = (space_of(project, kind) for kind in KINDS)
        return sum(map(self._store.count_queues, spaces))

    def admit_subscription(
        self, key: QueueKey, subscriber: str, held: Iterable[Subscription]
    ) -> None:
        """Raise QuotaExceeded if the project may not have one more subscription.

        Those of topics count too. `held` are those of the queue, which are read only
        where there is no room: who subscribes again is let in. Those who ask at the
        same moment do not see each other's.
        """
        project, _ = owner_of(key)
        limit = self.of(project).subscriptions
        if limit is None or self._count_subscriptions(project) < limit:
            return
        if all(each.subscriber != subscriber for each in held):
            raise QuotaExceeded("subscriptions", limit, COME_BACK)

    def _count_subscriptions(self, project: str) -> int:
        return sum(
            self._store.count_subscriptions(space_of(project, kind), now=self._now())
            for kind in KINDS
        )

    # Messages -------------------------------------------------------------------------

    def admit_messages(self, project: str, count: int, size: int) -> None:
        """Let messages in, with so many bytes in all, or raise QuotaExceeded."""
        quota = self.of(project)
        if not quota.limits_stored:
            return
        post = Post(quota, count, size)
        verdict = self._node.change(project, post.try_)
        if verdict.needs_measuring:
            self._measure(project, quota)
            verdict = self._node.change(project, post.insist)
        if verdict.exceeded:
            limit = getattr(quota, verdict.exceeded)
            raise QuotaExceeded(verdict.exceeded, limit, verdict.retry_after)
        if verdict.is_stale and clock() >= self._rests_until:
            self._begin_measuring(project, quota)

    def _measure(self, project: str, quota: Quota) -> None:
        """Measure, or wait for who does; go on without if that takes too long."""
        try:
            self._begin_measuring(project, quota).result(PATIENCE)
        except TimeoutError:
            LOG.warning("The usage of project %r is not known in time.", project)

    def _begin_measuring(self, project: str, quota: Quota) -> Future[None]:
        with self._guard:
            found = self._measuring.get(project)
            if found is None:
                found = self._measuring[project] = Future()
                _aside(lambda: self._run(project, quota, found))
        return found

    def _run(self, project: str, quota: Quota, done: Future[None]) -> None:
        try:
            self._ask(project, sizes=quota.bytes is not None)
        except StorageUnavailable as error:
            LOG.warning("The usage of project %r stays as known: %s", project, error)
        except Exception:
            LOG.exception("The usage of project %r cannot be measured.", project)
        finally:
            with self._guard:
                del self._measuring[project]
            done.set_result(None)

    def _ask(self, project: str, *, sizes: bool) -> None:
        """Measure and note what was found. Raises StorageUnavailable."""
        began = clock()
        before = self._node.change(project, _let_in)
        usage: Usage | None = None
        try:
            usage = self._usage(project, sizes)
        finally:
            ended = clock()
            rest = min((ended - began) * REST, LONGEST_REST)
            self._rests_until = ended + rest

            def note(record: Record) -> None:
                record.pause_until = ended + rest
                record.refresh_at = ended + max(REFRESH, rest)
                if usage is None or began < record.measured_at <= ended:
                    return
                record.measured_at = began
                # What came meanwhile may be in it or not.
                messages, size = _let_in(record)
                record.messages = usage.messages + messages - before[0]
                record.bytes = usage.bytes + size - before[1]

            self._node.change(project, note)

    def _usage(self, project: str, sizes: bool) -> Usage:
        found = [
            self._store.measure_usage(
                space_of(project, kind), sizes=sizes, now=self._now()
            )
            for kind in KINDS
        ]
        return Usage(sum(each.messages for each in found), sum(e.bytes for e in found))

    def close(self) -> None:
        self._node.close()


class Verdict(msgspec.Struct, frozen=True):
    """What became of a post: `exceeded` names the quota that refuses it."""

    exceeded: str = ""
    needs_measuring: bool = False
    is_stale: bool = False
    retry_after: int = 0


class Post(msgspec.Struct, frozen=True):
    """So many messages of so many bytes that ask to be let in."""

    quota: Quota
    count: int
    size: int

    def try_(self, record: Record) -> Verdict:
        """Let it in if there is room; else ask for a measurement, if it is time."""
        now = clock()
        if not 0 < record.measured_at <= now:
            return Verdict(needs_measuring=True)
        exceeded = self._exceeded(record)
        if not exceeded:
            return self._enter(record, now)
        pause = record.pause_until - now
        if not 0 < pause <= LONGEST_REST:
            return Verdict(needs_measuring=True)
        return Verdict(exceeded, retry_after=math.ceil(pause))

    def insist(self, record: Record) -> Verdict:
        """Decide by what is known now; without any measurement, let it in."""
        now = clock()
        exceeded = self._exceeded(record) if record.measured_at else ""
        if not exceeded:
            return self._enter(record, now)
        pause = record.pause_until - now
        return Verdict(exceeded, retry_after=min(max(1, math.ceil(pause)), COME_BACK))

    def _enter(self, record: Record, now: float) -> Verdict:
        record.messages += self.count
        record.messages_let_in += self.count
        record.bytes += self.size
        record.bytes_let_in += self.size
        return Verdict(is_stale=now >= record.refresh_at)

    def _exceeded(self, record: Record) -> str:
        """Return the name of the quota that it would exceed; "" if none."""
        messages, size = self.quota.messages, self.quota.bytes
        # NOTE: so that what cannot be compared exceeds, and is measured.
        if messages is not None and not record.messages + self.count <= messages:
            return "messages"
        if size is not None and not record.bytes + self.size <= size:
            return "bytes"
        return ""


def _let_in(record: Record) -> tuple[float, float]:
    return record.messages_let_in, record.bytes_let_in


def _within(seconds: float, step: Callable[[], T]) -> T:
    """Return what the step returns. Raises StorageUnavailable if it takes longer; it
    goes on then, and nobody waits for it."""
    told: Future[T] = Future()

    def run() -> None:
        try:
            told.set_result(step())
        # Whatever it is, it is raised where it was asked for.
        except BaseException as error:
            told.set_exception(error)

    _aside(run)
    try:
        return told.result(seconds)
    except TimeoutError:
        raise StorageUnavailable(f"No answer within {seconds} s.") from None


def _aside(step: Callable[[], None]) -> None:
    threading.Thread(target=step, name="quotas", daemon=True).start()

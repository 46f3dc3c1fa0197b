# SPDX-License-Identifier: Apache-2.0
"""Subscriptions and outboxes of the SQLite store (see `storage/delivering.py`)."""

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from zaqar.errors import QueueNotFound
from zaqar.model import (
    Attempt,
    Delivery,
    Page,
    QueueKey,
    Settled,
    Subscription,
    Work,
)
from zaqar.storage.delivering import EVERYTHING
from zaqar.storage.sqlite import outbox_steps, subscription_steps
from zaqar.storage.sqlite.database import Database


class SqliteOutboxes:
    """The part of the store that serves subscribers."""

    _database: Database

    # Subscriptions --------------------------------------------------------------------

    def add_subscription(
        self, key: QueueKey, subscription: Subscription, *, now: float
    ) -> Subscription:
        return self._database.write(
            lambda connection: subscription_steps.add(
                connection, key, subscription, now
            )
        )

    def get_subscription(self, key: QueueKey, id: str, *, now: float) -> Subscription:
        with self._watching(key) as (connection, outbox):
            return subscription_steps.find(connection, key, outbox, id, now)

    def list_subscriptions(
        self, key: QueueKey, *, marker: str | None = None, limit: int, now: float
    ) -> Page[Subscription]:
        with self._watching(key) as (connection, outbox):
            return subscription_steps.page(connection, outbox, marker, limit, now)

    def set_subscription(
        self,
        key: QueueKey,
        subscription: Subscription,
        *,
        expect: Subscription,
        now: float,
    ) -> None:
        self._database.write(
            lambda connection: subscription_steps.replace(
                connection, key, subscription, expect, now
            )
        )

    def count_subscriptions(self, project: str, *, now: float) -> int:
        with self._database.reading() as connection:
            return subscription_steps.count(connection, project, now)

    def remove_subscription(self, key: QueueKey, id: str) -> None:
        def remove(connection: sqlite3.Connection) -> None:
            outbox = subscription_steps.outbox_of(connection, key)
            if outbox is not None:
                subscription_steps.drop(connection, outbox, id)
                outbox_steps.unwatch(connection, outbox)

        self._database.write(remove)

    @staticmethod
    def drop_subscriptions(connection: sqlite3.Connection, key: QueueKey) -> None:
        """Be the step that removes all subscriptions of a queue."""
        outbox = subscription_steps.outbox_of(connection, key)
        if outbox is not None:
            subscription_steps.drop_all(connection, outbox)
            outbox_steps.unwatch(connection, outbox)

    # The outbox -----------------------------------------------------------------------

    def lease_outboxes(
        self,
        holder: str,
        *,
        seconds: float,
        limit: int,
        without: Collection[str] = (),
        anew: bool = False,
        now: float,
    ) -> list[QueueKey]:
        wanted = outbox_steps.wanted(holder, seconds, limit, without, anew, now)
        # Dispatchers ask again and again; only who finds something writes.
        with self._database.reading() as connection:
            if not (anew or outbox_steps.has_free(connection, wanted)):
                return []

        def lease(connection: sqlite3.Connection) -> list[QueueKey]:
            if anew:
                outbox_steps.release_idle(connection, holder, now)
            return outbox_steps.lease(connection, wanted, now + seconds)

        return self._database.write(lease)

    def read_outbox(
        self,
        key: QueueKey,
        *,
        notices: int,
        deliveries: int,
        size: int = EVERYTHING,
        busy: Collection[str] = (),
        now: float,
    ) -> Work:
        try:
            with self._watching(key) as (connection, outbox):
                return outbox_steps.read(
                    connection, outbox, notices, deliveries, size, busy, now
                )
        except QueueNotFound:
            return Work()

    def settle_outbox(
        self,
        key: QueueKey,
        holder: str,
        settled: Settled,
        *,
        seconds: float,
        now: float,
    ) -> None:
        self._database.write(
            lambda connection: outbox_steps.settle(
                connection, key, holder, settled, seconds, now
            )
        )

    def release_outbox(self, key: QueueKey, holder: str, *, now: float) -> None:
        self._database.write(
            lambda connection: outbox_steps.release(connection, key, holder, now)
        )

    def add_delivery(self, key: QueueKey, delivery: Delivery, *, now: float) -> None:
        def add(connection: sqlite3.Connection) -> None:
            outbox = subscription_steps.outbox_of(connection, key)
            subscription_steps.find(connection, key, outbox, delivery.subscription, now)
            outbox_steps.add(connection, outbox, delivery)

        self._database.write(add)

    def list_deliveries(
        self,
        key: QueueKey,
        subscription: str,
        *,
        marker: str | None = None,
        limit: int,
        now: float,
    ) -> Page[Delivery]:
        with self._watching(key) as (connection, outbox):
            subscription_steps.find(connection, key, outbox, subscription, now)
            return outbox_steps.page(connection, outbox, subscription, marker, limit)

    def list_attempts(
        self, key: QueueKey, subscription: str, *, now: float
    ) -> list[Attempt]:
        with self._watching(key) as (connection, outbox):
            subscription_steps.find(connection, key, outbox, subscription, now)
            return outbox_steps.attempts(connection, outbox, subscription)[::-1]

    def replay_deliveries(
        self,
        key: QueueKey,
        subscription: str,
        messages: Sequence[str] | None,
        *,
        now: float,
    ) -> int:
        def replay(connection: sqlite3.Connection) -> int:
            outbox = subscription_steps.outbox_of(connection, key)
            subscription_steps.find(connection, key, outbox, subscription, now)
            return outbox_steps.replay(connection, outbox, subscription, messages, now)

        return self._database.write(replay)

    @contextmanager
    def _watching(
        self, key: QueueKey
    ) -> Iterator[tuple[sqlite3.Connection, int | None]]:
        """Lend a connection that reads one instant, and the number of the outbox.

        Raises QueueNotFound.
        """
        with self._database.reading() as connection:
            connection.execute("BEGIN")
            try:
                yield connection, subscription_steps.outbox_of(connection, key)
            finally:
                connection.rollback()

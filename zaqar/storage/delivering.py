# SPDX-License-Identifier: Apache-2.0
"""The part of a store's interface that serves subscribers (see `storage/base.py`).

A queue that has subscriptions is watched: in the same step as a message, a post stores
a notice of it, which outlives the message. Dispatchers lease the outbox of a queue,
read what is due, send it, and settle what became of it::

    post --> notice --+--> sent to all subscribers of that moment: gone
                      |
                      +--> a delivery for each one that failed, or is behind:
                           waiting --> sent, or failed for good and kept

Who holds the lease of an outbox is the only one that settles it. A queue that nobody
watches pays nothing for all this.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

from zaqar.model import Attempt, Delivery, Page, QueueKey, Settled, Subscription, Work

# How many attempts the log of a subscription keeps, and how many failed deliveries.
KEPT_ATTEMPTS = 50
KEPT_FAILURES = 1000
# Bytes without a limit.
EVERYTHING = 2**62


class Subscriptions(Protocol):
    """Who wants to be told of a queue's messages.

    A subscription is gone at `created + ttl`, whether or not it was collected, and its
    deliveries with it. Each subscriber of a queue has one live subscription at most.
    """

    def add_subscription(
        self, key: QueueKey, subscription: Subscription, *, now: float
    ) -> Subscription:
        """Store it, unless its subscriber has a live one; return the one that is there.

        From then on the queue is watched.
        """
        ...

    def get_subscription(self, key: QueueKey, id: str, *, now: float) -> Subscription:
        """Return a live subscription. Raises SubscriptionNotFound."""
        ...

    def list_subscriptions(
        self, key: QueueKey, *, marker: str | None = None, limit: int, now: float
    ) -> Page[Subscription]:
        """Return live subscriptions behind `marker`, by id, which tells their time.

        The marker is an id and need not exist.
        """
        ...

    def set_subscription(
        self,
        key: QueueKey,
        subscription: Subscription,
        *,
        expect: Subscription,
        now: float,
    ) -> None:
        """Replace the live one of this id if it is as the caller read it: `expect`.

        Repeated with what is stored already, nothing is done.
        Raises SubscriptionNotFound, SubscriptionChanged, and SubscriberExists if
        another live one has its subscriber.
        """
        ...

    def remove_subscription(self, key: QueueKey, id: str) -> None:
        """Remove it with its deliveries and its log; nothing if it is absent."""
        ...


class Outbox(Protocol):
    """What has still to be told to subscribers, and what became of it."""

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
        """Return queues of all projects with something due, now held by `holder`.

        A lease is over at now + seconds; one of another holder that is not over is
        respected, and one of its own is given again when half of it is over: it may
        have lost sight of it. `anew` gives nothing but its own, at once, for it knows
        of none, and releases those that have nothing due, or gives them too. Of
        projects of keys that are named in `without` there are no others. Whoever waits
        longest, since it is due or was released, comes first. The key does not scope
        this one.
        """
        ...

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
        """Return what is due, and all live subscriptions, as of one instant.

        `notices` is how many of these at most, oldest first; a notice is due when its
        message is visible. `deliveries` is how many waiting ones at most of each
        subscription, those due first in front and equal ones in the order in which
        they were settled; of those that are `busy` there are none. Of notices, and of
        deliveries, `size` bytes of bodies at most, but for the first one whatever its
        size; subscriptions share them. A queue that is gone has no work.
        """
        ...

    def settle_outbox(
        self,
        key: QueueKey,
        holder: str,
        settled: Settled,
        *,
        seconds: float,
        now: float,
    ) -> None:
        """Store what became of deliveries, and hold the lease until now + seconds.

        All of it or nothing, or else in an order in which a repetition loses nothing:
        deliveries are put before notices are removed. What concerns a subscription
        that is gone is left out. Repeated, it does nothing more (but attempts may
        stand in the log twice).
        Raises LeaseLost, and nothing is stored, if another holder has the outbox, or
        the queue is gone.
        """
        ...

    def release_outbox(self, key: QueueKey, holder: str, *, now: float) -> None:
        """Let others lease it as soon as something is due; nothing without a lease."""
        ...

    def add_delivery(self, key: QueueKey, delivery: Delivery, *, now: float) -> None:
        """Let a delivery wait that no message is the cause of; needs no lease.

        Nothing is done if one of this notice is there already.
        Raises SubscriptionNotFound.
        """
        ...

    def list_deliveries(
        self,
        key: QueueKey,
        subscription: str,
        *,
        marker: str | None = None,
        limit: int,
        now: float,
    ) -> Page[Delivery]:
        """Return deliveries that wait or have failed, by message id behind `marker`.

        Raises SubscriptionNotFound.
        """
        ...

    def list_attempts(
        self, key: QueueKey, subscription: str, *, now: float
    ) -> list[Attempt]:
        """Return the last KEPT_ATTEMPTS, newest first. Raises SubscriptionNotFound."""
        ...

    def replay_deliveries(
        self,
        key: QueueKey,
        subscription: str,
        messages: Sequence[str] | None,
        *,
        now: float,
    ) -> int:
        """Let failed deliveries be tried again, all or those of these messages.

        They are due now and have no failures. Returns how many.
        Raises SubscriptionNotFound.
        """
        ...

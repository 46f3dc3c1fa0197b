# SPDX-License-Identifier: Apache-2.0
"""The whole interface that a store implements: queues with messages.

Each method is one atomic step: all of it happens, or nothing, and no other caller sees
half of it. Rules that hold for every method:

* The key scopes everything. An id of another queue or project does not exist here.
* `now` is the caller's clock, set by the store's (`clock`). Stored instants are
  compared with it: what has expired is invisible, whether or not it was collected;
  callers never move `now` backwards by more than the clocks of their nodes differ.
* Ids and revisions are chosen by the caller, so a write that is repeated after a lost
  answer does no harm.
* Who names one thing that is not there gets an error; who asks for many gets none. The
  key names the queue: QueueNotFound, unless a method says otherwise.
* Names, ids and markers may be any text that UTF-8 can hold; what cannot exist does
  not exist.
* A store that cannot answer or write raises `StorageUnavailable`, and nothing happened
  (or, where the answer of a commit was lost, the whole step happened).

Order: each queue numbers its messages in the order of their posts. A post that returned
before another began comes first; the messages of one post stay together in their order.
Listing, claiming and popping go by these numbers, oldest first.

States of a message::

    post --> [delayed] --> ready --> claimed --> deleted
                             ^          |
                             +----------+ released, or the claim expired

A message whose ttl is over is gone from every state.
`tests/contract` holds every fact that a store must keep.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from zaqar.model import (
    Claim,
    DeadLetter,
    Message,
    Metadata,
    NewMessage,
    Page,
    Parcel,
    Queue,
    QueueKey,
    QueueStats,
    Usage,
)
from zaqar.storage.delivering import Outbox, Subscriptions

# What a store may promise, in the order in which it is told (contract: capabilities).
# FIFO: readers that follow a queue miss nothing. CLAIMS: a message is in one claim.
# DURABILITY: what was answered survives a power cut. AOD: queues are created by use.
# HIGH_THROUGHPUT: made for many nodes.
CAPABILITIES = ("FIFO", "CLAIMS", "DURABILITY", "AOD", "HIGH_THROUGHPUT")


class Store(Subscriptions, Outbox, Protocol):
    """A place that keeps queues with their messages, claims and subscriptions."""

    # Queues ---------------------------------------------------------------------------

    def put_queue(
        self,
        key: QueueKey,
        metadata: Metadata,
        *,
        delays: bool,
        revision: str,
        expect: str | None = None,
        now: float,
    ) -> bool:
        """Create a queue, or replace its metadata, and say whether it is new.

        Without `expect`: creates the queue if it is absent and touches nothing if it
        is there; of two racing callers exactly one creates. Repeated with the revision
        that is stored already, the answer is still True.
        With `expect`: replaces metadata, `delays` and revision of the queue that has
        the revision `expect`; answers False; repeated, it does nothing.

        Where `delays` changes, messages whose delay is not over become visible (False)
        or are held back again (True) in the same step.

        Raises QueueNotFound or QueueChanged, both only with `expect`.
        """
        ...

    def get_queue(self, key: QueueKey) -> Queue:
        """Return the queue."""
        ...

    def delete_queue(self, key: QueueKey) -> None:
        """Remove the queue with all that is its own; nothing if it is absent."""
        ...

    def list_queues(
        self,
        project: str,
        *,
        marker: str | None = None,
        limit: int,
        name: str = "",
        match: Mapping[str, str | int] | None = None,
    ) -> Page[Queue]:
        """Return the queues of a project behind `marker`, by name in byte order.

        `name` keeps those whose name contains it; `match` those whose metadata has all
        its keys with these values (a number equals a number, a text a text). A page is
        full unless it is the last. The marker is a name and need not exist.
        """
        ...

    def get_queues(self, project: str, names: Sequence[str]) -> list[Queue]:
        """Return those of the queues that exist, in any order, in one trip."""
        ...

    def count_queues(self, project: str) -> int:
        """Return how many queues the project has."""
        ...

    def queue_stats(self, key: QueueKey, *, now: float) -> QueueStats:
        """Return the numbers of live messages."""
        ...

    def count_subscriptions(self, project: str, *, now: float) -> int:
        """Return how many live subscriptions the queues of the project have.

        What changes meanwhile may be counted or not.
        """
        ...

    def measure_usage(self, project: str, *, sizes: bool, now: float) -> Usage:
        """Return how many live messages the project has, and the size of their bodies.

        Without `sizes`, which may have to look at each message, the size is 0. What
        changes meanwhile may be counted or not; nobody waits for it.
        """
        ...

    def purge_queue(
        self, key: QueueKey, *, messages: bool, subscriptions: bool, now: float
    ) -> None:
        """Remove all messages that no live claim holds, delayed ones included.

        Or all subscriptions, or both.
        """
        ...

    # Messages -------------------------------------------------------------------------

    def post_messages(
        self,
        key: QueueKey,
        messages: Sequence[NewMessage],
        *,
        client: str,
        revision: str,
        now: float,
    ) -> bool:
        """Append messages to the queue; they become visible together.

        A message is created at `now`, expires at now + ttl, and is held back until
        now + delay while the queue delays. Ids that are stored already: nothing is
        done.

        Says whether somebody who delivers had better look: subscribers are owed the
        messages, and nobody holds the outbox. A hint, which a post to a queue that is
        not watched never gives.

        Raises QueueChanged if the revision is another one.
        """
        ...

    def list_messages(
        self,
        key: QueueKey,
        *,
        marker: str | None = None,
        limit: int,
        skip_client: str | None = None,
        claimed: bool = False,
        delayed: bool = False,
        now: float,
    ) -> Page[Message]:
        """Return live messages behind `marker`, oldest first.

        `skip_client` leaves out what that client posted; `claimed` and `delayed`
        include what is hidden otherwise. A page is full unless it is the last one.

        The marker is one that a page returned, or a message id: that message's place,
        or, if it is gone, a place at the id's time (rather repeating than skipping).
        Any other text gives an empty page.
        """
        ...

    def get_messages(
        self, key: QueueKey, ids: Sequence[str], *, now: float
    ) -> list[Message]:
        """Return those of the messages that live, in the order asked, each once."""
        ...

    def delete_message(
        self, key: QueueKey, id: str, *, claim: str | None = None, now: float
    ) -> None:
        """Delete one message; nothing if it is absent.

        Raises MessageIsClaimed (a live claim holds it and `claim` is None or another
        live claim) and ClaimDoesNotHoldMessage (any other claim that is not its own,
        also when the message is not claimed at all).
        """
        ...

    def delete_messages(
        self,
        key: QueueKey,
        ids: Sequence[str],
        *,
        claims: Sequence[str] | None = None,
        now: float,
    ) -> None:
        """Delete messages, claimed or not; ids that do not exist are left out.

        With `claims` each of the messages must be held by one of these live claims.
        Raises ClaimDoesNotHoldMessage, and then nothing is deleted.
        """
        ...

    def pop_messages(self, key: QueueKey, limit: int, *, now: float) -> list[Message]:
        """Remove and return the oldest messages that are ready, each to one caller."""
        ...

    # Claims ---------------------------------------------------------------------------

    def create_claim(
        self,
        key: QueueKey,
        claim: str,
        *,
        ttl: int,
        grace: int,
        limit: int,
        dead_letter: DeadLetter | None = None,
        revision: str,
        now: float,
    ) -> list[Message]:
        """Claim the oldest messages that are ready; without any, no claim is made.

        A message that would expire before now + ttl gets the ttl `ttl + grace` and the
        expiry now + ttl + grace. Repeated with the id of a live claim: its messages.

        With `dead_letter` the claims of a message are counted. One that was claimed
        `max_claims` times is not returned and does not use up the limit: it moves to
        the end of the dead letter queue (created if absent) with its id, body, creation
        time, with the count 0, free, and with origin and count kept beside it. The move
        may be a second, idempotent step; a message is never lost by it.

        Raises QueueChanged if the revision is another one.
        """
        ...

    def get_claim(self, key: QueueKey, claim: str, *, now: float) -> Claim:
        """Return a live claim and its messages. Raises ClaimNotFound."""
        ...

    def renew_claim(
        self, key: QueueKey, claim: str, *, ttl: int, grace: int, now: float
    ) -> None:
        """Let a live claim end at now + ttl; its age restarts.

        Lengthens the life of its messages as `create_claim` does; their claim count
        stays. Raises ClaimNotFound.
        """
        ...

    def release_claim(self, key: QueueKey, claim: str, *, now: float) -> None:
        """Set the claim's messages free, in their old places; nothing if it is absent.

        The count of claims of a message stays.
        """
        ...

    # Messages on their way to another store -------------------------------------------

    def export_messages(self, key: QueueKey, limit: int, *, now: float) -> list[Parcel]:
        """Return the oldest live messages, claimed and delayed ones too; they stay."""
        ...

    def import_messages(
        self, key: QueueKey, parcels: Sequence[Parcel], *, now: float
    ) -> None:
        """Append messages of another store in this order, visible together.

        Each keeps id, body, client, creation, ttl, expiry, checksum, origin and the
        counts of claims; it is free, and not delayed. Ids that are stored already are
        left out, and so is what has expired.
        """
        ...

    # Upkeep ---------------------------------------------------------------------------

    def capabilities(self) -> tuple[str, ...]:
        """Return what the store promises as it is set up now, of CAPABILITIES.

        Raises StorageUnavailable.
        """
        ...

    def ping(self) -> None:
        """Check that the store answers, by a write. Raises StorageUnavailable."""
        ...

    def clock(self) -> float:
        """Return the time of the store itself, in seconds since 1970.

        One clock for all handles, if need be that of one server of several. Services
        set their clocks by it. Raises StorageUnavailable.
        """
        ...

    def sweep(self, *, now: float) -> int:
        """Collect what has expired, in steps that do not block others for long.

        Returns how many messages and claims were collected. Safe at any time and in
        parallel; what clients see never depends on it.
        """
        ...

    def close(self) -> None:
        """Give back files and connections. The store is not used afterwards."""
        ...

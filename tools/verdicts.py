# SPDX-License-Identifier: Apache-2.0
"""What must hold after faults, judged from the ledger and from what is left.

Each verdict is a function from the Evidence to a list of violations. Knows nothing of
servers, processes or databases. An answer that was lost proves nothing; whatever it may
explain is not a violation.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import combinations

import msgspec
from ledger import FOREVER, NEVER_SENT, Event, Seen

# Seconds within which everything is answered, and within which all is well after a
# fault of the store.
PATIENCE = 10.0


class Hold(msgspec.Struct, frozen=True):
    """A claim's hold of one message.

    Granted at some moment from `sent` to `done`; over at `until` at the earliest.
    """

    claim: str
    sent: float
    done: float
    until: float


class Remains(msgspec.Struct, frozen=True):
    """What is left of one queue: by the API, by its counters, by its rows."""

    listed: list[Seen]
    listed_at: float
    total: int
    claimed: int
    free: int
    rows: int


class Fault(msgspec.Struct, frozen=True):
    """A fault of the store: killed, stopped, or its connections cut."""

    kind: str
    begin: float
    end: float


class StoredClaim(msgspec.Struct, frozen=True):
    """A claim as the database holds it at the end."""

    created: float
    expires: float
    messages: list[str]


class Evidence:
    """All that is known after a run."""

    def __init__(
        self,
        events: Iterable[Event],
        remains: dict[str, Remains],
        claims: dict[str, StoredClaim],
        integrity: str = "ok",
        *,
        faults: Sequence[Fault] = (),
        kills: int = 1,
        growth: Sequence[str] = (),
    ) -> None:
        """`kills` of the service there were; `growth` tells what has grown in it."""
        self.events = [event for event in events if event.status != NEVER_SENT]
        self.remains = remains
        self.claims = claims
        self.integrity = integrity
        self.faults = faults
        self.kills = kills
        self.growth = growth

    def of(self, *operations: str) -> Iterator[Event]:
        return (event for event in self.events if event.operation in operations)

    @cached_property
    def successes(self) -> list[float]:
        """When requests succeeded."""
        return [event.done for event in self.events if event.acknowledged]

    @cached_property
    def listed(self) -> set[str]:
        """Ids of the messages that are left."""
        return {seen.id for left in self.remains.values() for seen in left.listed}

    @cached_property
    def seen(self) -> dict[str, set[str]]:
        """The ids under which each tag was ever shown or promised."""
        ids: dict[str, set[str]] = defaultdict(set)
        for event in self.events:
            for message in event.messages:
                ids[message.tag].add(message.id)
            if event.operation == "post" and event.acknowledged:
                for id, tag in zip(event.ids, event.tags, strict=True):
                    ids[tag].add(id)
        for left in self.remains.values():
            for message in left.listed:
                ids[message.tag].add(message.id)
        return ids

    @cached_property
    def gone(self) -> dict[str, float]:
        """When the removal of each message was acknowledged first."""
        gone: dict[str, float] = {}
        for event in self.of("delete", "bulk", "pop"):
            if event.acknowledged:
                for id in removed(event):
                    gone[id] = min(gone.get(id, FOREVER), event.done)
        return gone

    @cached_property
    def holds(self) -> dict[str, list[Hold]]:
        """The holds of each message, also of claims whose answer was lost."""
        held: dict[str, list[Hold]] = defaultdict(list)
        removing = self._first_removal()
        until = self._claims_end()
        for event in self.of("claim"):
            for message in event.messages:
                end = min(until[event.claim], removing.get(message.id, FOREVER))
                hold = Hold(event.claim, event.sent, event.done, end)
                held[message.id].append(hold)
        for claim, stored in self.claims.items():
            if claim not in until:
                for id in stored.messages:
                    held[id].append(
                        Hold(claim, stored.created, stored.created, stored.expires)
                    )
        return held

    def _first_removal(self) -> dict[str, float]:
        """When each message was first asked to be deleted, whatever came of it."""
        removing: dict[str, float] = {}
        for event in self.of("delete", "bulk"):
            for id in event.ids:
                removing[id] = min(removing.get(id, FOREVER), event.sent)
        return removing

    def _claims_end(self) -> dict[str, float]:
        """Until when each answered claim was certainly live."""
        until = {
            event.claim: event.sent + event.ttl
            for event in self.of("claim")
            if event.acknowledged and event.claim
        }
        for event in self.of("renew"):
            end = event.sent + event.ttl
            if event.acknowledged:
                # It may end sooner than it would have without.
                until[event.claim] = end
            elif event.in_doubt:
                until[event.claim] = min(until[event.claim], end)
        for event in self.of("release"):
            until[event.claim] = min(until[event.claim], event.sent)
        return until


def removed(event: Event) -> list[str]:
    """List the ids that an acknowledged removal removed."""
    if event.operation == "pop":
        return [message.id for message in event.messages]
    return event.ids


class Doubt:
    """What lost pops may have taken: so many messages of a queue, nobody knows which.

    Each may explain the absence of as many messages as it asked for, if these were
    posted before its client gave up.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self._left: dict[str, list[float]] = defaultdict(list)
        for event in events:
            if event.operation == "pop" and event.in_doubt:
                self._left[event.queue] += [event.done] * event.limit
        for ends in self._left.values():
            ends.sort()

    def explains(self, post: Event) -> bool:
        """Say whether a lost pop explains one more missing message of this post."""
        ends = self._left[post.queue]
        for place, end in enumerate(ends):
            if end > post.sent:
                del ends[place]
                return True
        return False


def lost_messages(evidence: Evidence) -> list[str]:
    """Acknowledged, not removed, no removal in doubt, and not there; or half a batch.

    One verdict, because both draw on the same doubt.
    """
    doubt = Doubt(evidence.events)
    in_doubt = {
        id for event in evidence.of("delete", "bulk") if event.in_doubt
        for id in event.ids
    }  # fmt: skip
    known = evidence.listed | evidence.gone.keys() | in_doubt
    found = []
    for post in evidence.of("post"):
        if post.acknowledged:
            found += [
                f"lost: {tag} ({id}) in {post.queue}"
                for id, tag in zip(post.ids, post.tags, strict=True)
                if id not in known and not doubt.explains(post)
            ]
        elif post.in_doubt:
            unseen = [tag for tag in post.tags if tag not in evidence.seen]
            if 0 < len(unseen) < len(post.tags) and not all(
                [doubt.explains(post) for _ in unseen]
            ):
                found.append(f"half a batch: {post.tags} without {unseen}")
    return found


def half_deletions(evidence: Evidence) -> list[str]:
    """A bulk deletion whose answer was lost happened wholly or not at all."""
    last_seen: dict[str, float] = {id: FOREVER for id in evidence.listed}
    for event in evidence.of("claim", "pop"):
        for message in event.messages:
            last_seen[message.id] = max(last_seen.get(message.id, 0), event.sent)
    in_doubt = Counter(
        id for event in evidence.of("delete", "bulk") if event.in_doubt
        for id in event.ids
    )  # fmt: skip
    lost_pops = {event.queue for event in evidence.of("pop") if event.in_doubt}
    found = []
    for event in evidence.of("bulk"):
        if not event.in_doubt or event.queue in lost_pops:
            continue
        there = [id for id in event.ids if last_seen.get(id, 0) > event.done]
        absent = [
            id
            for id in event.ids
            if id not in there and id not in evidence.gone and in_doubt[id] == 1
        ]
        if there and absent:
            found.append(f"half a deletion: {absent} went, {there} stayed")
    return found


def returned_messages(evidence: Evidence) -> list[str]:
    """What was removed is neither left, nor shown again, nor popped twice."""
    found = [
        f"left after its removal: {id}" for id in evidence.gone.keys() & evidence.listed
    ]
    pops: Counter[str] = Counter()
    for event in evidence.of("claim", "pop"):
        for message in event.messages:
            pops[message.id] += event.operation == "pop"
            if event.sent > evidence.gone.get(message.id, FOREVER):
                found.append(f"shown after its removal: {message.tag} ({message.id})")
    found += [f"popped {times} times: {id}" for id, times in pops.items() if times > 1]
    return found


def shared_messages(evidence: Evidence) -> list[str]:
    """No message is in two live claims, and none is popped from a live claim."""
    found = []
    for id, holds in evidence.holds.items():
        for one, other in combinations(holds, 2):
            if one.done < other.until and other.done < one.until:
                found.append(f"in two live claims: {id}, {one} and {other}")
    for event in evidence.of("pop"):
        for message in event.messages:
            for hold in evidence.holds.get(message.id, ()):
                if event.done < hold.until:
                    found.append(f"popped from a live claim: {message.id}, {hold}")
    return found


def lost_claims(evidence: Evidence) -> list[str]:
    """A claim that was answered and is live still holds its messages."""
    holders = {
        seen.id: (seen.claim, left.listed_at)
        for left in evidence.remains.values()
        for seen in left.listed
    }
    found = []
    for id, holds in evidence.holds.items():
        if id not in holders:
            continue
        holder, at = holders[id]
        for hold in holds:
            if hold.until > at and hold.claim != holder:
                found.append(f"claim lost: {id} is held by {holder}, not by {hold}")
    return found


def duplicates(evidence: Evidence) -> list[str]:
    """One message posted is one message stored, under the id that was answered."""
    found = [
        f"stored more than once: {tag} as {sorted(ids)}"
        for tag, ids in evidence.seen.items()
        if len(ids) > 1
    ]
    for name, left in evidence.remains.items():
        twice = [id for id, n in Counter(m.id for m in left.listed).items() if n > 1]
        found += [f"listed twice in {name}: {id}" for id in twice]
    meant = {tag for event in evidence.of("post") for tag in event.tags}
    return found + [f"never posted: {tag}" for tag in evidence.seen.keys() - meant]


def disorder(evidence: Evidence) -> list[str]:
    """What one producer posts one after the other is shown in that order."""
    found = []
    shown = [(name, left.listed) for name, left in evidence.remains.items()]
    shown += [(e.queue, e.messages) for e in evidence.of("claim", "pop")]
    for name, messages in shown:
        last: dict[str, str] = {}
        for message in messages:
            producer = message.tag.partition("-")[0]
            if message.tag <= last.get(producer, ""):
                found.append(f"out of order in {name}: {message.tag} after {last}")
            last[producer] = message.tag
    return found


def wrong_counters(evidence: Evidence) -> list[str]:
    """The counters of a queue are what a full listing counts, and what is stored."""
    found = []
    for name, left in evidence.remains.items():
        total = len(left.listed)
        claimed = sum(message.claim is not None for message in left.listed)
        wanted = (total, claimed, total - claimed, total)
        counted = (left.total, left.claimed, left.free, left.rows)
        if counted != wanted:
            found.append(
                f"counters of {name}: total, claimed, free, rows are {counted}, "
                f"the listing has {wanted}"
            )
    return found


def wrong_answers(evidence: Evidence) -> list[str]:
    """No answer but success and 503, unless a claim was over."""
    ends = {
        event.claim: event.sent + event.ttl
        for event in evidence.of("claim", "renew")
        if event.acknowledged
    }
    found = []
    for event in evidence.events:
        if event.acknowledged or (event.in_doubt and event.status in (-1, 503)):
            continue
        if event.done < ends.get(event.claim, FOREVER):
            found.append(f"answered {event.status}: {event.operation} {event.queue}")
    return found


def silent_refusals(evidence: Evidence) -> list[str]:
    """Each 503 tells when to come again."""
    return [
        f"503 without Retry-After: {event.operation} {event.queue}"
        for event in evidence.events
        if event.status == 503 and not event.retry_after.isdigit()
    ]


def late_answers(evidence: Evidence) -> list[str]:
    """Everything is answered in time, and at all unless the service was killed."""
    found = [
        f"answered {event.status} after {event.done - event.sent:.1f} s: "
        f"{event.operation} {event.queue}"
        for event in evidence.events
        if event.status > 0 and event.done - event.sent > PATIENCE
    ]
    unanswered = Counter(
        event.operation for event in evidence.events if event.status < 0
    )
    if not evidence.kills:
        found += [f"never answered: {n} {name}" for name, n in unanswered.items()]
    return found


def late_recoveries(evidence: Evidence) -> list[str]:
    """Some seconds after a fault of the store nothing is refused any more."""
    begins = [fault.begin for fault in evidence.faults] + [FOREVER]
    found = []
    for fault, following in zip(evidence.faults, begins[1:], strict=True):
        settled = fault.end + PATIENCE
        refused = [
            event.sent - fault.end
            for event in evidence.events
            if event.status >= 500 and settled < event.sent and event.done < following
        ]
        if refused:
            found.append(
                f"still refused {max(refused):.1f} s after: {fault.kind}, "
                f"{len(refused)} times"
            )
        if not any(fault.end < at < settled for at in evidence.successes):
            found.append(f"nothing succeeded within {PATIENCE:g} s after: {fault.kind}")
    return found


def grown_processes(evidence: Evidence) -> list[str]:
    """Faults leave no threads, open files or memory behind in the service."""
    return list(evidence.growth)


def broken_file(evidence: Evidence) -> list[str]:
    """SQLite finds its file sound."""
    return [] if evidence.integrity == "ok" else [f"integrity: {evidence.integrity}"]


VERDICTS: dict[str, Callable[[Evidence], list[str]]] = {
    "no acknowledged message lost, no half batch": lost_messages,
    "no half deletion": half_deletions,
    "nothing removed came back": returned_messages,
    "no message in two live claims": shared_messages,
    "no live claim lost": lost_claims,
    "no duplicate": duplicates,
    "order kept": disorder,
    "counters equal a full listing": wrong_counters,
    "no unexpected answer": wrong_answers,
    "integrity of the file": broken_file,
    "each 503 with Retry-After": silent_refusals,
    f"every answer within {PATIENCE:g} s": late_answers,
    f"recovery within {PATIENCE:g} s": late_recoveries,
    "no growth of the service": grown_processes,
}

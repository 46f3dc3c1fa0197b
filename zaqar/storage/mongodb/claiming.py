# SPDX-License-Identifier: Apache-2.0
"""The updates that make, renew and end claims.

A claim is what its messages say of it; there is no document of its own. So it ends by
itself when it holds none.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from pymongo import UpdateMany, UpdateOne

from zaqar.model import Message
from zaqar.storage.mongodb.counting import FRESH, HELD, ONE, is_fresh, note, noted
from zaqar.storage.mongodb.documents import (
    CLAIMED,
    Document,
    Pipeline,
    message_of,
)
from zaqar.storage.mongodb.reading import BY_ID


class Terms(msgspec.Struct, frozen=True):
    """What a claim says: how long it lasts, and what its messages gain by it."""

    claim: str
    ttl: int
    grace: int
    now: float
    counts: bool = False

    @property
    def until(self) -> float:
        return self.now + self.ttl

    @property
    def longer(self) -> Document:
        """What a message gets that would end before its claim."""
        ttl = self.ttl + self.grace
        return {"ttl": ttl, "expires": self.now + ttl}

    @property
    def fields(self) -> Document:
        return {
            "state": CLAIMED,
            "due": self.until,
            "claim": self.claim,
            "claim_ttl": self.ttl,
            "claimed_at": self.now,
            "until": self.until,
        }


def taking(
    name: str, documents: Sequence[Document], terms: Terms, taker: int
) -> list[UpdateOne | UpdateMany]:
    """Return the updates that claim messages that were read; one write for all.

    The first message that is written carries the head: it fails if the claim exists.
    By `taker` whoever takes them tells them from what a twin takes.
    """
    first, *others = documents
    groups: dict[Kind, list[str]] = {}
    for each in others:
        groups.setdefault(_kind(each, terms), []).append(each["_id"])
    fields: Document = {"taker": taker}
    kind = _kind(first, terms)
    # PERF: where only one of all is the head, by a condition of the one update of all,
    # the server takes 6 % more.
    head = _update(kind, terms, fields | {"head": terms.claim})
    updates: list[UpdateOne | UpdateMany] = [
        UpdateOne(_free(name, first["_id"], kind), head, hint=BY_ID)
    ]
    for kind, ids in groups.items():
        free = _free(name, {"$in": ids}, kind)
        updates.append(UpdateMany(free, _update(kind, terms, fields), hint=BY_ID))
    return updates


class Kind(NamedTuple):
    """What decides the update of a message."""

    # It would end before its claim.
    is_short: bool
    # No count can change what is known of it.
    is_fresh: bool
    # How often it was claimed, if that is counted.
    claims: int | None


def _kind(document: Document, terms: Terms) -> Kind:
    return Kind(
        document["expires"] < terms.until,
        is_fresh(document),
        document.get("claims", 0) if terms.counts else None,
    )


def _free(name: str, ids: str | Document, kind: Kind) -> Document:
    """Return the filter of what is free still, or again but as it was."""
    free: Document = {"queue": name, "_id": ids, "state": {"$lt": CLAIMED}}
    if kind.is_fresh:
        free |= FRESH
    if kind.claims is not None:
        # Else one that was claimed meanwhile would be claimed too often.
        free["claims"] = kind.claims or {"$in": [None, 0]}
    return free


def _update(kind: Kind, terms: Terms, more: Document) -> Document | Pipeline:
    """Return the update of a kind of messages, with the fields that it sets besides."""
    fields = terms.fields | more | (terms.longer if kind.is_short else {})
    if kind.is_fresh:
        # PERF: the server takes 12 % more for a claim where it computes what is known.
        update: Document = {"$set": fields | {"uncounted": note(ONE, HELD)}}
        return update | {"$inc": {"claims": 1}} if terms.counts else update
    # What was sent is data, even if it begins with a dollar.
    given: Document = {field: {"$literal": fields[field]} for field in fields}
    given["uncounted"] = noted(HELD)
    if terms.counts:
        given["claims"] = {"$add": [{"$ifNull": ["$claims", 0]}, 1]}
    return [{"$set": given}]


def heading(name: str, id: str, claim: str) -> tuple[Document, Document]:
    """Return the filter and the update that make a message the first of its claim."""
    its = {"queue": name, "_id": id, "state": CLAIMED, "claim": claim}
    return its, {"$set": {"head": claim}}


def taken(document: Document, terms: Terms) -> Message:
    """Return a message as `taking` has stored it."""
    is_short = _kind(document, terms).is_short
    fields = terms.fields | (terms.longer if is_short else {})
    if terms.counts:
        fields["claims"] = document.get("claims", 0) + 1
    return message_of(document | fields, terms.now)


def renewal(terms: Terms) -> Pipeline:
    """Return the update that lets a claim begin anew."""
    is_short = {"$lt": ["$expires", terms.until]}
    longer = {
        field: {"$cond": [is_short, value, f"${field}"]}
        for field, value in terms.longer.items()
    }
    return [
        {
            "$set": longer
            | {
                "due": terms.until,
                "claim_ttl": terms.ttl,
                "claimed_at": terms.now,
                "until": terms.until,
            }
        }
    ]

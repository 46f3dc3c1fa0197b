# SPDX-License-Identifier: Apache-2.0
"""The updates that make, renew and end claims.

A claim is what its messages say of it; there is no document of its own. So it ends by
itself when it holds none.
"""

from collections.abc import Sequence

import msgspec
from pymongo import UpdateMany, UpdateOne

from zaqar.model import Message
from zaqar.storage.mongodb.counting import HELD, ONE, note
from zaqar.storage.mongodb.documents import (
    CLAIMED,
    Document,
    Pipeline,
    message_of,
)


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
    name: str, documents: Sequence[Document], terms: Terms
) -> list[UpdateOne | UpdateMany]:
    """Return the updates that claim messages that were read; one write for all.

    The first one carries the head: it fails if the claim exists.
    """
    groups: dict[tuple[bool, int], list[str]] = {}
    first, *others = documents
    for each in others:
        groups.setdefault(_kind(each, terms), []).append(each["_id"])
    head = {"head": terms.claim}
    updates: list[UpdateOne | UpdateMany] = [
        UpdateOne(_free(name, first["_id"]), _update(_kind(first, terms), terms, head))
    ]
    for kind, ids in groups.items():
        updates.append(UpdateMany(_free(name, {"$in": ids}), _update(kind, terms, {})))
    return updates


def _kind(document: Document, terms: Terms) -> tuple[bool, int]:
    """Return what decides the update of a message: its end, and how it is counted."""
    return document["expires"] < terms.until, document.get("counted", ONE)


def _free(name: str, ids: str | Document) -> Document:
    return {"queue": name, "_id": ids, "state": {"$lt": CLAIMED}}


def _update(kind: tuple[bool, int], terms: Terms, more: Document) -> Document:
    is_short, counted = kind
    fields = terms.fields | more | (terms.longer if is_short else {})
    update: Document = {"$set": fields}
    uncounted = note(counted, HELD)
    if uncounted is None:
        update["$unset"] = {"uncounted": 1}
    else:
        fields["uncounted"] = uncounted
    if terms.counts:
        update["$inc"] = {"claims": 1}
    return update


def taken(document: Document, terms: Terms) -> Message:
    """Return a message as `taking` has stored it."""
    is_short, _ = _kind(document, terms)
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

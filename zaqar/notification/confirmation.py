# SPDX-License-Identifier: Apache-2.0
"""Asking subscribers whether they want to be told: notices that are no messages.

They wait in the outbox like what could not be delivered, so they are as durable.
"""

import msgspec

from zaqar.keys import Key
from zaqar.model import Notice, QueueKey, Subscription, owner_of
from zaqar.notification import payload
from zaqar.notification.payload import Confirmation, Notification
from zaqar.notification.settings import NotificationSettings

SUBSCRIBE = "subscribe"
UNSUBSCRIBE = "unsubscribe"

# Ids of messages are UUIDs.
PREFIX = "confirmation-"


class Question(msgspec.Struct, frozen=True):
    """What the body of such a notice says; `expires` is when the answer comes late."""

    event: str
    expires: float


def notice(event: str, id: str, expires: float, subscription: Subscription) -> Notice:
    """Return the notice of an event."""
    question = Question(event, expires)
    return Notice(PREFIX + id, msgspec.json.encode(question), subscription.ttl)


def is_one(notice: Notice) -> bool:
    return notice.id.startswith(PREFIX)


def document(
    key: QueueKey,
    subscription: str,
    notice: Notice,
    signer: Key,
    settings: NotificationSettings,
) -> Notification:
    """Return what is sent. Raises InvalidRequest where it cannot be signed."""
    question = msgspec.json.decode(notice.body, type=Question)
    project, kind = owner_of(key)
    asked = Confirmation(project, key.name, subscription, question.expires, kind)
    build = payload.subscribed if question.event == SUBSCRIBE else payload.unsubscribed
    return build(asked, signer, settings)

# SPDX-License-Identifier: Apache-2.0
"""What subscribers get: notifications and confirmations, as JSON and as mails.

Pure. Bodies of messages are JSON text and stay the text they are.
"""

import json
import re
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote, urlencode

import msgspec

from zaqar import signing
from zaqar.errors import InvalidRequest
from zaqar.keys import Key
from zaqar.notification.settings import MailText, NotificationSettings

# What `post_data` has where the notification goes, the quotes with it.
TOKEN = '"$zaqar_message$"'
# The last instant that a date can name, less a day for time zones.
LAST_INSTANT = datetime(9999, 12, 30, tzinfo=UTC).timestamp()


class PostDataTooLarge(Exception):
    """Raised when a template with the notification in it exceeds its limit."""


class Notification(msgspec.Struct, frozen=True, weakref=True):
    """What is sent: a JSON document, and a mail if that is not just the document."""

    document: bytes
    mail: MailText | None = None


def notification(queue: str, body: bytes, ttl: int, delay: int = 0) -> Notification:
    """Return what subscribers get of a message whose body is this JSON text."""
    return Notification(b'{"ttl": %d, "body": %b, %b' % (ttl, body, _end(queue, delay)))


# PERF: json.dumps showed as 3 to 6 % of a delivery's processor time.
@lru_cache(maxsize=1024)
def _end(queue: str, delay: int) -> bytes:
    ends: dict[str, str | int] = {"Message_Type": "Notification", "queue_name": queue}
    if delay:
        ends = {"delay": delay, **ends}
    return json.dumps(ends)[1:].encode()


def filled(template: str, document: bytes, limit: int) -> bytes:
    """Return the template with the document in each place.

    Raises PostDataTooLarge, before it is built, if it had more than `limit` bytes.
    """
    if filled_size(template, len(document)) > limit:
        raise PostDataTooLarge(f"post_data comes to more than {limit} bytes.")
    return template.encode().replace(TOKEN.encode(), document)


def filled_size(template: str, size: int) -> int:
    """Return the bytes of a template with a document of this size in each place."""
    return len(template.encode()) + template.count(TOKEN) * (size - len(TOKEN))


class Confirmation(msgspec.Struct, frozen=True):
    """What somebody may confirm, or take back: a subscription, until `expires`.

    `kind` is queues or topics. The addresses of the service are those that Keystone's
    catalogue has, or empty.
    """

    project: str
    queue: str
    subscription: str
    expires: float
    kind: str = "queues"
    wsgi_url: str = ""
    websocket_url: str = ""

    @property
    def path(self) -> str:
        return f"/v2/{self.kind}/{self.queue}/subscriptions/{self.subscription}/confirm"


def subscribed(
    asked: Confirmation, key: Key, settings: NotificationSettings
) -> Notification:
    """Return what asks a subscriber to confirm. Raises InvalidRequest."""
    sentence = (
        f"You have been subscribed to {asked.kind[:-1]} {asked.queue}. Confirm to "
        "receive its messages."
    )
    return _signed(
        asked,
        key,
        "SubscriptionConfirmation",
        sentence,
        settings.confirm_text,
        settings.external_confirmation_url,
    )


def unsubscribed(
    asked: Confirmation, key: Key, settings: NotificationSettings
) -> Notification:
    """Return what tells a subscriber that it gets no more. Raises InvalidRequest."""
    sentence = (
        f"You have been unsubscribed from {asked.kind[:-1]} {asked.queue}. Confirm "
        "again to receive its messages."
    )
    return _signed(
        asked,
        key,
        "UnsubscribeConfirmation",
        sentence,
        settings.unsubscribe_text,
        settings.external_confirmation_url,
    )


def _signed(
    asked: Confirmation,
    key: Key,
    kind: str,
    sentence: str,
    text: MailText,
    page: str,
) -> Notification:
    moment = datetime.fromtimestamp(min(asked.expires, LAST_INSTANT), UTC)
    expires = signing.expiry(moment)
    terms = signing.Terms((asked.path,), ("PUT",), asked.project, expires)
    signature = signing.sign(terms, key)
    document = {
        "Message_Type": kind,
        "Message": sentence,
        "URL-Signature": signature,
        "URL-Methods": "PUT",
        "URL-Paths": asked.path,
        "X-Project-ID": asked.project,
        "URL-Expires": expires,
        "SubscribeBody": {"confirmed": True},
        "UnsubscribeBody": {"confirmed": False},
        "queue_name": asked.queue,
    }
    url = asked.wsgi_url and asked.wsgi_url.rstrip("/") + asked.path
    if url:
        document["WSGISubscribeURL"] = url
    if asked.websocket_url:
        document["WebSocketSubscribeURL"] = asked.websocket_url.rstrip("/") + asked.path
    link = {
        "Signature": signature,
        "Methods": "PUT",
        "Paths": asked.path,
        "Project": asked.project,
        "Expires": expires,
        "Url": url,
        "Queue": asked.queue,
    }
    mail = None
    if page:
        address = f"{page}?{urlencode(link, safe='', quote_via=quote)}"
        mail = _mail(text, asked.queue, asked.project, address)
    return Notification(json.dumps(document).encode(), mail)


def _mail(text: MailText, queue: str, project: str, link: str) -> MailText:
    """Return the mail with its places filled, all at once: a project may be `{2}`."""
    values = {"{0}": queue, "{1}": project, "{2}": link}

    def fill(part: str) -> str:
        return re.sub(r"\{[012]\}", lambda place: values[place[0]], part)

    return MailText(fill(text.topic), fill(text.body), fill(text.sender))


def check_post_data(template: object, limit: int) -> None:
    """Raise InvalidRequest unless it is a template that something fits into."""
    if not isinstance(template, str):
        raise InvalidRequest("options.post_data must be a string.")
    least = len(notification("q", b"0", 60).document)
    try:
        size = filled_size(template, least)
    except UnicodeEncodeError:
        raise InvalidRequest("options.post_data must be text in UTF-8.") from None
    if size > limit:
        raise InvalidRequest(
            f"options.post_data may come to at most {limit} bytes with a notification "
            f"in it, and comes to {size} with the smallest one."
        )

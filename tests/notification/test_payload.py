# SPDX-License-Identifier: Apache-2.0
"""Facts of what subscribers get: JSON around the body's own text, and confirmations."""

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.notification import arrange
from zaqar import signing
from zaqar.keys import Key
from zaqar.notification import payload
from zaqar.notification.payload import Confirmation, filled, filled_size, notification
from zaqar.notification.settings import MailText
from zaqar.signing import Terms

KEY = Key("now", "secret")
EXPIRES = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
ASKED = Confirmation("p&1", "q", "s-1", EXPIRES)
PAGE = arrange.settings(external_confirmation_url="https://page.example/confirm")


def document(asked: Confirmation = ASKED, make: Any = payload.subscribed) -> Any:
    return json.loads(make(asked, KEY, arrange.OPEN).document)


# Notifications -----------------------------------------------------------------------


def test_notification_is_written_as_the_reference_does() -> None:
    found = notification("my_q", b'{"a": 1}', 60)

    expected = {"ttl": 60, "body": {"a": 1}}
    expected |= {"Message_Type": "Notification", "queue_name": "my_q"}
    assert found.document == json.dumps(expected).encode()
    assert found.mail is None


def test_a_delayed_message_tells_its_delay() -> None:
    assert json.loads(notification("q", b"null", 60, 5).document) == {
        "ttl": 60,
        "body": None,
        "delay": 5,
        "Message_Type": "Notification",
        "queue_name": "q",
    }


@pytest.mark.parametrize("body", ['"\xe9\\u00e9"', '{"b":1,  "b":2}', "1.50", "%d%s"])
def test_the_body_is_the_text_that_was_posted(body: str) -> None:
    assert f'"body": {body}, '.encode() in notification("q", body.encode(), 60).document


# Templates ---------------------------------------------------------------------------


@given(st.lists(st.sampled_from(['"$zaqar_message$"', "$zaqar_message$", "é", '"'])))
def test_size_of_a_template_is_known_before_it_is_filled(parts: list[str]) -> None:
    template = "".join(parts)

    found = filled(template, b"0123456789", 10**6)

    assert len(found) == filled_size(template, 10)
    assert b'"$zaqar_message$"' not in found


def test_the_notification_is_no_template() -> None:
    found = filled('["$zaqar_message$"]', b'"$zaqar_message$"', 100)

    assert found == b'["$zaqar_message$"]'


def test_a_template_is_filled_up_to_its_limit() -> None:
    template = '"$zaqar_message$"' * 3

    assert len(filled(template, b"x" * 100, 300)) == 300
    with pytest.raises(payload.PostDataTooLarge, match="299"):
        filled(template, b"x" * 100, 299)


# Confirmations -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (payload.subscribed, "SubscriptionConfirmation"),
        (payload.unsubscribed, "UnsubscribeConfirmation"),
    ],
)
def test_confirmation_has_what_the_contract_names(make: Any, kind: str) -> None:
    found = document(make=make)

    message = found.pop("Message")
    assert "queue q" in message
    assert found == {
        "Message_Type": kind,
        "URL-Signature": found["URL-Signature"],
        "URL-Methods": "PUT",
        "URL-Paths": "/v2/queues/q/subscriptions/s-1/confirm",
        "X-Project-ID": "p&1",
        "URL-Expires": "2030-01-01T00:00:00",
        "SubscribeBody": {"confirmed": True},
        "UnsubscribeBody": {"confirmed": False},
        "queue_name": "q",
    }


def test_its_signature_lets_the_confirmation_in_and_nothing_else() -> None:
    found = document()
    terms = Terms(
        (found["URL-Paths"],), ("PUT",), found["X-Project-ID"], found["URL-Expires"]
    )
    request = {"method": "PUT", "path": found["URL-Paths"], "now": EXPIRES - 1}

    assert signing.verify(found["URL-Signature"], terms, [KEY], **request) == "now"
    with pytest.raises(signing.SignatureRefused):
        signing.verify(
            found["URL-Signature"], replace(terms, project="p2"), [KEY], **request
        )


def test_a_topic_is_confirmed_below_topics() -> None:
    found = document(replace(ASKED, kind="topics"))

    assert found["URL-Paths"] == "/v2/topics/q/subscriptions/s-1/confirm"
    assert "topic q" in found["Message"]


@pytest.mark.parametrize("expires", [253402300799.0, 1e13])
def test_a_subscription_for_ever_is_signed_until_the_last_year(expires: float) -> None:
    assert document(replace(ASKED, expires=expires))["URL-Expires"].startswith("9999")


def test_addresses_of_the_catalogue_are_told() -> None:
    found = document(
        replace(ASKED, wsgi_url="https://h/m/", websocket_url="wss://h:9000")
    )

    path = "/v2/queues/q/subscriptions/s-1/confirm"
    assert found["WSGISubscribeURL"] == f"https://h/m{path}"
    assert found["WebSocketSubscribeURL"] == f"wss://h:9000{path}"


def test_without_a_page_there_is_no_mail() -> None:
    assert payload.subscribed(ASKED, KEY, arrange.OPEN).mail is None


@pytest.mark.parametrize("url", ["", "https://h?a&b"])
def test_link_of_a_mail_is_in_order_and_percent_encoded(url: str) -> None:
    asked = replace(ASKED, wsgi_url=url)
    found = payload.subscribed(asked, KEY, PAGE)
    assert found.mail
    [link] = [word for word in found.mail.body.split() if word.startswith("https://")]

    fields = parse_qsl(urlsplit(link).query, keep_blank_values=True)
    told = json.loads(found.document)
    assert link.startswith("https://page.example/confirm?Signature=")
    assert fields == [
        ("Signature", told["URL-Signature"]),
        ("Methods", "PUT"),
        ("Paths", told["URL-Paths"]),
        ("Project", "p&1"),
        ("Expires", told["URL-Expires"]),
        ("Url", told.get("WSGISubscribeURL", "")),
        ("Queue", "q"),
    ]
    assert "Project=p%261" in link


def test_templates_of_mails_are_filled_at_once() -> None:
    text = "topic:{0} of {1},body:{2} for {1}{3},sender:{0}@example.org"
    given = arrange.settings(
        external_confirmation_url="https://h",
        unsubscribe_confirmation_email_template=dict(
            part.split(":", 1) for part in text.split(",")
        ),
    )
    asked = replace(ASKED, project="{2}{0}")

    mail = payload.unsubscribed(asked, KEY, given).mail

    assert mail == MailText("q of {2}{0}", mail.body if mail else "", "q@example.org")
    assert mail.body.endswith(" for {2}{0}{3}")

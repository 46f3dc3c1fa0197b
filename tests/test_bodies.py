# SPDX-License-Identifier: Apache-2.0
"""Facts of bodies between clients and stores that no answer of the API shows."""

import logging

import pytest

from zaqar.bodies import Bodies
from zaqar.errors import KeyUnavailable
from zaqar.keys import Key
from zaqar.model import Message, QueueKey

QUEUE = QueueKey("p1", "q1")
BODIES = Bodies([Key("one", "a" * 32)], encrypts=lambda queue: True)
WITHOUT = Bodies([], encrypts=lambda queue: True)


def message(body: bytes, *, origin: str | None = None) -> Message:
    return Message("id", body, 60, 1.0, origin=origin)


def test_messages_of_which_none_is_sealed_are_not_even_copied() -> None:
    for messages in ([], [message(b"1"), message(b'"\x01"')]):
        assert BODIES.read(QUEUE, messages) is messages


def test_the_body_of_a_notice_is_opened_as_that_of_its_message() -> None:
    sealed = BODIES.seal(QUEUE, "id", b'"hello"')

    assert BODIES.open(QUEUE, "id", sealed) == b'"hello"'
    assert BODIES.open(QUEUE, "id", b'"plain"') == b'"plain"'
    assert BODIES.open(QUEUE, "another", sealed) is None
    assert WITHOUT.open(QUEUE, "id", sealed) is None


def test_a_topic_of_the_same_name_is_another_place() -> None:
    sealed = BODIES.seal(QUEUE, "id", b"1")

    assert BODIES.open(QueueKey("p1\ntopics", "q1"), "id", sealed) is None


def test_only_dead_letters_are_read_in_another_queue() -> None:
    sealed = BODIES.seal(QUEUE, "id", b"1")
    dead = QueueKey("p1", "dead")

    assert BODIES.read(dead, [message(sealed)]) == []
    letter = message(sealed, origin="between")
    assert BODIES.read(dead, [letter]) == [message(b"1", origin="between")]


def test_nothing_is_sealed_without_a_key() -> None:
    assert not WITHOUT.can_seal
    with pytest.raises(KeyUnavailable, match="message_encryption_key"):
        WITHOUT.seal(QUEUE, "id", b"1")


def test_each_message_is_told_of_once_and_not_its_body(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bodies = Bodies([Key("two", "b" * 32)], encrypts=lambda queue: True)
    sealed = BODIES.seal(QUEUE, "id", b'"hello"')

    with caplog.at_level(logging.ERROR):
        for queue in (QUEUE, QUEUE, QueueKey("p2", "q1")):
            assert bodies.read(queue, [message(sealed)]) == []

    assert len(caplog.records) == 2
    assert all("'one'" in record.getMessage() for record in caplog.records)
    assert "hello" not in caplog.text

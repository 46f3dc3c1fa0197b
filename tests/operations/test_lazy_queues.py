# SPDX-License-Identifier: Apache-2.0
"""Queues that a post creates, where somebody else creates them in the same moment."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.arrange import T0, read
from tests.model_store import ModelData, ModelStore
from zaqar.errors import InvalidRequest, KeyUnavailable
from zaqar.model import Context, Message, Metadata, QueueKey
from zaqar.operations import messages
from zaqar.operations.messages import Draft
from zaqar.queue_settings import ENCRYPTION, MESSAGE_DELAY, MESSAGE_TTL, POST_SIZE
from zaqar.service import Service
from zaqar.storage.base import Store

KEY = QueueKey("p1", "q1")
CONTEXT = Context(KEY.project, "c" * 32)

Serve = Callable[[Store], Service]


class OvertakenStore(ModelStore):
    """A store whose first `put_queue` comes after that of somebody else."""

    def __init__(self, metadata: Metadata) -> None:
        super().__init__(ModelData())
        self._theirs: Metadata | None = metadata

    def put_queue(self, key: QueueKey, metadata: Metadata, **more: Any) -> bool:
        if self._theirs is not None:
            theirs, self._theirs = self._theirs, None
            delays = bool(theirs.get(MESSAGE_DELAY))
            put = more | {"revision": "theirs", "delays": delays}
            assert super().put_queue(key, theirs, **put)
        return super().put_queue(key, metadata, **more)


def post(serve: Serve, metadata: Metadata, *drafts: Draft) -> list[Message]:
    """Post to a queue that somebody creates meanwhile; all its messages."""
    store = OvertakenStore(metadata)
    messages.post(CONTEXT, serve(store), KEY.name, drafts or [Draft(b"1")], size=100)
    return read(store, KEY, now=T0)


def test_nothing_is_stored_in_plain_text_if_the_queue_encrypts(serve: Serve) -> None:
    store = OvertakenStore({ENCRYPTION: True})

    with pytest.raises(KeyUnavailable):
        messages.post(CONTEXT, serve(store), KEY.name, [Draft(b"1")], size=100)

    assert read(store, KEY, now=T0) == []


def test_default_ttl_is_that_of_the_queue(serve: Serve) -> None:
    [message] = post(serve, {MESSAGE_TTL: 77})

    assert message.ttl == 77


def test_size_limit_is_that_of_the_queue(serve: Serve) -> None:
    with pytest.raises(InvalidRequest, match="99"):
        post(serve, {POST_SIZE: 99})


def test_delay_is_that_of_the_queue(serve: Serve) -> None:
    store = OvertakenStore({MESSAGE_DELAY: 30})
    messages.post(CONTEXT, serve(store), KEY.name, [Draft(b"1")], size=100)

    shown = [read(store, KEY, delayed=False, now=T0 + after) for after in (0, 30)]

    assert [len(page) for page in shown] == [0, 1]


def test_messages_are_posted_once(serve: Serve) -> None:
    posted = post(serve, {"a": 1}, Draft(b"1"), Draft(b"2"))

    assert [message.body for message in posted] == [b"1", b"2"]

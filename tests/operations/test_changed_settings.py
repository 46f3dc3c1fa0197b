# SPDX-License-Identifier: Apache-2.0
"""Posts of a service that remembers settings which the queue has no longer."""

from collections.abc import Callable

import pytest

from tests.contract.arrange import T0, read
from tests.model_store import ModelData, ModelStore
from zaqar.errors import InvalidBody, InvalidRequest, KeyUnavailable
from zaqar.model import Context, Metadata, QueueKey
from zaqar.operations import messages, queues
from zaqar.operations.messages import Draft
from zaqar.queue_settings import ENCRYPTION, MESSAGE_DELAY, POST_SIZE, Change
from zaqar.service import Service
from zaqar.storage.base import Store

KEY = QueueKey("p1", "q1")
CONTEXT = Context(KEY.project, "c" * 32)
REFUSING = [
    ({POST_SIZE: 99}, InvalidRequest),
    ({MESSAGE_DELAY: 1}, InvalidBody),
    ({ENCRYPTION: True}, KeyUnavailable),
]

Serve = Callable[[Store], Service]


def post(service: Service) -> list[str]:
    draft = Draft(b"1", delay="long")
    return messages.post(CONTEXT, service, KEY.name, [draft], size=100)


@pytest.mark.parametrize(("metadata", "error"), REFUSING)
def test_no_post_is_refused_by_them(
    serve: Serve, metadata: Metadata, error: type[Exception]
) -> None:
    store = ModelStore(ModelData())
    more = {"delays": MESSAGE_DELAY in metadata, "revision": "old", "now": T0}
    store.put_queue(KEY, metadata, **more)
    service, other = serve(store), serve(store)
    with pytest.raises(error):
        post(service)

    queues.patch(CONTEXT, other, KEY.name, [Change("remove", *metadata)])

    assert post(service)
    assert len(read(store, KEY, now=T0)) == 1

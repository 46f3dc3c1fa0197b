# SPDX-License-Identifier: Apache-2.0
"""A process is killed at each call that an operation makes to stores and registry.

Whatever it left behind, others go on as if the operation had been done, or had not.
"""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from tests.contract.arrange import KEY, T0, claim, create, listed, post, read
from tests.storage.pooling.conftest import Deployment, pool, routed
from tests.storage.pooling.faulty import Faulty, Fuse, Killed
from tests.storage.pooling.test_router import homes
from zaqar.errors import QueueNotFound
from zaqar.model import DeadLetter, QueueKey
from zaqar.storage.base import Store
from zaqar.storage.pooling import letters
from zaqar.storage.pooling.router import Router

DEAD = QueueKey(KEY.project, "dead")


class Mortal(Deployment):
    """A deployment in which a process can be started that will be killed."""

    fuse: Fuse | None = None

    def open_store(self, uri: str, options: Any) -> Any:
        store = super().open_store(uri, options)
        return store if self.fuse is None else Faulty(store, self.fuse)

    def doomed(self, fuse: Fuse) -> Router:
        self.fuse = fuse
        pools = self.pools()
        pools.registry = Faulty(pools.registry, fuse)
        return routed(pools)

    def kill(self, fuse: Fuse, step: Callable[[Store], object]) -> bool:
        """Run the step in a process that dies of the fuse; False: it got through."""
        try:
            step(self.doomed(fuse))
        except Killed:
            return True
        finally:
            self.fuse = None
        return False


def killed_everywhere(
    arrange: Callable[[Mortal], None],
    step: Callable[[Store], object],
    check: Callable[[Mortal], None],
) -> int:
    """Kill the step at each of its calls, each time in a new deployment.

    Returns at how many places it was killed.
    """
    places = 0
    for is_done in (False, True):
        for lives in range(100):
            deployment = Mortal()
            arrange(deployment)
            if not deployment.kill(Fuse(lives, is_done=is_done), step):
                break
            places += 1
            check(deployment)
    return places


def two_pools(deployment: Mortal) -> None:
    deployment.register(
        pool("a"), pool("b", flavor="gold"), flavors={KEY.project: "gold"}
    )


def usable(deployment: Mortal, key: QueueKey = KEY) -> None:
    """Check that the queue can be made, used, removed, and leaves nothing."""
    router = deployment.router()
    router.put_queue(key, {}, delays=False, revision=uuid4().hex, now=T0)
    before = len(listed(router, key))
    ids = post(router, 2, key)
    assert listed(router, key)[before:] == ids
    assert len(homes(deployment, key)) == 1
    assert [q.name for q in router.list_queues(key.project, limit=9).items] == [
        key.name
    ]
    router.delete_queue(key)
    assert homes(deployment, key) == []
    assert not deployment.registry.bindings


def test_creation_that_was_killed_leaves_nothing_in_the_way() -> None:
    places = killed_everywhere(two_pools, lambda store: create(store), usable)

    assert places > 6


def test_deletion_that_was_killed_leaves_nothing_in_the_way() -> None:
    def arrange(deployment: Mortal) -> None:
        two_pools(deployment)
        post(deployment.router(), 2)

    def check(deployment: Mortal) -> None:
        router = deployment.router()
        try:
            router.get_queue(KEY)
        except QueueNotFound:
            assert listed(router) == []
        else:
            assert len(listed(router)) == 2
        usable(deployment)

    places = killed_everywhere(arrange, lambda store: store.delete_queue(KEY), check)

    assert places > 4


def test_change_of_the_flavor_that_was_killed_leaves_one_queue() -> None:
    def arrange(deployment: Mortal) -> None:
        two_pools(deployment)
        create(deployment.router(), metadata={"a": 1})

    def change(store: Store) -> None:
        queue = store.get_queue(KEY)
        store.put_queue(
            KEY,
            {"_flavor": "gold"},
            delays=False,
            revision="new",
            expect=queue.revision,
            now=T0,
        )

    def check(deployment: Mortal) -> None:
        metadata = deployment.router().get_queue(KEY).metadata
        assert metadata in ({"a": 1}, {"_flavor": "gold"})
        router = deployment.router()
        ids = post(router, 2)
        assert listed(router) == ids

    places = killed_everywhere(arrange, change, check)

    assert places > 10


def test_dead_letters_are_not_lost_with_their_carrier(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(letters, "LOOK_SECONDS", -1.0)
    rule = DeadLetter("dead", 1)

    def arrange(deployment: Mortal) -> None:
        two_pools(deployment)
        router = deployment.router()
        post(router, 3)
        create(router, DEAD, {"_flavor": "gold"})
        claim(router, dead_letter=rule, limit=10)

    def bury(store: Store) -> None:
        claim(store, dead_letter=rule, now=T0 + 61)

    def check(deployment: Mortal) -> None:
        router = deployment.router()
        bodies = [
            *read(router, KEY, now=T0 + 62),
            *read(router, DEAD, now=T0 + 62),
        ]
        # Those that wait in the outbox are carried by the sweep.
        router.sweep(now=T0 + 62)
        found = [*read(router, KEY, now=T0 + 62), *read(router, DEAD, now=T0 + 62)]
        assert len({message.id for message in found}) == len(found) == 3
        assert len(bodies) <= 3
        for message in read(router, DEAD, now=T0 + 62):
            assert (message.origin, message.origin_claims) == (KEY.name, 1)
            assert message.created == T0

    places = killed_everywhere(arrange, bury, check)

    assert places > 6

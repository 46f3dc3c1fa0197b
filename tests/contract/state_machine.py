# SPDX-License-Identifier: Apache-2.0
"""Any sequence of operations has the same effect on a store and on its model.

Where the contract leaves a choice (a marker whose message is gone, the revision of a
queue that dead letters create) the two are not compared.
"""

import os
import random
from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from tests.contract.arrange import T0, ids_of, listed, message_id, read
from tests.model_store import ModelStore
from zaqar.errors import QueueChanged, ZaqarError
from zaqar.model import DeadLetter, Metadata, NewMessage, Parcel, Queue, QueueKey
from zaqar.storage.base import Store

T = TypeVar("T")

KEYS = [QueueKey(project, name) for project in ("a", "b") for name in ("q", "r")]
CLIENTS = ["one", "two"]
TTLS = st.sampled_from([60, 75, 90, 120, 300])
LIMITS = st.integers(1, 5)
PICKS = st.lists(st.integers(0, 40), max_size=4)
# Half of what happens happens to the first queue.
keys = st.sampled_from([KEYS[0]] * 3 + KEYS)


class StoreMachine(RuleBasedStateMachine):
    """Does to a store what it does to the model, and compares their answers."""

    def __init__(self, open_empty: Callable[[], Store]) -> None:
        super().__init__()
        self.store = open_empty()
        self.model = ModelStore()
        self.now = T0
        self.dice = random.Random(0)
        self.messages: list[str] = []
        self.claims: list[str] = ["unknown"]
        self.markers: dict[QueueKey, list[str]] = {key: [] for key in KEYS}

    def teardown(self) -> None:
        try:
            self.compare()
        finally:
            self.store.close()

    def both(self, operation: Callable[[Store], object]) -> None:
        """Let both do it; check that they return or raise the same."""
        wanted = _outcome(operation, self.model)
        got = _outcome(operation, self.store)
        assert got == wanted

    def revision(self, store: Store, key: QueueKey) -> str:
        """Return the revision; it differs where dead letters created the queue."""
        try:
            return store.get_queue(key).revision
        except ZaqarError:
            return "absent"

    def pick(self, numbers: list[int], among: list[str]) -> list[str]:
        return [among[number % len(among)] for number in numbers] if among else []

    # Time

    @rule(seconds=st.sampled_from([0.25, 1, 10, 59, 60]))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds

    @rule(key=keys, number=st.integers(0, 20), early=st.sampled_from([0, 0.25]))
    def go_to_an_end(self, key: QueueKey, number: int, early: float) -> None:
        """Go to the instant at which something ends, or to just before it."""
        ends = [end for end in self.model.ends(key) if end - early > self.now]
        if ends:
            self.now = ends[number % len(ends)] - early

    @rule()
    def sweep(self) -> None:
        self.store.sweep(now=self.now)
        assert self.store.sweep(now=self.now) == 0

    # Queues

    @initialize(delays=st.booleans())
    def begin_with_some_queues(self, delays: bool) -> None:
        for key in KEYS[:3]:
            self.put_queue(key, delays)

    @rule(key=keys, delays=st.booleans())
    def put_queue(self, key: QueueKey, delays: bool) -> None:
        revision = str(UUID(int=self.dice.getrandbits(128)))
        for _ in range(2):
            self.both(
                lambda store: store.put_queue(
                    key, {"a": 1}, delays=delays, revision=revision, now=self.now
                )
            )

    @rule(key=keys, delays=st.booleans(), stale=st.sampled_from([False] * 5 + [True]))
    def change_queue(self, key: QueueKey, delays: bool, stale: bool) -> None:
        revision = str(UUID(int=self.dice.getrandbits(128)))
        expected = {
            id(store): "stale" if stale else self.revision(store, key)
            for store in (self.model, self.store)
        }
        for _ in range(2):
            self.both(
                lambda store: store.put_queue(
                    key,
                    {"b": revision},
                    delays=delays,
                    revision=revision,
                    expect=expected[id(store)],
                    now=self.now,
                )
            )

    @rule(key=keys, sure=st.sampled_from([True, False, False, False]))
    def delete_queue(self, key: QueueKey, sure: bool) -> None:
        if sure:
            self.both(lambda store: store.delete_queue(key))
            self.markers[key].clear()

    @rule(key=keys, messages=st.sampled_from([True, True, False]))
    def purge(self, key: QueueKey, messages: bool) -> None:
        self.both(
            lambda store: store.purge_queue(
                key, messages=messages, subscriptions=True, now=self.now
            )
        )

    # Messages

    @rule(
        key=keys,
        drafts=st.lists(
            st.tuples(TTLS, st.sampled_from([0, 0, 30, 90])), min_size=1, max_size=6
        ),
        client=st.sampled_from(CLIENTS),
        times=st.sampled_from([1, 1, 2]),
    )
    def post(
        self, key: QueueKey, drafts: list[tuple[int, int]], client: str, times: int
    ) -> None:
        new = [
            NewMessage(message_id(self.now, self.dice), b"%d" % number, ttl, delay)
            for number, (ttl, delay) in enumerate(drafts)
        ]
        self.messages += [message.id for message in new]
        for _ in range(times):
            self.both(
                lambda store: store.post_messages(
                    key,
                    new,
                    client=client,
                    revision=self.revision(store, key),
                    now=self.now,
                )
            )

    @rule(key=keys)
    def post_with_a_stale_revision(self, key: QueueKey) -> None:
        new = NewMessage(message_id(self.now, self.dice), b"0", 60)
        self.both(
            lambda store: store.post_messages(
                key, [new], client="one", revision="stale", now=self.now
            )
        )

    @rule(
        key=keys,
        limit=st.sampled_from([1, 2, 3, 100]),
        skip=st.sampled_from([None, *CLIENTS]),
        claimed=st.booleans(),
        delayed=st.booleans(),
    )
    def list_messages(
        self,
        key: QueueKey,
        limit: int,
        skip: str | None,
        claimed: bool,
        delayed: bool,
    ) -> None:
        self.both(
            lambda store: read(
                store,
                key,
                limit=limit,
                skip_client=skip,
                claimed=claimed,
                delayed=delayed,
                now=self.now,
            )
        )

    @rule(key=keys, numbers=PICKS, limit=LIMITS)
    def list_behind_a_message(
        self, key: QueueKey, numbers: list[int], limit: int
    ) -> None:
        there = listed(self.model, key, now=self.now)
        for marker in self.pick(numbers, self.messages):
            if marker in there:
                self.both(
                    lambda store, marker=marker: ids_of(
                        read(store, key, marker=marker, limit=limit, now=self.now)
                    )
                )

    @rule(source=keys, to=keys, limit=LIMITS, times=st.sampled_from([1, 1, 2]))
    def carry(self, source: QueueKey, to: QueueKey, limit: int, times: int) -> None:
        """Export from one queue, and import that under new ids into another."""
        self.both(lambda store: store.export_messages(source, limit, now=self.now))
        parcels = []
        if listed(self.model, source, now=self.now):
            parcels = self.model.export_messages(source, limit, now=self.now)
        carried = [
            Parcel(
                replace(each.message, id=message_id(self.now, self.dice)),
                each.client,
                each.expires,
            )
            for each in parcels
        ]
        self.messages += [each.message.id for each in carried]
        for _ in range(times):
            self.both(lambda store: store.import_messages(to, carried, now=self.now))

    @rule(key=keys, limit=LIMITS)
    def remember_a_page(self, key: QueueKey, limit: int) -> None:
        """Keep the marker of a page of each, to go on behind it later."""
        if listed(self.model, key, now=self.now):
            page = self.store.list_messages(key, limit=limit, now=self.now)
            model = self.model.list_messages(key, limit=limit, now=self.now)
            if page.marker and model.marker:
                self.markers[key] += [page.marker, model.marker]

    @rule(key=keys, limit=LIMITS)
    def list_behind_a_page(self, key: QueueKey, limit: int) -> None:
        if self.markers[key]:
            *_, marker, model_marker = self.markers[key]
            got = read(self.store, key, marker=marker, limit=limit, now=self.now)
            wanted = read(self.model, key, marker=model_marker, now=self.now)
            assert got == wanted

    @rule(key=keys, numbers=PICKS)
    def get_messages(self, key: QueueKey, numbers: list[int]) -> None:
        ids = self.pick(numbers, self.messages)
        self.both(lambda store: store.get_messages(key, ids, now=self.now))

    @rule(key=keys, numbers=PICKS, how=st.sampled_from(["no", "own", "other"]))
    def delete_message(self, key: QueueKey, numbers: list[int], how: str) -> None:
        messages = read(self.model, key, now=self.now)
        if not messages:
            return
        message = messages[sum(numbers) % len(messages)]
        claim = {
            "no": None,
            "own": message.claim,
            "other": self.claims[sum(numbers) % len(self.claims)],
        }[how]
        for _ in range(2):
            self.both(
                lambda store: store.delete_message(
                    key, message.id, claim=claim, now=self.now
                )
            )

    @rule(key=keys, numbers=PICKS, claims=st.none() | PICKS)
    def delete_messages(
        self, key: QueueKey, numbers: list[int], claims: list[int] | None
    ) -> None:
        ids = [*self.pick(numbers, self._ids(key)), "absent"]
        given = None if claims is None else self.pick(claims, self.claims[-3:])
        self.both(
            lambda store: store.delete_messages(key, ids, claims=given, now=self.now)
        )

    @rule(key=keys, limit=LIMITS)
    def pop(self, key: QueueKey, limit: int) -> None:
        self.both(lambda store: store.pop_messages(key, limit, now=self.now))

    # Claims

    @rule(
        key=keys,
        ttl=TTLS,
        grace=st.sampled_from([0, 60, 100]),
        limit=LIMITS,
        dead_letter=st.none() | st.tuples(st.integers(1, 2), st.none() | TTLS),
        again=st.sampled_from([0, 0, 0, 1]),
    )
    def claim(
        self,
        key: QueueKey,
        ttl: int,
        grace: int,
        limit: int,
        dead_letter: tuple[int, int | None] | None,
        again: int,
    ) -> None:
        claim = self.claims[-1] if again else str(UUID(int=self.dice.getrandbits(128)))
        self.claims.append(claim)
        target = "r" if key.name == "q" else "q"
        buries = DeadLetter(target, *dead_letter) if dead_letter else None
        self.both(
            lambda store: store.create_claim(
                key,
                claim,
                ttl=ttl,
                grace=grace,
                limit=limit,
                dead_letter=buries,
                revision=self.revision(store, key),
                now=self.now,
            )
        )

    @rule(key=keys, number=st.integers(0, 3))
    def get_claim(self, key: QueueKey, number: int) -> None:
        claim = self.claims[-number % len(self.claims)]
        self.both(lambda store: store.get_claim(key, claim, now=self.now))

    @rule(key=keys, number=st.integers(0, 3), ttl=TTLS, grace=st.sampled_from([0, 60]))
    def renew(self, key: QueueKey, number: int, ttl: int, grace: int) -> None:
        claim = self.claims[-number % len(self.claims)]
        self.both(
            lambda store: store.renew_claim(
                key, claim, ttl=ttl, grace=grace, now=self.now
            )
        )

    @rule(key=keys, number=st.integers(0, 3))
    def release(self, key: QueueKey, number: int) -> None:
        claim = self.claims[-number % len(self.claims)]
        self.both(lambda store: store.release_claim(key, claim, now=self.now))

    # NOTE: not an invariant, because reading may settle what has ended: each operation
    # has to be the first one that meets it now and then.
    @rule()
    def compare(self) -> None:
        for key in KEYS:
            self.both(lambda store, key=key: store.queue_stats(key, now=self.now))
            self.both(lambda store, key=key: read(store, key, now=self.now))
            self.both(lambda store, key=key: _settings(store.get_queue(key)))

    def _ids(self, key: QueueKey) -> list[str]:
        return ids_of(read(self.model, key, now=self.now))


def _settings(queue: Queue) -> tuple[str, Metadata, bool]:
    return queue.name, queue.metadata, queue.delays


def _outcome(
    operation: Callable[[Store], T], store: Store
) -> tuple[T | object, type[ZaqarError] | None]:
    """Return what the operation returned, or the kind of its error."""
    try:
        return operation(store), None
    except QueueChanged as error:
        return _settings(error.queue), QueueChanged
    except ZaqarError as error:
        return None, type(error)


class StateMachineContract:
    # How many sequences are tried; ZAQAR_TEST_EXAMPLES overrides it.
    examples = 60

    def test_any_sequence_of_operations_has_the_effect_it_has_on_the_model(
        self, open_empty: Callable[[], Store]
    ) -> None:
        run_state_machine_as_test(
            lambda: StoreMachine(open_empty),
            settings=settings(
                max_examples=int(os.environ.get("ZAQAR_TEST_EXAMPLES", self.examples)),
                stateful_step_count=50,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            ),
        )

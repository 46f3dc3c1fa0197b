# SPDX-License-Identifier: Apache-2.0
"""Facts of holding projects to their quotas; store and registry do what is told."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tests.contract.concurrency import together
from tests.model_registry import ModelRegistry
from tests.model_store import ModelStore
from tests.storage.pooling.faulty import Faulty
from zaqar.errors import QuotaExceeded, StorageUnavailable
from zaqar.model import QUEUES, TOPICS, Context, QueueKey, Usage, owner_of
from zaqar.node_usage import NodeUsage
from zaqar.operations import messages, queues, subscriptions
from zaqar.operations import quotas as module
from zaqar.operations.messages import Draft
from zaqar.operations.quotas import Quotas
from zaqar.quotas import NONE, Quota
from zaqar.service import Service

T0 = 1_800_000_000.0
CTX = Context("p", "c" * 32, (), "req", False)
OTHER = Context("q", "c" * 32, (), "req", False)


class Time:
    """The clock of a node, which stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class CountingStore(ModelStore):
    """Counts measurements, and does before them what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.measured = 0
        self.before: Callable[[], None] = lambda: None

    def measure_usage(self, project: str, **more: Any) -> Usage:
        if owner_of(QueueKey(project, "any"))[1] == QUEUES:
            # A measurement; that of topics is a part of it.
            self.measured += 1
            self.before()
        return super().measure_usage(project, **more)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(module, "clock", clock)
    return clock


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that answers takes too long on a machine that is busy."""
    monkeypatch.setattr(module, "PATIENCE", 60.0)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeUsage]:
    node = NodeUsage(str(tmp_path / "node"))
    yield node
    node.close()


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


@pytest.fixture
def hold(
    serve: Callable[[Any], Service], store: CountingStore, node: NodeUsage, clock: Time
) -> Callable[..., Service]:
    """Return a function that puts a service together that holds to a quota."""

    def made(quota: Quota = NONE, **more: Any) -> Service:
        service = serve(store)
        service.quotas = Quotas(quota, store, node, lambda: T0, **more)
        return service

    return made


def post(
    service: Service, count: int = 1, ctx: Context = CTX, body: bytes = b"1"
) -> None:
    messages.post(ctx, service, "queue", [Draft(body)] * count, size=1)


def stored(store: ModelStore, project: str = "p") -> int:
    return store.measure_usage(project, sizes=False, now=T0).messages


def assert_set(event: threading.Event) -> None:
    assert event.wait(60)


def refused(step: Callable[[], object]) -> QuotaExceeded:
    with pytest.raises(QuotaExceeded) as raised:
        step()
    assert raised.value.retry_after >= 1
    return raised.value


# Queues -------------------------------------------------------------------------------


def test_no_queue_is_made_beyond_the_quota(hold: Callable[..., Service]) -> None:
    service = hold(Quota(queues=2))
    queues.put(CTX, service, "one", {})
    queues.put(CTX, service, "two", {})

    error = refused(lambda: queues.put(CTX, service, "three", {}))
    refused(lambda: queues.patch(CTX, service, "three", []))
    refused(lambda: post(service))

    assert (error.quota, error.limit) == ("queues", 2)
    assert queues.count(CTX, service) == 2
    assert not queues.put(CTX, service, "one", {})
    assert queues.put(OTHER, service, "three", {})
    queues.delete(CTX, service, "one")
    assert queues.put(CTX, service, "three", {})


def test_a_project_with_less_queues_is_not_refused_one(
    hold: Callable[..., Service],
) -> None:
    service = hold(Quota(queues=0))

    refused(lambda: queues.put(CTX, service, "one", {}))
    assert queues.get(CTX, service, "one") == {}


def test_topics_are_queues_of_the_project(
    hold: Callable[..., Service], store: CountingStore
) -> None:
    service, topics = hold(Quota(queues=2, messages=4)), replace(CTX, kind=TOPICS)

    queues.put(topics, service, "one", {})
    post(service, 2)
    error = refused(lambda: queues.put(topics, service, "two", {}))
    assert (error.quota, error.limit) == ("queues", 2)
    refused(lambda: queues.put(CTX, service, "two", {}))

    messages.post(topics, service, "one", [Draft(b"1")] * 2, size=1)
    for ctx in (CTX, topics):
        error = refused(lambda ctx=ctx: post(service, ctx=ctx))  # type: ignore[misc]
        assert (error.quota, error.limit) == ("messages", 4)
    post(service, 4, OTHER)


def test_no_subscription_of_a_project_is_made_beyond_the_quota(
    hold: Callable[..., Service],
) -> None:
    service, topics = hold(Quota(subscriptions=2)), replace(CTX, kind=TOPICS)

    def subscribe(who: str, name: str = "queue", ctx: Context = CTX) -> str:
        wish = subscriptions.Wish(f"mailto:{who}@example.org")
        return subscriptions.create(ctx, service, name, wish).id

    known = [subscribe("a"), subscribe("b")]
    error = refused(lambda: subscribe("c"))

    assert (error.quota, error.limit) == ("subscriptions", 2)
    assert [subscribe("a"), subscribe("b")] == known
    refused(lambda: subscribe("a", "other"))
    refused(lambda: subscribe("a", ctx=topics))
    subscribe("c", ctx=OTHER)
    subscriptions.delete(CTX, service, "queue", known[0])
    subscribe("c", ctx=topics)
    refused(lambda: subscribe("a"))


def test_subscriptions_are_read_only_where_there_is_a_limit(
    hold: Callable[..., Service],
) -> None:
    quotas = hold().quotas
    assert quotas

    quotas.admit_subscription(
        QueueKey("p", "queue"), "x", (pytest.fail("read") for _ in "x")
    )


# Messages and bytes -------------------------------------------------------------------


def test_a_post_that_would_exceed_stores_nothing(
    hold: Callable[..., Service], store: CountingStore
) -> None:
    service = hold(Quota(messages=5))
    post(service, 3)

    error = refused(lambda: post(service, 3))

    assert (error.quota, error.limit) == ("messages", 5)
    assert stored(store) == 3
    post(service, 2)
    refused(lambda: post(service))
    post(service, 5, OTHER)
    assert (stored(store), stored(store, "q")) == (5, 5)


def test_a_refused_post_makes_no_queue(
    hold: Callable[..., Service], store: CountingStore
) -> None:
    service = hold(Quota(messages=0))

    refused(lambda: post(service))

    assert store.count_queues("p") == 0


def test_bytes_are_those_of_the_bodies(
    hold: Callable[..., Service], store: CountingStore
) -> None:
    service = hold(Quota(bytes=100))
    post(service, 2, body=b"1" * 45)

    error = refused(lambda: post(service, body=b"1" * 11))

    assert (error.quota, error.limit) == ("bytes", 100)
    post(service, body=b"1" * 10)
    assert stored(store) == 3


def test_what_was_stored_before_counts(
    hold: Callable[..., Service], store: CountingStore
) -> None:
    post(hold(), 4)
    service = hold(Quota(messages=5))

    refused(lambda: post(service, 2))
    post(service, 1)


def test_room_is_there_again_after_a_deletion(
    hold: Callable[..., Service], clock: Time
) -> None:
    service = hold(Quota(messages=3))
    post(service, 3)
    refused(lambda: post(service))

    messages.pop(CTX, service, "queue", 3)

    clock.now += 1
    post(service, 3)
    clock.now += 1
    refused(lambda: post(service))


def test_who_consumes_as_much_as_is_posted_is_never_refused(
    hold: Callable[..., Service], store: CountingStore, clock: Time
) -> None:
    service = hold(Quota(messages=20))

    for _ in range(300):
        post(service, 3)
        messages.pop(CTX, service, "queue", 3)
        clock.now += 0.01

    # Once each time that it seems too much, and no more.
    assert 300 * 3 // 20 - 10 <= store.measured <= 300 * 3 // 17 + 10


def test_after_a_measurement_there_is_a_pause(
    hold: Callable[..., Service], store: CountingStore, clock: Time
) -> None:
    def take_time() -> None:
        clock.now += 0.5

    store.before = take_time
    service = hold(Quota(messages=3))
    post(service, 3)

    seconds = [refused(lambda: post(service)).retry_after for _ in range(20)]

    # The first one was of an empty store.
    assert store.measured == 1
    assert seconds == [25] * 20
    clock.now += 25
    refused(lambda: post(service))
    assert store.measured == 2


def test_the_pause_has_an_end(
    hold: Callable[..., Service], store: CountingStore, clock: Time
) -> None:
    def take_time() -> None:
        clock.now += 10

    store.before = take_time
    service = hold(Quota(messages=1))
    post(service)

    assert refused(lambda: post(service)).retry_after == 60


def test_what_other_nodes_let_in_is_learnt(
    hold: Callable[..., Service], store: CountingStore, clock: Time, tmp_path: Path
) -> None:
    service = hold(Quota(messages=10))
    elsewhere = NodeUsage(str(tmp_path / "elsewhere"))
    other = hold(Quota(messages=10))
    other.quotas = Quotas(Quota(messages=10), store, elsewhere, lambda: T0)
    post(service, 1)
    post(other, 9)

    done = threading.Event()
    store.before = done.set
    clock.now += 6
    assert service.quotas
    service.quotas.admit_messages("p", 0, 0)

    assert done.wait(20)
    running = [*service.quotas._measuring.values()]
    for each in running:
        each.result(20)
    refused(lambda: post(service))
    elsewhere.close()


def test_many_who_post_at_once_get_little_more_than_the_quota(
    hold: Callable[..., Service], store: CountingStore
) -> None:
    service = hold(Quota(messages=50))

    def work(_: int) -> int:
        done = 0
        for _ in range(20):
            with suppress(QuotaExceeded):
                post(service)
                done += 1
        return done

    done = sum(together(8, work))

    # A post that is on its way while it is measured may not be in that.
    assert done == stored(store) <= 50 + 7
    for _ in range(60):
        with suppress(QuotaExceeded):
            post(service)
    assert 50 <= stored(store) <= 50 + 7


def test_a_store_that_cannot_be_measured_refuses_nothing(
    hold: Callable[..., Service], store: CountingStore
) -> None:
    def fail() -> None:
        raise StorageUnavailable("It is down.")

    store.before = fail
    service = hold(Quota(messages=2))

    for _ in range(4):
        post(service)
    store.before = lambda: None


def test_a_bug_in_measuring_refuses_nothing(
    hold: Callable[..., Service], store: CountingStore
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    store.before = fail
    service = hold(Quota(messages=2))

    post(service)
    store.before = lambda: None
    post(service)


def test_a_store_that_hangs_is_not_waited_for(
    hold: Callable[..., Service],
    store: CountingStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    release = threading.Event()
    store.before = lambda: assert_set(release)
    service = hold(Quota(messages=2))
    assert service.quotas

    service.quotas.admit_messages("p", 1, 1)

    [running] = service.quotas._measuring.values()
    release.set()
    running.result(20)


# Requests -----------------------------------------------------------------------------


def test_requests_are_let_through_at_their_rate(
    hold: Callable[..., Service], clock: Time
) -> None:
    quotas = hold(Quota(requests_per_second=0.25, burst=3)).quotas
    assert quotas
    for _ in range(3):
        quotas.admit_request("p")

    error = refused(lambda: quotas.admit_request("p"))
    quotas.admit_request("q")

    assert (error.quota, error.limit, error.retry_after) == (
        "requests_per_second",
        0.25,
        4,
    )
    clock.now += 4
    quotas.admit_request("p")
    refused(lambda: quotas.admit_request("p"))


def test_a_registry_that_shares_rates_is_asked(
    hold: Callable[..., Service], clock: Time
) -> None:
    class Sharing(ModelRegistry):
        asked = 0
        early: float | None = 0.0

        def take_request(self, project: str, *, rate: float, burst: int) -> Any:
            assert (project, rate, burst) == ("p", 10.0, 10)
            self.asked += 1
            if self.early == 99:
                raise StorageUnavailable("It is down.")
            return self.early

    registry = Sharing()
    quotas = hold(Quota(requests_per_second=10), registry=registry).quotas
    assert quotas
    for _ in range(30):
        quotas.admit_request("p")
    registry.early = 2.5
    assert refused(lambda: quotas.admit_request("p")).retry_after == 3
    assert registry.asked == 31

    # Down: the node keeps the rate, and does not ask for a while.
    registry.early = 99
    for _ in range(10):
        quotas.admit_request("p")
    refused(lambda: quotas.admit_request("p"))
    assert registry.asked == 32
    registry.early = 0.0
    clock.now += module.SILENCE
    for _ in range(30):
        quotas.admit_request("p")
    assert registry.asked == 62


# Quotas of projects -------------------------------------------------------------------


def test_a_project_has_its_own_quota_within_ten_seconds(
    hold: Callable[..., Service], clock: Time
) -> None:
    registry = ModelRegistry()
    quotas = hold(Quota(queues=1, bytes=9), registry=registry, has_rows=True).quotas
    assert quotas
    assert quotas.of("p") == quotas.of("q") == Quota(queues=1, bytes=9)

    registry.set_quota("p", b'{"queues": -1, "messages": 5}')
    clock.now += 10

    assert quotas.of("p") == Quota(messages=5, bytes=9)
    assert quotas.of("q") == Quota(queues=1, bytes=9)


def test_the_registry_is_asked_once_in_a_while(
    hold: Callable[..., Service], clock: Time
) -> None:
    registry = Faulty(ModelRegistry())
    quotas = hold(registry=registry, has_rows=True).quotas
    assert quotas

    for _ in range(100):
        quotas.of("p")

    assert registry.calls == ["get_quota"]


def test_a_registry_that_is_down_leaves_quotas_as_they_are_known(
    hold: Callable[..., Service], clock: Time
) -> None:
    registry = Faulty(ModelRegistry())
    registry.target.set_quota("p", b'{"queues": 7}')
    quotas = hold(Quota(queues=1), registry=registry, has_rows=True).quotas
    assert quotas
    quotas.of("p")
    registry.is_down = True
    registry.calls.clear()
    clock.now += 100

    for _ in range(10):
        assert quotas.of("p") == Quota(queues=7)
        assert quotas.of("stranger") == Quota(queues=1)

    assert len(registry.calls) == 1
    registry.is_down = False
    registry.target.set_quota("p", b'{"queues": 8}')
    clock.now += 10
    assert quotas.of("p") == Quota(queues=8)


def test_a_registry_that_hangs_is_not_waited_for(
    hold: Callable[..., Service], clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    release = threading.Event()

    class Hanging(ModelRegistry):
        def get_quota(self, project: str) -> bytes:
            release.wait(60)
            return b""

    quotas = hold(Quota(queues=1), registry=Hanging(), has_rows=True).quotas
    assert quotas

    assert quotas.of("p") == Quota(queues=1)
    release.set()


@pytest.mark.parametrize("document", [b"nonsense", b'{"queues": -7}'])
def test_a_quota_that_cannot_be_read_is_not_used(
    hold: Callable[..., Service], document: bytes
) -> None:
    registry = ModelRegistry()
    registry.set_quota("p", document)
    quotas = hold(Quota(queues=3), registry=registry, has_rows=True).quotas
    assert quotas

    assert quotas.of("p") == Quota(queues=3)


def test_what_was_known_is_forgotten_before_it_is_too_much(
    hold: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_KNOWN", 10)
    quotas = hold(registry=ModelRegistry(), has_rows=True).quotas
    assert quotas

    for number in range(25):
        quotas.of(str(number))

    assert len(quotas._known) <= 10


# Off ----------------------------------------------------------------------------------


def test_without_quotas_nothing_is_opened(serve: Callable[[Any], Service]) -> None:
    service = serve(ModelStore())

    assert service.quotas is None
    assert not Path(service.settings.quotas.folder, "quota-usage-1").exists()


def test_the_store_is_not_asked_for_what_is_not_limited(
    hold: Callable[..., Service], store: CountingStore
) -> None:
    faulty = Faulty(store)
    service = hold(Quota(requests_per_second=1))
    assert service.quotas
    service.quotas._store = faulty

    queues.put(CTX, service, "queue", {})
    post(service)

    assert faulty.calls == []


def test_a_service_opens_what_its_quotas_need(tmp_path: Path) -> None:
    from zaqar import conf, service

    config = tmp_path / "zaqar.conf"
    config.write_text(
        f"[drivers:message_store:sqlite]\nuri = sqlite:///{tmp_path}/store.db\n"
        f"[drivers:management_store:sqlite]\nuri = sqlite:///{tmp_path}/d/registry.db\n"
        "[quota]\nper_project = true\nqueues = 4\n"
    )
    settings = conf.load(["--config-file", str(config)])

    built = service.build(settings)

    assert built.quotas and built.quotas.of("p") == Quota(queues=4)
    assert (tmp_path / "d" / "registry.db").exists()
    assert (tmp_path / "d" / "quota-usage-1").exists()
    assert queues.put(CTX, built, "one", {})
    assert built.store.get_queue(QueueKey("p", "one"))
    built.close()
    assert msgspec.structs.asdict(settings.quotas)["status"] == 429

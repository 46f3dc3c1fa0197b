# SPDX-License-Identifier: Apache-2.0
"""The whole contract of a registry.

A driver proves itself with one class that inherits `RegistryContract`, and the fixture
`registry_opener`: a function that opens one more handle on the data of this test.
"""

import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TypeVar
from uuid import uuid4

import pytest

from tests.contract.concurrency import together
from tests.contract.isolation import HOSTILE, ODD, PAIRS, STORABLE
from tests.contract.project_quotas import ProjectQuotaContract
from zaqar.errors import BindingChanged, DirectoryChanged, StorageUnavailable
from zaqar.model import Binding, QueueKey
from zaqar.storage.registry import Registry

T = TypeVar("T")
Opener = Callable[[], Registry]

KEY = QueueKey("project", "queue")
RACERS = 16


def binding(pool: str = "pool") -> Binding:
    return Binding(pool, uuid4().hex)


def bind(registry: Registry, key: QueueKey = KEY, pool: str = "pool") -> Binding:
    """Bind a queue that is free."""
    new = binding(pool)
    registry.bind_queue(key, new, expect=None)
    return new


def names(found: list[tuple[str, Binding]]) -> list[str]:
    return [name for name, _ in found]


def assert_nobody_answers(registry: Registry, bound: Binding) -> None:
    """Check that each method tells that there is no server; KEY was bound."""
    steps: list[Callable[[], object]] = [
        registry.read_directory,
        lambda: registry.write_directory(b"two", "v2", expect="v1"),
        lambda: registry.find_queue(KEY),
        lambda: registry.bind_queue(KEY, binding(), expect=bound),
        lambda: registry.unbind_queue(KEY, bound),
        lambda: registry.list_queues("project", limit=9),
        lambda: registry.count_queues("project"),
        lambda: registry.count_bound("pool"),
        lambda: registry.unbind_pool("pool", 9),
        lambda: registry.get_quota("project"),
        lambda: registry.set_quota("project", b"{}"),
        lambda: registry.list_quotas(limit=9),
        registry.ping,
        registry.clock,
    ]
    for step in steps:
        with pytest.raises(StorageUnavailable):
            step()


def walk(
    registry: Registry, project: str, limit: int, name: str = ""
) -> list[tuple[str, Binding]]:
    """List the queues of a project page by page."""
    found: list[tuple[str, Binding]] = []
    marker = None
    while True:
        page = registry.list_queues(project, marker=marker, limit=limit, name=name)
        found += page
        if len(page) < limit:
            return found
        marker = page[-1][0]


class DirectoryContract:
    def test_directory_is_empty_before_the_first_write(
        self, registry: Registry
    ) -> None:
        assert registry.read_directory() == (b"", "")

    def test_directory_comes_back_byte_for_byte(self, registry: Registry) -> None:
        document = bytes(range(256)) * 2

        registry.write_directory(document, "v1", expect="")

        assert registry.read_directory() == (document, "v1")

    def test_directory_may_be_large(self, registry: Registry) -> None:
        document = b"{}" + b" " * (4 * 1024 * 1024 - 2)

        registry.write_directory(document, "v1", expect="")

        assert registry.read_directory() == (document, "v1")

    def test_directory_is_replaced_whole(self, registry: Registry) -> None:
        registry.write_directory(b"long before", "v1", expect="")

        registry.write_directory(b"new", "v2", expect="v1")

        assert registry.read_directory() == (b"new", "v2")

    def test_empty_directory_may_be_written(self, registry: Registry) -> None:
        registry.write_directory(b"one", "v1", expect="")

        registry.write_directory(b"", "v2", expect="v1")

        assert registry.read_directory() == (b"", "v2")

    @pytest.mark.parametrize("expect", ["", "v0", "V1", "v1 "])
    def test_directory_of_another_version_is_not_replaced(
        self, registry: Registry, expect: str
    ) -> None:
        registry.write_directory(b"one", "v1", expect="")

        with pytest.raises(DirectoryChanged):
            registry.write_directory(b"two", "v2", expect=expect)

        assert registry.read_directory() == (b"one", "v1")

    def test_directory_that_was_never_written_has_no_other_version(
        self, registry: Registry
    ) -> None:
        with pytest.raises(DirectoryChanged):
            registry.write_directory(b"two", "v2", expect="v1")

        assert registry.read_directory() == (b"", "")

    @pytest.mark.parametrize("expect", ["", "v1"])
    def test_directory_written_again_with_its_version_stays(
        self, registry: Registry, expect: str
    ) -> None:
        registry.write_directory(b"zero", "v1", expect="")
        registry.write_directory(b"one", "v2", expect="v1")

        registry.write_directory(b"other", "v2", expect=expect)

        assert registry.read_directory() == (b"one", "v2")

    def test_late_repetition_of_a_write_is_refused(self, registry: Registry) -> None:
        registry.write_directory(b"one", "v1", expect="")
        registry.write_directory(b"two", "v2", expect="v1")

        with pytest.raises(DirectoryChanged):
            registry.write_directory(b"one", "v1", expect="")

        assert registry.read_directory() == (b"two", "v2")

    @pytest.mark.parametrize("is_first", [True, False])
    def test_one_of_many_writers_of_the_directory_wins(
        self, open_registry: Opener, is_first: bool
    ) -> None:
        handles = [open_registry() for _ in range(4)]
        expect = "" if is_first else "v0"
        if not is_first:
            handles[0].write_directory(b"zero", "v0", expect="")

        def write(racer: int) -> bool:
            try:
                handles[racer % 4].write_directory(
                    f"by {racer}".encode(), f"v{racer + 1}", expect=expect
                )
            except DirectoryChanged:
                return False
            return True

        won = together(RACERS, write)

        assert won.count(True) == 1
        winner = won.index(True)
        for handle in handles:
            assert handle.read_directory() == (
                f"by {winner}".encode(),
                f"v{winner + 1}",
            )

    def test_writers_that_look_again_lose_no_change(
        self, open_registry: Opener
    ) -> None:
        handles = [open_registry() for _ in range(4)]

        def add(racer: int) -> None:
            for _ in range(3):
                while True:
                    document, version = handles[racer % 4].read_directory()
                    try:
                        handles[racer % 4].write_directory(
                            document + b"x", uuid4().hex, expect=version
                        )
                        break
                    except DirectoryChanged:
                        time.sleep(0.001 * racer)

        together(8, add)

        assert handles[0].read_directory()[0] == b"x" * 24


class BindingContract:
    def test_queue_is_not_bound_at_first(self, registry: Registry) -> None:
        assert registry.find_queue(KEY) is None

    def test_bound_queue_is_found(self, registry: Registry) -> None:
        new = bind(registry)

        assert registry.find_queue(KEY) == new

    def test_free_queue_is_not_bound_anew_but_from_none(
        self, registry: Registry
    ) -> None:
        with pytest.raises(BindingChanged) as raised:
            registry.bind_queue(KEY, binding(), expect=binding())

        assert raised.value.binding is None
        assert registry.find_queue(KEY) is None
        assert registry.count_queues(KEY.project) == 0

    def test_bound_queue_is_not_bound_twice(self, registry: Registry) -> None:
        first = bind(registry, pool="one")

        with pytest.raises(BindingChanged) as raised:
            registry.bind_queue(KEY, binding("two"), expect=None)

        assert raised.value.binding == first
        assert registry.find_queue(KEY) == first

    def test_binding_changes_where_its_version_is_known(
        self, registry: Registry
    ) -> None:
        first, second = bind(registry, pool="one"), binding("two")

        registry.bind_queue(KEY, second, expect=first)

        assert registry.find_queue(KEY) == second
        assert registry.count_queues(KEY.project) == 1
        assert registry.list_queues(KEY.project, limit=9) == [(KEY.name, second)]

    def test_binding_of_another_version_stays(self, registry: Registry) -> None:
        first, second = bind(registry, pool="one"), binding("two")
        registry.bind_queue(KEY, second, expect=first)

        with pytest.raises(BindingChanged) as raised:
            registry.bind_queue(KEY, binding("three"), expect=first)

        assert raised.value.binding == second
        assert registry.find_queue(KEY) == second

    def test_only_the_version_of_what_is_expected_counts(
        self, registry: Registry
    ) -> None:
        first, second = bind(registry, pool="one"), binding("two")

        registry.bind_queue(KEY, second, expect=Binding("other", first.version))

        assert registry.find_queue(KEY) == second

    def test_binding_repeated_with_its_version_stays(self, registry: Registry) -> None:
        first, second = binding("one"), binding("two")

        for _ in range(2):
            registry.bind_queue(KEY, first, expect=None)
        for _ in range(2):
            registry.bind_queue(KEY, second, expect=first)

        assert registry.find_queue(KEY) == second
        assert registry.count_queues(KEY.project) == 1

    def test_late_repetition_of_a_binding_is_refused(self, registry: Registry) -> None:
        first, second = bind(registry), binding()
        registry.bind_queue(KEY, second, expect=first)

        with pytest.raises(BindingChanged):
            registry.bind_queue(KEY, first, expect=None)

        assert registry.find_queue(KEY) == second

    def test_unbound_queue_is_free(self, registry: Registry) -> None:
        first = bind(registry)

        registry.unbind_queue(KEY, first)

        assert registry.find_queue(KEY) is None
        assert registry.count_queues(KEY.project) == 0
        assert registry.list_queues(KEY.project, limit=9) == []
        again = bind(registry)
        assert registry.find_queue(KEY) == again
        assert registry.list_queues(KEY.project, limit=9) == [(KEY.name, again)]

    def test_unbinding_a_free_queue_does_nothing(self, registry: Registry) -> None:
        first = bind(registry)

        registry.unbind_queue(KEY, first)
        registry.unbind_queue(KEY, first)
        registry.unbind_queue(QueueKey("project", "other"), binding())

        assert registry.find_queue(KEY) is None
        assert registry.count_queues(KEY.project) == 0

    def test_queue_of_another_version_is_not_unbound(self, registry: Registry) -> None:
        first, second = bind(registry), binding()
        registry.bind_queue(KEY, second, expect=first)

        with pytest.raises(BindingChanged) as raised:
            registry.unbind_queue(KEY, first)

        assert raised.value.binding == second
        assert registry.find_queue(KEY) == second
        assert registry.count_queues(KEY.project) == 1

    @pytest.mark.parametrize("is_bound", [False, True])
    def test_one_of_many_that_bind_a_queue_wins(
        self, open_registry: Opener, is_bound: bool
    ) -> None:
        handles = [open_registry() for _ in range(4)]
        expect = bind(handles[0]) if is_bound else None
        racing = [binding(str(racer)) for racer in range(RACERS)]

        def race(racer: int) -> Binding | None:
            try:
                handles[racer % 4].bind_queue(KEY, racing[racer], expect=expect)
            except BindingChanged as error:
                return error.binding
            return racing[racer]

        told = together(RACERS, race)

        winner = handles[0].find_queue(KEY)
        assert told == [winner] * RACERS
        assert [handle.find_queue(KEY) for handle in handles] == [winner] * 4
        assert handles[0].count_queues(KEY.project) == 1
        assert handles[0].list_queues(KEY.project, limit=9) == [(KEY.name, winner)]

    def test_either_who_unbinds_or_who_binds_anew_wins(
        self, open_registry: Opener
    ) -> None:
        handles = [open_registry() for _ in range(2)]

        for number in range(10):
            key = QueueKey("project", f"queue {number}")
            old, new = bind(handles[0], key), binding()

            def race(
                racer: int,
                key: QueueKey = key,
                old: Binding = old,
                new: Binding = new,
            ) -> bool:
                try:
                    if racer:
                        handles[1].unbind_queue(key, old)
                    else:
                        handles[0].bind_queue(key, new, expect=old)
                except BindingChanged:
                    return False
                return True

            bound, unbound = together(2, race)

            assert bound != unbound
            assert handles[0].find_queue(key) == (new if bound else None)
        listed = handles[0].list_queues("project", limit=20)
        assert len(listed) == handles[1].count_queues("project")

    def test_many_queues_are_bound_at_once(self, open_registry: Opener) -> None:
        handles = [open_registry() for _ in range(4)]

        def work(racer: int) -> list[tuple[str, Binding]]:
            own = [f"{racer:02}-{number}" for number in range(5)]
            return [
                (name, bind(handles[racer % 4], QueueKey("p", name))) for name in own
            ]

        bound = [*chain(*together(RACERS, work))]

        assert handles[0].count_queues("p") == len(bound)
        assert handles[0].list_queues("p", limit=100) == sorted(bound)


class ListingContract:
    def test_queues_are_listed_in_byte_order(self, registry: Registry) -> None:
        in_order = ["-", "A", "B", "_", "a", "a-", "aa", "b", "é", "☃", "\uffff", "😀"]
        bound = {
            name: bind(registry, QueueKey("p", name)) for name in reversed(in_order)
        }

        found = registry.list_queues("p", limit=100)

        assert found == [(name, bound[name]) for name in in_order]

    @pytest.mark.parametrize("limit", [1, 2, 3, 7])
    def test_pages_meet_without_gap(self, registry: Registry, limit: int) -> None:
        expected = [f"q{number:02}" for number in range(7)]
        for name in expected:
            bind(registry, QueueKey("p", name))

        assert names(walk(registry, "p", limit)) == expected

    def test_thousand_bindings_are_listed_page_by_page(
        self, registry: Registry
    ) -> None:
        expected = [f"queue-{number:04}" for number in range(1000)]
        together(
            8,
            lambda part: [
                bind(registry, QueueKey("p", name)) for name in expected[part::8]
            ],
        )

        assert registry.count_queues("p") == 1000
        assert names(walk(registry, "p", 97)) == expected
        assert names(registry.list_queues("p", limit=2000)) == expected
        assert names(walk(registry, "p", 3, name="99")) == [
            name for name in expected if "99" in name
        ]
        assert names(registry.list_queues("p", limit=1, name="-0999")) == ["queue-0999"]
        assert names(registry.list_queues("p", marker="queue-0997", limit=5)) == [
            "queue-0998",
            "queue-0999",
        ]

    def test_marker_need_not_exist(self, registry: Registry) -> None:
        for name in ("a", "c", "e"):
            bind(registry, QueueKey("p", name))

        assert names(registry.list_queues("p", marker="b", limit=9)) == ["c", "e"]
        assert names(registry.list_queues("p", marker="", limit=9)) == ["a", "c", "e"]
        assert names(registry.list_queues("p", marker="e", limit=9)) == []
        assert names(registry.list_queues("p", marker="z", limit=9)) == []

    @pytest.mark.parametrize(
        ("part", "found"),
        [
            ("a", ["a.b", "aXb", "a_b"]),
            (".", ["a.b"]),
            ("_", ["a_b"]),
            ("%", ["50%"]),
            ("X", ["aXb"]),
            ("x", []),
            (".*", []),
            ("É", ["É"]),
            ("é", []),
            ("'", ["it's"]),
            ("\x00", ["n\x00l"]),
            ("\x00l", ["n\x00l"]),
        ],
    )
    def test_name_filter_is_a_plain_part_of_the_name(
        self, registry: Registry, part: str, found: list[str]
    ) -> None:
        for name in ("a.b", "a_b", "aXb", "50%", "É", "it's", "n\x00l"):
            bind(registry, QueueKey("p", name))

        assert names(registry.list_queues("p", name=part, limit=10)) == sorted(found)

    def test_empty_project_has_no_queues(self, registry: Registry) -> None:
        assert registry.list_queues("none", limit=10) == []
        assert registry.count_queues("none") == 0


class RegistryIsolationContract:
    @pytest.mark.parametrize("pair", PAIRS, ids=range(len(PAIRS)))
    def test_bindings_of_unlike_keys_do_not_mix(
        self, registry: Registry, pair: tuple[tuple[str, str], tuple[str, str]]
    ) -> None:
        mine, theirs = QueueKey(*pair[0]), QueueKey(*pair[1])
        other = bind(registry, theirs, pool="theirs")

        assert registry.find_queue(mine) is None
        registry.unbind_queue(mine, other)
        own = bind(registry, mine, pool="mine")
        with pytest.raises(BindingChanged) as raised:
            registry.bind_queue(mine, binding(), expect=other)

        assert raised.value.binding == own
        assert registry.find_queue(mine) == own
        assert registry.find_queue(theirs) == other
        registry.unbind_queue(mine, own)
        assert registry.find_queue(theirs) == other
        assert registry.count_queues(theirs.project) == 1

    def test_projects_are_listed_and_counted_apart(self, registry: Registry) -> None:
        projects = ("a", "b", "a/", "a0", "ab", "A", "")
        for project in projects:
            bind(registry, QueueKey(project, f"of {project}"))
            bind(registry, QueueKey(project, "z"))

        listed = {
            project: names(registry.list_queues(project, limit=9))
            for project in (*projects, "c")
        }

        expected = {project: [f"of {project}", "z"] for project in projects}
        assert listed == {**expected, "c": []}
        assert {registry.count_queues(project) for project in projects} == {2}

    @pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
    def test_odd_texts_find_nothing(self, registry: Registry, text: str) -> None:
        only = bind(registry, QueueKey("p", "plain"))

        assert registry.find_queue(QueueKey("p", text)) is None
        assert registry.find_queue(QueueKey(text, "plain")) is None
        assert registry.list_queues(text, limit=9) == []
        assert registry.count_queues(text) == 0
        listed = registry.list_queues("p", name=text, limit=9)
        behind = registry.list_queues("p", marker=text, limit=9)
        assert listed == [("plain", only)] * (text in "plain")
        assert behind == [("plain", only)] * (text < "plain")

    @pytest.mark.parametrize(
        "text", ["", *STORABLE, *HOSTILE], ids=range(len(STORABLE) + len(HOSTILE) + 1)
    )
    def test_any_text_names_a_queue_and_a_pool(
        self, registry: Registry, text: str
    ) -> None:
        key, other = QueueKey(text, text), QueueKey(text, f"{text} ")
        first = bind(registry, key, pool=text)
        kept = bind(registry, other)

        assert registry.find_queue(key) == first
        assert registry.list_queues(text, limit=1) == [(text, first)]
        assert registry.list_queues(text, marker=text, limit=9) == [(other.name, kept)]
        assert registry.list_queues(text, name=text, limit=9) == [
            (text, first),
            (other.name, kept),
        ]
        assert registry.count_queues(text) == 2
        second = Binding(f"{text}2", f"version {text}")
        registry.bind_queue(key, second, expect=first)
        with pytest.raises(BindingChanged) as raised:
            registry.unbind_queue(key, first)
        assert raised.value.binding == second
        registry.unbind_queue(key, second)
        assert registry.list_queues(text, limit=9) == [(other.name, kept)]


class HandlesContract:
    def test_registry_answers_a_ping(self, registry: Registry) -> None:
        registry.ping()
        bind(registry)
        registry.ping()

        assert registry.count_queues(KEY.project) == 1

    def test_clock_of_the_registry_tells_seconds_since_1970(
        self, registry: Registry
    ) -> None:
        told = [registry.clock() for _ in range(3)]

        assert told == sorted(told)
        assert abs(told[0] - time.time()) < 3600

    def test_another_handle_sees_a_change_at_once(self, open_registry: Opener) -> None:
        one, two = open_registry(), open_registry()
        one.write_directory(b"one", "v1", expect="")
        first = bind(one)

        seen = two.read_directory(), two.find_queue(KEY)
        two.unbind_queue(KEY, first)
        two.write_directory(b"two", "v2", expect="v1")

        assert seen == ((b"one", "v1"), first)
        assert one.find_queue(KEY) is None
        assert one.read_directory() == (b"two", "v2")

    def test_registry_is_whole_after_closing_and_opening(
        self, registry_opener: Opener
    ) -> None:
        first = registry_opener()
        first.write_directory(b"one", "v1", expect="")
        bound = bind(first)
        first.close()

        second = registry_opener()

        assert second.read_directory() == (b"one", "v1")
        assert second.find_queue(KEY) == bound
        assert second.list_queues(KEY.project, limit=9) == [(KEY.name, bound)]
        second.close()

    def test_many_handles_are_opened_at_once(self, open_registry: Opener) -> None:
        handles = together(8, lambda _: open_registry())

        bound = bind(handles[0])

        assert [handle.find_queue(KEY) for handle in handles] == [bound] * 8


class PoolContract:
    def test_queues_of_a_pool_are_counted(self, registry: Registry) -> None:
        pools = ("one", "two", "")
        bound = [
            bind(registry, QueueKey("p", str(number)), "one") for number in range(3)
        ]
        moving = bind(registry, QueueKey("q", "0"), "two")
        before = [registry.count_bound(pool) for pool in pools]

        registry.bind_queue(QueueKey("q", "0"), binding("one"), expect=moving)
        registry.unbind_queue(QueueKey("p", "0"), bound[0])

        assert before == [3, 1, 0]
        assert [registry.count_bound(pool) for pool in pools] == [3, 0, 0]

    def test_queues_of_a_pool_are_set_free_in_portions(
        self, registry: Registry
    ) -> None:
        for number in range(5):
            bind(registry, QueueKey("p", str(number)), "one")
        bind(registry, QueueKey("p", "other"), "two")

        freed = [registry.unbind_pool("one", 2) for _ in range(4)]

        assert freed == [2, 2, 1, 0]
        assert [name for name, _ in registry.list_queues("p", limit=9)] == ["other"]
        assert registry.count_queues("p") == 1
        assert registry.find_queue(QueueKey("p", "0")) is None
        assert registry.unbind_pool("nosuch", 2) == 0

    def test_many_queues_of_a_pool_are_set_free_at_once(
        self, registry: Registry
    ) -> None:
        together(
            8,
            lambda part: [
                bind(registry, QueueKey(f"p{part}", f"{number}"), "one")
                for number in range(90)
            ],
        )

        first, counted = registry.unbind_pool("one", 700), registry.count_bound("one")
        second = registry.unbind_pool("one", 5000)

        assert (first, counted, second) == (700, 20, 20)
        assert registry.count_bound("one") == 0
        assert sum(registry.count_queues(f"p{part}") for part in range(8)) == 0

    @pytest.mark.parametrize(
        "text", ["", *STORABLE, *HOSTILE], ids=range(len(STORABLE) + len(HOSTILE) + 1)
    )
    def test_any_text_names_a_pool(self, registry: Registry, text: str) -> None:
        first = bind(registry, QueueKey("p", "one"), text)
        bind(registry, QueueKey("p", "two"), f"{text} ")

        counted = registry.count_bound(text), registry.count_bound(f"{text} ")
        freed = registry.unbind_pool(text, 9)

        assert (counted, freed) == ((1, 1), 1)
        assert registry.find_queue(QueueKey("p", "one")) is None
        assert names(registry.list_queues("p", limit=9)) == ["two"]
        registry.unbind_queue(QueueKey("p", "one"), first)
        assert registry.count_bound(text) == 0

    def test_queue_bound_again_counts_once(self, registry: Registry) -> None:
        new = binding("one")

        registry.bind_queue(KEY, new, expect=None)
        registry.bind_queue(KEY, new, expect=None)
        with pytest.raises(BindingChanged):
            registry.bind_queue(KEY, binding("two"), expect=None)

        assert (registry.count_bound("one"), registry.count_bound("two")) == (1, 0)


class RegistryContract(
    ProjectQuotaContract,
    PoolContract,
    DirectoryContract,
    BindingContract,
    ListingContract,
    RegistryIsolationContract,
    HandlesContract,
):
    @pytest.fixture
    def open_registry(self, registry_opener: Opener) -> Iterator[Opener]:
        opened: list[Registry] = []

        def open_one() -> Registry:
            handle = registry_opener()
            opened.append(handle)
            return handle

        yield open_one
        for handle in opened:
            handle.close()

    @pytest.fixture
    def registry(self, open_registry: Opener) -> Registry:
        return open_registry()

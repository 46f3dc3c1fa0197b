# SPDX-License-Identifier: Apache-2.0
"""What may become of pools and flavors."""

from collections import Counter

import pytest

from zaqar import directory
from zaqar.directory import Directory
from zaqar.errors import (
    FlavorNotFound,
    InvalidRequest,
    PoolIsNeeded,
    PoolNotFound,
    PoolUriInUse,
    StorageUnavailable,
    UnfitFlavor,
    UnfitPool,
)
from zaqar.model import Flavor, Pool

PROJECT = "project"


def pool(
    name: str,
    *,
    flavor: str | None = None,
    weight: int = 1,
    capabilities: tuple[str, ...] = ("FIFO",),
) -> Pool:
    return Pool(name, f"id-{name}", f"uri-{name}", weight, flavor, {}, capabilities)


def made(*pools: Pool, flavors: tuple[str, ...] = ()) -> Directory:
    """Return a directory of these pools, and flavors of PROJECT by name."""
    found = Directory()
    for each in pools:
        found = found.with_pool(each)
    for name in flavors:
        found = found.with_flavor(Flavor(PROJECT, name))
    return found


def test_pools_are_kept_by_name() -> None:
    found = made(pool("b"), pool("a"))

    assert [each.name for each in found.pools] == ["a", "b"]
    assert found.pool("a").uri == "uri-a"
    with pytest.raises(PoolNotFound):
        found.pool("c")


def test_pool_of_the_same_name_is_replaced() -> None:
    found = made(pool("a"), pool("a", weight=7))

    assert [each.weight for each in found.pools] == [7]


def test_uri_belongs_to_one_pool() -> None:
    with pytest.raises(PoolUriInUse):
        made(pool("a"), Pool("b", "id", "uri-a", 1, None, {}, ("FIFO",)))


def test_store_belongs_to_one_pool_whatever_its_uri() -> None:
    one = Pool("a", "id-a", "redis://here", 1, None, {}, ("FIFO",), "same")
    found = made(one)

    with pytest.raises(PoolUriInUse):
        found.with_pool(Pool("b", "id-b", "redis://there", 1, None, {}, (), "same"))
    assert found.with_pool(one).pools == (one,)


def test_pools_of_one_flavor_and_pools_without_one_are_alike() -> None:
    found = made(pool("a"), pool("b", flavor="f", capabilities=("AOD",)))

    for flavor in (None, "f"):
        with pytest.raises(UnfitPool):
            found.with_pool(pool("c", flavor=flavor, capabilities=("CLAIMS",)))


def test_flavor_marks_its_pools_and_no_others() -> None:
    found = made(pool("a"), pool("b", flavor="f"), pool("c", flavor="g"))

    found = found.with_flavor(Flavor(PROJECT, "f"), ["c", "a"])

    assert [each.flavor for each in found.pools] == ["f", None, "f"]
    assert found.capabilities_of("f") == ("FIFO",)


@pytest.mark.parametrize("names", [[], ["a", "nosuch"], ["a", "b"]])
def test_flavor_of_unfit_pools_is_refused(names: list[str]) -> None:
    found = made(pool("a"), pool("b", flavor="x", capabilities=("AOD",)))

    with pytest.raises(UnfitFlavor):
        found.with_flavor(Flavor(PROJECT, "f"), names)


def test_flavor_belongs_to_its_project() -> None:
    found = made(pool("a"), flavors=("f",))

    with pytest.raises(FlavorNotFound):
        found.flavor("other", "f")
    assert found.without_flavor("other", "f") == found


def test_pools_of_a_removed_flavor_lose_its_name() -> None:
    found = made(pool("a", flavor="f"), flavors=("f",))

    found = found.without_flavor(PROJECT, "f")

    assert found.pool("a").flavor is None
    assert not found.flavors


def test_last_pool_of_a_flavor_stays() -> None:
    found = made(pool("a", flavor="f"), pool("b", flavor="f"), flavors=("f",))

    found = found.without_pool("a").without_pool("nosuch")

    with pytest.raises(PoolIsNeeded):
        found.without_pool("b")
    assert not found.without_flavor(PROJECT, "f").without_pool("b").pools


def test_removed_pool_is_remembered_until_its_queues_are_out_of_the_map() -> None:
    found = made(pool("a"), pool("b")).without_pool("a").without_pool("b")

    assert found.gone == ("id-a", "id-b")
    assert found.with_pool(pool("c")).gone == ("id-a", "id-b")
    assert found.without_gone(["id-a", "id-x"]).gone == ("id-b",)


def test_pool_whose_flavor_is_only_a_name_may_go() -> None:
    assert not made(pool("a", flavor="f")).without_pool("a").pools


def test_new_queues_are_shared_by_weight() -> None:
    found = made(
        pool("a", weight=3), pool("b", weight=0), pool("c"), pool("d", flavor="f")
    )

    drawn = Counter(found.choose(PROJECT, None).name for _ in range(4000))

    assert set(drawn) == {"a", "c"}
    assert 2700 < drawn["a"] < 3300


def test_queue_of_a_flavor_gets_one_of_its_pools() -> None:
    found = made(pool("a"), pool("b", flavor="f"), flavors=("f",))

    assert found.choose(PROJECT, "f").name == "b"
    with pytest.raises(InvalidRequest):
        found.choose("other", "f")


@pytest.mark.parametrize("flavor", [None, "f"])
def test_queue_without_a_usable_pool_has_to_wait(flavor: str | None) -> None:
    found = made(pool("a", flavor=flavor, weight=0), flavors=("f",))

    with pytest.raises(StorageUnavailable):
        found.choose(PROJECT, flavor)


def test_document_holds_all_of_it() -> None:
    found = made(
        Pool("a", "i", "u", 2**32 - 1, "f", {"x": [1, None, "é"]}, ("FIFO", "AOD")),
        flavors=("f",),
    ).with_flavor(Flavor("p", "é", {"FIFO": True}))

    assert directory.read(directory.write(found)) == found
    assert directory.read(b"") == Directory()


def test_directory_that_is_too_large_is_refused() -> None:
    big = {"x": "y" * directory.MAX_SIZE}

    with pytest.raises(InvalidRequest):
        directory.write(made(Pool("a", "i", "u", 1, None, big)))


# Changing what is not alike any more -------------------------------------------------


def test_pools_that_lost_their_flavor_can_be_changed_though_they_differ() -> None:
    found = made(
        pool("a", capabilities=("AOD",)), pool("b", flavor="f"), flavors=("f",)
    ).without_flavor(PROJECT, "f")

    found = found.with_pool(pool("a", weight=0, capabilities=("AOD",)))
    found = found.with_pool(pool("b", weight=0))

    assert [each.weight for each in found.pools] == [0, 0]
    with pytest.raises(UnfitPool):
        found.with_pool(pool("b", capabilities=("CLAIMS",)))


def test_id_stays_with_the_name() -> None:
    found = made(pool("a"))

    assert found.id_of("a", "new") == "id-a"
    assert found.id_of("b", "new") == "new"


# Flavors by capability ---------------------------------------------------------------

FAST = ("FIFO", "AOD", "HIGH_THROUGHPUT")
SAFE = ("FIFO", "AOD", "DURABILITY")


def test_wish_takes_every_pool_that_fulfils_it() -> None:
    found = made(
        pool("a", flavor="x", capabilities=FAST),
        pool("b", flavor="x", capabilities=FAST),
        pool("c", flavor="y", capabilities=SAFE),
        flavors=("x", "y"),
    )
    found = found.without_flavor(PROJECT, "x").without_flavor(PROJECT, "y")

    assert found.fulfilling("f", {"HIGH_THROUGHPUT": True}) == ["a", "b"]
    assert found.fulfilling("f", {"HIGH_THROUGHPUT": False}) == ["c"]
    assert found.fulfilling("f", {"FIFO": True, "DURABILITY": True}) == ["c"]


def test_wish_that_nothing_fulfils_is_refused() -> None:
    with pytest.raises(UnfitFlavor, match="no pool"):
        made(pool("a")).fulfilling("f", {"FIFO": False})


def test_wish_that_pools_fulfil_that_differ_is_refused_with_the_difference() -> None:
    found = Directory((pool("a", capabilities=FAST), pool("b", capabilities=SAFE)))

    with pytest.raises(UnfitFlavor, match="a has FIFO, AOD, HIGH_THROUGHPUT; b has"):
        found.fulfilling("f", {"FIFO": True})


def test_wish_leaves_pools_to_other_flavors_and_takes_its_own_again() -> None:
    found = made(pool("a", flavor="x"), pool("b", flavor="f"), pool("c"))

    assert found.fulfilling("f", {"FIFO": True}) == ["b", "c"]


# Pages -------------------------------------------------------------------------------


def test_pages_begin_behind_the_marker_whether_or_not_it_exists() -> None:
    pools = made(pool("a"), pool("c"), pool("é")).pools

    assert [each.name for each in directory.page_of(pools, None, 2).items] == ["a", "c"]
    assert directory.page_of(pools, "b", 1).marker == "c"
    assert directory.page_of(pools, "é", 1).marker is None

# SPDX-License-Identifier: Apache-2.0
"""Operations on the flavors of a project: page, get, put, declare, patch, delete.

They need no service, only the pools; whoever may reach the registry may use them.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec

from zaqar.directory import Directory, page_of
from zaqar.errors import InvalidBody, PoolNotFound, UnfitFlavorChange
from zaqar.limits import check_admin_name
from zaqar.model import Flavor, Metadata, Page
from zaqar.storage.base import CAPABILITIES
from zaqar.storage.pooling.pools import Pools


class FlavorView(msgspec.Struct, frozen=True):
    """A flavor with the names of its pools, and what they can do."""

    name: str
    pools: tuple[str, ...]
    capabilities: tuple[str, ...]
    wish: Metadata


def page(
    pools: Pools, project: str, *, marker: str | None, limit: int
) -> Page[FlavorView]:
    """Return the project's flavors behind the marker, by name."""
    directory = pools.fresh()
    own = [each for each in directory.flavors if each.project == project]
    found = page_of(own, marker, limit)
    return Page(tuple(_view(directory, each) for each in found.items), found.marker)


def get(pools: Pools, project: str, name: str) -> FlavorView:
    """Return the flavor. Raises FlavorNotFound."""
    directory = pools.fresh()
    return _view(directory, directory.flavor(project, name))


def put(
    pools: Pools,
    project: str,
    name: str,
    pool_list: Sequence[str] | None,
    wish: Mapping[str, bool] | None = None,
) -> FlavorView:
    """Make the flavor, or replace it, of these pools: no others bear it then.

    Without a list, of all pools that fulfil the wish and have no other flavor. Raises
    InvalidRequest for the name; InvalidBody, UnfitFlavor.
    """
    check_admin_name("flavor", name)
    if pool_list is None:
        _check_wish(wish)
    flavor = Flavor(project, name, wish or {})

    def make(directory: Directory) -> Directory:
        names = pool_list
        if names is None:
            names = directory.fulfilling(name, wish or {})
        return directory.with_flavor(flavor, names)

    return _view(pools.change(make), flavor)


def declare(pools: Pools, project: str, name: str, wish: Metadata) -> None:
    """Make the flavor, or give it another wish; its pools stay as they are.

    The wish is kept as it was given. Raises InvalidRequest for the name.
    """
    check_admin_name("flavor", name)
    pools.change(lambda known: known.with_flavor(Flavor(project, name, wish)))


def redeclare(pools: Pools, project: str, name: str, wish: Metadata) -> None:
    """Give another wish to a flavor that is there. Raises FlavorNotFound."""

    def change(directory: Directory) -> Directory:
        directory.flavor(project, name)
        return directory.with_flavor(Flavor(project, name, wish))

    pools.change(change)


def patch(
    pools: Pools, project: str, name: str, pool_list: Sequence[str]
) -> FlavorView:
    """Let exactly these pools bear the flavor.

    Raises FlavorNotFound, UnfitFlavorChange, UnfitFlavor.
    """

    def change(directory: Directory) -> Directory:
        flavor = directory.flavor(project, name)
        for each in pool_list:
            try:
                directory.pool(each)
            except PoolNotFound as error:
                raise UnfitFlavorChange(f"pool_list: {error}") from None
        return directory.with_flavor(flavor, pool_list)

    directory = pools.change(change)
    return _view(directory, directory.flavor(project, name))


def delete(pools: Pools, project: str, name: str) -> None:
    """Remove the flavor if it is there; its queues stay in their pools."""
    pools.change(partial(Directory.without_flavor, project=project, name=name))


def _check_wish(wish: Mapping[str, bool] | None) -> None:
    """Raise InvalidBody for a wish that nothing can be found by."""
    if not wish:
        raise InvalidBody(
            "pool_list must be given, or capabilities with at least one name."
        )
    unknown = [name for name in wish if name not in CAPABILITIES]
    if unknown:
        raise InvalidBody(
            f"capabilities: {', '.join(unknown)} is none of {', '.join(CAPABILITIES)}."
        )


def _view(directory: Directory, flavor: Flavor) -> FlavorView:
    return FlavorView(
        flavor.name,
        tuple(pool.name for pool in directory.pools_of(flavor.name)),
        directory.capabilities_of(flavor.name),
        flavor.wish,
    )

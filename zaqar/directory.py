# SPDX-License-Identifier: Apache-2.0
"""The directory of pools and flavors: an immutable value, and what may become of it.

Pure: stores keep it as one document, operations change it, the router reads it.
"""

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

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
from zaqar.model import Flavor, Page, Pool

# Bytes of the document. It is read whole by each process every few seconds.
MAX_SIZE = 4 * 1024 * 1024


class Directory(msgspec.Struct, frozen=True):
    """Pools and flavors, each by name in code point order.

    `gone` are ids of removed pools whose queues the map still names.
    """

    pools: tuple[Pool, ...] = ()
    flavors: tuple[Flavor, ...] = ()
    gone: tuple[str, ...] = ()

    # Looking ----------------------------------------------------------------------

    def pool(self, name: str) -> Pool:
        """Return the pool. Raises PoolNotFound."""
        for pool in self.pools:
            if pool.name == name:
                return pool
        raise PoolNotFound(name)

    def flavor(self, project: str, name: str) -> Flavor:
        """Return the project's flavor. Raises FlavorNotFound."""
        for flavor in self.flavors:
            if flavor.project == project and flavor.name == name:
                return flavor
        raise FlavorNotFound(name)

    def pools_of(self, flavor: str | None) -> tuple[Pool, ...]:
        """Return the pools that bear the flavor's name; None: those that bear none."""
        return tuple(pool for pool in self.pools if pool.flavor == flavor)

    def capabilities_of(self, flavor: str) -> tuple[str, ...]:
        """Return what the pools of the flavor can do: they are alike."""
        return next((pool.capabilities for pool in self.pools_of(flavor)), ())

    def choose(self, project: str, flavor: str | None) -> Pool:
        """Draw the pool of a new queue, by weight.

        Raises InvalidRequest for an unknown flavor, StorageUnavailable if no pool may
        have it.
        """
        if flavor is not None:
            try:
                self.flavor(project, flavor)
            except FlavorNotFound:
                raise InvalidRequest(f"_flavor: {flavor} does not exist.") from None
        pools = [pool for pool in self.pools_of(flavor) if pool.weight]
        if not pools:
            of = "without a flavor" if flavor is None else f"of flavor {flavor}"
            raise StorageUnavailable(f"There is no pool {of} for new queues.")
        return random.choices(pools, [pool.weight for pool in pools])[0]

    # Changing ---------------------------------------------------------------------

    def with_pool(self, pool: Pool) -> "Directory":
        """Add the pool, or replace the one of its name.

        Raises PoolUriInUse, UnfitPool.
        """
        self.check_place(pool)
        others = [other for other in self.pools if other.name != pool.name]
        alike = next((each for each in others if each.flavor == pool.flavor), None)
        # One that changes neither may be among others already: its flavor was removed.
        is_same = any(_class(each) == _class(pool) for each in self._named(pool.name))
        if alike and alike.capabilities != pool.capabilities and not is_same:
            raise UnfitPool(
                f"Pool {pool.name} has the capabilities {_listed(pool)}, but pool "
                f"{alike.name} beside it has {_listed(alike)}; give it a flavor of "
                "its own."
            )
        return self._with(pools=[*others, pool])

    def check_place(self, pool: Pool) -> None:
        """Raise PoolUriInUse if another pool has the URI, or the store."""
        for other in self.pools:
            is_there = other.uri == pool.uri or (
                pool.store and other.store == pool.store
            )
            if is_there and other.name != pool.name:
                raise PoolUriInUse(other.name)

    def id_of(self, name: str, new: str) -> str:
        """Return the id of the pool of this name, `new` if there is none."""
        return next((pool.id for pool in self._named(name)), new)

    def _named(self, name: str) -> list[Pool]:
        """Return the pool of this name, if there is one."""
        return [pool for pool in self.pools if pool.name == name]

    def without_pool(self, name: str) -> "Directory":
        """Remove the pool if it is there. Raises PoolIsNeeded."""
        for pool in self.pools:
            if pool.name == name and pool.flavor is not None:
                is_flavor = any(each.name == pool.flavor for each in self.flavors)
                if is_flavor and len(self.pools_of(pool.flavor)) == 1:
                    raise PoolIsNeeded(name, pool.flavor)
        gone = [pool.id for pool in self.pools if pool.name == name]
        left = self._with(pools=[pool for pool in self.pools if pool.name != name])
        return msgspec.structs.replace(left, gone=(*self.gone, *gone))

    def without_gone(self, ids: Collection[str]) -> "Directory":
        """Forget removed pools: the map names none of their queues any more."""
        left = tuple(gone for gone in self.gone if gone not in ids)
        return msgspec.structs.replace(self, gone=left)

    def with_flavor(
        self, flavor: Flavor, names: Sequence[str] | None = None
    ) -> "Directory":
        """Add or replace the flavor. With `names` exactly these pools bear it then.

        Raises UnfitFlavor where they are none, unknown, or not alike.
        """
        others = [each for each in self.flavors if _place(each) != _place(flavor)]
        pools = self.pools if names is None else self._marked(flavor.name, names)
        return self._with(pools=pools, flavors=[*others, flavor])

    def fulfilling(self, flavor: str, wish: Mapping[str, bool]) -> list[str]:
        """Return the names of all pools that can do what is wished, and may be taken.

        Those of other flavors are left to them. Raises UnfitFlavor where there is none,
        or where they differ in more than the wish.
        """
        wanted = {name for name, is_wanted in wish.items() if is_wanted}
        unwanted = wish.keys() - wanted
        found = [
            pool
            for pool in self.pools
            if pool.flavor in (None, flavor)
            and wanted.issubset(pool.capabilities)
            and unwanted.isdisjoint(pool.capabilities)
        ]
        if not found:
            raise UnfitFlavor(
                "capabilities: no pool without another flavor fulfils the wish."
            )
        if len({pool.capabilities for pool in found}) > 1:
            told = "; ".join(f"{each.name} has {_listed(each)}" for each in found)
            raise UnfitFlavor(
                f"capabilities: the pools that fulfil the wish are not alike: {told}. "
                "Wish for what they differ in as well (true or false), or name pools "
                "in pool_list."
            )
        return [pool.name for pool in found]

    def _marked(self, flavor: str, names: Sequence[str]) -> list[Pool]:
        """Return the pools, of which those named and no others bear the flavor."""
        if not names:
            raise UnfitFlavor("pool_list must name at least one pool.")
        try:
            listed = [self.pool(name) for name in names]
        except PoolNotFound as error:
            raise UnfitFlavor(f"pool_list: {error}") from None
        for pool in listed:
            if pool.capabilities != listed[0].capabilities:
                raise UnfitFlavor(
                    f"pool_list: pool {pool.name} has the capabilities "
                    f"{_listed(pool)}, but pool {listed[0].name} has "
                    f"{_listed(listed[0])}; those of one flavor are alike."
                )
        return [
            _bearing(pool, flavor)
            if pool in listed
            else _bearing(pool, None if pool.flavor == flavor else pool.flavor)
            for pool in self.pools
        ]

    def without_flavor(self, project: str, name: str) -> "Directory":
        """Remove the flavor if it is there; its pools lose its name.

        NOTE: a flavor of that name of another project loses them too (contract: the
        mark on pools is global).
        """
        gone = Flavor(project, name)
        flavors = [each for each in self.flavors if _place(each) != _place(gone)]
        if len(flavors) == len(self.flavors):
            return self
        pools = [
            _bearing(pool, None) if pool.flavor == name else pool for pool in self.pools
        ]
        return self._with(pools=pools, flavors=flavors)

    def _with(
        self,
        pools: Iterable[Pool] | None = None,
        flavors: Iterable[Flavor] | None = None,
    ) -> "Directory":
        return Directory(
            tuple(sorted(self.pools if pools is None else pools, key=_name)),
            tuple(sorted(self.flavors if flavors is None else flavors, key=_place)),
            self.gone,
        )


def read(document: bytes) -> Directory:
    """Return the directory that a document holds; an empty document: an empty one."""
    if not document:
        return Directory()
    return msgspec.json.decode(document, type=Directory)


def write(directory: Directory) -> bytes:
    """Return the document. Raises InvalidRequest if it would be too large."""
    document = msgspec.json.encode(directory)
    if len(document) > MAX_SIZE:
        raise InvalidRequest(
            f"Pools and flavors may take {MAX_SIZE} bytes together; remove some."
        )
    return document


Named = TypeVar("Named", Pool, Flavor)


def page_of(items: Iterable[Named], marker: str | None, limit: int) -> Page[Named]:
    """Return those behind the marker; items are in the order of their names."""
    behind = [item for item in items if marker is None or item.name > marker]
    page = tuple(behind[:limit])
    return Page(page, page[-1].name if page else None)


def _name(pool: Pool) -> str:
    return pool.name


def _class(pool: Pool) -> tuple[str | None, tuple[str, ...]]:
    return pool.flavor, pool.capabilities


def _place(flavor: Flavor) -> tuple[str, str]:
    return flavor.project, flavor.name


def _bearing(pool: Pool, flavor: str | None) -> Pool:
    return msgspec.structs.replace(pool, flavor=flavor)


def _listed(pool: Pool) -> str:
    return ", ".join(pool.capabilities) or "none"

# SPDX-License-Identifier: Apache-2.0
"""Operations on pools: page, get, put, patch, delete.

They need no service, only the pools; whoever may reach the registry may use them.
"""

from contextlib import suppress
from functools import partial
from uuid import uuid4

import msgspec

from zaqar.directory import Directory, page_of
from zaqar.errors import (
    ConfigurationError,
    DirectoryChanged,
    InvalidBody,
    PoolUriInUse,
    StorageUnavailable,
)
from zaqar.limits import check_admin_name
from zaqar.masking import is_masked, masked
from zaqar.model import Metadata, Page, Pool
from zaqar.storage.pooling.identity import identity
from zaqar.storage.pooling.pools import Pools

MAX_TEXT = 255
MAX_WEIGHT = 2**32 - 1
ATTEMPTS = 30


class PoolForm(msgspec.Struct, frozen=True):
    """What is given of a pool; None: it is not given. A flavor of "" is none."""

    uri: str | None = None
    weight: int | None = None
    flavor: str | None = None
    options: Metadata | None = None

    @property
    def leads_elsewhere(self) -> bool:
        """Say whether the store has to be asked what it promises."""
        return self.uri is not None or self.options is not None


def page(pools: Pools, *, marker: str | None, limit: int) -> Page[Pool]:
    """Return the pools behind the marker, by name."""
    return page_of(pools.fresh().pools, marker, limit)


def get(pools: Pools, name: str) -> Pool:
    """Return the pool. Raises PoolNotFound."""
    return pools.fresh().pool(name)


def put(pools: Pools, name: str, form: PoolForm, *, keeps_flavor: bool = False) -> Pool:
    """Register the pool, or replace the one of its name: its queues stay with it.

    With `keeps_flavor` one that is replaced has the flavor that it had. Raises
    InvalidRequest for the name; InvalidBody, also if the store does not work;
    PoolUriInUse, UnfitPool.
    """
    check_admin_name("pool", name)
    _check(form)
    if form.uri is None or form.weight is None:
        raise InvalidBody("uri and weight must be given.")
    new = Pool(
        name,
        uuid4().hex,
        form.uri,
        form.weight,
        form.flavor or None,
        form.options or {},
    )
    pools.fresh().check_place(new)
    pool = _probed(pools, new)

    def register(directory: Directory) -> Directory:
        flavor = pool.flavor
        if keeps_flavor:
            flavor = next((p.flavor for p in directory.pools if p.name == name), None)
        id = directory.id_of(name, pool.id)
        changed = msgspec.structs.replace(pool, id=id, flavor=flavor)
        return directory.with_pool(changed)

    return pools.change(register).pool(name)


def patch(pools: Pools, name: str, form: PoolForm) -> Pool:
    """Change what is given, and return the pool as it is then.

    Raises PoolNotFound; InvalidBody, also if the store does not work; PoolUriInUse,
    UnfitPool.
    """
    if form == PoolForm():
        raise InvalidBody("uri, weight, flavor or options must be given.")
    _check(form)
    for _ in range(ATTEMPTS):
        directory = pools.fresh()
        current = directory.pool(name)
        changed = _changed(current, form)
        if form.leads_elsewhere:
            directory.check_place(changed)
            changed = _probed(pools, changed)
        # Somebody else may have given it other options: then these were not asked for.
        with suppress(DirectoryChanged):
            step = partial(_replaced, current=current, changed=changed)
            return pools.change(step).pool(name)
    raise StorageUnavailable(f"Pool {name} keeps changing.")


def delete(pools: Pools, name: str) -> None:
    """Remove the pool if it is there; its queues are gone. Raises PoolIsNeeded."""
    pools.change(partial(Directory.without_pool, name=name))


def _check(form: PoolForm) -> None:
    """Raise InvalidBody for what cannot be."""
    for field, text in (("uri", form.uri), ("flavor", form.flavor)):
        if text is not None and len(text) > MAX_TEXT:
            raise InvalidBody(
                f"{field} may have at most {MAX_TEXT} characters, not {len(text)}."
            )
    if form.weight is not None and not 0 <= form.weight <= MAX_WEIGHT:
        raise InvalidBody(f"weight must be 0 to {MAX_WEIGHT}, not {form.weight}.")
    for name, value in (form.options or {}).items():
        if not isinstance(value, str | int | float):
            raise InvalidBody(f"options: {name} must be a string, number or boolean.")
    if form.uri is not None and not form.uri.isprintable():
        raise InvalidBody("uri must have no control characters.")
    if form.uri is not None and is_masked(form.uri):
        raise InvalidBody(
            "uri: its password is hidden, as in answers; write the password itself, or "
            "leave uri out of a PATCH."
        )


def _changed(pool: Pool, form: PoolForm) -> Pool:
    given = {
        name: value
        for name, value in msgspec.structs.asdict(form).items()
        if value is not None
    }
    if form.flavor == "":
        given["flavor"] = None
    return msgspec.structs.replace(pool, **given)


def _replaced(directory: Directory, *, current: Pool, changed: Pool) -> Directory:
    """Raises DirectoryChanged if the pool is not the one that was looked at."""
    if directory.pool(current.name) != current:
        raise DirectoryChanged
    return directory.with_pool(changed)


def _probed(pools: Pools, pool: Pool) -> Pool:
    """Return the pool with what its store promises now, and which store that is.

    Raises InvalidBody, PoolUriInUse.
    """
    try:
        capabilities, store = pools.probe(pool.uri, pool.options)
    except ConfigurationError as error:
        text = str(error)
        if not text.startswith(("uri", "options")):
            text = f"uri or options: {text}"
        raise InvalidBody(masked(text)) from None
    except StorageUnavailable as error:
        raise InvalidBody(masked(f"uri: its store does not work: {error}")) from None
    with suppress(StorageUnavailable):
        if pools.virtual is not None and identity(pools.virtual) == store:
            raise PoolUriInUse("the default pool")
    return msgspec.structs.replace(pool, capabilities=capabilities, store=store)

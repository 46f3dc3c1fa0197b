# SPDX-License-Identifier: Apache-2.0
"""The commands on the map of queues: where, list, adopt."""

from argparse import Namespace
from collections.abc import Container, Iterator
from uuid import uuid4

from zaqar.errors import (
    BindingChanged,
    InvalidRequest,
    PoolNotFound,
    QueueNotFound,
    StorageUnavailable,
)
from zaqar.manage.output import Answer, details, table
from zaqar.manage.states import CHUNK, bound
from zaqar.model import Binding, QueueKey
from zaqar.storage.base import Store
from zaqar.storage.pooling.pools import VIRTUAL, Pools
from zaqar.storage.registry import Registry

# How the pool is called that is not registered: the store that the options name.
DEFAULT = "(default)"


def where(pools: Pools, wanted: Namespace) -> Answer:
    """Tell which pool a queue lives in. Raises InvalidRequest if there is none."""
    key = QueueKey(wanted.project, wanted.name)
    binding = pools.registry.find_queue(key)
    if binding is None:
        raise InvalidRequest(f"Queue {key.name} is bound to no pool.")
    name = _names(pools).get(binding.pool)
    state = _state(pools, key, binding)
    document = {
        "name": key.name,
        "project": key.project,
        "pool": name,
        "state": state,
    }
    notes = [] if state != "gone" else [GONE]
    return Answer(document, details(document), notes)


GONE = (
    "The pool was removed; the queue counts as absent and gets a pool again with the "
    "next PUT or post."
)


def _state(pools: Pools, key: QueueKey, binding: Binding) -> str:
    """Return exists, absent (bound, and not in the pool), gone or unreachable."""
    try:
        pools.store(binding.pool).get_queue(key)
    except QueueNotFound:
        return "absent"
    except PoolNotFound:
        return "gone"
    except StorageUnavailable:
        return "unreachable"
    return "exists"


def list_(pools: Pools, wanted: Namespace) -> Answer:
    """List the bound queues of a project, of one pool or of all."""
    names = _names(pools)
    only = None if wanted.pool is None else _id_of(pools, wanted.pool)
    queues = [
        {"name": name, "pool": names.get(binding.pool)}
        for name, binding in bound(pools.registry, wanted.project)
        if only is None or binding.pool == only
    ]
    rows = [(each["name"], each["pool"] or "(removed)") for each in queues]
    document = {"project": wanted.project, "queues": queues}
    return Answer(document, table(("queue", "pool"), rows))


def adopt(pools: Pools, wanted: Namespace) -> Answer:
    """Bind the queues that the pool's store holds and the map does not know.

    A queue that is bound stays where it is, unless that pool was removed. Safe to
    repeat, and beside running servers.
    """
    names = _names(pools)
    pool = _id_of(pools, wanted.pool)
    adopted: list[str] = []
    known: list[str] = []
    elsewhere: list[str] = []
    for name in _held(pools.store(pool), wanted.project):
        key = QueueKey(wanted.project, name)
        binding = _bind(pools.registry, key, pool, names)
        if binding is None:
            adopted.append(name)
        else:
            (known if binding.pool == pool else elsewhere).append(name)
    document = {
        "pool": wanted.pool,
        "project": wanted.project,
        "adopted": adopted,
        "known": known,
        "elsewhere": elsewhere,
    }
    rows = [
        *((name, "adopted") for name in adopted),
        *((name, "was bound to this pool") for name in known),
        *((name, "is bound to another pool: left alone") for name in elsewhere),
    ]
    return Answer(document, table(("queue", "what was done"), sorted(rows)))


def _held(store: Store, project: str) -> Iterator[str]:
    """Yield the name of each queue of the project that the store holds."""
    marker = None
    while True:
        page = store.list_queues(project, marker=marker, limit=CHUNK)
        yield from (queue.name for queue in page.items)
        if len(page.items) < CHUNK:
            return
        marker = page.marker


def _bind(
    registry: Registry, key: QueueKey, pool: str, known: Container[str]
) -> Binding | None:
    """Bind the queue, or return the binding that it has to one of the known pools."""
    expect = None
    while True:
        try:
            registry.bind_queue(key, Binding(pool, uuid4().hex), expect=expect)
        except BindingChanged as error:
            expect = error.binding
            if expect is not None and expect.pool in known:
                return expect
        else:
            return None


def _names(pools: Pools) -> dict[str, str]:
    """Return the names of pools by id."""
    return {pool.id: pool.name for pool in pools.fresh().pools} | {VIRTUAL: DEFAULT}


def _id_of(pools: Pools, name: str) -> str:
    """Return the id of a pool. Raises PoolNotFound, InvalidRequest."""
    if name != DEFAULT:
        return pools.fresh().pool(name).id
    if pools.virtual is None:
        raise InvalidRequest(
            "There is no default pool: [pooling:catalog] enable_virtual_pool is off."
        )
    return VIRTUAL

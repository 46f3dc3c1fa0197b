# SPDX-License-Identifier: Apache-2.0
"""The commands on pools: list, show, create, set, delete, stats."""

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from zaqar.errors import InvalidRequest
from zaqar.manage.output import Answer, details, shown, table
from zaqar.manage.states import PoolState, count_queues, states
from zaqar.masking import masked
from zaqar.model import Pool
from zaqar.operations import pools as operations
from zaqar.operations.pools import PoolForm
from zaqar.storage.pooling.pools import Pools

COLUMNS = ("name", "weight", "flavor", "uri", "options", "capabilities")


def list_(pools: Pools, wanted: Namespace) -> Answer:
    found = [document(pool) for pool in pools.fresh().pools]
    rows = [tuple(each.values()) for each in found]
    return Answer({"pools": found}, table(COLUMNS, rows))


def show(pools: Pools, wanted: Namespace) -> Answer:
    found = document(pools.fresh().pool(wanted.name))
    return Answer({"pool": found}, details(found))


def create(pools: Pools, wanted: Namespace) -> Answer:
    """Register a pool. Raises InvalidRequest if there is one of this name."""
    if any(pool.name == wanted.name for pool in pools.fresh().pools):
        raise InvalidRequest(
            f"Pool {wanted.name} exists already; change it by pool set."
        )
    form = PoolForm(wanted.uri, wanted.weight, wanted.flavor, _options(wanted))
    return _changed(operations.put(pools, wanted.name, form), "is registered")


def set_(pools: Pools, wanted: Namespace) -> Answer:
    """Change what is given. Raises PoolNotFound, InvalidBody."""
    uri = wanted.uri
    if uri is None and wanted.refresh:
        uri = pools.fresh().pool(wanted.name).uri
    options = {} if wanted.no_options else _options(wanted)
    form = PoolForm(uri, wanted.weight, wanted.flavor, options)
    if form == PoolForm():
        raise InvalidRequest("There is nothing to set: pool set --help tells what.")
    return _changed(operations.patch(pools, wanted.name, form), "is changed")


def delete(pools: Pools, wanted: Namespace) -> Answer:
    """Remove a pool. Raises PoolNotFound; InvalidRequest if it still has queues."""
    pool = pools.fresh().pool(wanted.name)
    queues = count_queues(pools, pool)
    if queues and not wanted.force:
        raise InvalidRequest(
            f"Pool {pool.name} has queues ({queues}), and nobody would reach their "
            f"messages. zaqar-manage pool set {pool.name} --weight 0 keeps new ones "
            "away; --force removes it now."
        )
    operations.delete(pools, pool.name)
    text = f"Pool {pool.name} is removed."
    return Answer({"removed": pool.name, "queues": queues}, text)


def _options(wanted: Namespace) -> dict[str, Any] | None:
    """Return the options that are given; None: there are none."""
    return None if wanted.option is None else dict(wanted.option)


def _changed(pool: Pool, done: str) -> Answer:
    found = document(pool)
    return Answer({"pool": found}, f"Pool {pool.name} {done}.\n{details(found)}")


def document(pool: Pool) -> dict[str, Any]:
    """Return a pool as it is shown: without any password."""
    return {
        "name": pool.name,
        "weight": pool.weight,
        "flavor": pool.flavor,
        "uri": masked(pool.uri),
        "options": pool.options,
        "capabilities": pool.capabilities,
    }


def stats(pools: Pools, wanted: Namespace) -> Answer:
    """Ask each pool how it is. Exit code 1 if one does not answer."""
    directory = pools.fresh()
    chosen: Sequence[Pool] = directory.pools
    if wanted.name is not None:
        chosen = [directory.pool(wanted.name)]
    found = [
        _state_document(state, count_queues(pools, state.pool))
        for state in states(pools, chosen)
    ]
    rows = [
        (
            each["name"],
            each["weight"],
            each["queues"],
            each["reachable"],
            each["milliseconds"],
            each["capabilities"] or each["registered"],
            _remark(each),
        )
        for each in found
    ]
    header = ("pool", "weight", "queues", "reachable", "ms", "capabilities", "remark")
    is_down = not all(each["reachable"] for each in found)
    return Answer({"pools": found}, table(header, rows), code=int(is_down))


def _state_document(state: PoolState, queues: int) -> dict[str, Any]:
    """Return how a pool is; without an answer some of it is null."""
    pool, took = state.pool, state.milliseconds
    return {
        "name": pool.name,
        "weight": pool.weight,
        "flavor": pool.flavor,
        "queues": queues,
        "reachable": state.reachable,
        "milliseconds": None if took is None else round(took, 1),
        "registered": pool.capabilities,
        "capabilities": state.capabilities,
        "trouble": masked(state.trouble),
    }


def _remark(found: dict[str, Any]) -> str:
    if not found["reachable"]:
        return str(found["trouble"])
    if found["capabilities"] != found["registered"]:
        return f"was registered with {shown(found['registered'])}"
    return ""

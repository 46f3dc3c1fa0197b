# SPDX-License-Identifier: Apache-2.0
"""The commands on the flavors of a project: list, show, create, set, delete."""

import sys
from argparse import Namespace
from typing import Any

from zaqar.errors import InvalidRequest
from zaqar.manage.output import Answer, details, table
from zaqar.operations import flavors
from zaqar.operations.flavors import FlavorView
from zaqar.storage.pooling.pools import Pools

COLUMNS = ("name", "project", "pools", "capabilities")


def list_(pools: Pools, wanted: Namespace) -> Answer:
    page = flavors.page(pools, wanted.project, marker=None, limit=sys.maxsize)
    found = [document(wanted.project, each) for each in page.items]
    rows = [tuple(each.values()) for each in found]
    return Answer({"flavors": found}, table(COLUMNS, rows))


def show(pools: Pools, wanted: Namespace) -> Answer:
    view = flavors.get(pools, wanted.project, wanted.name)
    found = document(wanted.project, view)
    return Answer({"flavor": found}, details(found))


def create(pools: Pools, wanted: Namespace) -> Answer:
    """Make a flavor. Raises InvalidRequest if the project has it, and UnfitFlavor."""
    project, name = wanted.project, wanted.name
    known = pools.fresh().flavors
    if any((each.project, each.name) == (project, name) for each in known):
        raise InvalidRequest(f"Flavor {name} exists already; change it by flavor set.")
    wish = dict.fromkeys(wanted.capability or (), True)
    made = flavors.put(pools, project, name, wanted.pool, wish)
    return _changed(project, made, "is made")


def set_(pools: Pools, wanted: Namespace) -> Answer:
    """Let exactly these pools bear it. Raises FlavorNotFound, UnfitFlavor."""
    changed = flavors.patch(pools, wanted.project, wanted.name, wanted.pool)
    return _changed(wanted.project, changed, "is changed")


def delete(pools: Pools, wanted: Namespace) -> Answer:
    """Remove a flavor; its pools and queues stay. Raises FlavorNotFound."""
    flavors.get(pools, wanted.project, wanted.name)
    flavors.delete(pools, wanted.project, wanted.name)
    text = f"Flavor {wanted.name} is removed; its pools and queues stay."
    return Answer({"removed": wanted.name}, text)


def _changed(project: str, view: FlavorView, done: str) -> Answer:
    found = document(project, view)
    return Answer({"flavor": found}, f"Flavor {view.name} {done}.\n{details(found)}")


def document(project: str, view: FlavorView) -> dict[str, Any]:
    return {
        "name": view.name,
        "project": project,
        "pools": view.pools,
        "capabilities": view.capabilities,
    }

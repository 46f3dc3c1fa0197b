# SPDX-License-Identifier: Apache-2.0
"""The commands on the flavors of a project: list, show, create, set, delete."""

import sys
from argparse import Namespace
from typing import Any

from zaqar.errors import InvalidRequest
from zaqar.manage.opened import pools_of
from zaqar.manage.output import Answer, details, table
from zaqar.operations import flavors
from zaqar.operations.flavors import FlavorView
from zaqar.service import Service

COLUMNS = ("name", "project", "pools", "capabilities")


def list_(service: Service, wanted: Namespace) -> Answer:
    page = flavors.page(
        pools_of(service), wanted.project, marker=None, limit=sys.maxsize
    )
    found = [document(wanted.project, each) for each in page.items]
    rows = [tuple(each.values()) for each in found]
    return Answer({"flavors": found}, table(COLUMNS, rows))


def show(service: Service, wanted: Namespace) -> Answer:
    view = flavors.get(pools_of(service), wanted.project, wanted.name)
    found = document(wanted.project, view)
    return Answer({"flavor": found}, details(found))


def create(service: Service, wanted: Namespace) -> Answer:
    """Make a flavor. Raises InvalidRequest if the project has it, and UnfitFlavor."""
    pools, project, name = pools_of(service), wanted.project, wanted.name
    known = pools.fresh().flavors
    if any((each.project, each.name) == (project, name) for each in known):
        raise InvalidRequest(f"Flavor {name} exists already; change it by flavor set.")
    wish = dict.fromkeys(wanted.capability or (), True)
    made = flavors.put(pools, project, name, wanted.pool, wish)
    return _changed(project, made, "is made")


def set_(service: Service, wanted: Namespace) -> Answer:
    """Let exactly these pools bear it. Raises FlavorNotFound, UnfitFlavor."""
    pools = pools_of(service)
    changed = flavors.patch(pools, wanted.project, wanted.name, wanted.pool)
    return _changed(wanted.project, changed, "is changed")


def delete(service: Service, wanted: Namespace) -> Answer:
    """Remove a flavor; its pools and queues stay. Raises FlavorNotFound."""
    pools = pools_of(service)
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

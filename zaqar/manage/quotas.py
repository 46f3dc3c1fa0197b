# SPDX-License-Identifier: Apache-2.0
"""The commands on the quotas of projects: list, show, set, unset.

`wanted.defaults` are those of the options.
"""

from argparse import Namespace
from typing import Any

from zaqar import quotas
from zaqar.errors import InvalidRequest
from zaqar.limits import check_project
from zaqar.manage.output import Answer, details, table
from zaqar.quotas import FIELDS, UNLIMITED, Quota, Row
from zaqar.storage.pooling.pools import Pools
from zaqar.storage.registry import Registry

PAGE = 1000
UNLIMITED_TEXT = "unlimited"


def list_(pools: Pools, wanted: Namespace) -> Answer:
    found: list[dict[str, Any]] = []
    marker: str | None = None
    while True:
        some = pools.registry.list_quotas(marker=marker, limit=PAGE)
        for project, stored in some:
            found.append({"project": project, **_own(_read(project, stored))})
        if len(some) < PAGE:
            break
        marker = some[-1][0]
    rows = [
        [each.get(name, "default") for name in ("project", *FIELDS)] for each in found
    ]
    return Answer({"quotas": found}, table(("project", *FIELDS), rows))


def show(pools: Pools, wanted: Namespace) -> Answer:
    """Tell what holds for a project, and what of it is its own."""
    row = _stored(pools.registry, wanted.project)
    found = document(wanted.project, row, wanted.defaults)
    return Answer({"quota": found}, _text(found))


def set_(pools: Pools, wanted: Namespace) -> Answer:
    """Change what is given. Raises InvalidRequest."""
    given = {name: getattr(wanted, name) for name in FIELDS}
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        raise InvalidRequest("There is nothing to set: quota set --help tells what.")
    check_project(wanted.project)
    # They are refused here, and not passed over by the servers.
    quotas.made(changes)
    return _store(pools, wanted, {**_stored(pools.registry, wanted.project), **changes})


def unset(pools: Pools, wanted: Namespace) -> Answer:
    """Forget what is named, or all of it."""
    gone = [name for name in FIELDS if getattr(wanted, name)]
    # NOTE: what is not read can be unreadable.
    row = _stored(pools.registry, wanted.project) if gone else {}
    return _store(pools, wanted, {name: row[name] for name in row if name not in gone})


def _store(pools: Pools, wanted: Namespace, row: Row) -> Answer:
    pools.registry.set_quota(wanted.project, quotas.write(row))
    found = document(wanted.project, row, wanted.defaults)
    text = "It holds everywhere within 10 seconds."
    return Answer({"quota": found}, f"{text}\n{_text(found)}")


def _stored(registry: Registry, project: str) -> Row:
    return _read(project, registry.get_quota(project))


def _read(project: str, stored: bytes) -> Row:
    """Raises InvalidRequest, which names the project."""
    try:
        return quotas.read(stored)
    except InvalidRequest as error:
        raise InvalidRequest(f"Project {project}: {error}") from None


def document(project: str, row: Row, defaults: Quota) -> dict[str, Any]:
    """Return what holds for a project; null: unlimited. `own` is what is set for it."""
    holding = quotas.made(row, defaults)
    values = {name: getattr(holding, name) for name in FIELDS}
    return {"project": project, **values, "own": _own(row)}


def _own(row: Row) -> dict[str, Any]:
    shown = {name: row[name] for name in FIELDS if name in row}
    return {
        name: UNLIMITED_TEXT if value == UNLIMITED else value
        for name, value in shown.items()
    }


def _text(found: dict[str, Any]) -> str:
    rows = {"project": found["project"]}
    for name in FIELDS:
        value = UNLIMITED_TEXT if found[name] is None else f"{found[name]:.15g}"
        if name == "burst" and found[name] is None:
            value = "as many as in a second"
        rows[name] = value if name in found["own"] else f"{value} (default)"
    return details(rows)

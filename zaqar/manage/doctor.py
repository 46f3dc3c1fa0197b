# SPDX-License-Identifier: Apache-2.0
"""`zaqar-manage doctor`: looks at everything, changes nothing that it finds wrong.

Works with pools and without, and goes on where one thing cannot be looked at.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import closing

import msgspec

from zaqar import conf, directory, stores
from zaqar.conf import Settings
from zaqar.directory import Directory
from zaqar.errors import ConfigurationError, StorageUnavailable
from zaqar.findings import ERROR, OK, WARNING, Finding, error, ok, warning
from zaqar.manage import checks, pool_checks
from zaqar.manage.opened import opened
from zaqar.manage.output import Answer, table
from zaqar.masking import masked
from zaqar.storage.registry import Registry

# The worst first.
LEVELS = (ERROR, WARNING, OK)


def run(load: Callable[[], Settings]) -> Answer:
    """Look at what `load` returns, and at why it does not. Exit code 1 for errors."""
    try:
        settings = load()
    except ConfigurationError as failure:
        mend = "Correct the option; doc/source/operator/configuration.rst lists all."
        return answer([error("configuration", str(failure), mend)])
    found = [ok("configuration", _sources(settings))]
    if settings.registry is None:
        found += _alone(settings)
    else:
        found += _pooled(settings)
    return answer(found)


def answer(found: list[Finding]) -> Answer:
    """Return the findings, the worst first, as they are shown."""
    sorted_ = sorted(found, key=lambda each: LEVELS.index(each.level))
    shown = [
        Finding(each.level, each.subject, masked(each.problem), masked(each.mend))
        for each in sorted_
    ]
    count = Counter(each.level for each in shown)
    document = {
        "findings": [msgspec.structs.asdict(each) for each in shown],
        "errors": count[ERROR],
        "warnings": count[WARNING],
    }
    summary = f"Errors: {count[ERROR]}. Warnings: {count[WARNING]}."
    return Answer(document, f"{_text(shown)}\n{summary}", code=int(count[ERROR] > 0))


def _text(found: list[Finding]) -> str:
    """Return what is wrong with its remedy in lines, and what is right as a table."""
    lines = []
    for each in found:
        if each.level != OK:
            lines += [
                f"{each.level.upper()}: {each.subject}: {each.problem}",
                f"  mend: {each.mend}",
            ]
    right = [(each.subject, each.problem) for each in found if each.level == OK]
    return "\n".join([*lines, table(("all right", ""), right)] if right else lines)


def _sources(settings: Settings) -> str:
    files = settings.config.config_file or ["defaults, for there is no file"]
    return f"It can be read: {', '.join(map(str, files))}."


def _alone(settings: Settings) -> list[Finding]:
    """Look at the single store, and at pools that nobody uses."""
    found = checks.settings(settings)
    found += checks.store("store", settings.store)
    if settings.virtual_pool:
        found.append(
            warning(
                "configuration",
                "[pooling:catalog] enable_virtual_pool means nothing without pooling.",
                "[DEFAULT] pooling = true, or leave it out.",
            )
        )
    return found + _forgotten(settings)


def _forgotten(settings: Settings) -> list[Finding]:
    """Tell of pools that are registered although pooling is off."""
    try:
        given = conf.management_store(settings)
        if checks.is_absent(given):
            return []
        with closing(stores.open_registry(given)) as registry:
            count = len(_directory(registry).pools)
    except (ConfigurationError, StorageUnavailable):
        # Nobody needs it.
        return []
    if not count:
        return []
    problem = f"Pooling is off, but pools are registered ({count}): nobody uses them."
    return [warning("pools", problem, "[DEFAULT] pooling = true")]


def _pooled(settings: Settings) -> list[Finding]:
    """Look at the registry, and through it at the pools."""
    registry = conf.management_store(settings)
    found = checks.settings(settings)
    found += checks.examined("registry", registry, stores.open_registry)
    works = any(each.problem == checks.WORKS for each in found)
    if settings.virtual_pool:
        found += checks.store("default pool", settings.store)
    if checks.is_absent(registry):
        has_default = settings.virtual_pool
        return [*found, *pool_checks.choices(Directory(), has_default=has_default)]
    # One that does not answer has been waited for long enough.
    return found + _pools(settings) if works else found


def _pools(settings: Settings) -> list[Finding]:
    try:
        # The default pool was looked at already.
        without_it = msgspec.structs.replace(settings, virtual_pool=False)
        with closing(opened(without_it)) as pools:
            return pool_checks.pools(settings, pools)
    except (ConfigurationError, StorageUnavailable) as failure:
        return [error("pools", f"They cannot be read: {failure}", checks.REACH)]


def _directory(registry: Registry) -> Directory:
    document, _ = registry.read_directory()
    return directory.read(document)

# SPDX-License-Identifier: Apache-2.0
"""What is looked at of pools and flavors: each by itself, and all together."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from zaqar import stores
from zaqar.clock import WRONG
from zaqar.conf import Settings, StoreSettings, pool_store
from zaqar.directory import Directory
from zaqar.errors import ConfigurationError
from zaqar.findings import Finding, error, ok, warning
from zaqar.manage import checks
from zaqar.manage.states import AT_ONCE, PoolState, count_queues, states
from zaqar.model import Pool
from zaqar.storage.pooling.pools import Pools


def pools(settings: Settings, opened: Pools) -> list[Finding]:
    """Look at each pool, at all of them, and at the flavors."""
    directory = opened.fresh()
    found: list[Finding] = []
    there: list[Pool] = []
    with ThreadPoolExecutor(AT_ONCE) as threads:
        looked = threads.map(partial(_foundation, settings), directory.pools)
        for pool, (seen, is_there) in zip(directory.pools, looked, strict=True):
            found += seen
            there += [pool] * is_there
    answers = states(opened, there)
    for state in answers:
        found += of_pool(state, count_queues(opened, state.pool))
    found += clocks(answers)
    found += flavors(directory)
    found += choices(directory, has_default=settings.virtual_pool)
    return found


def _foundation(settings: Settings, pool: Pool) -> tuple[list[Finding], bool]:
    """Look at what the pool stands on, and say whether it can be opened."""
    subject = f"pool {pool.name}"
    try:
        given: StoreSettings = pool_store(
            settings.config, pool.uri, pool.options, settings.data_folder
        )
        found = stores.examine(given, subject)
    except ConfigurationError as failure:
        mend = f"zaqar-manage pool set {pool.name} --uri URI"
        return [error(subject, str(failure), mend)], False
    if not checks.is_absent(given):
        return found, True
    lost = error(
        subject,
        "Its file does not exist; the queues that are bound to it count as absent.",
        "Restore the file from a backup, or remove the pool: "
        f"zaqar-manage pool delete {pool.name}",
    )
    return [lost], False


def of_pool(state: PoolState, bound: int) -> list[Finding]:
    """Tell how a pool is that has so many queues."""
    pool, subject = state.pool, f"pool {state.pool.name}"
    if not state.reachable:
        return [
            error(
                subject,
                f"It does not answer: {state.trouble} Its queues ({bound}) get 503.",
                "Start its server, or correct the URI: "
                f"zaqar-manage pool set {pool.name} --uri URI",
            )
        ]
    found = [ok(subject, f"It answers and can be written to; its queues: {bound}.")]
    found += checks.clock(subject, state.ahead)
    found += _drift(state)
    if not pool.weight and not bound:
        found.append(
            warning(
                subject,
                "Its weight is 0 and it has no queues: nothing needs it.",
                f"zaqar-manage pool delete {pool.name}",
            )
        )
    return found


def _drift(state: PoolState) -> Iterator[Finding]:
    """Tell what a pool promises less, or more, than when it was registered."""
    subject, pool, now = f"pool {state.pool.name}", state.pool, state.capabilities
    lost = [each for each in pool.capabilities if each not in (now or ())]
    new = [each for each in now or () if each not in pool.capabilities]
    again = f"zaqar-manage pool set {pool.name} --refresh"
    if lost:
        yield error(
            subject,
            f"It was registered with {', '.join(lost)} and does not promise that now.",
            f"Set its server up as it was; or register what it is now: {again}",
        )
    if new:
        yield warning(
            subject,
            f"It promises {', '.join(new)} now, which it did not when it was "
            "registered.",
            f"Let it be known: {again}",
        )


def clocks(answers: list[PoolState]) -> Iterator[Finding]:
    """Tell whether the pools agree about the time, if two are there to differ."""
    told = sorted((each for each in answers if each.reachable), key=_ahead)
    if len(told) < 2:
        return
    first, last = told[0], told[-1]
    apart = last.ahead - first.ahead
    if apart > WRONG:
        yield warning(
            "clocks",
            f"The clocks of pools {first.pool.name} and {last.pool.name} are "
            f"{apart:.1f} s apart.",
            "Set both by NTP.",
        )


def _ahead(state: PoolState) -> float:
    return state.ahead


def flavors(directory: Directory) -> Iterator[Finding]:
    """Tell which flavors can have no new queue, and which pools no flavor uses."""
    for flavor in directory.flavors:
        subject = f"flavor {flavor.name} of project {flavor.project}"
        fit = directory.pools_of(flavor.name)
        if not fit:
            yield error(
                subject,
                "It has no pools: new queues of it get 503.",
                f"zaqar-manage flavor set {flavor.name} --project {flavor.project} "
                "--pool NAME",
            )
        elif not any(pool.weight for pool in fit):
            yield error(
                subject,
                "All its pools have weight 0: new queues of it get 503.",
                f"zaqar-manage pool set {fit[0].name} --weight 100",
            )
        if len({pool.capabilities for pool in fit}) > 1:
            yield error(
                subject,
                "Its pools do not promise the same.",
                "Take the pools that differ out of it: zaqar-manage flavor set "
                f"{flavor.name} --project {flavor.project} --pool NAME",
            )
    known = {flavor.name for flavor in directory.flavors}
    for pool in directory.pools:
        if pool.flavor is not None and pool.flavor not in known:
            yield warning(
                f"pool {pool.name}",
                f"No project has its flavor, {pool.flavor}: it gets no new queues.",
                f"zaqar-manage flavor create {pool.flavor} --project ID "
                f"--pool {pool.name}",
            )


def choices(directory: Directory, *, has_default: bool) -> Iterator[Finding]:
    """Tell where queues go that ask for no flavor."""
    plain = directory.pools_of(None)
    create = "zaqar-manage pool create NAME --uri URI --weight 100"
    if not directory.pools and not has_default:
        yield error("pools", "There is no pool: no queue can be made (503).", create)
    elif any(pool.weight for pool in plain):
        names = ", ".join(pool.name for pool in plain if pool.weight)
        yield ok("pools", f"Queues without a flavor go to {names}.")
    elif has_default and not plain:
        yield ok("pools", "Queues without a flavor go to the default pool.")
    else:
        yield warning(
            "pools",
            "No pool takes queues without a flavor: their creation gets 503.",
            f"zaqar-manage pool set {plain[0].name} --weight 100" if plain else create,
        )

# SPDX-License-Identifier: Apache-2.0
"""The commands and their arguments: what the command line may say.

Each leaf names the function that runs it: `run(pools, wanted)` returns an Answer. Those
about deliveries get the store of the service in place of the pools.
"""

from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from typing import Any

import msgspec

from zaqar import __version__
from zaqar.manage import deliveries, flavors, pools, queues, quotas
from zaqar.manage.output import Answer
from zaqar.quotas import FIELDS, UNLIMITED

PROGRAM = "zaqar-manage"
FORMATS = ("table", "json")
# What a command is about.
POOLS, QUOTAS, DELIVERIES = "pools", "quotas", "deliveries"


def parser() -> ArgumentParser:
    """Return the parser of the whole command line."""
    made = ArgumentParser(
        PROGRAM,
        description="Works on pools, flavors, the map of queues and quotas directly, "
        "with the server's own configuration; run it as the user that the server runs "
        "as.",
    )
    made.add_argument("--version", action="version", version=__version__)
    _add_common(made, config_file=None, config_dir=None, format="table")
    nouns = made.add_subparsers(metavar="COMMAND", required=True)
    _add_pool(_noun(nouns, "pool", "the stores that queues live in"))
    _add_flavor(_noun(nouns, "flavor", "classes of service of a project"))
    _add_queue(_noun(nouns, "queue", "which pool a queue lives in"))
    _add_quota(_noun(nouns, "quota", "what projects may have and do"))
    _add_delivery(_noun(nouns, "delivery", "what subscribers did not take"))
    _leaf(nouns, "doctor", None, "look for what is wrong, and say how to mend it")
    return made


def _add_pool(leaves: Any) -> None:
    _leaf(leaves, "list", pools.list_, "list the pools")
    _named(_leaf(leaves, "show", pools.show, "show a pool"))
    leaf = _named(_leaf(leaves, "create", pools.create, "register a store as a pool"))
    _add_pool_fields(leaf, is_new=True)
    leaf = _named(_leaf(leaves, "set", pools.set_, "change what is given of a pool"))
    _add_pool_fields(leaf, is_new=False)
    leaf = _named(_leaf(leaves, "delete", pools.delete, "remove a pool"))
    leaf.add_argument(
        "--force",
        action="store_true",
        help="also if it has queues, whose messages nobody will reach",
    )
    leaf = _leaf(leaves, "stats", pools.stats, "tell how each pool is right now")
    leaf.add_argument("name", nargs="?", help="only this pool")


def _add_pool_fields(leaf: ArgumentParser, *, is_new: bool) -> None:
    leaf.add_argument("--uri", required=is_new, help="where the store is")
    leaf.add_argument(
        "--weight",
        type=int,
        default=100 if is_new else None,
        help="share of new queues; 0: it gets none"
        + (" (default: 100)" if is_new else ""),
    )
    leaf.add_argument("--flavor", help="the flavor it bears; '' for none")
    leaf.add_argument(
        "--option",
        type=_option,
        action="append",
        metavar="NAME=VALUE",
        help="an option of its driver's group, for this pool; may be repeated"
        + ("" if is_new else ", and replaces all"),
    )
    if not is_new:
        leaf.add_argument(
            "--no-options", action="store_true", help="remove all options"
        )
        leaf.add_argument(
            "--refresh",
            action="store_true",
            help="read anew what the store promises",
        )


def _add_flavor(leaves: Any) -> None:
    _of_project(_leaf(leaves, "list", flavors.list_, "list the flavors of a project"))
    for verb, run, text in (
        ("show", flavors.show, "show a flavor"),
        ("create", flavors.create, "make a flavor of pools that are alike"),
        ("set", flavors.set_, "give a flavor other pools"),
        ("delete", flavors.delete, "remove a flavor; its pools and queues stay"),
    ):
        leaf = _of_project(_named(_leaf(leaves, verb, run, text)))
        if verb in ("create", "set"):
            _add_flavor_fields(leaf, is_new=verb == "create")


def _add_flavor_fields(leaf: ArgumentParser, *, is_new: bool) -> None:
    choice = leaf.add_mutually_exclusive_group(required=True)
    choice.add_argument("--pool", action="append", help="a pool; may be repeated")
    if is_new:
        choice.add_argument(
            "--capability",
            action="append",
            help="instead of pools: take all that have this; may be repeated",
        )


def _add_queue(leaves: Any) -> None:
    leaf = _leaf(leaves, "where", queues.where, "tell which pool a queue lives in")
    _of_project(_named(leaf))
    leaf = _leaf(leaves, "list", queues.list_, "list the queues that are bound")
    _of_project(leaf).add_argument("--pool", help="only those of this pool")
    leaf = _leaf(
        leaves,
        "adopt",
        queues.adopt,
        "bind the queues that a pool's store holds and the map does not know",
    )
    _of_project(leaf).add_argument("--pool", required=True, help="whose store it is")


def _add_quota(leaves: Any) -> None:
    made = [_leaf(leaves, "list", quotas.list_, "list the projects with own quotas")]
    for verb, run, text in (
        ("show", quotas.show, "show the quotas of a project"),
        ("set", quotas.set_, "give a project quotas of its own"),
        ("unset", quotas.unset, "let the defaults hold for a project again"),
    ):
        made.append(_of_project(_leaf(leaves, verb, run, text)))
    *_, set_, unset = made
    for field in FIELDS:
        option = f"--{field.replace('_', '-')}"
        set_.add_argument(
            option, type=_limit, metavar="N", help="a number, or 'unlimited'"
        )
        unset.add_argument(option, action="store_true", help="only this one")
    for leaf in made:
        leaf.set_defaults(about=QUOTAS)


def _add_delivery(leaves: Any) -> None:
    made = [
        _leaf(leaves, "list", deliveries.list_, "list what waits or failed, and why"),
        _leaf(leaves, "replay", deliveries.replay, "try again what has failed"),
    ]
    for leaf in made:
        _named(_of_project(leaf))
        leaf.add_argument("subscription", help="the id of the subscription")
        leaf.add_argument("--topic", action="store_true", help="the name is a topic's")
        leaf.set_defaults(about=DELIVERIES)
    made[1].add_argument(
        "--message",
        action="append",
        metavar="ID",
        help="only this one; may be repeated",
    )


# How a leaf is made -------------------------------------------------------------------


def _noun(nouns: Any, name: str, text: str) -> Any:
    made = nouns.add_parser(name, help=text, description=f"{text.capitalize()}.")
    return made.add_subparsers(metavar="COMMAND", required=True)


def _leaf(
    leaves: Any,
    name: str,
    run: Callable[[Any, Any], Answer] | None,
    text: str,
) -> ArgumentParser:
    made: ArgumentParser = leaves.add_parser(
        name, help=text, description=f"{text.capitalize()}."
    )
    made.set_defaults(run=run, about=POOLS)
    _add_common(made, config_file=SUPPRESS, config_dir=SUPPRESS, format=SUPPRESS)
    return made


def _add_common(made: ArgumentParser, **defaults: Any) -> None:
    """Add what may stand before the command and behind it."""
    made.add_argument(
        "--config-file",
        action="append",
        metavar="PATH",
        default=defaults["config_file"],
        help="read instead of the zaqar.conf that the server would find",
    )
    made.add_argument(
        "--config-dir",
        action="append",
        metavar="PATH",
        default=defaults["config_dir"],
        help="a folder whose *.conf files are read besides",
    )
    made.add_argument(
        "--format",
        choices=FORMATS,
        default=defaults["format"],
        help="a table for people (the default), or JSON for scripts",
    )


def _named(leaf: ArgumentParser) -> ArgumentParser:
    leaf.add_argument("name")
    return leaf


def _of_project(leaf: ArgumentParser) -> ArgumentParser:
    leaf.add_argument("--project", required=True, help="the id of the project")
    return leaf


def _limit(text: str) -> float:
    if text == "unlimited":
        return UNLIMITED
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise ArgumentTypeError(
            f"{text!r} is neither a number nor 'unlimited'"
        ) from None


def _option(text: str) -> tuple[str, Any]:
    """Read NAME=VALUE; a number or a truth is one, as in JSON, all else is a text."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        decoded = msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name, value
    return name, decoded if isinstance(decoded, bool | int | float) else value

# SPDX-License-Identifier: Apache-2.0
"""JSON documents of pools and flavors to model and back."""

from collections.abc import Mapping, Sequence
from typing import Any

from zaqar.errors import InvalidBody
from zaqar.masking import masked
from zaqar.model import Metadata, Pool
from zaqar.operations.flavors import FlavorView
from zaqar.operations.pools import PoolForm
from zaqar.transport.documents import parse_object

# Requests ---------------------------------------------------------------------------

POOL_FIELDS = ("uri", "weight", "flavor", "options")
KINDS: dict[str, tuple[type, str]] = {
    "uri": (str, "a string"),
    "weight": (int, "an integer"),
    "flavor": (str, "a string"),
    "options": (dict, "an object"),
}


def parse_pool(body: bytes) -> PoolForm:
    """Return a whole pool. Raises InvalidBody."""
    given = parse_object(body)
    _check_keys(given, POOL_FIELDS)
    for field in ("uri", "weight"):
        if field not in given:
            raise InvalidBody(f"{field} is missing.")
    return _pool_form(given, POOL_FIELDS)


def parse_pool_patch(body: bytes, fields: Sequence[str]) -> PoolForm:
    """Return what is to be changed of a pool; other keys are ignored.

    Raises InvalidBody.
    """
    given = parse_object(body)
    if not any(field in given for field in fields):
        raise InvalidBody(f"One of {', '.join(fields)} must be given.")
    return _pool_form(given, fields)


def _pool_form(given: Mapping[str, Any], fields: Sequence[str]) -> PoolForm:
    known = {field: given[field] for field in fields if field in given}
    for field, value in known.items():
        kind, name = KINDS[field]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise InvalidBody(f"{field} must be {name}.")
    return PoolForm(**known)


# Names of pools; what the pools of a flavor shall be able to do, or shall not.
PoolList = list[str]
Capabilities = dict[str, bool]


def parse_flavor(body: bytes) -> tuple[PoolList | None, Capabilities]:
    """Return the pools of a flavor, and the wish if there are none given.

    Raises InvalidBody.
    """
    given = parse_object(body)
    _check_keys(given, ("pool_list", "capabilities"))
    wish = given.get("capabilities", {})
    if not isinstance(wish, dict | list):
        raise InvalidBody("capabilities must be an object, or an array of names.")
    if given.get("pool_list") is None:
        return None, _parse_wish(wish)
    # The contract asks that they are ignored beside a list.
    return _parse_pool_list(given["pool_list"]), {}


def parse_pool_list(body: bytes) -> PoolList:
    """Return the pools that a flavor shall have. Raises InvalidBody."""
    given = parse_object(body)
    if "pool_list" not in given:
        raise InvalidBody("pool_list is missing.")
    return _parse_pool_list(given["pool_list"])


def _parse_pool_list(value: Any) -> PoolList:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise InvalidBody("pool_list must be an array of names of pools.")
    return value


def _parse_wish(value: dict[str, Any] | list[Any]) -> Capabilities:
    if isinstance(value, dict):
        for name, is_wanted in value.items():
            if not isinstance(is_wanted, bool):
                raise InvalidBody(f"capabilities: {name} must be true or false.")
        return value
    if not all(isinstance(name, str) for name in value):
        raise InvalidBody("capabilities must be an object, or an array of names.")
    return dict.fromkeys(value, True)


def parse_declared(body: bytes, *, whole: bool) -> Metadata:
    """Return the object that a flavor of v1.1 is; with `whole` it may be left out.

    Raises InvalidBody.
    """
    given = parse_object(body)
    if "capabilities" not in given and not whole:
        raise InvalidBody("capabilities is missing.")
    wish = given.get("capabilities", {})
    if not isinstance(wish, dict):
        raise InvalidBody("capabilities must be an object.")
    return wish


def _check_keys(given: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in given:
        if key not in known:
            raise InvalidBody(f"{key[:64]} is none of {', '.join(known)}.")


# Answers ----------------------------------------------------------------------------


def pool(shown: Pool, href: str, *, detailed: bool) -> dict[str, Any]:
    """Return the document; credentials of the URI are hidden."""
    document = {
        "name": shown.name,
        "href": href,
        "uri": masked(shown.uri),
        "weight": shown.weight,
        "flavor": shown.flavor,
    }
    return document | ({"options": shown.options} if detailed else {})


def flavor(shown: FlavorView, href: str) -> dict[str, Any]:
    return {
        "name": shown.name,
        "href": href,
        "pool_list": shown.pools,
        "capabilities": shown.capabilities,
    }


def listed_flavor(shown: FlavorView, href: str, *, detailed: bool) -> dict[str, Any]:
    """Return the document as lists have it: without what there is none of."""
    document: dict[str, Any] = {"name": shown.name, "href": href}
    if shown.pools:
        document["pool_list"] = shown.pools
    return document | ({"capabilities": shown.capabilities} if detailed else {})


def declared_flavor(shown: FlavorView, href: str, *, detailed: bool) -> dict[str, Any]:
    """Return the document as v1.1 has it."""
    document: dict[str, Any] = {"name": shown.name, "href": href}
    return document | ({"capabilities": shown.wish} if detailed else {})

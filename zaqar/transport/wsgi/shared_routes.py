# SPDX-License-Identifier: Apache-2.0
"""The routes that all versions have, with the rules of their methods."""

from collections.abc import Callable
from typing import Any

import msgspec

from zaqar.limits import Limits
from zaqar.service import Service
from zaqar.storage.pooling.pools import Pools
from zaqar.transport.wsgi import claims, discovery, flavors, messages, pools, queues
from zaqar.transport.wsgi.dialect import Dialect, Route, Rules

QUEUE = "/queues/{queue_name}"


def shared_routes(service: Service, dialect: Dialect) -> list[Route]:
    """List the routes below the prefix, but for the queue's own."""
    home = discovery.HomeResource(service, dialect)
    table = [
        Route("", home, {}, anonymous=True),
        Route("/", home, {}, anonymous=True),
        Route(
            "/ping",
            discovery.PingResource(service),
            {"GET": "ping:get", "HEAD": "ping:get"},
            anonymous=True,
        ),
        *collection_routes(service, dialect, "/queues", QUEUE),
        Route(
            f"{QUEUE}/claims",
            claims.ClaimsResource(service, dialect),
            {"POST": "claims:create"},
            signable=dialect.takes_signatures,
        ),
        Route(
            f"{QUEUE}/claims/{{claim_id}}",
            claims.ClaimResource(service, dialect),
            {"GET": "claims:get", "PATCH": "claims:update", "DELETE": "claims:delete"},
            signable=dialect.takes_signatures,
        ),
    ]
    return table


def collection_routes(
    service: Service, dialect: Dialect, all_of_them: str, path: str
) -> list[Route]:
    """List the routes of the list of queues, or topics, and of their messages."""
    noun = dialect.kind
    return [
        Route(
            all_of_them,
            queues.QueuesResource(service, dialect),
            {"GET": f"{noun}:get_all"},
        ),
        Route(
            f"{path}/stats",
            queues.StatsResource(service, dialect),
            {"GET": f"{noun}:stats"},
        ),
        Route(
            f"{path}/messages",
            messages.MessagesResource(service, dialect),
            {
                "GET": "messages:get_all",
                "POST": "messages:create",
                "DELETE": "messages:delete_all",
            },
            signable=dialect.takes_signatures,
        ),
        Route(
            f"{path}/messages/{{message_id}}",
            messages.MessageResource(service, dialect),
            {"GET": "messages:get", "DELETE": "messages:delete"},
            signable=dialect.takes_signatures,
        ),
    ]


# Makes the resource of one flavor.
OfFlavor = Callable[[Pools, Dialect], Any]


def admin_routes(
    service: Service, dialect: Dialect, of_flavor: OfFlavor
) -> list[Route]:
    """List the routes of administrators; none without admin mode."""
    if not service.settings.admin_mode:
        return []
    table = [
        Route(
            "/health",
            discovery.HealthResource(service),
            {"GET": "health:get"},
            unmetered=True,
        ),
    ]
    if service.pools is not None:
        table += _pool_routes(service.pools, service.limits, dialect, of_flavor)
    # SECURITY: with Keystone, who reaches this port is any user of the cloud.
    if not dialect.guards_admin and not service.settings.auth_strategy:
        table = [msgspec.structs.replace(route, rules={}) for route in table]
    return table


def _pool_routes(
    known: Pools, limits: Limits, dialect: Dialect, of_flavor: OfFlavor
) -> list[Route]:
    return [
        Route(
            "/pools",
            pools.PoolsResource(known, limits, dialect),
            {"GET": "pools:get_all"},
        ),
        Route(
            "/pools/{pool}",
            pools.PoolResource(known, dialect),
            _rules_of_one("pools"),
        ),
        Route(
            "/flavors",
            flavors.FlavorsResource(known, limits, dialect),
            {"GET": "flavors:get_all"},
        ),
        Route(
            "/flavors/{flavor}",
            of_flavor(known, dialect),
            _rules_of_one("flavors"),
        ),
    ]


def _rules_of_one(noun: str) -> Rules:
    return {
        "GET": f"{noun}:get",
        "PUT": f"{noun}:create",
        "PATCH": f"{noun}:update",
        "DELETE": f"{noun}:delete",
    }

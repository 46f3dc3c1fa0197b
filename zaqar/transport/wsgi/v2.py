# SPDX-License-Identifier: Apache-2.0
"""API v2: its dialect and its routes."""

from zaqar.service import Service
from zaqar.transport.wsgi import flavors, queues, sharing
from zaqar.transport.wsgi.dialect import Dialect, Route
from zaqar.transport.wsgi.home import RESOURCES
from zaqar.transport.wsgi.shared_routes import QUEUE, admin_routes, shared_routes

DIALECT = Dialect(
    prefix="/v2",
    version={
        "id": "2",
        "status": "CURRENT",
        "updated": "2014-9-24T04:06:47Z",
        "media-types": [
            {
                "base": "application/json",
                "type": "application/vnd.openstack.messaging-v2+json",
            }
        ],
    },
    home=RESOURCES,
)


def routes(service: Service) -> list[Route]:
    """List the routes below the prefix."""
    table = [
        *shared_routes(service, DIALECT),
        *admin_routes(service, DIALECT, flavors.FlavorResource),
        Route(
            QUEUE,
            queues.PatchableQueueResource(service, DIALECT),
            {
                "GET": "queues:get",
                "HEAD": "queues:get",
                "PUT": "queues:create",
                "PATCH": "queues:update",
                "DELETE": "queues:delete",
            },
        ),
        Route(
            f"{QUEUE}/purge",
            queues.PurgeResource(service),
            {"POST": "queues:purge"},
        ),
    ]
    guards = sharing.guards(table, QUEUE)
    share = sharing.ShareResource(service, DIALECT, guards)
    return [*table, Route(f"{QUEUE}/share", share, {"POST": "queues:share"})]

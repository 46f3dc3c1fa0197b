# SPDX-License-Identifier: Apache-2.0
"""API v1.1: what it does not have, or does otherwise than v2."""

from zaqar.service import Service
from zaqar.transport.wsgi import declared_flavors, queues
from zaqar.transport.wsgi.dialect import Dialect, Route
from zaqar.transport.wsgi.home import RESOURCES
from zaqar.transport.wsgi.shared_routes import QUEUE, admin_routes, shared_routes

OPTION = "1.1"

ABSENT = ("queue_share", "queue_purge", "message_get", "subscription")

DIALECT = Dialect(
    prefix="/v1.1",
    version={
        "id": "1.1",
        "status": "DEPRECATED",
        "updated": "2016-7-29T02:22:47Z",
        "media-types": [
            {
                "base": "application/json",
                "type": "application/vnd.openstack.messaging-v1_1+json",
            }
        ],
    },
    home=tuple(
        (name, template, "PUT DELETE" if name == "queue" else methods)
        for name, template, methods in RESOURCES
        if not name.startswith(ABSENT)
    ),
    shows_defaults=False,
    filters_queues=False,
    applies_queue_settings=False,
    lists_delayed=False,
    # Open to those who reach this port, as recorded, unless they have to log in.
    guards_admin=False,
    flavors_of_pools=False,
    takes_signatures=False,
)


def routes(service: Service) -> list[Route]:
    """List the routes below the prefix; they ask for the rules of v2."""
    return [
        *shared_routes(service, DIALECT),
        *admin_routes(service, DIALECT, declared_flavors.FlavorResource),
        Route(
            QUEUE,
            queues.QueueResource(service, DIALECT),
            {
                "GET": "queues:get",
                "PUT": "queues:create",
                "DELETE": "queues:delete",
            },
        ),
    ]

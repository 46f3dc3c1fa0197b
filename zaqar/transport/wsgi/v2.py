# SPDX-License-Identifier: Apache-2.0
"""API v2: its dialect and its routes."""

import msgspec

from zaqar.model import TOPICS
from zaqar.service import Service
from zaqar.transport.wsgi import flavors, queues, sharing, subscriptions
from zaqar.transport.wsgi.dialect import Dialect, Route
from zaqar.transport.wsgi.home import RESOURCES
from zaqar.transport.wsgi.shared_routes import (
    QUEUE,
    admin_routes,
    collection_routes,
    shared_routes,
)

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


# The same resources, mounted a second time.
TOPIC_DIALECT = msgspec.structs.replace(DIALECT, kind=TOPICS, takes_signatures=False)
TOPIC = "/topics/{queue_name}"


def routes(service: Service) -> list[Route]:
    """List the routes below the prefix."""
    table = [
        *shared_routes(service, DIALECT),
        *admin_routes(service, DIALECT, flavors.FlavorResource),
        *_own_routes(service, DIALECT, QUEUE),
        *subscription_routes(service, DIALECT, QUEUE),
    ]
    guards = sharing.guards(table, QUEUE)
    share = sharing.ShareResource(service, DIALECT, guards)
    return [
        *table,
        Route(f"{QUEUE}/share", share, {"POST": "queues:share"}),
        *(
            msgspec.structs.replace(route, kind=TOPICS)
            for route in _topic_routes(service)
        ),
    ]


def _own_routes(service: Service, dialect: Dialect, path: str) -> list[Route]:
    """List the routes of a queue, or topic, that v1.1 does not have so."""
    noun = dialect.kind
    return [
        Route(
            path,
            queues.PatchableQueueResource(service, dialect),
            {
                "GET": f"{noun}:get",
                "HEAD": f"{noun}:get",
                "PUT": f"{noun}:create",
                "PATCH": f"{noun}:update",
                "DELETE": f"{noun}:delete",
            },
        ),
        Route(
            f"{path}/purge",
            queues.PurgeResource(service),
            {"POST": f"{noun}:purge"},
        ),
    ]


def _topic_routes(service: Service) -> list[Route]:
    return [
        *collection_routes(service, TOPIC_DIALECT, "/topics", TOPIC),
        *_own_routes(service, TOPIC_DIALECT, TOPIC),
        *subscription_routes(service, TOPIC_DIALECT, TOPIC),
    ]


def subscription_routes(service: Service, dialect: Dialect, path: str) -> list[Route]:
    """List the routes of who is told of messages."""
    signable = dialect.takes_signatures
    one = f"{path}/subscriptions/{{subscription_id}}"
    return [
        Route(
            f"{path}/subscriptions",
            subscriptions.SubscriptionsResource(service, dialect),
            {"GET": "subscription:get_all", "POST": "subscription:create"},
            signable=signable,
        ),
        Route(
            one,
            subscriptions.SubscriptionResource(service, dialect),
            {
                "GET": "subscription:get",
                "PATCH": "subscription:update",
                "DELETE": "subscription:delete",
            },
            signable=signable,
        ),
        Route(
            f"{one}/confirm",
            subscriptions.ConfirmResource(service, dialect),
            {"PUT": "subscription:confirm"},
            # Who is asked to confirm is sent a signature, of a topic too.
            signable=True,
        ),
        Route(
            f"{one}/deliveries",
            subscriptions.DeliveriesResource(service, dialect),
            {"GET": "subscription:get", "POST": "subscription:update"},
            signable=signable,
        ),
    ]

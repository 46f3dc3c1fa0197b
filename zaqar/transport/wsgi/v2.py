# SPDX-License-Identifier: Apache-2.0
"""API v2: its dialect and its routes."""

from zaqar.service import Service
from zaqar.transport.wsgi import claims, discovery, messages, queues
from zaqar.transport.wsgi.dialect import Dialect, Route

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
)


def routes(service: Service) -> list[Route]:
    """List the routes below the prefix."""
    home = discovery.HomeResource(service, DIALECT)
    queue = "/queues/{queue_name}"
    table = [
        Route("", home, {}, anonymous=True),
        Route("/", home, {}, anonymous=True),
        Route(
            "/ping",
            discovery.PingResource(service),
            {"GET": "ping:get", "HEAD": "ping:get"},
            anonymous=True,
        ),
        Route(
            "/queues",
            queues.QueuesResource(service, DIALECT),
            {"GET": "queues:get_all"},
        ),
        Route(
            queue,
            queues.QueueResource(service, DIALECT),
            {
                "GET": "queues:get",
                "HEAD": "queues:get",
                "PUT": "queues:create",
                "PATCH": "queues:update",
                "DELETE": "queues:delete",
            },
        ),
        Route(
            f"{queue}/stats",
            queues.StatsResource(service, DIALECT),
            {"GET": "queues:stats"},
        ),
        Route(
            f"{queue}/purge",
            queues.PurgeResource(service),
            {"POST": "queues:purge"},
        ),
        Route(
            f"{queue}/messages",
            messages.MessagesResource(service, DIALECT),
            {
                "GET": "messages:get_all",
                "POST": "messages:create",
                "DELETE": "messages:delete_all",
            },
        ),
        Route(
            f"{queue}/messages/{{message_id}}",
            messages.MessageResource(service, DIALECT),
            {"GET": "messages:get", "DELETE": "messages:delete"},
        ),
        Route(
            f"{queue}/claims",
            claims.ClaimsResource(service, DIALECT),
            {"POST": "claims:create"},
        ),
        Route(
            f"{queue}/claims/{{claim_id}}",
            claims.ClaimResource(service, DIALECT),
            {"GET": "claims:get", "PATCH": "claims:update", "DELETE": "claims:delete"},
        ),
    ]
    if service.settings.admin_mode:
        health = discovery.HealthResource(service)
        table.append(Route("/health", health, {"GET": "health:get"}))
    return table

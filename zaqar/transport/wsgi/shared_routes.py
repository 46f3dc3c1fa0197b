# SPDX-License-Identifier: Apache-2.0
"""The routes that all versions have, with the rules of their methods."""

from zaqar.service import Service
from zaqar.transport.wsgi import claims, discovery, messages, queues
from zaqar.transport.wsgi.dialect import Dialect, Route

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
        Route(
            "/queues",
            queues.QueuesResource(service, dialect),
            {"GET": "queues:get_all"},
        ),
        Route(
            f"{QUEUE}/stats",
            queues.StatsResource(service, dialect),
            {"GET": "queues:stats"},
        ),
        Route(
            f"{QUEUE}/messages",
            messages.MessagesResource(service, dialect),
            {
                "GET": "messages:get_all",
                "POST": "messages:create",
                "DELETE": "messages:delete_all",
            },
        ),
        Route(
            f"{QUEUE}/messages/{{message_id}}",
            messages.MessageResource(service, dialect),
            {"GET": "messages:get", "DELETE": "messages:delete"},
        ),
        Route(
            f"{QUEUE}/claims",
            claims.ClaimsResource(service, dialect),
            {"POST": "claims:create"},
        ),
        Route(
            f"{QUEUE}/claims/{{claim_id}}",
            claims.ClaimResource(service, dialect),
            {"GET": "claims:get", "PATCH": "claims:update", "DELETE": "claims:delete"},
        ),
    ]
    if service.settings.admin_mode:
        health = discovery.HealthResource(service)
        table.append(Route("/health", health, dialect.health_rules))
    return table

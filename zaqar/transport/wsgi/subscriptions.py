# SPDX-License-Identifier: Apache-2.0
"""Resources of subscriptions: the list, one, its confirmation, its deliveries."""

import falcon

from zaqar.errors import SubscriberExists
from zaqar.operations import subscriptions
from zaqar.service import Service
from zaqar.transport import documents, subscription_documents
from zaqar.transport.wsgi.dialect import Dialect
from zaqar.transport.wsgi.links import next_link
from zaqar.transport.wsgi.middleware import token_of
from zaqar.transport.wsgi.requests import MAX_DOCUMENT, body, query


class SubscriptionsResource:
    """GET, POST /queues/{queue_name}/subscriptions."""

    def __init__(self, service: Service, dialect: Dialect) -> None:
        self._service = service
        self._dialect = dialect

    def on_get(
        self, req: falcon.Request, resp: falcon.Response, queue_name: str
    ) -> None:
        asked = query(req)
        limit = asked.integer("limit")
        page = subscriptions.page(
            req.context.who,
            self._service,
            queue_name,
            marker=asked.text("marker"),
            limit=limit,
        )
        now = self._service.now()
        path = self._dialect.subscriptions(queue_name)
        resp.data = documents.encode(
            {
                "subscriptions": [
                    subscription_documents.subscription(each, queue_name, now)
                    for each in page.items
                ],
                "links": next_link(path, page.marker, {"limit": limit}),
            }
        )

    def on_post(
        self, req: falcon.Request, resp: falcon.Response, queue_name: str
    ) -> None:
        wish = subscription_documents.parse_subscription(body(req, MAX_DOCUMENT))
        path = self._dialect.subscriptions(queue_name)
        try:
            new = subscriptions.create(
                req.context.who, self._service, queue_name, wish, token_of(req.env)
            )
        except SubscriberExists:
            resp.location = path
            raise
        resp.status = falcon.HTTP_201
        resp.location = path
        resp.data = documents.encode({"subscription_id": new.id})


class SubscriptionResource:
    """GET, PATCH, DELETE /queues/{queue_name}/subscriptions/{subscription_id}."""

    def __init__(self, service: Service, dialect: Dialect) -> None:
        self._service = service
        self._dialect = dialect

    def on_get(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        queue_name: str,
        subscription_id: str,
    ) -> None:
        shown = subscriptions.get(
            req.context.who, self._service, queue_name, subscription_id
        )
        resp.data = documents.encode(
            subscription_documents.subscription(shown, queue_name, self._service.now())
        )

    def on_patch(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        queue_name: str,
        subscription_id: str,
    ) -> None:
        wish = subscription_documents.parse_change(body(req, MAX_DOCUMENT))
        subscriptions.change(
            req.context.who,
            self._service,
            queue_name,
            subscription_id,
            wish,
            token_of(req.env),
        )
        resp.status = falcon.HTTP_204
        resp.location = self._dialect.subscription(queue_name, subscription_id)

    def on_delete(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        queue_name: str,
        subscription_id: str,
    ) -> None:
        subscriptions.delete(
            req.context.who, self._service, queue_name, subscription_id
        )
        resp.status = falcon.HTTP_204


class ConfirmResource:
    """PUT /queues/{queue_name}/subscriptions/{subscription_id}/confirm."""

    def __init__(self, service: Service, dialect: Dialect) -> None:
        self._service = service
        self._dialect = dialect

    def on_put(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        queue_name: str,
        subscription_id: str,
    ) -> None:
        confirmed = subscription_documents.parse_confirmation(body(req, MAX_DOCUMENT))
        subscriptions.confirm(
            req.context.who, self._service, queue_name, subscription_id, confirmed
        )
        path = self._dialect.subscription(queue_name, subscription_id)
        resp.status = falcon.HTTP_204
        resp.location = f"{path}/confirm"


class DeliveriesResource:
    """GET, POST /queues/{queue_name}/subscriptions/{subscription_id}/deliveries."""

    def __init__(self, service: Service, dialect: Dialect) -> None:
        self._service = service
        self._dialect = dialect

    def on_get(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        queue_name: str,
        subscription_id: str,
    ) -> None:
        asked = query(req)
        limit = asked.integer("limit")
        page, attempts = subscriptions.deliveries(
            req.context.who,
            self._service,
            queue_name,
            subscription_id,
            marker=asked.text("marker"),
            limit=limit,
        )
        now = self._service.now()
        path = f"{self._dialect.subscription(queue_name, subscription_id)}/deliveries"
        resp.data = documents.encode(
            {
                "deliveries": [
                    subscription_documents.delivery(each, now) for each in page.items
                ],
                "attempts": subscription_documents.attempts(attempts, now),
                "links": next_link(path, page.marker, {"limit": limit}),
            }
        )

    def on_post(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        queue_name: str,
        subscription_id: str,
    ) -> None:
        ids = subscription_documents.parse_replay(body(req, MAX_DOCUMENT))
        count = subscriptions.replay(
            req.context.who, self._service, queue_name, subscription_id, ids
        )
        resp.data = documents.encode({"replayed": count})

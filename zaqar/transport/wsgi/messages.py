# SPDX-License-Identifier: Apache-2.0
"""Resources of messages: the messages of a queue, one message."""

import falcon

from zaqar.errors import InvalidBody, InvalidRequest
from zaqar.operations import messages
from zaqar.service import Service
from zaqar.transport import documents
from zaqar.transport.wsgi.dialect import Dialect
from zaqar.transport.wsgi.links import next_link
from zaqar.transport.wsgi.requests import Query, body, query

# Proxies and clients limit header lines; a longer Location would break the answer.
MAX_LOCATION = 8192


class MessagesResource:
    """GET, POST, DELETE /queues/{queue_name}/messages."""

    def __init__(self, service: Service, dialect: Dialect) -> None:
        self._service = service
        self._dialect = dialect

    def on_post(
        self, req: falcon.Request, resp: falcon.Response, queue_name: str
    ) -> None:
        data = body(req, self._service.limits.max_messages_post_size)
        if not data:
            raise InvalidBody("The body with the messages is missing.")
        ids = messages.post(
            req.context.who,
            self._service,
            queue_name,
            documents.parse_post(data),
            size=len(data),
            with_settings=self._dialect.applies_queue_settings,
        )
        path = self._dialect.messages(queue_name)
        location = f"{path}?ids={','.join(ids)}"
        resp.status = falcon.HTTP_201
        resp.location = location if len(location) <= MAX_LOCATION else path
        resp.data = documents.encode({"resources": [f"{path}/{id}" for id in ids]})

    def on_get(
        self, req: falcon.Request, resp: falcon.Response, queue_name: str
    ) -> None:
        asked = query(req)
        ids = asked.all("ids")
        if ids:
            shown = messages.get_many(req.context.who, self._service, queue_name, ids)
            path = self._dialect.messages(queue_name)
            resp.data = documents.encode(
                {"messages": documents.messages(shown, path, self._service.now())}
            )
        else:
            self._list(req, resp, queue_name, asked)

    def _list(
        self, req: falcon.Request, resp: falcon.Response, queue_name: str, asked: Query
    ) -> None:
        limit, echo = asked.integer("limit"), asked.boolean("echo")
        claimed = asked.boolean("include_claimed")
        lists_delayed = self._dialect.lists_delayed
        delayed = asked.boolean("include_delayed") if lists_delayed else None
        page = messages.page(
            req.context.who,
            self._service,
            queue_name,
            marker=asked.text("marker"),
            limit=limit,
            echo=bool(echo),
            claimed=bool(claimed),
            delayed=bool(delayed),
        )
        path = self._dialect.messages(queue_name)
        parameters = {
            "limit": limit,
            "echo": echo,
            "include_claimed": claimed,
        }
        if lists_delayed:
            # Nothing is hidden now, so nothing is to be hidden on the next page.
            parameters["include_delayed"] = delayed if page.delays else True
        resp.data = documents.encode(
            {
                "messages": documents.messages(page.items, path, self._service.now()),
                "links": next_link(path, page.marker, parameters),
            }
        )

    def on_delete(
        self, req: falcon.Request, resp: falcon.Response, queue_name: str
    ) -> None:
        asked = query(req)
        ids, pop, claims = (
            asked.all("ids"),
            asked.integer("pop"),
            asked.all("claim_ids"),
        )
        if bool(ids) == (pop is not None):
            raise InvalidRequest("Give either ids or pop, and not both.")
        if pop is None:
            messages.delete_many(
                req.context.who, self._service, queue_name, ids, claims
            )
            resp.status = falcon.HTTP_204
            return
        popped = messages.pop(req.context.who, self._service, queue_name, pop, claims)
        resp.data = documents.encode(documents.popped(popped, self._service.now()))


class MessageResource:
    """GET, DELETE /queues/{queue_name}/messages/{message_id}."""

    def __init__(self, service: Service, dialect: Dialect) -> None:
        self._service = service
        self._dialect = dialect

    def on_get(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        queue_name: str,
        message_id: str,
    ) -> None:
        shown = messages.get(req.context.who, self._service, queue_name, message_id)
        path = self._dialect.messages(queue_name)
        resp.data = documents.encode(
            documents.message(shown, path, self._service.now())
        )

    def on_delete(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        queue_name: str,
        message_id: str,
    ) -> None:
        claim = query(req).text("claim_id")
        messages.delete(req.context.who, self._service, queue_name, message_id, claim)
        resp.status = falcon.HTTP_204

# SPDX-License-Identifier: Apache-2.0
"""Resources of queues: the list, one queue, its stats, purge."""

from typing import Any

import falcon

from zaqar.errors import InvalidBody, InvalidRequest, UnsupportedMediaType
from zaqar.operations import queues
from zaqar.queue_settings import parse_patch, shown_metadata
from zaqar.service import Service
from zaqar.transport import documents
from zaqar.transport.wsgi.dialect import Dialect
from zaqar.transport.wsgi.links import next_link
from zaqar.transport.wsgi.requests import INTEGER, MAX_DOCUMENT, Query, body, query

PATCH_TYPE = "application/openstack-messaging-v2.0-json-patch"

LIST_PARAMETERS = ("marker", "limit", "detailed", "name", "with_count")


class QueuesResource:
    """GET /queues."""

    def __init__(self, service: Service, dialect: Dialect) -> None:
        self._service = service
        self._dialect = dialect

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        asked = query(req)
        detailed = asked.boolean("detailed") or False
        with_count = asked.boolean("with_count") or False
        match = metadata_filter(asked)
        page = queues.page(
            req.context.who,
            self._service,
            marker=asked.text("marker"),
            limit=asked.integer("limit"),
            name=asked.text("name") or "",
            match=match,
        )
        answer: dict[str, Any] = {
            "queues": [
                {"name": queue.name, "href": self._dialect.queue(queue.name)}
                | ({"metadata": self._shown(queue.metadata)} if detailed else {})
                for queue in page.items
            ],
            "links": next_link(
                f"{self._dialect.prefix}/queues",
                page.marker,
                {
                    "limit": asked.integer("limit"),
                    "detailed": asked.boolean("detailed"),
                    "name": asked.text("name"),
                    "with_count": asked.boolean("with_count"),
                    **match,
                },
            ),
        }
        if with_count and (count := queues.count(req.context.who, self._service)):
            answer["count"] = count
        resp.data = documents.encode(answer)

    def _shown(self, metadata: Any) -> dict[str, Any]:
        return shown_metadata(metadata, self._service.limits)


def metadata_filter(asked: Query) -> dict[str, str | int]:
    """Return what the metadata must equal: all parameters that mean nothing else."""
    match: dict[str, str | int] = {}
    for name in asked.names():
        value = asked.text(name)
        if name not in LIST_PARAMETERS and value is not None:
            match[name] = int(value) if INTEGER.fullmatch(value) else value
    return match


class QueueResource:
    """GET, HEAD, PUT, PATCH, DELETE /queues/{queue_name}."""

    def __init__(self, service: Service, dialect: Dialect) -> None:
        self._service = service
        self._dialect = dialect

    def on_get(
        self, req: falcon.Request, resp: falcon.Response, queue_name: str
    ) -> None:
        metadata = queues.get(req.context.who, self._service, queue_name)
        resp.data = documents.encode(metadata)

    def on_head(
        self, req: falcon.Request, resp: falcon.Response, queue_name: str
    ) -> None:
        found = queues.exists(req.context.who, self._service, queue_name)
        resp.status = falcon.HTTP_204 if found else falcon.HTTP_404

    def on_put(
        self, req: falcon.Request, resp: falcon.Response, queue_name: str
    ) -> None:
        data = body(req, self._service.limits.max_queue_metadata, "Queue metadata")
        metadata = documents.parse_object(data) if data else {}
        new = queues.put(req.context.who, self._service, queue_name, metadata)
        resp.status = falcon.HTTP_201 if new else falcon.HTTP_204
        resp.location = self._dialect.queue(queue_name)

    def on_patch(
        self, req: falcon.Request, resp: falcon.Response, queue_name: str
    ) -> None:
        media_type = (req.content_type or "").partition(";")[0].strip().lower()
        if media_type != PATCH_TYPE:
            raise UnsupportedMediaType(f"The Content-Type must be {PATCH_TYPE}.")
        try:
            limit = self._service.limits.max_queue_metadata
            data = body(req, limit, "The patch")
        except InvalidRequest as error:
            raise InvalidBody(str(error)) from None
        changes = parse_patch(documents.parse(data))
        metadata = queues.patch(req.context.who, self._service, queue_name, changes)
        resp.data = documents.encode(metadata)

    def on_delete(
        self, req: falcon.Request, resp: falcon.Response, queue_name: str
    ) -> None:
        queues.delete(req.context.who, self._service, queue_name)
        resp.status = falcon.HTTP_204


class StatsResource:
    """GET /queues/{queue_name}/stats."""

    def __init__(self, service: Service, dialect: Dialect) -> None:
        self._service = service
        self._dialect = dialect

    def on_get(
        self, req: falcon.Request, resp: falcon.Response, queue_name: str
    ) -> None:
        stats = queues.stats(req.context.who, self._service, queue_name)
        resp.data = documents.encode(
            documents.stats(
                stats, self._dialect.messages(queue_name), self._service.now()
            )
        )


class PurgeResource:
    """POST /queues/{queue_name}/purge."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def on_post(
        self, req: falcon.Request, resp: falcon.Response, queue_name: str
    ) -> None:
        types = documents.parse_purge(body(req, MAX_DOCUMENT))
        queues.purge(
            req.context.who,
            self._service,
            queue_name,
            messages="messages" in types,
            subscriptions="subscriptions" in types,
        )
        resp.status = falcon.HTTP_204

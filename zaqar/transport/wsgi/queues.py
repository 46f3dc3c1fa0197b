# SPDX-License-Identifier: Apache-2.0
"""Resources of queues: the list, one queue, its stats, purge."""

from typing import Any

import falcon
import msgspec

from zaqar.errors import InvalidBody, InvalidRequest, UnsupportedMediaType
from zaqar.model import QUEUES, TOPICS, Metadata
from zaqar.operations import queues
from zaqar.queue_settings import parse_patch, shown_metadata, shown_topic
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
        filters = self._filters(asked)
        page = queues.page(
            req.context.who,
            self._service,
            marker=asked.text("marker"),
            limit=asked.integer("limit"),
            name=filters.name,
            match=filters.match,
        )
        answer: dict[str, Any] = {
            self._dialect.kind: [
                {"name": queue.name, "href": self._dialect.queue(queue.name)}
                | ({"metadata": self._shown(queue.metadata)} if detailed else {})
                for queue in page.items
            ],
            "links": next_link(
                self._dialect.queues(),
                page.marker,
                {
                    "limit": asked.integer("limit"),
                    "detailed": asked.boolean("detailed"),
                    "name": filters.name or None,
                    "with_count": filters.with_count,
                    **filters.match,
                },
            ),
        }
        if filters.with_count:
            count = queues.count(req.context.who, self._service)
            answer |= {"count": count} if count else {}
        resp.data = documents.encode(answer)

    def _filters(self, asked: Query) -> "Filters":
        if not self._dialect.filters_queues:
            return Filters()
        return Filters(
            asked.text("name") or "",
            asked.boolean("with_count") if self._dialect.kind == QUEUES else None,
            metadata_filter(asked),
        )

    def _shown(self, metadata: Metadata) -> Metadata:
        return shown(self._dialect, metadata, self._service)


class Filters(msgspec.Struct, frozen=True):
    """Which queues are listed, and whether all are counted."""

    name: str = ""
    with_count: bool | None = None
    match: dict[str, str | int] = {}


def shown(dialect: Dialect, metadata: Metadata, service: Service) -> Metadata:
    """Return metadata as this version shows it."""
    if not dialect.shows_defaults:
        return metadata
    if dialect.kind == TOPICS:
        return shown_topic(metadata, service.limits)
    return shown_metadata(metadata, service.limits)


def metadata_filter(asked: Query) -> dict[str, str | int]:
    """Return what the metadata must equal: all parameters that mean nothing else."""
    match: dict[str, str | int] = {}
    for name in asked.names():
        value = asked.text(name)
        if name not in LIST_PARAMETERS and value is not None:
            match[name] = int(value) if INTEGER.fullmatch(value) else value
    return match


class QueueResource:
    """GET, PUT, DELETE /queues/{queue_name}."""

    def __init__(self, service: Service, dialect: Dialect) -> None:
        self._service = service
        self._dialect = dialect

    def on_get(
        self, req: falcon.Request, resp: falcon.Response, queue_name: str
    ) -> None:
        metadata = queues.get(req.context.who, self._service, queue_name)
        resp.data = documents.encode(shown(self._dialect, metadata, self._service))

    def on_put(
        self, req: falcon.Request, resp: falcon.Response, queue_name: str
    ) -> None:
        data = body(req, self._service.limits.max_queue_metadata, "Queue metadata")
        metadata = documents.parse_object(data) if data else {}
        new = queues.put(req.context.who, self._service, queue_name, metadata)
        resp.status = falcon.HTTP_201 if new else falcon.HTTP_204
        resp.location = self._dialect.queue(queue_name)

    def on_delete(
        self, req: falcon.Request, resp: falcon.Response, queue_name: str
    ) -> None:
        queues.delete(req.context.who, self._service, queue_name)
        resp.status = falcon.HTTP_204


class PatchableQueueResource(QueueResource):
    """HEAD and PATCH /queues/{queue_name} besides."""

    def on_head(
        self, req: falcon.Request, resp: falcon.Response, queue_name: str
    ) -> None:
        found = queues.exists(req.context.who, self._service, queue_name)
        resp.status = falcon.HTTP_204 if found else falcon.HTTP_404

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
        resp.data = documents.encode(shown(self._dialect, metadata, self._service))


class StatsResource:
    """GET /queues/{queue_name}/stats."""

    def __init__(self, service: Service, dialect: Dialect) -> None:
        self._service = service
        self._dialect = dialect

    def on_get(
        self, req: falcon.Request, resp: falcon.Response, queue_name: str
    ) -> None:
        who = req.context.who
        stats = queues.stats(who, self._service, queue_name)
        shown = documents.stats(
            stats, self._dialect.messages(queue_name), self._service.now()
        )
        if self._dialect.kind == TOPICS and (
            stats.total or queues.exists(who, self._service, queue_name)
        ):
            # As recorded: nobody claims from a topic. Of an absent one, all is 0.
            del shown["messages"]["claimed"], shown["messages"]["free"]
        resp.data = documents.encode(shown)


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

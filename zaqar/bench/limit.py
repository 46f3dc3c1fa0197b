# SPDX-License-Identifier: Apache-2.0
"""A bare Falcon application that answers as the service does, but stores nothing.

It reads the JSON of each request and writes the JSON of each answer with Falcon's own
means. What it costs is the least that a Falcon service can cost: the unit of measure.
"""

import os
from typing import Any
from uuid import uuid4

import falcon

from zaqar.bench import stamps

MESSAGE_SIZE = "ZAQAR_BENCH_MESSAGE_SIZE"
MESSAGE_ID = "01234567-89ab-7cde-8f01-23456789abcd"
CLAIM_ID = "fedcba98-7654-7210-8fed-cba987654321"
LANDMARK_TIME = "2026-01-01T00:00:00Z"

Request = falcon.Request
Response = falcon.Response


class Messages:
    """Posts, lists, pops and deletes messages that do not exist."""

    def __init__(self, body: dict[str, str]) -> None:
        self.body = body

    def on_post(self, req: Request, resp: Response, queue: str) -> None:
        count = len(req.get_media()["messages"])
        path = req.path
        resp.status = falcon.HTTP_201
        ids = ",".join([MESSAGE_ID] * count)
        if len(ids) < 8000:
            resp.set_header("Location", f"{path}?ids={ids}")
        else:
            resp.set_header("Location", path)
        resp.media = {"resources": [f"{path}/{MESSAGE_ID}"] * count}

    def on_get(self, req: Request, resp: Response, queue: str) -> None:
        limit = req.get_param_as_int("limit", default=10)
        messages = [shown(f"{req.path}/{MESSAGE_ID}", self.body) for _ in range(limit)]
        following = f"{req.path}?limit={limit}&include_delayed=true&marker=1234567890"
        links = [{"rel": "next", "href": following}]
        resp.media = {"messages": messages, "links": links}

    def on_delete(self, req: Request, resp: Response, queue: str) -> None:
        count = req.get_param_as_int("pop")
        if count is None:
            req.get_param_as_list("ids", required=True)
            resp.status = falcon.HTTP_204
            return
        messages = [popped(self.body) for _ in range(count)]
        resp.media = {"messages": messages}


class Message:
    """Shows and deletes one message that does not exist."""

    def __init__(self, body: dict[str, str]) -> None:
        self.body = body

    def on_get(self, req: Request, resp: Response, queue: str, message: str) -> None:
        resp.media = shown(req.path, self.body)

    def on_delete(self, req: Request, resp: Response, queue: str, message: str) -> None:
        req.get_param("claim_id")
        resp.status = falcon.HTTP_204


class Claims:
    """Hands out claims on nothing."""

    def __init__(self, body: dict[str, str]) -> None:
        self.body = body

    def on_post(self, req: Request, resp: Response, queue: str) -> None:
        req.get_media()
        limit = req.get_param_as_int("limit", default=10)
        path = f"/v2/queues/{queue}"
        href = f"{path}/messages/{MESSAGE_ID}?claim_id={CLAIM_ID}"
        resp.status = falcon.HTTP_201
        resp.set_header("Location", f"{path}/claims/{CLAIM_ID}")
        resp.media = {"messages": [shown(href, self.body) for _ in range(limit)]}


class Stats:
    """Counts what does not exist."""

    def on_get(self, req: Request, resp: Response, queue: str) -> None:
        href = f"/v2/queues/{queue}/messages/{MESSAGE_ID}"
        landmark = {"href": href, "age": 100, "created": LANDMARK_TIME}
        counts: dict[str, Any] = {"claimed": 10000, "free": 90000, "total": 100000}
        counts["oldest"] = counts["newest"] = landmark
        resp.media = {"messages": counts}


class Queue:
    """Makes and removes queues that do not exist."""

    def on_put(self, req: Request, resp: Response, queue: str) -> None:
        req.get_media(default_when_empty=None)
        resp.status = falcon.HTTP_201
        resp.set_header("Location", req.path)

    def on_delete(self, req: Request, resp: Response, queue: str) -> None:
        resp.status = falcon.HTTP_204


class RequestIds:
    """Gives each answer an id and checks that the caller says who it is."""

    def process_request(self, req: Request, resp: Response) -> None:
        if not (req.get_header("Client-ID") and req.get_header("X-Project-ID")):
            raise falcon.HTTPBadRequest(title="Missing header value")
        resp.set_header("x-openstack-request-id", f"req-{uuid4()}")


def shown(href: str, body: dict[str, str]) -> dict[str, Any]:
    """Return a message as listings and claims show it."""
    return {"id": MESSAGE_ID, "href": href, "ttl": 3600, "age": 10, "body": body}


def popped(body: dict[str, str]) -> dict[str, Any]:
    """Return a message as a pop shows it."""
    return {
        "id": MESSAGE_ID,
        "age": 10,
        "ttl": 3600,
        "body": body,
        "claim_id": None,
        "claim_count": 0,
    }


def make_application(size: int) -> falcon.App:  # type: ignore[type-arg]
    """Return the application for bodies of `size` bytes."""
    pad = "x" * (size - stamps.SMALLEST_BODY)
    body = {"stamp": f"{stamps.NOBODY}{0:033d}", "pad": pad}
    app = falcon.App(middleware=[RequestIds()])
    queue = "/v2/queues/{queue}"
    app.add_route(queue, Queue())
    app.add_route(queue + "/stats", Stats())
    app.add_route(queue + "/messages", Messages(body))
    app.add_route(queue + "/messages/{message}", Message(body))
    app.add_route(queue + "/claims", Claims(body))
    return app


application = make_application(int(os.environ.get(MESSAGE_SIZE, "256")))

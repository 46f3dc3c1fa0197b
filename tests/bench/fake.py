# SPDX-License-Identifier: Apache-2.0
"""A small queue service in memory, for one process; it can misbehave on demand.

ZAQAR_FAKE_LOSE=n forgets each n-th message that it acknowledged, ZAQAR_FAKE_REPEAT=n
hands each n-th message out twice, ZAQAR_FAKE_FAIL=n answers each n-th request 503.
"""

import itertools
import json
import os
import threading
from collections import deque

import falcon


class Queues:
    """The messages, under one lock."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.lock = threading.Lock()
        self.ready: dict[str, deque] = {}
        self.held: dict[str, dict] = {}
        self.numbers = itertools.count(1)
        self.lose = int(os.environ.get("ZAQAR_FAKE_LOSE", "0"))
        self.repeat = int(os.environ.get("ZAQAR_FAKE_REPEAT", "0"))

    def post(self, name, messages):
        ids = []
        with self.lock:
            queue = self.ready.setdefault(name, deque())
            for message in messages:
                number = next(self.numbers)
                ids.append(f"id-{number}")
                if self.lose and number % self.lose == 0:
                    continue
                queue.append((ids[-1], message["body"]))
                if self.repeat and number % self.repeat == 0:
                    queue.append((ids[-1], message["body"]))
        return ids

    def take(self, name, limit, *, hold):
        with self.lock:
            queue = self.ready.setdefault(name, deque())
            taken = [queue.popleft() for _ in range(min(limit, len(queue)))]
            if hold:
                self.held.setdefault(name, {}).update(taken)
            return taken

    def delete(self, name, ids):
        with self.lock:
            held = self.held.setdefault(name, {})
            for each in ids:
                held.pop(each, None)

    def all(self, name):
        with self.lock:
            held = list(self.held.get(name, {}).items())
            return held + list(self.ready.get(name, ()))


class Queue:
    def __init__(self, queues):
        self.queues = queues

    def on_put(self, req, resp, name):
        self.queues.names.add(name)
        resp.status = 201

    def on_delete(self, req, resp, name):
        self.queues.names.discard(name)
        self.queues.ready.pop(name, None)
        self.queues.held.pop(name, None)
        resp.status = 204


class Names(Queue):
    def on_get(self, req, resp):
        resp.media = {"queues": sorted(self.queues.names)}


class Messages(Queue):
    def on_post(self, req, resp, name):
        ids = self.queues.post(name, req.get_media()["messages"])
        resp.status = 201
        resp.media = {"resources": [f"{req.path}/{each}" for each in ids]}

    def on_get(self, req, resp, name):
        start = req.get_param_as_int("marker", default=0)
        limit = req.get_param_as_int("limit", default=10)
        page = self.queues.all(name)[start : start + limit]
        query = f"limit={limit}&marker={start + limit}"
        resp.media = {
            "messages": [shown(req.path, *message) for message in page],
            "links": [{"rel": "next", "href": f"{req.path}?{query}"}] if page else [],
        }

    def on_delete(self, req, resp, name):
        count = req.get_param_as_int("pop")
        if count is None:
            self.queues.delete(name, req.get_param_as_list("ids"))
            resp.status = 204
        else:
            taken = self.queues.take(name, count, hold=False)
            resp.media = {"messages": [{"id": i, "body": body} for i, body in taken]}


class Message(Queue):
    def on_get(self, req, resp, name, message):
        found = dict(self.queues.all(name))
        resp.media = shown(req.path, message, found[message])

    def on_delete(self, req, resp, name, message):
        self.queues.delete(name, [message])
        resp.status = 204


class Claims(Queue):
    def on_post(self, req, resp, name):
        limit = req.get_param_as_int("limit", default=10)
        taken = self.queues.take(name, limit, hold=True)
        resp.status = 201 if taken else 204
        if taken:
            path = f"/v2/queues/{name}/messages"
            # Written with spaces, unlike the service itself: both must be understood.
            messages = [shown(path, *message) for message in taken]
            resp.text = json.dumps({"messages": messages}, indent=1)


class Stats(Queue):
    def on_get(self, req, resp, name):
        resp.media = {"messages": {"total": len(self.queues.all(name))}}


class Failures:
    """Answers some requests with an error."""

    def __init__(self, every):
        self.every = every
        self.numbers = itertools.count(1)

    def process_request(self, req, resp):
        if req.method == "POST" and next(self.numbers) % self.every == 0:
            raise falcon.HTTPServiceUnavailable(title="Out of order")


def shown(path, message, body):
    return {"id": message, "href": f"{path}/{message}?claim_id=c", "body": body}


def make_application():
    queues = Queues()
    every = int(os.environ.get("ZAQAR_FAKE_FAIL", "0"))
    app = falcon.App(middleware=[Failures(every)] if every else [])
    path = "/v2/queues/{name}"
    app.add_route("/v2/queues", Names(queues))
    app.add_route(path, Queue(queues))
    app.add_route(path + "/messages", Messages(queues))
    app.add_route(path + "/messages/{message}", Message(queues))
    app.add_route(path + "/claims", Claims(queues))
    app.add_route(path + "/stats", Stats(queues))
    return app


application = make_application()

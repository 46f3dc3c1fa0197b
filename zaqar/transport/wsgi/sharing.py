# SPDX-License-Identifier: Apache-2.0
"""Signed URLs on the wire: making them, and the headers of requests that use one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import falcon

from zaqar import signing
from zaqar.errors import SignatureRefused
from zaqar.keys import Key
from zaqar.operations import sharing
from zaqar.service import Service
from zaqar.signing import Terms
from zaqar.transport import documents
from zaqar.transport.share_documents import KINDS, parse_share, shared
from zaqar.transport.wsgi.dialect import Dialect, Route, Rules
from zaqar.transport.wsgi.requests import MAX_DOCUMENT, body

# The rules of the routes below each kind of path that can be shared.
Guards = Mapping[str, Sequence[Rules]]


class ShareResource:
    """POST /queues/{queue_name}/share."""

    def __init__(self, service: Service, dialect: Dialect, guards: Guards) -> None:
        self._service = service
        self._dialect = dialect
        self._guards = guards

    def on_post(
        self, req: falcon.Request, resp: falcon.Response, queue_name: str
    ) -> None:
        lent, kinds = parse_share(
            body(req, MAX_DOCUMENT), self._dialect.queue(queue_name)
        )
        rules = self._rules(kinds, lent.methods)
        answer = sharing.share(req.context.who, self._service, lent, rules)
        resp.data = documents.encode(shared(*answer))

    def _rules(self, kinds: Iterable[str], methods: Sequence[str]) -> Iterator[str]:
        for kind in kinds:
            for rules in self._guards[kind]:
                yield from (rules[method] for method in methods if method in rules)


def guards(table: Iterable[Route], queue: str) -> Guards:
    """Return the rules that guard what can be shared of a queue."""
    routes = [route for route in table if route.signable]
    return {
        kind: [
            route.rules
            for route in routes
            if f"{route.path}/".startswith(f"{queue}/{kind}/")
        ]
        for kind in KINDS
    }


def is_signed(env: Mapping[str, Any]) -> bool:
    """Say whether a request claims to be signed; an empty signature claims it too."""
    return "HTTP_URL_SIGNATURE" in env


def signer_of(
    env: Mapping[str, Any], project: str, keys: Sequence[Key], now: float
) -> str:
    """Return the name of the key by whose signature the request may be served.

    Raises SignatureRefused.
    """
    # SECURITY: nobody has to write a signed path with escapes; what is written so may
    # be read otherwise by somebody in between.
    if not project or "%" in env.get("RAW_URI", "").partition("?")[0]:
        raise SignatureRefused(signing.REFUSED)
    terms = Terms(
        tuple(env.get("HTTP_URL_PATHS", "").split(",")),
        tuple(env.get("HTTP_URL_METHODS", "").split(",")),
        project,
        env.get("HTTP_URL_EXPIRES", ""),
    )
    return signing.verify(
        env["HTTP_URL_SIGNATURE"],
        terms,
        keys,
        method=env["REQUEST_METHOD"],
        path=env["PATH_INFO"],
        now=now,
    )

# SPDX-License-Identifier: Apache-2.0
"""Resources of claims: making one, one claim."""

import falcon
import msgspec

from zaqar.errors import InvalidBody
from zaqar.operations import claims
from zaqar.operations.claims import Wish
from zaqar.service import Service
from zaqar.transport import documents
from zaqar.transport.wsgi.dialect import Dialect
from zaqar.transport.wsgi.requests import MAX_DOCUMENT, body, query


class ClaimsResource:
    """POST /queues/{queue_name}/claims."""

    def __init__(self, service: Service, dialect: Dialect) -> None:
        self._service = service
        self._dialect = dialect

    def on_post(
        self, req: falcon.Request, resp: falcon.Response, queue_name: str
    ) -> None:
        limit = query(req).integer("limit")
        data = body(req, MAX_DOCUMENT)
        wish = documents.parse_claim(data) if data else Wish()
        if limit is not None:
            wish = msgspec.structs.replace(wish, limit=limit)
        claim, held = claims.create(req.context.who, self._service, queue_name, wish)
        if not held:
            resp.status = falcon.HTTP_204
            return
        path = self._dialect.messages(queue_name)
        resp.status = falcon.HTTP_201
        resp.location = self._dialect.claim(queue_name, claim)
        resp.data = documents.encode(
            {"messages": documents.messages(held, path, self._service.now())}
        )


class ClaimResource:
    """GET, PATCH, DELETE /queues/{queue_name}/claims/{claim_id}."""

    def __init__(self, service: Service, dialect: Dialect) -> None:
        self._service = service
        self._dialect = dialect

    def on_get(
        self, req: falcon.Request, resp: falcon.Response, queue_name: str, claim_id: str
    ) -> None:
        claim = claims.get(req.context.who, self._service, queue_name, claim_id)
        resp.data = documents.encode(
            documents.claim(
                claim,
                self._dialect.claim(queue_name, claim_id),
                self._dialect.messages(queue_name),
                self._service.now(),
            )
        )

    def on_patch(
        self, req: falcon.Request, resp: falcon.Response, queue_name: str, claim_id: str
    ) -> None:
        data = body(req, MAX_DOCUMENT)
        if not data:
            raise InvalidBody("The body with ttl and grace is missing.")
        wish = documents.parse_claim(data)
        claims.renew(req.context.who, self._service, queue_name, claim_id, wish)
        resp.status = falcon.HTTP_204

    def on_delete(
        self, req: falcon.Request, resp: falcon.Response, queue_name: str, claim_id: str
    ) -> None:
        claims.release(req.context.who, self._service, queue_name, claim_id)
        resp.status = falcon.HTTP_204

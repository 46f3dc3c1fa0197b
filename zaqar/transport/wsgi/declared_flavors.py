# SPDX-License-Identifier: Apache-2.0
"""The resource of a flavor as v1.1 has it: an object that is kept, and no pools."""

import falcon

from zaqar.operations import flavors
from zaqar.storage.pooling.pools import Pools
from zaqar.transport import documents, pool_documents
from zaqar.transport.wsgi.dialect import Dialect
from zaqar.transport.wsgi.requests import MAX_DOCUMENT, body, query


class FlavorResource:
    """GET, PUT, PATCH, DELETE /flavors/{flavor}."""

    def __init__(self, pools: Pools, dialect: Dialect) -> None:
        self._pools = pools
        self._dialect = dialect

    def on_get(self, req: falcon.Request, resp: falcon.Response, flavor: str) -> None:
        detailed = query(req).boolean("detailed") or False
        shown = flavors.get(self._pools, req.context.who.project, flavor)
        resp.data = documents.encode(
            pool_documents.declared_flavor(
                shown, self._dialect.flavor(flavor), detailed=detailed
            )
        )

    def on_put(self, req: falcon.Request, resp: falcon.Response, flavor: str) -> None:
        wish = pool_documents.parse_declared(body(req, MAX_DOCUMENT), whole=True)
        flavors.declare(self._pools, req.context.who.project, flavor, wish)
        resp.status = falcon.HTTP_201
        resp.location = self._dialect.flavor(flavor)

    def on_patch(self, req: falcon.Request, resp: falcon.Response, flavor: str) -> None:
        wish = pool_documents.parse_declared(body(req, MAX_DOCUMENT), whole=False)
        flavors.redeclare(self._pools, req.context.who.project, flavor, wish)

    def on_delete(
        self, req: falcon.Request, resp: falcon.Response, flavor: str
    ) -> None:
        flavors.delete(self._pools, req.context.who.project, flavor)
        resp.status = falcon.HTTP_204

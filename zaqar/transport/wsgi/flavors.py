# SPDX-License-Identifier: Apache-2.0
"""Resources of flavors: the list, and one flavor as v2 has it."""

import falcon

from zaqar.limits import Limits, page_limit
from zaqar.operations import flavors
from zaqar.storage.pooling.pools import Pools
from zaqar.transport import documents, pool_documents
from zaqar.transport.wsgi.dialect import Dialect
from zaqar.transport.wsgi.links import next_link
from zaqar.transport.wsgi.requests import MAX_DOCUMENT, body, query


class FlavorsResource:
    """GET /flavors."""

    def __init__(self, pools: Pools, limits: Limits, dialect: Dialect) -> None:
        self._pools = pools
        self._maximum = limits.max_flavors_per_page
        self._dialect = dialect
        self._shown = pool_documents.declared_flavor
        if dialect.flavors_of_pools:
            self._shown = pool_documents.listed_flavor

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        asked, path = query(req), f"{self._dialect.prefix}/flavors"
        limit, detailed = asked.integer("limit"), asked.boolean("detailed")
        page = flavors.page(
            self._pools,
            req.context.who.project,
            marker=asked.text("marker"),
            limit=page_limit(limit, "limit", self._maximum),
        )
        found = [
            self._shown(
                each, self._dialect.flavor(each.name), detailed=detailed or False
            )
            for each in page.items
        ]
        links = next_link(path, page.marker, {"limit": limit, "detailed": detailed})
        resp.data = documents.encode({"flavors": found, "links": links})


class FlavorResource:
    """GET, PUT, PATCH, DELETE /flavors/{flavor}."""

    def __init__(self, pools: Pools, dialect: Dialect) -> None:
        self._pools = pools
        self._dialect = dialect

    def on_get(self, req: falcon.Request, resp: falcon.Response, flavor: str) -> None:
        shown = flavors.get(self._pools, req.context.who.project, flavor)
        resp.data = documents.encode(
            pool_documents.flavor(shown, self._dialect.flavor(flavor))
        )

    def on_put(self, req: falcon.Request, resp: falcon.Response, flavor: str) -> None:
        pool_list, wish = pool_documents.parse_flavor(body(req, MAX_DOCUMENT))
        flavors.put(self._pools, req.context.who.project, flavor, pool_list, wish)
        resp.status = falcon.HTTP_201
        resp.location = self._dialect.flavor(flavor)

    def on_patch(self, req: falcon.Request, resp: falcon.Response, flavor: str) -> None:
        pool_list = pool_documents.parse_pool_list(body(req, MAX_DOCUMENT))
        project = req.context.who.project
        shown = flavors.patch(self._pools, project, flavor, pool_list)
        resp.data = documents.encode(
            pool_documents.flavor(shown, self._dialect.flavor(flavor))
        )

    def on_delete(
        self, req: falcon.Request, resp: falcon.Response, flavor: str
    ) -> None:
        flavors.delete(self._pools, req.context.who.project, flavor)
        resp.status = falcon.HTTP_204

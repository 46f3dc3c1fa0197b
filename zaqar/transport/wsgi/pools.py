# SPDX-License-Identifier: Apache-2.0
"""Resources of pools: the list, one pool."""

import falcon

from zaqar.limits import Limits, page_limit
from zaqar.operations import pools
from zaqar.storage.pooling.pools import Pools
from zaqar.transport import documents, pool_documents
from zaqar.transport.wsgi.dialect import Dialect
from zaqar.transport.wsgi.links import next_link
from zaqar.transport.wsgi.requests import MAX_DOCUMENT, body, query


class PoolsResource:
    """GET /pools."""

    def __init__(self, known: Pools, limits: Limits, dialect: Dialect) -> None:
        self._pools = known
        self._maximum = limits.max_pools_per_page
        self._dialect = dialect

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        asked, path = query(req), f"{self._dialect.prefix}/pools"
        limit, detailed = asked.integer("limit"), asked.boolean("detailed")
        page = pools.page(
            self._pools,
            marker=asked.text("marker"),
            limit=page_limit(limit, "limit", self._maximum),
        )
        shown = [
            pool_documents.pool(
                pool, self._dialect.pool(pool.name), detailed=detailed or False
            )
            for pool in page.items
        ]
        links = next_link(path, page.marker, {"limit": limit, "detailed": detailed})
        resp.data = documents.encode({"pools": shown, "links": links})
        resp.content_location = f"{path}?{req.query_string}".rstrip("?")


class PoolResource:
    """GET, PUT, PATCH, DELETE /pools/{pool}."""

    def __init__(self, known: Pools, dialect: Dialect) -> None:
        self._pools = known
        self._dialect = dialect

    def on_get(self, req: falcon.Request, resp: falcon.Response, pool: str) -> None:
        detailed = query(req).boolean("detailed") or False
        shown = pools.get(self._pools, pool)
        resp.data = documents.encode(
            pool_documents.pool(shown, self._dialect.pool(pool), detailed=detailed)
        )

    def on_put(self, req: falcon.Request, resp: falcon.Response, pool: str) -> None:
        form = pool_documents.parse_pool(body(req, MAX_DOCUMENT))
        is_old = not self._dialect.flavors_of_pools
        pools.put(self._pools, pool, form, keeps_flavor=is_old)
        resp.status = falcon.HTTP_201
        resp.location = self._dialect.pool(pool)

    def on_patch(self, req: falcon.Request, resp: falcon.Response, pool: str) -> None:
        fields = [
            field
            for field in pool_documents.POOL_FIELDS
            if field != "flavor" or self._dialect.flavors_of_pools
        ]
        form = pool_documents.parse_pool_patch(body(req, MAX_DOCUMENT), fields)
        shown = pools.patch(self._pools, pool, form)
        if self._dialect.flavors_of_pools:
            resp.data = documents.encode(
                pool_documents.pool(shown, self._dialect.pool(pool), detailed=False)
            )

    def on_delete(self, req: falcon.Request, resp: falcon.Response, pool: str) -> None:
        pools.delete(self._pools, pool)
        resp.status = falcon.HTTP_204

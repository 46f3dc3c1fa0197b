# SPDX-License-Identifier: Apache-2.0
"""Puts the WSGI application together: routes, gate, errors."""

from typing import Any, NoReturn

import falcon
import msgspec
from oslo_log import log

from zaqar.errors import (
    NotAcceptable,
    QuotaExceeded,
    StorageUnavailable,
    UnknownRoute,
    ZaqarError,
)
from zaqar.service import Service
from zaqar.transport.auth import Application, Authentication, keystone
from zaqar.transport.statuses import INTERNAL_ERROR, STATUSES
from zaqar.transport.wsgi import discovery, v1_1, v2
from zaqar.transport.wsgi.cors import Cors
from zaqar.transport.wsgi.dialect import Route
from zaqar.transport.wsgi.middleware import Gate
from zaqar.transport.wsgi.request_log import Refusals, RequestLog

LOG = log.getLogger(__name__)


def build_app(service: Service) -> Application:
    """Return the WSGI application of a service, with what is chosen to stand before."""
    table, settings = routes(service), service.settings
    app: Application = _falcon_app(service, table)
    if settings.auth_strategy:
        anonymous = [route.path for route in table if route.anonymous]
        refused = Refusals(logged=settings.request_log)
        app = Authentication(app, keystone(settings.config), anonymous, refused)
    if settings.config.cors.allowed_origin:
        app = Cors(app, settings.config.cors)
    return app


def _falcon_app(
    service: Service, table: list[Route]
) -> falcon.App[falcon.Request, falcon.Response]:
    middleware: list[Any] = [Gate(service, {route.resource: route for route in table})]
    if service.settings.request_log:
        middleware.insert(0, RequestLog())
    app = falcon.App(middleware=middleware)
    app.req_options.auto_parse_form_urlencoded = False
    app.add_error_handler(Exception, _unexpected)
    app.add_error_handler(ZaqarError, _expected)
    if service.settings.quotas.status != STATUSES[QuotaExceeded][0]:
        app.add_error_handler(QuotaExceeded, _unavailable)
    app.add_error_handler(falcon.HTTPError, _as_it_is)
    for route in table:
        app.add_route(route.path, route.resource)
    return app


def routes(service: Service) -> list[Route]:
    """List the routes of all versions, by their whole paths."""
    offered: list[Any] = [v2]
    if v1_1.OPTION in service.settings.deprecated_api_versions:
        offered.insert(0, v1_1)
    dialects = [version.DIALECT for version in offered]
    versions = discovery.VersionsResource(service, dialects)
    return [
        Route("/", versions, {}, anonymous=True),
        Route("/healthz", discovery.AliveResource(), {}, anonymous=True),
        Route("/readyz", discovery.ReadyResource(service), {}, anonymous=True),
        *(
            msgspec.structs.replace(route, path=version.DIALECT.prefix + route.path)
            for version in offered
            for route in version.routes(service)
        ),
    ]


def _expected(
    req: falcon.Request, resp: falcon.Response, error: ZaqarError, params: Any
) -> NoReturn:
    """Answer an error of the service by its status and title."""
    status, title = STATUSES[type(error)]
    if isinstance(error, UnknownRoute):
        raise falcon.HTTPNotFound
    if isinstance(error, NotAcceptable):
        raise falcon.HTTPNotAcceptable(description=str(error))
    headers = None
    if isinstance(error, StorageUnavailable | QuotaExceeded):
        headers = {"Retry-After": str(error.retry_after)}
    if isinstance(error, StorageUnavailable):
        LOG.error("%s %r: %s", req.method, req.path, error)
    raise falcon.HTTPError(status, title=title, description=str(error), headers=headers)


def _unavailable(
    req: falcon.Request, resp: falcon.Response, error: QuotaExceeded, params: Any
) -> NoReturn:
    """Answer a quota to clients that do not know its status."""
    raise falcon.HTTPError(
        STATUSES[StorageUnavailable][0],
        title=STATUSES[QuotaExceeded][1],
        description=str(error),
        headers={"Retry-After": str(error.retry_after)},
    )


def _unexpected(
    req: falcon.Request, resp: falcon.Response, error: Exception, params: Any
) -> NoReturn:
    """Log a bug and answer 500; the description names where to look."""
    request_id = req.context.get("request_id", "-")
    LOG.exception("%s %r failed, request %s", req.method, req.path, request_id)
    status, title = INTERNAL_ERROR
    raise falcon.HTTPError(
        status, title=title, description=f"The log has more under {request_id}."
    )


def _as_it_is(
    req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, params: Any
) -> NoReturn:
    raise error

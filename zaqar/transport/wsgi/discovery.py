# SPDX-License-Identifier: Apache-2.0
"""Resources that say what is here and whether it works."""

import re
from typing import Any

import falcon
from oslo_log import log

from zaqar.operations import health
from zaqar.service import Service
from zaqar.transport import documents
from zaqar.transport.wsgi.dialect import Dialect
from zaqar.transport.wsgi.home import home_document

LOG = log.getLogger(__name__)

MOUNT = re.compile(r"(?:/[A-Za-z0-9_.~-]+)+/?")


def mount_of(req: falcon.Request, service: Service) -> str:
    """Return the path below which the service is mounted; empty at the root.

    A proxy is believed only if it is trusted by name (integrations: rule 4).
    """
    prefix: str = req.env.get("HTTP_X_FORWARDED_PREFIX", "")
    trusted = req.env.get("REMOTE_ADDR") in service.settings.trusted_proxies
    if trusted and MOUNT.fullmatch(prefix):
        return prefix.rstrip("/") + req.root_path
    return str(req.root_path)


def version_entry(dialect: Dialect, mount: str) -> dict[str, Any]:
    """Return the version's entry; its link resolves from the place of the mount."""
    href = f"{mount.rstrip('/')}{dialect.prefix}/"
    return {**dialect.version, "links": [{"href": href, "rel": "self"}]}


class VersionsResource:
    """GET / : the versions that are offered."""

    def __init__(self, service: Service, dialects: list[Dialect]) -> None:
        self._service = service
        self._dialects = dialects

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        mount = mount_of(req, self._service)
        entries = [version_entry(dialect, mount) for dialect in self._dialects]
        resp.status = falcon.HTTP_300
        resp.data = documents.encode({"versions": entries})


class HomeResource:
    """GET /v2, /v2/, /v1.1 and /v1.1/ : the home document of a version."""

    def __init__(self, service: Service, dialect: Dialect) -> None:
        self._service = service
        self._dialect = dialect

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        version = version_entry(self._dialect, mount_of(req, self._service))
        admin = self._service.settings.admin_mode
        resp.data = documents.encode(home_document(self._dialect, version, admin))
        resp.content_type = "application/json-home"
        resp.cache_control = ["max-age=86400"]


class PingResource:
    """GET, HEAD /ping : whether the message store answers, with pools all of them."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        _answer_whether(health.is_alive(self._service), resp)

    def on_head(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.status = falcon.HTTP_204


class ReadyResource(PingResource):
    """GET, HEAD /readyz : whether some requests can be served here."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        _answer_whether(health.is_ready(self._service), resp)


def _answer_whether(works: bool, resp: falcon.Response) -> None:
    resp.status = falcon.HTTP_204
    if not works:
        resp.status = falcon.HTTP_503
        resp.set_header("Retry-After", "1")


class AliveResource:
    """GET, HEAD /healthz : the process answers, whatever its store does."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.status = falcon.HTTP_204

    on_head = on_get


class HealthResource:
    """GET /health : the self-test of the store, or of each pool."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        pools = self._service.pools
        if pools is None:
            shown = documents.health(health.report(self._service, _log_failure))
        else:
            report = health.pools_report(pools, self._service.now, _log_failure)
            shown = documents.pools_health(report)
        resp.data = documents.encode(shown)


def _log_failure(reference: str, operation: str, error: Exception) -> None:
    LOG.error("Self-test %s: %s failed: %s", reference, operation, error)

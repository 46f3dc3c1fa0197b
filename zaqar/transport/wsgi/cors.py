# SPDX-License-Identifier: Apache-2.0
"""Lets pages of other origins use the service, by oslo.middleware.

It stands before authentication: a browser's question whether it may ask (a preflight)
has no token. Requests without an Origin pass by it, and cost nothing.
"""

from collections.abc import Iterable
from typing import Any

from oslo_config import cfg

from zaqar.transport.auth import Application, Environ, StartResponse


class Cors:
    """The application behind it is asked all but preflights."""

    def __init__(self, app: Application, group: Any) -> None:
        """`group` is [cors] of the configuration."""
        # It needs an extra.
        from oslo_middleware import cors

        # NOTE: it registers options of its own, with other defaults than ours.
        own = cfg.ConfigOpts()
        own([], default_config_files=[], default_config_dirs=[])
        own.register_opts(cors.OPTS, group="cors")
        for option in cors.OPTS:
            own.set_override(option.name, group[option.name], group="cors")
        self._app = app
        self._rules = cors.CORS(_nothing, own)

    def __call__(
        self, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        if "HTTP_ORIGIN" not in environ:
            return self._app(environ, start_response)
        asks = "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
        if asks and environ["REQUEST_METHOD"] == "OPTIONS":
            preflight: Iterable[bytes] = self._rules(environ, start_response)
            return preflight
        added = self._headers(environ)

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*headers, *added], *more)

        return self._app(environ, start)

    def _headers(self, environ: Environ) -> list[tuple[str, str]]:
        """Return what an answer says of who may read it.

        NOTE: the answer does not pass through the library, which makes its Location an
        absolute URL.
        """
        from webob import Request, Response

        empty = Response()
        self._rules.process_response(empty, Request(environ))
        return [
            (name, value)
            for name, value in empty.headers.items()
            if name.lower().startswith(("access-control-", "vary"))
        ]


def _nothing(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]

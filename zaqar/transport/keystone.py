# SPDX-License-Identifier: Apache-2.0
"""Verifies tokens by keystonemiddleware, which comes with the extra 'keystone'.

Imported only where Keystone is chosen.
"""

import importlib.util
import json
import re
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from keystoneauth1.exceptions import ClientException
from keystonemiddleware.auth_token import AuthProtocol
from keystonemiddleware.exceptions import KeystoneMiddlewareException
from oslo_config import cfg
from oslo_log import log

from zaqar.errors import ConfigurationError
from zaqar.transport.auth import IDENTITY, Application, Environ, StartResponse
from zaqar.transport.keystone_pause import PAUSE_SECONDS, Pause
from zaqar.transport.single_flight import Flights
from zaqar.transport.token_cache import TokenCache

LOG = log.getLogger(__name__)

GROUP = "keystone_authtoken"
# By this name of the environment the middleware finds our cache.
CACHE = "zaqar.token_cache"
# Where memcached remembers tokens, they are remembered here for so long besides.
BESIDE_MEMCACHED_SECONDS = 10
WRONG_OPTIONS = (
    *(ClientException, KeystoneMiddlewareException),
    *(cfg.Error, OSError, ValueError),
)
# PERF: nobody reads the others, and the catalog alone is as long as the rest of the
# request.
KEPT = frozenset(("HTTP_X_PROJECT_ID", "HTTP_X_ROLES"))
# SECURITY: what cannot be a token is not shown to Keystone: an error that it makes of
# such a thing would look as if it were out of order.
TOKEN = re.compile(r"[!-~]{1,4096}")


class Keystone:
    """Asks Keystone whose token it is, and remembers for a time what it said."""

    def __init__(self, config: Any) -> None:
        """Read [keystone_authtoken]; nobody is asked yet. Raises ConfigurationError."""
        try:
            self._middleware = AuthProtocol(
                _confirm, {"oslo_config_config": config, "cache": CACHE}
            )
            check(config)
        except WRONG_OPTIONS as error:
            raise ConfigurationError(f"[{GROUP}] {error}") from None
        options = config[GROUP]
        self._challenge = f'Keystone uri="{public_address(config)}"'
        self._memcached = bool(options.memcached_servers)
        seconds = options.token_cache_time
        if self._memcached:
            seconds = min(seconds, BESIDE_MEMCACHED_SECONDS)
        self._remembers = seconds > 0
        self._tokens = TokenCache(seconds, time.time)
        self._flights = Flights()
        self._pause = Pause(time.monotonic)

    def identify(self, environ: Environ) -> Application | None:
        """Put the headers of the token's owner into the environment.

        Returns what answers instead, if there is no valid token (401) or Keystone does
        not say (503).
        """
        # PERF: the middleware reads the whole document again for each request.
        token = environ.get("HTTP_X_AUTH_TOKEN", "")
        service = environ.get("HTTP_X_SERVICE_TOKEN")
        if service is None and (known := self._tokens.headers(token)):
            environ.update(known)
            return None
        environ.pop("HTTP_X_STORAGE_TOKEN", None)
        token = token.strip()
        if not TOKEN.fullmatch(token):
            return self._refuse
        if service is None:
            return self._ask_once(environ, token)
        # Beside the token of a service a user's may be good that is not otherwise.
        if not TOKEN.fullmatch(service.strip()):
            return self._refuse
        return self._ask(environ, "")

    def _ask_once(self, environ: Environ, token: str) -> Application | None:
        """Ask about a token, unless somebody else has asked meanwhile."""
        if not self._remembers:
            return self._ask(environ, token)
        # A client that begins with many requests at once does not flood Keystone.
        with self._flights.alone(token):
            if known := self._tokens.headers(token):
                environ.update(known)
                return None
            return self._ask(environ, token)

    def _ask(self, environ: Environ, token: str) -> Application | None:
        """Let the middleware decide; remember the token if one is given."""
        if not self._pause.may_ask():
            return _unavailable
        began = time.monotonic()
        answered = self._is_answered(environ)
        self._pause.note(answered, time.monotonic() - began)
        if not answered:
            return _unavailable
        # SECURITY: the application behind the middleware is reached with valid tokens
        # only; that is not what this rests on.
        if environ.get("HTTP_X_IDENTITY_STATUS") != "Confirmed":
            return self._refuse
        if environ.get("HTTP_X_SERVICE_IDENTITY_STATUS", "Confirmed") != "Confirmed":
            return self._refuse
        self._settle(environ, token)
        return None

    def _is_answered(self, environ: Environ) -> bool:
        """Say whether Keystone said something about the tokens."""
        statuses: list[str] = []

        def start(status: str, headers: Any, exc_info: Any = None) -> None:
            statuses.append(status)

        if not self._memcached:
            environ[CACHE] = self._tokens
        try:
            for _ in self._middleware(environ, start):
                pass
        except (ClientException, OSError) as error:
            LOG.error("Keystone cannot be asked: %s", error)
            return False
        return not statuses[0].startswith("5")

    def _settle(self, environ: Environ, token: str) -> None:
        """Leave in the environment what will be there the next time too."""
        for name in IDENTITY & environ.keys():
            if environ[name] is None or name not in KEPT:
                del environ[name]
        environ.pop("keystone.token_auth", None)
        document = environ.pop("keystone.token_info")["token"]
        if token and not _is_restricted(document):
            headers = {name: environ[name] for name in KEPT & environ.keys()}
            expires = datetime.fromisoformat(document["expires_at"]).timestamp()
            self._tokens.remember(token, headers, expires=expires)

    def _refuse(
        self, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer 401, and where tokens are to be had."""
        message = "The request needs a valid token of Keystone in X-Auth-Token."
        error = {"code": 401, "title": "Unauthorized", "message": message}
        headers = [("WWW-Authenticate", self._challenge)]
        status = "401 Unauthorized"
        return _answer(environ, start_response, status, {"error": error}, headers)


def _confirm(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Stand behind the middleware as its application."""
    start_response("204 No Content", [])
    return []


def _unavailable(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    document = {
        "title": "Service temporarily unavailable",
        "description": "Keystone does not answer, so that tokens cannot be verified.",
    }
    wait = [("Retry-After", str(PAUSE_SECONDS))]
    status = "503 Service Unavailable"
    return _answer(environ, start_response, status, document, wait)


def _answer(
    environ: Environ,
    start_response: StartResponse,
    status: str,
    document: Any,
    headers: list[tuple[str, str]],
) -> Iterable[bytes]:
    body = json.dumps(document).encode()
    kind = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response(status, [*kind, *headers])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def _is_restricted(document: dict[str, Any]) -> bool:
    """Say whether a token is good for some requests only, or for one bearer."""
    application = document.get("application_credential") or {}
    return application.get("access_rules") is not None or "bind" in document


def public_address(config: Any) -> str:
    """Return where clients get tokens."""
    options = config[GROUP]
    section = options.auth_section or GROUP
    return str(options.www_authenticate_uri or config[section].auth_url)


def check(config: Any) -> None:
    """Raise ValueError for what cannot work, or would let everybody in."""
    options = config[GROUP]
    section = options.auth_section or GROUP
    if not config[section].auth_type:
        raise ValueError("auth_type is missing: password, as a rule.")
    if not config[section].auth_url:
        raise ValueError("auth_url is missing: where Keystone is.")
    if options.delay_auth_decision:
        raise ValueError("delay_auth_decision: nobody else decides here.")
    if options.cache:
        raise ValueError("cache: use memcached_servers.")
    if options.memcached_servers:
        _check_memcached(options)


def _check_memcached(options: Any) -> None:
    """Raise ValueError if the package is missing that would be imported later."""
    binary = ("memcache_tls_enabled", "memcache_sasl_enabled")
    chosen = [name for name in binary if getattr(options, name, False)]
    module, package = ("bmemcached", "python-binary-memcached")
    if not chosen:
        module, package = ("memcache", "python-memcached")
    if not importlib.util.find_spec(module):
        named = chosen[0] if chosen else "memcached_servers"
        raise ValueError(f"{named} needs the package {package}.")

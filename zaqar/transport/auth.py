# SPDX-License-Identifier: Apache-2.0
"""Stands before the WSGI application and lets nobody in whom Keystone does not know.

Knows which requests need a token and which headers say who asks; how a token is
verified is the business of `keystone.py`.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

StartResponse = Callable[..., Any]
Environ = dict[str, Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

# Set for requests whose token was verified. No header can set it: names of headers
# begin with HTTP_.
VERIFIED = "zaqar.token_verified"

_OF_USER_AND_SERVICE = (
    *("DOMAIN_ID", "DOMAIN_NAME", "PROJECT_ID", "PROJECT_NAME"),
    *("PROJECT_DOMAIN_ID", "PROJECT_DOMAIN_NAME", "USER_ID", "USER_NAME"),
    *("USER_DOMAIN_ID", "USER_DOMAIN_NAME", "ROLES", "IDENTITY_STATUS"),
)
PROJECT = frozenset(("HTTP_X_PROJECT_ID", "HTTP_X_TENANT_ID"))
# All headers that say who asks. WSGI spells dashes as underscores, so that a client's
# X_Roles, which granian takes for X-Roles, is meant too.
IDENTITY = PROJECT.union(
    (f"HTTP_X_{name}" for name in _OF_USER_AND_SERVICE),
    (f"HTTP_X_SERVICE_{name}" for name in _OF_USER_AND_SERVICE),
    ("HTTP_X_ROLE", "HTTP_X_USER", "HTTP_X_TENANT", "HTTP_X_TENANT_NAME"),
    ("HTTP_X_SERVICE_CATALOG", "HTTP_X_IS_ADMIN_PROJECT"),
    ("HTTP_OPENSTACK_SYSTEM_SCOPE",),
)
# The project is a part of what is signed.
NOT_SIGNED = IDENTITY - PROJECT


class Verifier(Protocol):
    """Finds out who sends a token."""

    def identify(self, environ: Environ) -> Application | None:
        """Put identity headers into the environment, or return what refuses."""


def keystone(config: Any) -> Verifier:
    """Return what asks Keystone. Raises ConfigurationError."""
    # It needs an extra, and takes long to import.
    from zaqar.transport.keystone import Keystone

    return Keystone(config)


class Authentication:
    """The application behind it sees only identity headers that were verified."""

    def __init__(
        self,
        app: Application,
        verifier: Verifier,
        anonymous: Iterable[str],
        refused: Callable[[Application, Environ, StartResponse], Iterable[bytes]],
    ) -> None:
        """`anonymous` are the whole paths that need no token; `refused` answers."""
        self._app = app
        self._refused = refused
        self._verifier = verifier
        self._anonymous = frozenset(anonymous)

    def __call__(
        self, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        # SECURITY: what clients say about who they are is dropped on every path.
        if (environ.get("PATH_INFO") or "/") in self._anonymous:
            _drop(environ, IDENTITY)
        elif "HTTP_URL_SIGNATURE" in environ:
            # SECURITY: this header needs no token and lets nobody in: the gate serves
            # the request if the signature is valid, and has no other way for it.
            _drop(environ, NOT_SIGNED)
        else:
            _drop(environ, IDENTITY)
            refusal = self._verifier.identify(environ)
            if refusal is not None:
                return self._refused(refusal, environ, start_response)
            environ[VERIFIED] = True
        return self._app(environ, start_response)


def _drop(environ: Environ, names: frozenset[str]) -> None:
    for name in names.intersection(environ):
        del environ[name]

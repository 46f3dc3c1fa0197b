# SPDX-License-Identifier: Apache-2.0
"""The gate of every routed request: headers become a Context, in a fixed order.

Route (404) -> signature (404) -> form (400) -> Accept (406) -> Client-ID (400) ->
project (400) -> rate of the project (429) -> queue name (400) -> method (405) ->
policy (403); then the resource reads query and body.
"""

import re
import uuid
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import falcon

from zaqar.errors import (
    FormContentType,
    MissingClientId,
    MissingProject,
    NotAcceptable,
    NotAuthorized,
    SignatureRefused,
    UnknownRoute,
    WrongClientId,
)
from zaqar.limits import (
    Limits,
    check_client_length,
    check_project,
    check_queue_name,
    check_topic_name,
)
from zaqar.model import QUEUES, TOPICS, Context
from zaqar.service import Service
from zaqar.transport.auth import VERIFIED
from zaqar.transport.wsgi import sharing
from zaqar.transport.wsgi.dialect import Route
from zaqar.transport.wsgi.request_log import REQUEST_ID, new_request_id

# What Python's UUID takes besides is no spelling of one.
UUID_CHARACTERS = re.compile(r"(?:urn:uuid:)?\{?[0-9A-Fa-f-]+\}?")
FORM = "application/x-www-form-urlencoded"
NAME_CHECKS = {QUEUES: check_queue_name, TOPICS: check_topic_name}
ACCEPTED = frozenset(("", "*/*", "application/json", "application/*"))


class Gate:
    """Checks who asks, and by the rules of the resource's route what they may do."""

    def __init__(self, service: Service, routes: Mapping[Any, Route]) -> None:
        self._service = service
        self._routes = routes

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Give every request an id, that of an unknown path too."""
        request_id = req.context.request_id = new_request_id()
        resp.set_header(REQUEST_ID, request_id)

    def process_resource(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        resource: Any,
        params: Mapping[str, str],
    ) -> None:
        request_id = req.context.request_id
        if req.method == "OPTIONS":
            return
        route, env = self._routes[resource], req.env
        client = project = ""
        roles, granted = roles_of(env), False
        if "%2f" in env.get("RAW_URI", "").partition("?")[0].lower():
            # Decoded, it would be taken for a step in the path.
            raise UnknownRoute
        if not route.anonymous:
            if sharing.is_signed(env):
                req.context.signed_by = self._signer(route, env)
                # SECURITY: a signature is all that its user has; roles that a header
                # claims are none of it.
                roles, granted = (), True
            else:
                self._check_token(env)
            check_headers(req, env)
            client = client_of(env, self._service.limits)
            project = project_of(env)
            if self._service.quotas is not None and not route.unmetered:
                self._service.quotas.admit_request(project)
            if "queue_name" in params:
                NAME_CHECKS[route.kind](params["queue_name"])
        context = Context(project, client, roles, request_id, granted, route.kind)
        rule = route.rules.get(req.method)
        if rule is not None:
            self._service.policy.check(rule, context)
        req.context.who = context

    def _check_token(self, env: Mapping[str, Any]) -> None:
        """Raise NotAuthorized for what Keystone should have stopped already.

        SECURITY: a path that reached its route some other way serves nobody.
        """
        if self._service.settings.auth_strategy and VERIFIED not in env:
            raise NotAuthorized("authentication")

    def _signer(self, route: Route, env: Mapping[str, Any]) -> str:
        """Return the name of the key that signed. Raises SignatureRefused."""
        if not route.signable:
            # SECURITY: who was lent a part of a queue lends nothing on, and
            # administers nothing, whatever is signed.
            raise SignatureRefused("Signatures mean nothing on this route.")
        keys = self._service.settings.signing_keys
        project = named_project(env) or ""
        return sharing.signer_of(env, project, keys, self._service.now())


def check_headers(req: falcon.Request, env: Mapping[str, Any]) -> None:
    """Raise where the headers alone show that the request cannot be served."""
    content_type = env.get("CONTENT_TYPE", "")
    if content_type.lower() == FORM and env.get("CONTENT_LENGTH"):
        raise FormContentType(f"The Content-Type {FORM} is not read here; send JSON.")
    accept = env.get("HTTP_ACCEPT", "")
    if accept not in ACCEPTED and not req.client_accepts("application/json"):
        raise NotAcceptable("The Accept header excludes application/json.")


def client_of(env: Mapping[str, Any], limits: Limits) -> str:
    """Return the client id, in one spelling. Raises MissingClientId, WrongClientId."""
    client = env.get("HTTP_CLIENT_ID")
    if client is None:
        raise MissingClientId("The header Client-ID is missing.")
    if limits.client_id_uuid_safe == "off":
        check_client_length(client, limits)
        return str(client)
    return canonical_uuid(client)


# PERF: a client uses one id for all its requests; parsing a UUID takes 2.7 µs.
@lru_cache(maxsize=10_000)
def canonical_uuid(text: str) -> str:
    """Return 32 hex digits, whatever the spelling. Raises WrongClientId."""
    try:
        if not UUID_CHARACTERS.fullmatch(text):
            raise ValueError
        return uuid.UUID(text).hex
    except ValueError:
        raise WrongClientId("The header Client-ID must be a UUID.") from None


def roles_of(env: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the roles of the caller; without Keystone they are believed."""
    roles = env.get("HTTP_X_ROLES")
    return split_roles(roles) if roles else ()


# PERF: there are few sets of roles; splitting one takes 0.6 µs.
@lru_cache(maxsize=1000)
def split_roles(text: str) -> tuple[str, ...]:
    """Return the roles that a header lists."""
    return tuple(role.strip() for role in text.split(","))


def project_of(env: Mapping[str, Any]) -> str:
    """Return the project id. Raises MissingProject, EmptyProject, InvalidQueueName."""
    project = named_project(env)
    if project is None:
        raise MissingProject("The header X-Project-ID is missing.")
    check_project(project)
    return project


def token_of(env: Mapping[str, Any]) -> str | None:
    """Return the token that was verified; None without one."""
    token: str | None = env.get("HTTP_X_AUTH_TOKEN") if VERIFIED in env else None
    return token


def named_project(env: Mapping[str, Any]) -> str | None:
    """Return the project that the headers name; signatures are for the same one."""
    project: str | None = env.get("HTTP_X_PROJECT_ID", env.get("HTTP_X_TENANT_ID"))
    return project

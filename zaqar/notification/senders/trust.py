# SPDX-License-Identifier: Apache-2.0
"""Delivers to trust+http and trust+https: a webhook with a token of Keystone.

A trust lets the user of the group [trustee] act for the one who subscribed. Comes with
the extra 'keystone', whose libraries block: they run in a few threads.
"""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import msgspec
from oslo_log import log

from zaqar.errors import ConfigurationError, InvalidRequest, StorageUnavailable
from zaqar.notification.payload import LAST_INSTANT
from zaqar.notification.senders import webhook
from zaqar.notification.senders.base import DeliveryFailed, Options, Target, Tools
from zaqar.notification.settings import NotificationSettings

LOG = log.getLogger(__name__)

GROUP = "trustee"
# How long an answer of Keystone is waited for.
KEYSTONE_SECONDS = 5
THREADS = 8
# A token is not used so short before its end, and that many are remembered.
SPARE_SECONDS = 60
MAX_TOKENS = 10_000
MAX_TRUST_ID = 64
# What Keystone answers where there is no such trust, or its user may do nothing.
GONE = frozenset((400, 401, 403, 404))


class Token(msgspec.Struct, frozen=True):
    """A token and the instant at which it ends."""

    id: str
    expires: float


class TrustedWebhook:
    """A sender."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._tokens: dict[str, Token] = {}
        self._threads = ThreadPoolExecutor(THREADS, "keystone")

    @staticmethod
    def check(
        subscriber: str, options: Options, settings: NotificationSettings
    ) -> None:
        _trust_id(options)
        webhook.check(_webhook_uri(subscriber), options, settings)

    async def deliver(self, target: Target) -> int | None:
        """Post with a token; with a new one again if a remembered one is refused."""
        trust = _trust_id(target.options)
        if trust is None:
            raise DeliveryFailed("The subscription has no trust_id.", final=True)
        uri = _webhook_uri(target.subscriber)
        token = self._remembered(trust)
        if token is not None:
            try:
                return await self._post(target, uri, token)
            except DeliveryFailed as failure:
                if failure.status != 401:
                    raise
                self._tokens.pop(trust, None)
        return await self._post(target, uri, await self._new_token(trust))

    async def _post(self, target: Target, uri: str, token: Token) -> int:
        return await webhook.post(self._tools, target, uri, {"X-Auth-Token": token.id})

    def _remembered(self, trust: str) -> Token | None:
        token = self._tokens.get(trust)
        return token if token and token.expires > time.time() + SPARE_SECONDS else None

    async def _new_token(self, trust: str) -> Token:
        loop = asyncio.get_running_loop()
        token = await loop.run_in_executor(
            self._threads, _ask_for_token, self._tools.config, trust
        )
        self._tokens.pop(trust, None)
        if len(self._tokens) >= MAX_TOKENS:
            del self._tokens[next(iter(self._tokens))]
        self._tokens[trust] = token
        return token


def create_trust(
    config: Any,
    *,
    token: str,
    project: str,
    roles: tuple[str, ...],
    expires: float,
) -> str:
    """Make a trust from the user of a token to the trustee; return its id.

    Blocks. Raises InvalidRequest where there can be none, StorageUnavailable where
    Keystone does not answer.
    """
    try:
        trustee, session = _authentication(config), _session(config)
    except (ConfigurationError, ImportError) as error:
        LOG.error("No trusts can be made: %s", error)
        raise InvalidRequest(
            "options.trust_id is needed: this service makes no trusts."
        ) from None
    from keystoneauth1 import exceptions
    from keystoneauth1.identity import generic

    trust: dict[str, Any] = {
        "project_id": project,
        "impersonation": True,
        "roles": [{"name": role} for role in roles],
    }
    if expires < LAST_INSTANT:
        moment = datetime.fromtimestamp(expires, UTC).replace(tzinfo=None)
        trust["expires_at"] = f"{moment.isoformat(timespec='microseconds')}Z"
    caller = generic.Token(config[GROUP].auth_url, token=token, project_id=project)
    try:
        trust["trustor_user_id"] = caller.get_user_id(session)
        trust["trustee_user_id"] = trustee.get_user_id(session)
        answer = session.post(
            "/OS-TRUST/trusts",
            auth=caller,
            json={"trust": trust},
            endpoint_filter={"service_type": "identity", "interface": "public"},
            endpoint_override=_v3(config[GROUP].auth_url),
        )
    except exceptions.HTTPClientError as error:
        LOG.warning("Keystone makes no trust: %s", error)
        raise InvalidRequest(
            "options.trust_id: Keystone makes no trust of this token."
        ) from error
    except exceptions.ClientException as error:
        LOG.error("Keystone cannot be asked for a trust: %s", error)
        raise StorageUnavailable("Keystone does not answer.") from error
    identifier: str = answer.json()["trust"]["id"]
    return identifier


def remove_trust(config: Any, trust: str, *, token: str, project: str) -> None:
    """Remove a trust that the user of the token made; a failure is logged.

    Blocks.
    """
    from keystoneauth1 import exceptions
    from keystoneauth1.identity import generic

    caller = generic.Token(config[GROUP].auth_url, token=token, project_id=project)
    try:
        _session(config).delete(
            f"/OS-TRUST/trusts/{trust}",
            auth=caller,
            endpoint_filter={"service_type": "identity", "interface": "public"},
            endpoint_override=_v3(config[GROUP].auth_url),
        )
    except exceptions.ClientException as error:
        LOG.warning("The trust %s is needed no more and stays: %s", trust, error)


def _ask_for_token(config: Any, trust: str) -> Token:
    """Ask Keystone. Blocks. Raises DeliveryFailed."""
    try:
        from keystoneauth1 import exceptions
    except ImportError as error:
        raise DeliveryFailed("This service knows no Keystone.") from error
    try:
        access = _authentication(config, trust_id=trust).get_access(_session(config))
    except ConfigurationError as error:
        LOG.error("%s", error)
        raise DeliveryFailed("This service has no trustee.") from error
    except exceptions.HttpError as error:
        raise DeliveryFailed(
            "Keystone gives no token for the trust.", final=error.http_status in GONE
        ) from error
    except exceptions.ClientException as error:
        LOG.error("Keystone cannot be asked for a token: %s", error)
        raise DeliveryFailed("Keystone does not answer.") from error
    return Token(access.auth_token, access.expires.timestamp())


def _authentication(config: Any, **values: Any) -> Any:
    """Return the trustee as the options describe it. Raises ConfigurationError."""
    from keystoneauth1 import exceptions, loading

    loading.register_auth_conf_options(config, GROUP)
    try:
        found = loading.load_auth_from_conf_options(config, GROUP, **values)
    except exceptions.ClientException as error:
        raise ConfigurationError(f"[{GROUP}]: {error}") from error
    if found is None:
        raise ConfigurationError(f"[{GROUP}] auth_type is not set.")
    return found


def _session(config: Any) -> Any:
    from keystoneauth1 import loading, session

    loading.register_session_conf_options(config, GROUP)
    group = config[GROUP]
    return session.Session(
        verify=False if group.insecure else group.cafile or True,
        timeout=group.timeout or KEYSTONE_SECONDS,
    )


def _v3(url: str) -> str:
    """Return the root of version 3; options may name the one of all versions."""
    root = url.rstrip("/")
    return root if root.endswith("/v3") else f"{root}/v3"


def _webhook_uri(subscriber: str) -> str:
    return subscriber.partition("+")[2]


def _trust_id(options: Mapping[str, Any]) -> str | None:
    trust = options.get("trust_id")
    if trust is None:
        return None
    if not isinstance(trust, str) or not 1 <= len(trust) <= MAX_TRUST_ID:
        raise InvalidRequest(
            f"options.trust_id must be a string of 1 to {MAX_TRUST_ID} characters."
        )
    return trust

# SPDX-License-Identifier: Apache-2.0
"""What the server says when it starts: where it is, what it keeps, what is unsafe."""

import ipaddress
from typing import Any

import msgspec

from zaqar import __version__
from zaqar.conf import (
    RedisSettings,
    Settings,
    SqliteSettings,
    StoreSettings,
)
from zaqar.keys import BUILT_IN, STRONG
from zaqar.masking import masked
from zaqar.quota_settings import QuotaSettings

GOOD_KEY = "openssl rand -hex 32 writes a good key."


def start_report(settings: Settings, pools: int | None = None) -> str:
    """Return the lines that are printed before the first request is served.

    `pools` is how many are registered; None: there are no pools, or nobody could be
    asked.
    """
    address = base_url(settings)
    lines = [
        f"zaqar-server {__version__}",
        f"  address         {address}",
        *_keeping(settings, pools),
        f"  authentication  {_authentication(settings)}",
        f"  engine          {settings.engine}, {settings.workers} workers of "
        f"{settings.threads} threads",
        f"  signed URLs     {_signing(settings)}",
        f"  quotas          {_quotas(settings.quotas)}",
        f"  encryption      {encryption(settings)}",
        f"  notifications   {_notifications(settings)}",
        f"  admin mode      {'on' if settings.admin_mode else 'off'}",
        *(f"  warning         {warning}" for warning in warnings(settings, pools)),
        "",
        "Try it:",
        "",
        curl(address),
        "",
    ]
    return "\n".join(lines)


def _authentication(settings: Settings) -> str:
    if not settings.auth_strategy:
        return "none: project and client id are taken from the headers"
    group = settings.config.keystone_authtoken
    where = "memcached" if group.memcached_servers else "each worker"
    return (
        f"keystone at {group.www_authenticate_uri or group.auth_url}; tokens are "
        f"remembered for {group.token_cache_time} s in {where}"
    )


def _keeping(settings: Settings, pools: int | None) -> list[str]:
    """Tell where messages are kept, and what is promised of them."""
    if settings.registry is None:
        return [
            f"  store           {_place(settings.store)}",
            f"  durability      {_promise(settings.store)}",
        ]
    count = "not known yet" if pools is None else str(pools)
    default = f"{_place(settings.store)}: {_promise(settings.store)}"
    return [
        f"  registry        {_place(settings.registry)}",
        f"  pools           {count}; zaqar-manage pool list tells what they promise",
        *([f"  default pool    {default}"] if settings.virtual_pool else []),
    ]


def _signing(settings: Settings) -> str:
    """Tell which keys sign URLs and verify them, by their names."""
    if not settings.signing_keys:
        return "off: no key is set in [signed_url]"
    first, *others = [key.name for key in settings.signing_keys]
    before = f"; valid too: those of {', '.join(others)}" if others else ""
    return f"on, signed with key {first}{before}"


def _notifications(settings: Settings) -> str:
    """Tell who delivers to subscribers, and to which."""
    if not settings.notification.deliver:
        return "delivered by nobody here: zaqar-notifier has to run"
    to = "subscribers"
    if settings.notification.require_confirmation:
        to = "subscribers that have confirmed"
    return f"delivered to {to} by a process of this server"


def _quotas(given: QuotaSettings) -> str:
    """Tell what projects may use, and where that is said."""
    if not given.are_on:
        return "off"
    limits = msgspec.structs.asdict(given.defaults).items()
    parts = [f"{name} {limit:.15g}" for name, limit in limits if limit is not None]
    if given.per_project:
        parts.append("per project: what zaqar-manage quota list shows")
    return f"{'; '.join(parts)}; answered {given.status}"


def encryption(settings: Settings) -> str:
    """Tell which keys encrypt and decrypt bodies of messages, by their names."""
    if not settings.encryption_keys:
        return "off: no [transport] message_encryption_key is set"
    first, *others = [key.name for key in settings.encryption_keys]
    before = f"; read too: those of {', '.join(others)}" if others else ""
    return f"for queues that ask for it, with key {first}{before}"


def base_url(settings: Settings) -> str:
    """Return the URL under which this machine reaches the server."""
    host = settings.bind
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    if ":" in host:
        host = f"[{host}]"
    return f"http://{host}:{settings.port}"


def warnings(settings: Settings, pools: int | None = None) -> list[str]:
    """List what an operator should know to be unsafe, or not to work."""
    return [problem for problem, _ in unsafe(settings, pools)]


def unsafe(settings: Settings, pools: int | None = None) -> list[tuple[str, str]]:
    """As `warnings`, each with what mends it."""
    found = _keystone_warnings(settings.config) if settings.auth_strategy else []
    if not settings.auth_strategy:
        found += _open_warnings(settings)
    if settings.registry is not None:
        found += _pooling_warnings(settings, settings.registry, pools)
    if settings.registry is None or settings.virtual_pool:
        found += _losses(settings.store)
    if settings.engine == "granian":
        found.append(
            (
                "clients that are slow to send their bodies hold threads of granian",
                "A proxy that buffers requests before it, or engine = gunicorn.",
            )
        )
    found += [
        (
            f"key {key.name} of signed URLs has less than {STRONG} characters: who "
            "has a signed URL may find the key by trying",
            GOOD_KEY,
        )
        for key in settings.signing_keys
        if len(key.secret) < STRONG
    ]
    if settings.notification.allow_private_targets:
        found.append(
            (
                "allow_private_targets: who may subscribe reaches whatever this "
                "machine reaches",
                "allow_private_targets = false, and allowed_networks for services that "
                "are to be told.",
            )
        )
    return found + _encryption_warnings(settings)


def _encryption_warnings(settings: Settings) -> list[tuple[str, str]]:
    """List what lets others than the service read or forge encrypted bodies."""
    found = []
    for key in settings.encryption_keys:
        if key.secret == BUILT_IN:
            problem = f"is {BUILT_IN}: everybody knows it, and it protects nothing"
        elif len(key.secret) < STRONG:
            problem = (
                f"has less than {STRONG} characters: who has the store may find it by "
                "trying"
            )
        else:
            continue
        found.append((f"key {key.name} of encrypted bodies {problem}", GOOD_KEY))
    if settings.read_cbc:
        found.append(
            (
                "message_encryption_read_cbc: clients can have anything decrypted that "
                "Zaqar has encrypted with one of the keys, of other projects too",
                "message_encryption_read_cbc = false, once no such message is left.",
            )
        )
    return found


def _open_warnings(settings: Settings) -> list[tuple[str, str]]:
    """List what follows from believing clients."""
    found = [_openness(settings)]
    if settings.engine == "granian":
        found.append(
            (
                "granian takes X_Project_ID for X-Project-ID: a proxy that says who "
                "asks must drop header names with an underscore",
                "Let the proxy drop them, as nginx does by default.",
            )
        )
    if settings.admin_mode:
        found.append(
            (
                "admin mode is on, and roles are taken from the X-Roles header",
                "Let a proxy set X-Roles, or serve clients without admin mode.",
            )
        )
    return found


def _keystone_warnings(config: Any) -> list[tuple[str, str]]:
    group, found = config.keystone_authtoken, []
    if group.insecure:
        found.append(
            (
                "[keystone_authtoken] insecure: anybody may pose as Keystone",
                "insecure = false, and cafile = the authority of its certificate.",
            )
        )
    if not group.service_token_roles_required:
        found.append(
            (
                "[keystone_authtoken] service_token_roles_required = false: any token "
                "passes for that of a service",
                "service_token_roles_required = true.",
            )
        )
    if group.memcached_servers and group.memcache_security_strategy.lower() == "none":
        found.append(
            (
                "who can write to memcached can be every tenant",
                "memcache_security_strategy = ENCRYPT, and a memcache_secret_key.",
            )
        )
    if config.policy_defaults == "open":
        found.append(
            (
                "policy_defaults = open: readers may write",
                "policy_defaults = roles.",
            )
        )
    return found


def _openness(settings: Settings) -> tuple[str, str]:
    if is_loopback(settings.bind):
        return (
            "no authentication: every user of this machine can be every tenant",
            "Let nobody else log in to this machine.",
        )
    return (
        f"{settings.bind} is reachable from other machines and nobody is asked "
        "who they are: every tenant's messages are open to them",
        "[drivers:transport:wsgi] bind = 127.0.0.1, behind a proxy that asks.",
    )


def _pooling_warnings(
    settings: Settings, registry: StoreSettings, pools: int | None
) -> list[tuple[str, str]]:
    found = []
    if pools == 0 and not settings.virtual_pool:
        command = "zaqar-manage pool create NAME --uri URI --weight 100"
        found.append(
            (
                "there is no pool, so no queue can be made (503); register one: "
                f"{command}",
                command,
            )
        )
    found += [(f"registry: {loss}", mend) for loss, mend in _losses(registry)]
    return found


def _losses(store: StoreSettings) -> list[tuple[str, str]]:
    """List what may lose messages that were answered, with what mends it."""
    if isinstance(store, RedisSettings):
        return [
            (
                "what a power cut or a killed Redis loses is decided by its own "
                "settings (appendonly, appendfsync)",
                "appendonly yes and appendfsync always, if nothing may be lost.",
            )
        ]
    if isinstance(store, SqliteSettings):
        if store.synchronous == "FULL":
            return []
        return [
            (
                "a power cut may lose the last messages (synchronous=NORMAL)",
                "synchronous = FULL, if nothing may be lost.",
            )
        ]
    if store.unreliable:
        return [
            (
                "MongoDB may be a server alone or write to less than a majority: "
                "messages that were answered may be lost (unreliable)",
                "[DEFAULT] unreliable = false, with a replica set.",
            )
        ]
    return []


def _place(store: StoreSettings) -> str:
    if isinstance(store, SqliteSettings):
        return f"sqlite, {store.path}"
    uri = masked(store.uri)
    if isinstance(store, RedisSettings):
        return f"redis, {uri}"
    return f"mongodb, {uri}, database {store.database}, {store.ordering} order"


def _promise(store: StoreSettings) -> str:
    if isinstance(store, RedisSettings):
        return "as the Redis server is set up to keep what it was told"
    if isinstance(store, SqliteSettings):
        if store.synchronous == "FULL":
            return "synchronous=FULL: an answered message survives a power cut"
        return (
            "synchronous=NORMAL: an answered message survives a killed process, "
            "not a power cut"
        )
    if store.unreliable:
        return "unreliable: as the server and the write concern of the URI keep it"
    return "majority and journal: an answered message survives the loss of a minority"


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def curl(address: str) -> str:
    """Return a command that posts a message and shows its answer."""
    return (
        f"curl -i {address}/v2/queues/demo/messages \\\n"
        "  -H 'Client-ID: 3381af92-2b9e-11e3-b191-71861300734c' \\\n"
        "  -H 'X-Project-ID: demo' -H 'Content-Type: application/json' \\\n"
        """  -d '{"messages": [{"body": "hello", "ttl": 300}]}'"""
    )

# SPDX-License-Identifier: Apache-2.0
"""The options by group: names that operators' files hold, defaults, meaning.

`conf.py` reads them.
"""

from typing import Any

from oslo_config import cfg, types

from zaqar.cors_settings import OPTIONS as CORS_OPTIONS
from zaqar.key_settings import ENCRYPTION_OPTIONS, SIGNED_URL_OPTIONS
from zaqar.limits import MIN_TTL, Limits
from zaqar.notification.settings import OPTIONS as NOTIFICATION_OPTIONS
from zaqar.quota_settings import OPTIONS as QUOTA_OPTIONS

DEFAULT_OPTIONS = [
    cfg.BoolOpt(
        "admin_mode",
        default=False,
        help="Serve the administrators' routes: health and, with pooling, pools and "
        "flavors.",
    ),
    cfg.BoolOpt(
        "pooling",
        default=False,
        deprecated_name="sharding",
        help="Let queues live in pools: stores that are registered with zaqar-manage "
        "or over the API. message_store is not used then, unless as the default pool.",
    ),
    cfg.BoolOpt(
        "unreliable",
        default=False,
        help="Let MongoDB be a stand-alone server, or the URI ask for a weaker write "
        "concern than a majority. Messages that were answered may be lost then.",
    ),
    cfg.BoolOpt(
        "enable_checksum",
        default=False,
        help="Keep an MD5 checksum of each message body and show it with the message.",
    ),
    cfg.StrOpt(
        "auth_strategy",
        default="",
        choices=["", "keystone"],
        help="keystone: requests need a token of OpenStack Keystone, which the group "
        "keystone_authtoken describes; comes with the extra 'keystone'. Empty: clients "
        "are believed.",
    ),
    cfg.BoolOpt(
        "insecure",
        default=False,
        help="Serve other machines without Keystone: zaqar-server refuses to listen "
        "beyond this machine otherwise.",
    ),
    cfg.StrOpt(
        "policy_defaults",
        default="auto",
        choices=["auto", "roles", "open"],
        help="The rules that the policy file does not override. roles: readers read, "
        "members write, admins administer. open: whoever is let in may use the queues "
        "of the project, and admins administer. auto: roles with Keystone, else open.",
    ),
    cfg.ListOpt(
        "enable_deprecated_api_versions",
        item_type=types.String(choices=["1.1"]),
        default=["1.1"],
        help="Versions to serve beside v2. Empty: none.",
    ),
    cfg.BoolOpt("daemon", default=False, help="Run zaqar-server in the background."),
]

DRIVER_OPTIONS = [
    cfg.StrOpt(
        "transport",
        default="wsgi",
        choices=["wsgi", "websocket"],
        help="What zaqar-server serves. This release offers wsgi.",
    ),
    cfg.StrOpt(
        "message_store",
        default="sqlite",
        deprecated_name="storage",
        choices=["sqlite", "mongodb", "mongodb.fifo", "redis", "swift"],
        help="Where queues and messages are kept. This release offers sqlite, redis "
        "and mongodb; mongodb.fifo is another name of mongodb.",
    ),
    cfg.StrOpt(
        "management_store",
        default="sqlite",
        choices=["sqlite", "mongodb", "mongodb.fifo", "redis", "sqlalchemy"],
        help="Where pools, flavors and the map of queues are kept, with pooling. This "
        "release offers sqlite, redis and mongodb; mongodb.fifo is another name of "
        "mongodb.",
    ),
]

WSGI_OPTIONS = [
    cfg.HostAddressOpt("bind", default="127.0.0.1", help="Address to listen on."),
    cfg.PortOpt("port", default=8888, help="Port to listen on."),
]

SQLITE_OPTIONS = [
    cfg.StrOpt(
        "uri",
        default="",
        help="sqlite:///relative/path or sqlite:////absolute/path. Empty: a file in "
        "the user's data folder; zaqar-server prints which.",
    ),
    cfg.StrOpt(
        "synchronous",
        default="FULL",
        choices=["FULL", "NORMAL"],
        help="FULL: what was answered survives a power cut. NORMAL: it survives a "
        "killed process, but a power cut may lose the last moments.",
    ),
]

REDIS_OPTIONS = [
    cfg.StrOpt(
        "uri",
        default="redis://127.0.0.1:6379",
        secret=True,
        help="redis://[[user]:password@]host[:port][?options]; several hosts with "
        "master=NAME for Sentinel, or with cluster=true; a path instead of the host "
        "for a Unix socket; rediss:// for TLS. Redis 6.2 or newer, or Valkey.",
    ),
    cfg.IntOpt(
        "max_reconnect_attempts",
        default=10,
        min=0,
        help="How often to try again to reach the server, within the 10 seconds in "
        "which a request is answered.",
    ),
    cfg.FloatOpt(
        "reconnect_sleep",
        default=1.0,
        min=0.0,
        help="Seconds before the second try; doubled each time.",
    ),
]

MONGODB_OPTIONS = [
    cfg.StrOpt(
        "uri",
        default="",
        secret=True,
        help="mongodb://[user:password@]host[:port][,host..][/][?options], or "
        "mongodb+srv://name; replicaSet=NAME, ssl=true and authSource=NAME are usual "
        "options. MongoDB 5.0 or newer.",
    ),
    cfg.StrOpt(
        "database", default="zaqar", help="The database that holds the collections."
    ),
    cfg.StrOpt(
        "ssl_keyfile",
        default="",
        help="The key of ssl_certfile, where it is in a file of its own.",
    ),
    cfg.StrOpt(
        "ssl_certfile", default="", help="The certificate that is shown to the servers."
    ),
    cfg.StrOpt(
        "ssl_ca_certs",
        default="",
        help="The authorities that the servers' certificates are checked by; "
        "otherwise those that the system trusts. Files need ssl=true in the URI.",
    ),
    cfg.StrOpt(
        "ssl_cert_reqs",
        default="CERT_REQUIRED",
        choices=["CERT_NONE", "CERT_OPTIONAL", "CERT_REQUIRED"],
        help="CERT_NONE: anybody may pose as the server. CERT_OPTIONAL means the same "
        "as CERT_REQUIRED, for a server always has a certificate.",
    ),
    cfg.IntOpt(
        "max_reconnect_attempts",
        default=10,
        min=0,
        help="A call waits for a primary as long as so many attempts would take, and "
        "5 seconds at most.",
    ),
    cfg.FloatOpt(
        "reconnect_sleep",
        default=0.02,
        min=0.0,
        help="Seconds that the first of these attempts takes; doubled each time.",
    ),
    *(
        cfg.FloatOpt(
            name, default=default, min=0.0, help="Means nothing here; may be set."
        )
        for name, default in (("max_retry_sleep", 0.1), ("max_retry_jitter", 0.005))
    ),
    cfg.IntOpt(
        "max_attempts", default=1000, min=0, help="Means nothing here; may be set."
    ),
]

MONGODB_MESSAGE_OPTIONS = [
    *MONGODB_OPTIONS,
    cfg.StrOpt(
        "ordering",
        default="strict",
        choices=["strict", "relaxed"],
        help="strict: readers that follow a queue by markers miss nothing. relaxed: "
        "a post is cheaper, and such a reader may miss what is posted just then.",
    ),
    cfg.IntOpt(
        "partitions",
        default=2,
        min=1,
        help="Means nothing here; may be set. There is one collection of messages, "
        "which a cluster may shard.",
    ),
]

SERVER_OPTIONS = [
    cfg.StrOpt(
        "engine",
        default="gunicorn",
        choices=["gunicorn", "granian"],
        help="The HTTP server. granian is several times faster and comes with the "
        "extra 'fast'.",
    ),
    cfg.IntOpt(
        "workers", default=0, min=0, help="Worker processes; 0: one for each CPU."
    ),
    cfg.IntOpt("threads", default=8, min=1, help="Threads of each worker."),
    cfg.IntOpt(
        "graceful_timeout",
        default=30,
        min=1,
        help="Seconds that requests may go on after a stop was asked for.",
    ),
    cfg.FloatOpt(
        "sweep_interval",
        default=5.0,
        min=0.1,
        help="Seconds between two collections of what has expired.",
    ),
    cfg.ListOpt(
        "trusted_proxies",
        default=[],
        help="Addresses of proxies whose SCRIPT_NAME and X-Forwarded-Prefix headers "
        "say below which path the service is mounted. Read by gunicorn only.",
    ),
    cfg.BoolOpt(
        "request_log", default=True, help="Write one JSON line for each request."
    ),
]

# The one stage that there is; subscribers are told with and without it.
NOTIFIER = "zaqar.notification.notifier"
STORAGE_OPTIONS = [
    cfg.ListOpt(
        f"{noun}_pipeline",
        default=[],
        help=f"{NOTIFIER} is accepted and changes nothing: subscribers are told."
        if noun == "message"
        else "Not offered by this release.",
    )
    for noun in ("queue", "message", "claim", "subscription", "topic")
]

_LIMITS = Limits()
_LIMITS_HELP = {
    "max_queues_per_page": "Queues of a page of a listing.",
    "max_messages_per_page": "Messages of a page; also the ids of one read or delete.",
    "max_subscriptions_per_page": "Subscriptions of a page of a listing.",
    "max_pools_per_page": "Pools of a page of a listing.",
    "max_flavors_per_page": "Flavors of a page of a listing.",
    "max_messages_per_claim_or_pop": "Messages of one claim or pop.",
    "max_queue_metadata": "Bytes of a queue's metadata.",
    "max_messages_post_size": "Bytes of the body of one post.",
    "max_message_ttl": "Seconds that a message may live.",
    "max_message_delay": "Seconds that a message may be held back.",
    "max_claim_ttl": "Seconds that a claim may last.",
    "max_claim_grace": "Seconds that a message may live on after its claim.",
    "default_message_ttl": "Seconds that a message lives if its post does not say.",
    "default_claim_ttl": "Seconds that a claim lasts if its request does not say.",
    "default_claim_grace": "Seconds of grace if the request of a claim does not say.",
    "default_subscription_ttl": "Seconds that a subscription lives if not told.",
    "min_length_client_id": "Characters of a Client-ID where it need not be a UUID.",
    "max_length_client_id": "Characters of a Client-ID where it need not be a UUID.",
}

TRANSPORT_OPTIONS = [
    *(
        cfg.IntOpt(
            name,
            default=getattr(_LIMITS, name),
            min=MIN_TTL if name.endswith(("_ttl", "_grace")) else 1,
            help=text,
        )
        for name, text in _LIMITS_HELP.items()
    ),
    cfg.IntOpt(
        "default_message_delay",
        default=_LIMITS.default_message_delay,
        min=0,
        help="Seconds that messages are held back if neither post nor queue says.",
    ),
    cfg.ListOpt(
        "subscriber_types",
        item_type=types.String(),
        default=["http", "https", "mailto", "trust+http", "trust+https"],
        help="Schemes of URIs that may subscribe.",
    ),
    cfg.StrOpt(
        "client_id_uuid_safe",
        default="strict",
        choices=["strict", "off"],
        help="off: a Client-ID may be any text of the configured length.",
    ),
    cfg.BoolOpt(
        "message_delete_with_claim_id",
        default=False,
        help="Deleting by ids needs claim_ids too.",
    ),
    cfg.BoolOpt(
        "strict_patch",
        default=False,
        help="PATCH of a queue that does not exist answers 404 instead of making it.",
    ),
    *ENCRYPTION_OPTIONS,
]

OSLO_MIDDLEWARE_OPTIONS = [
    cfg.BoolOpt(
        "enable_proxy_headers_parsing",
        default=False,
        help="Not offered: it would believe anybody. See [server] trusted_proxies.",
    )
]

CATALOG_OPTIONS = [
    cfg.BoolOpt(
        "enable_virtual_pool",
        default=False,
        help="With pooling: while no pool without a flavor is registered, the store "
        "that message_store names takes queues without a flavor, as the default pool.",
    )
]

OPTIONS: dict[str, list[Any]] = {
    "DEFAULT": DEFAULT_OPTIONS,
    "cors": CORS_OPTIONS,
    "drivers": DRIVER_OPTIONS,
    "drivers:transport:wsgi": WSGI_OPTIONS,
    "drivers:message_store:sqlite": SQLITE_OPTIONS,
    "drivers:management_store:sqlite": SQLITE_OPTIONS,
    "drivers:message_store:redis": REDIS_OPTIONS,
    "drivers:management_store:redis": REDIS_OPTIONS,
    "drivers:message_store:mongodb": MONGODB_MESSAGE_OPTIONS,
    "drivers:management_store:mongodb": MONGODB_OPTIONS,
    "notification": NOTIFICATION_OPTIONS,
    "oslo_middleware": OSLO_MIDDLEWARE_OPTIONS,
    "pooling:catalog": CATALOG_OPTIONS,
    "quota": QUOTA_OPTIONS,
    "server": SERVER_OPTIONS,
    "signed_url": SIGNED_URL_OPTIONS,
    "storage": STORAGE_OPTIONS,
    "transport": TRANSPORT_OPTIONS,
}

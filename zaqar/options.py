# SPDX-License-Identifier: Apache-2.0
"""The options by group: names that operators' files hold, defaults, meaning.

`conf.py` reads them.
"""

from typing import Any

from oslo_config import cfg, types

from zaqar.limits import MIN_TTL, Limits
from zaqar.notification.settings import OPTIONS as NOTIFICATION_OPTIONS
from zaqar.quotas import UNLIMITED

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
    cfg.StrOpt(
        "message_encryption_algorithms",
        default="AES256",
        choices=["AES256"],
        help="How bodies of messages are encrypted: AES-256-GCM.",
    ),
    cfg.StrOpt(
        "message_encryption_key",
        default="",
        secret=True,
        help="The key that encrypts bodies of messages in queues that ask for it by "
        "_enable_encrypt_messages. Empty: that is refused.",
    ),
    cfg.StrOpt(
        "message_encryption_key_id",
        default="current",
        help="A name of message_encryption_key; it is stored with each body.",
    ),
    cfg.ListOpt(
        "message_encryption_previous_keys",
        item_type=types.String(quotes=True),
        default=[],
        secret=True,
        help="Keys that encrypt no more, each as key_id:key. Bodies that they have "
        "encrypted can be read. A key with a comma is written in quotes.",
    ),
    cfg.BoolOpt(
        "message_encryption_allow_builtin_key",
        default=False,
        help="Take AES256 for a key, which everybody knows and which protects nothing; "
        "it is the message_encryption_key then if none is set.",
    ),
    cfg.BoolOpt(
        "message_encryption_read_cbc",
        default=False,
        help="For the time of a migration: in queues that encrypt, show texts that "
        "Zaqar has encrypted by AES-256-CBC with one of the keys as what they were.",
    ),
]

SIGNED_URL_OPTIONS = [
    cfg.StrOpt(
        "secret_key",
        default="",
        secret=True,
        help="The key that signs URLs. Empty: there are no signed URLs, and requests "
        "with a signature answer 404.",
    ),
    cfg.StrOpt(
        "key_id",
        default="current",
        help="A name of secret_key for the logs; it is in no URL.",
    ),
    cfg.ListOpt(
        "previous_keys",
        item_type=types.String(quotes=True),
        default=[],
        secret=True,
        help="Keys that sign no more, each as key_id:secret_key. URLs that they have "
        "signed stay valid. A key with a comma is written in quotes.",
    ),
]

QUOTA_OPTIONS = [
    *(
        cfg.IntOpt(
            name,
            default=UNLIMITED,
            min=UNLIMITED,
            help=f"{text} -1: no limit.",
        )
        for name, text in (
            ("queues", "Queues and topics that a project may have together."),
            ("messages", "Messages that may be stored in all queues of a project."),
            ("bytes", "Bytes that the bodies of these messages may have together."),
            (
                "subscriptions",
                "Subscriptions that each queue and each topic may have.",
            ),
        )
    ),
    cfg.FloatOpt(
        "requests_per_second",
        default=float(UNLIMITED),
        min=float(UNLIMITED),
        help="Requests of a project that are served in a second, by all workers of a "
        "node, and by all nodes where the registry is on Redis. -1: no limit.",
    ),
    cfg.IntOpt(
        "burst",
        default=UNLIMITED,
        min=UNLIMITED,
        help="Requests that may come at once before requests_per_second slows them "
        "down. -1: as many as come in a second.",
    ),
    cfg.BoolOpt(
        "per_project",
        default=False,
        help="Let projects have quotas of their own (zaqar-manage quota), which are "
        "kept by management_store, also without pooling.",
    ),
    cfg.IntOpt(
        "exceeded_status",
        default=429,
        choices=[429, 503],
        help="The status of what a quota refuses. 503 is for python-zaqarclient, which "
        "takes 429 for success.",
    ),
    cfg.StrOpt(
        "folder",
        default="",
        help="Where the workers of a node keep what projects use, in one small file. "
        "Empty: the data folder, where the SQLite file of management_store is or would "
        "be.",
    ),
]

CORS_OPTIONS = [
    cfg.ListOpt(
        "allowed_origin",
        default=[],
        help="Pages that may use the service, by their origin: https://host[:port], or "
        "*. Empty: none. It comes with the extra 'cors'.",
    ),
    cfg.BoolOpt(
        "allow_credentials",
        default=True,
        help="Let these pages send cookies and the like.",
    ),
    cfg.IntOpt(
        "max_age",
        default=3600,
        min=0,
        help="Seconds for which a browser need not ask again whether it may ask.",
    ),
    cfg.ListOpt(
        "allow_methods",
        default=["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD"],
        help="Methods that these pages may use.",
    ),
    cfg.ListOpt(
        "allow_headers",
        default=[
            *("X-Auth-Token", "X-Identity-Status", "X-Roles", "X-Service-Catalog"),
            *("X-User-Id", "X-Tenant-Id", "X-OpenStack-Request-ID", "X-Trace-Info"),
            *("X-Trace-HMAC", "Client-id"),
        ],
        help="Headers that these pages may send, besides the simple ones.",
    ),
    cfg.ListOpt(
        "expose_headers",
        default=[
            *("X-Auth-Token", "X-Subject-Token", "X-Service-Token"),
            "X-OpenStack-Request-ID",
        ],
        help="Headers of answers that these pages may read.",
    ),
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

# SPDX-License-Identifier: Apache-2.0
"""The options of the group [cors], and which origins there can be."""

import importlib.util
import re
from collections.abc import Sequence
from typing import Any

from oslo_config import cfg

from zaqar.errors import ConfigurationError

ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:]+\]|[a-z0-9.-]+)(:[0-9]+)?")

OPTIONS: list[Any] = [
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


def check(origins: Sequence[str]) -> None:
    """Raise ConfigurationError where no page could have such an origin."""
    for origin in origins:
        if origin != "*" and not ORIGIN.fullmatch(origin):
            raise ConfigurationError(
                f"[cors] allowed_origin = {origin}: write https://host[:port], without "
                "a path and a slash at the end, or *."
            )
    if origins and not importlib.util.find_spec("oslo_middleware"):
        raise ConfigurationError(
            "[cors] allowed_origin: oslo.middleware is missing. It comes with the "
            "extra 'cors': pip install 'zaqar[cors]'."
        )

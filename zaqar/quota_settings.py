# SPDX-License-Identifier: Apache-2.0
"""The options of the group [quota], and what they come to, frozen."""

from typing import Any

import msgspec
from oslo_config import cfg

from zaqar.errors import ConfigurationError, InvalidRequest
from zaqar.quotas import FIELDS, NONE, UNLIMITED, Quota, made

OPTIONS: list[Any] = [
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
                "Subscriptions that its queues and topics may have together.",
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


class QuotaSettings(msgspec.Struct, frozen=True):
    """What projects may use: `defaults`, or what the registry has for a project.

    `status` answers what exceeds a quota; the workers share a file in `folder`.
    """

    defaults: Quota = NONE
    per_project: bool = False
    status: int = 429
    folder: str = ""

    @property
    def are_on(self) -> bool:
        return self.per_project or self.defaults.limits_something


def read(group: Any, folder: str) -> QuotaSettings:
    """Read the options of the group; files are in `folder` unless it says otherwise.

    Raises ConfigurationError.
    """
    try:
        defaults = made({name: group[name] for name in FIELDS})
    except InvalidRequest as error:
        raise ConfigurationError(f"[quota] {error}") from None
    return QuotaSettings(
        defaults, group.per_project, group.exceeded_status, group.folder or folder
    )

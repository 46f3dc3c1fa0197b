# SPDX-License-Identifier: Apache-2.0
"""The options of the group [notification], and what they come to, frozen."""

import ipaddress
import math
from typing import Any

import msgspec
from oslo_config import cfg, types

from zaqar.errors import ConfigurationError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# NOTE: without commas, at which the value of such an option is divided.
CONFIRM_TEXT = {
    "body": "Somebody subscribed this address to the messages of queue {0} in project "
    "{1}. If you want to receive them please open this link: {2} If you do not know "
    "what this is about you need not do anything.",
    "sender": "",
    "topic": "Confirm your subscription to queue {0}",
}
UNSUBSCRIBE_TEXT = {
    "body": "This address receives no more messages of queue {0} in project {1}. If "
    "that was a mistake please open this link: {2}",
    "sender": "",
    "topic": "Your subscription to queue {0} has ended",
}
# Where the option smtp_port is 0.
PORTS = {"tls": 465, "starttls": 587, "none": 25}


def _text_option(name: str, default: dict[str, str], event: str) -> Any:
    return cfg.Opt(
        name,
        type=types.Dict(types.String(quotes=True)),
        default=default,
        help=f"The mail {event}: topic, body and sender, each after its name and a "
        "colon. {0} is the queue, {1} the project, {2} the link. A text with a comma "
        "is written in quotes.",
    )


OPTIONS: list[Any] = [
    cfg.BoolOpt(
        "deliver",
        default=True,
        help="Run a process beside this server that delivers to subscribers. Without "
        "it, zaqar-notifier has to run somewhere.",
    ),
    cfg.BoolOpt(
        "require_confirmation",
        default=False,
        help="Tell only subscribers that have confirmed; they are asked to. Needs "
        "[signed_url] secret_key.",
    ),
    cfg.StrOpt(
        "external_confirmation_url",
        default="",
        help="The page that links of confirmation mails lead to. Empty: such mails are "
        "not sent.",
    ),
    _text_option(
        "subscription_confirmation_email_template",
        CONFIRM_TEXT,
        "that asks for a confirmation",
    ),
    _text_option(
        "unsubscribe_confirmation_email_template",
        UNSUBSCRIBE_TEXT,
        "that tells of the end of a subscription",
    ),
    cfg.FloatOpt(
        "delivery_timeout",
        default=10.0,
        min=0.1,
        help="Seconds that one attempt may take, from looking up the name of the "
        "subscriber to its whole answer.",
    ),
    cfg.IntOpt(
        "max_post_data_size",
        default=1048576,
        min=1,
        help="Bytes that the option post_data of a subscription may come to with the "
        "notification in it.",
    ),
    cfg.StrOpt(
        "ca_file",
        default="",
        help="Authorities by which subscribers and the mail server are checked, beside "
        "those that the system trusts.",
    ),
    cfg.ListOpt(
        "allowed_networks",
        default=[],
        help="Networks such as 10.1.2.0/24 that subscribers may be in, although they "
        "are private or otherwise refused.",
    ),
    cfg.ListOpt(
        "denied_networks",
        default=[],
        help="Networks that subscribers may never be in.",
    ),
    cfg.BoolOpt(
        "allow_private_targets",
        default=False,
        help="Let subscribers be at any address but those of denied_networks. For "
        "closed test set-ups: who may subscribe can reach then whatever this machine "
        "reaches.",
    ),
    cfg.StrOpt(
        "smtp_mode",
        default="third_part",
        choices=["third_part", "self_local"],
        help="third_part: mails are given to smtp_command. self_local: they are given "
        "to the server smtp_host.",
    ),
    cfg.StrOpt(
        "smtp_command",
        default="/usr/sbin/sendmail -t -oi",
        help="Takes a mail on standard input; divided at spaces.",
    ),
    cfg.StrOpt("smtp_host", default="", help="The mail server."),
    cfg.PortOpt(
        "smtp_port",
        default=0,
        help="The port of the mail server; 0: the usual one, which is 465 for tls, 587 "
        "for starttls and 25 for none.",
    ),
    cfg.StrOpt(
        "smtp_security",
        default="tls",
        choices=["tls", "starttls", "none"],
        help="How the mail server is spoken to. none: in clear, the password too.",
    ),
    cfg.StrOpt("smtp_user_name", default="", help="Empty: there is no login."),
    cfg.StrOpt("smtp_user_password", default="", secret=True, help="The password."),
]


class MailText(msgspec.Struct, frozen=True):
    """A mail with places for queue, project and link."""

    topic: str = ""
    body: str = ""
    sender: str = ""


class SmtpSettings(msgspec.Struct, frozen=True):
    """Who takes mails: a command, or a server if there is none."""

    command: tuple[str, ...]
    host: str
    port: int
    security: str
    user: str
    password: str

    def __repr__(self) -> str:
        # SECURITY: settings are printed; passwords must not be.
        return f"SmtpSettings({self.command or self.host!r}, ***)"


class NotificationSettings(msgspec.Struct, frozen=True):
    """What deliveries go by; `bind` is where the service itself listens."""

    deliver: bool
    require_confirmation: bool
    delivery_timeout: float
    max_post_data_size: int
    ca_file: str
    allowed_networks: tuple[Network, ...]
    denied_networks: tuple[Network, ...]
    allow_private_targets: bool
    bind: str
    smtp: SmtpSettings
    external_confirmation_url: str
    confirm_text: MailText
    unsubscribe_text: MailText


def read(group: Any, bind: str) -> NotificationSettings:
    """Read the options of the group. Raises ConfigurationError."""
    if not math.isfinite(group.delivery_timeout):
        raise ConfigurationError(
            f"[notification] delivery_timeout = {group.delivery_timeout}: no number of "
            "seconds."
        )
    return NotificationSettings(
        deliver=group.deliver,
        require_confirmation=group.require_confirmation,
        delivery_timeout=group.delivery_timeout,
        max_post_data_size=group.max_post_data_size,
        ca_file=group.ca_file,
        allowed_networks=_networks(group, "allowed_networks"),
        denied_networks=_networks(group, "denied_networks"),
        allow_private_targets=group.allow_private_targets,
        bind=bind,
        smtp=_smtp(group),
        external_confirmation_url=group.external_confirmation_url,
        confirm_text=_text(group, "subscription_confirmation_email_template"),
        unsubscribe_text=_text(group, "unsubscribe_confirmation_email_template"),
    )


def _networks(group: Any, name: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(text) for text in group[name])
    except ValueError as error:
        raise ConfigurationError(f"[notification] {name}: {error}.") from None


def _smtp(group: Any) -> SmtpSettings:
    has_command = group.smtp_mode == "third_part"
    command = tuple(group.smtp_command.split()) if has_command else ()
    if has_command and not command:
        raise ConfigurationError(
            "[notification] smtp_command: smtp_mode = third_part needs one."
        )
    if not has_command and not group.smtp_host:
        raise ConfigurationError(
            "[notification] smtp_host: smtp_mode = self_local needs one."
        )
    return SmtpSettings(
        command=command,
        host=group.smtp_host,
        port=group.smtp_port or PORTS[group.smtp_security],
        security=group.smtp_security,
        user=group.smtp_user_name,
        password=group.smtp_user_password,
    )


def _text(group: Any, name: str) -> MailText:
    try:
        return msgspec.convert(group[name], MailText, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"[notification] {name}: {error}.") from None

# SPDX-License-Identifier: Apache-2.0
"""The options that hold keys, of URLs and of bodies, and the keys that they name."""

from typing import Any

from oslo_config import cfg, types

from zaqar.errors import ConfigurationError
from zaqar.keys import BUILT_IN, Key

# Bytes of a name.
MAX_NAME = 64

SIGNED_URL_OPTIONS: list[Any] = [
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

# In the group [transport].
ENCRYPTION_OPTIONS: list[Any] = [
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


def _read(
    group: Any, title: str, *, secret: str, name: str, previous: str, default: str = ""
) -> tuple[Key, ...]:
    """Return the key in use and those before it; none if there is no secret.

    `secret`, `name` and `previous` are options of the group that is called `title`;
    without a secret, `default` is it. Raises ConfigurationError.
    """
    current = group[secret] or default
    if not current:
        if group[previous]:
            raise ConfigurationError(f"{title} {previous} need a {secret}.")
        return ()
    keys = [Key(group[name], current)]
    for number, text in enumerate(group[previous], 1):
        before, _, old = text.partition(":")
        # SECURITY: the text may be a key, and is not repeated.
        if not before or not old:
            raise ConfigurationError(
                f"{title} {previous}: number {number} is not {name}:{secret}."
            )
        keys.append(Key(before, old))
    names = [key.name for key in keys]
    if not all(names) or len(set(names)) < len(names):
        raise ConfigurationError(
            f"{title} {name} and those of {previous} must differ, and not be empty."
        )
    if max(len(each.encode()) for each in names) > MAX_NAME:
        raise ConfigurationError(
            f"{title} {name} and those of {previous} may have {MAX_NAME} bytes at most."
        )
    return tuple(keys)


def of_urls(config: Any) -> tuple[Key, ...]:
    """Return the key that signs URLs and those before. Raises ConfigurationError."""
    names = {"secret": "secret_key", "name": "key_id", "previous": "previous_keys"}
    return _read(config.signed_url, "[signed_url]", **names)


def of_bodies(config: Any) -> tuple[Key, ...]:
    """Return the key that seals bodies and those before. Raises ConfigurationError."""
    group, option = config.transport, "message_encryption_"
    allowed = group.message_encryption_allow_builtin_key
    found = _read(
        group,
        "[transport]",
        secret=f"{option}key",
        name=f"{option}key_id",
        previous=f"{option}previous_keys",
        default=BUILT_IN if allowed else "",
    )
    if not allowed and any(key.secret == BUILT_IN for key in found):
        raise ConfigurationError(
            f"[transport] {option}key or one of {option}previous_keys is {BUILT_IN}, "
            "which everybody knows. openssl rand -hex 32 writes a good key; "
            f"{option}allow_builtin_key = true takes this one."
        )
    if group.message_encryption_read_cbc and not found:
        raise ConfigurationError(f"[transport] {option}read_cbc needs a {option}key.")
    return found

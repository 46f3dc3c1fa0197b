# SPDX-License-Identifier: Apache-2.0
"""Secrets with names: the one in use and those before it, as options write them."""

from typing import Any

import msgspec

from zaqar.errors import ConfigurationError

# Characters of a key that nobody finds by trying.
STRONG = 32
# Bytes of a name.
MAX_NAME = 64
# The key of the reference for bodies if nobody sets one: everybody knows it.
BUILT_IN = "AES256"


class Key(msgspec.Struct, frozen=True):
    """A secret; its name is for logs and for what was written with it."""

    name: str
    secret: str

    def __repr__(self) -> str:
        # SECURITY: settings are printed; their keys must not be.
        return f"Key({self.name!r}, ***)"


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

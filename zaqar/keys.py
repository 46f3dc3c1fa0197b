# SPDX-License-Identifier: Apache-2.0
"""Secrets with names, and how good they are."""

import msgspec

# Characters of a key that nobody finds by trying.
STRONG = 32
# The key of the reference for bodies if nobody sets one: everybody knows it.
BUILT_IN = "AES256"


class Key(msgspec.Struct, frozen=True):
    """A secret; its name is for logs and for what was written with it."""

    name: str
    secret: str

    def __repr__(self) -> str:
        # SECURITY: settings are printed; their keys must not be.
        return f"Key({self.name!r}, ***)"

# SPDX-License-Identifier: Apache-2.0
"""Where a message stood that is gone: its id tells when it came."""

from uuid import UUID

# Listing behind such an id goes on with what arrived so many seconds before it: twice
# what the clocks of two nodes may differ.
CLOCKS_DIFFER = 60.0


def message_id(text: str) -> UUID | None:
    """Read a UUID of version 7 in its one spelling; None: it is no message's id."""
    try:
        read = UUID(text)
    except ValueError:
        return None
    return read if read.version == 7 and str(read) == text else None


def earliest(text: str) -> float | None:
    """Return the instant from which on nothing behind the id can be missed."""
    read = message_id(text)
    return None if read is None else (read.int >> 80) / 1000 - CLOCKS_DIFFER

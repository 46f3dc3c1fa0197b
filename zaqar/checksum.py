# SPDX-License-Identifier: Apache-2.0
"""The checksum of a message body (contract: message checksum)."""

import hashlib
import json


def checksum(body: bytes) -> str | None:
    """Return `MD5:` and the hex MD5 of the body in the spelling of `json.dumps`.

    The body `null` has none. MD5 tells accidents, not attacks.
    """
    value = json.loads(body)
    if value is None:
        return None
    text = json.dumps(value).encode()
    return f"MD5:{hashlib.md5(text, usedforsecurity=False).hexdigest()}"

# SPDX-License-Identifier: Apache-2.0
"""Hides the credentials of URIs; whatever is shown or logged of a URI goes through."""

import re

# SECURITY: a password that is not encoded ends at the last @ only, and may hold
# anything, line ends too. Rather too much is hidden than too little.
PASSWORD = re.compile(r"(://[^:@]*):.*@", re.DOTALL)
SECRET_OPTION = re.compile(
    r"(\w*(?:password|passphrase|properties|secret|token))=[^&]*", re.IGNORECASE
)
MASK = "***"


def masked(uri: str) -> str:
    """Return a URI, or a text with one in it, without passwords and secret options."""
    return SECRET_OPTION.sub(rf"\1={MASK}", PASSWORD.sub(rf"\1:{MASK}@", uri))


def is_masked(uri: str) -> bool:
    """Say whether it is a URI as shown, which can open nothing."""
    return f":{MASK}@" in uri or bool(re.search(rf"\w=\*{{{len(MASK)}}}(?:&|$)", uri))

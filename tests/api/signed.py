# SPDX-License-Identifier: Apache-2.0
"""Signed URLs for tests: those that the service makes, and those it never would."""

from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from tests.api.wire import Answer, Api, Headers
from tests.servers import SECRET_KEY
from zaqar.keys import Key
from zaqar.signing import Terms, sign

EXPIRES = "2999-01-01T00:00:00"


def shared(api: Api, queue: str = "q", **wish: Any) -> Answer:
    return api.post(f"/v2/queues/{queue}/share", wish)


def headers(terms: Terms, signature: str) -> dict[str, str | None]:
    return {
        "URL-Signature": signature,
        "URL-Paths": ",".join(terms.paths),
        "URL-Methods": ",".join(terms.methods),
        "URL-Expires": terms.expires,
        "X-Project-ID": terms.project,
    }


@dataclass(frozen=True)
class Guest:
    """Somebody who has a signed URL and nothing else."""

    api: Api
    terms: Terms
    signature: str

    @classmethod
    def of(cls, owner: Api, answer: Answer) -> "Guest":
        """Return who got this answer to a request to share."""
        assert answer.status == 200, answer
        document = dict(answer.json)
        signature = document.pop("signature")
        return cls(owner.as_client(), Terms(**document), signature)

    @classmethod
    def forged(
        cls, owner: Api, *paths: str, key: str = SECRET_KEY, **changes: Any
    ) -> "Guest":
        """Return somebody who knows the key and signs what they like."""
        terms = Terms(
            paths, ("GET", "POST", "PUT", "PATCH", "DELETE"), owner.project, EXPIRES
        )
        terms = replace(terms, **changes)
        return cls(owner.as_client(), terms, sign(terms, Key("known", key)))

    def request(
        self,
        method: str,
        path: str,
        document: Any = None,
        headers: Headers | None = None,
        **query: Any,
    ) -> Answer:
        """Send a request with the signature; `headers` change those of the terms."""
        return self.api.request(
            method, path, document, headers=self.headers | dict(headers or {}), **query
        )

    @property
    def headers(self) -> dict[str, str | None]:
        return headers(self.terms, self.signature)

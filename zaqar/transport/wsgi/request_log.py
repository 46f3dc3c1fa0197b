# SPDX-License-Identifier: Apache-2.0
"""One JSON line for each request, on standard output."""

import os
import time
from contextlib import suppress
from typing import Any

import falcon
import msgspec

STDOUT = 1


class Line(msgspec.Struct, omit_defaults=True):
    """What is told of a request; no body, no header but the tenant's.

    `signed_by` names the key of a signed request that was let in.
    """

    time: float
    method: str
    path: str
    status: int
    ms: float
    project: str | None
    request_id: str | None
    signed_by: str | None = None


class RequestLog:
    """Writes a line when the answer is known."""

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        req.context.started = time.perf_counter()

    def process_response(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        resource: Any,
        req_succeeded: bool,
    ) -> None:
        spent = time.perf_counter() - req.context.started
        line = Line(
            round(time.time(), 3),
            req.method,
            req.path,
            resp.status_code,
            round(spent * 1000, 2),
            req.env.get("HTTP_X_PROJECT_ID", req.env.get("HTTP_X_TENANT_ID")),
            req.context.get("request_id"),
            req.context.get("signed_by"),
        )
        # PERF: one write is 3 µs; a logging handler makes it 25.
        # The answer stands, whatever becomes of its line: a reader that went away, a
        # full disk.
        with suppress(OSError):
            os.write(STDOUT, msgspec.json.encode(line) + b"\n")

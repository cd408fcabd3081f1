"""Errors as HTTP responses: a status, a code for programs, and one sentence that says what to do."""

import asyncio
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

STATUS = {
    "bad_request": 400,
    "token_needed": 401,
    "not_allowed": 403,
    "wrong_host": 403,
    "wrong_origin": 403,
    "not_found": 404,
    "wrong_method": 405,
    "too_slow": 408,
    "not_writable": 409,
    "no_threshold": 409,
    "conflict": 409,
    "expired": 410,
    "too_large": 413,
    "wrong_type": 415,
    "unreadable_image": 422,
    "nothing_detected": 422,
    "internal": 500,
    "upstream": 502,
    "busy": 503,
    "disk_full": 507,
}
"""The status of each code."""
SMALL = 64 << 10
"""Bytes of a body that is read to its end although it is of no use, to keep the connection."""
LINGER = 0.5
"""Seconds in which a client that is still sending can read its answer before the connection is closed."""


class ApiError(Exception):
    """A request that cannot be answered.

    Args:
        code: one of `STATUS`.
        message: what is wrong, and what to do.
        is_unread: whether part of the body may not have been read.
    """

    def __init__(self, code: str, message: str, is_unread: bool = False):
        super().__init__(message)
        self.code, self.message, self.is_unread = code, " ".join(message.split()), is_unread

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.code]

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the response."""
        headers: dict[str, str] = {}
        if self.code == "busy":
            headers["Retry-After"] = "1"
        if self.code == "token_needed":
            headers["WWW-Authenticate"] = "Bearer"
        return headers

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"code": self.code, "message": self.message}


class ErrorResponse(JSONResponse):
    """One line of JSON.

    Where a long body was not read, the connection is closed, after the client had the time to read this.
    """

    def __init__(self, error: ApiError):
        super().__init__({"error": error.to_dict()}, error.status, headers=error.headers)
        self.is_unread = error.is_unread

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        is_long = "transfer-encoding" in headers or (length.isdecimal() and int(length) > SMALL)
        if not (self.is_unread and is_long):
            await super().__call__(scope, receive, send)
            return
        raw_headers = [*self.raw_headers, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        await asyncio.sleep(LINGER)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

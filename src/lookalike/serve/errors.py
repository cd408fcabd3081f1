"""Errors as HTTP responses: a status, a code for programs, and one sentence that says what to do."""

from typing import Any

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


class ApiError(Exception):
    """A request that cannot be answered.

    Args:
        code: one of `STATUS`.
        message: what is wrong, and what to do.
        is_unread: whether part of the body was not read, so that the connection has to be closed.
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
        headers = {"Connection": "close"} if self.is_unread else {}
        if self.code == "busy":
            headers["Retry-After"] = "1"
        if self.code == "token_needed":
            headers["WWW-Authenticate"] = "Bearer"
        return headers

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"code": self.code, "message": self.message}

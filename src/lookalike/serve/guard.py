"""Checks of every request before it is answered, and headers of every response."""

import hmac
import ipaddress
import logging
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lookalike.serve.errors import ApiError, ErrorResponse
from lookalike.serve.form import MemoryBudget
from lookalike.serve.metrics import Metrics
from lookalike.serve.settings import Access

log = logging.getLogger(__name__)
SAFE = ("GET", "HEAD", "OPTIONS")
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""Headers of proxies: the client is then somewhere else."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
}


class Guard:
    """Middleware: host, origin, headers, metrics, and the log of errors.

    Routes see the path as it was sent, with its percent signs, so that a name with a slash is one part of it.

    Args:
        app: what answers.
        access: who may do what.
        metrics: that count.
        memory: bytes of requests.
    """

    def __init__(self, app: ASGIApp, access: Access, metrics: Metrics, memory: MemoryBudget):
        self.app, self.access, self.metrics, self.memory = app, access, metrics, memory
        frames = " ".join(access.frames) or "'none'"
        self.headers = {
            **HEADERS,
            "Content-Security-Policy": (
                "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
                f"form-action 'self'; frame-ancestors {frames}"
            ),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["path"] = scope.get("raw_path", scope["path"].encode()).decode("latin-1").partition("?")[0]
        start, status = time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            error = self._check(Headers(scope=scope), scope["method"])
            if error is not None:
                self.metrics.rejected.labels(error.code).inc()
                await ErrorResponse(error)(scope, receive, send_with_headers)
            else:
                await self.app(scope, receive, send_with_headers)
        except Exception:
            log.exception("%s failed", endpoint(scope))
            status = status or 500
        finally:
            self.memory.total -= scope.pop("lookalike.bytes", 0)
            self.metrics.requests.labels(endpoint(scope), str(status)).inc()
            self.metrics.seconds.labels(endpoint(scope)).observe(time.perf_counter() - start)

    def _check(self, headers: Headers, method: str) -> ApiError | None:
        """Refuse what another page makes a browser send: rebound names (DNS) and forged requests (CSRF)."""
        host = headers.get("host", "")
        if not is_own_host(host, self.access):
            name = host_name(host)
            return ApiError(
                "wrong_host", f"this service is not known as {name}; start it with hosts=[{name}]"
            )
        if method in SAFE:
            return None
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return ApiError("wrong_origin", f"a page of {origin} may not send requests to this service")
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return ApiError("wrong_origin", "a page of another site may not send requests to this service")
        return None


def endpoint(scope: Scope) -> str:
    """The route of a request, without names in it."""
    route = scope.get("route")
    return f"{scope['method']} {route.path}" if route is not None and hasattr(route, "path") else "none"


def host_name(host: str) -> str:
    """The name in a Host header, without the port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".").lower()
    except ValueError:
        return ""


def is_own_host(host: str, access: Access) -> bool:
    """Whether a Host header is one of this service: an IP address, localhost, or a name in `hosts`.

    A page that points a name of its own to this computer (DNS rebinding) sends that name.
    """
    name = host_name(host)
    if name == "localhost" or name.endswith(".localhost") or is_address(name):
        return True
    return any(
        each == "*" or name == each.lower() or (each.startswith("*.") and name.endswith(each[1:].lower()))
        for each in access.hosts
    )


def is_address(name: str) -> bool:
    """Whether a name is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_local(request: Request) -> bool:
    """Whether a client is on this computer, and not behind a proxy that is."""
    if request.client is None or any(name in request.headers for name in FORWARDED):
        return False
    return is_address(request.client.host) and is_loopback(request.client.host)


def is_loopback(address: str) -> bool:
    """Whether an IP address is one of this computer alone."""
    parsed = ipaddress.ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


def has_token(headers: Mapping[str, str], token: str) -> bool:
    """Whether a request has the token; the comparison takes the same time for every wrong one."""
    kind, _, text = headers.get("authorization", "").partition(" ")
    return kind.lower() == "bearer" and hmac.compare_digest(text.strip().encode(), token.encode())


def check_write(request: Request, access: Access) -> None:
    """Refuse a client that may not change the index.

    Raises:
        ApiError: it may not.
    """
    if access.token is None:
        if not is_local(request):
            raise ApiError(
                "not_allowed",
                "only clients on the computer of the service may change the index, since it was started "
                "without token=",
                True,
            )
    elif not has_token(request.headers, access.token):
        raise ApiError("token_needed", "send the token of the service: Authorization: Bearer TOKEN", True)


def check_read(request: Request, access: Access) -> None:
    """Refuse a client that may not read.

    Raises:
        ApiError: it may not.
    """
    if access.read_token:
        check_write(request, access)


def may_write(request: Request, access: Access) -> bool:
    """Whether a client may change the index."""
    try:
        check_write(request, access)
    except ApiError:
        return False
    return True


def as_error(status: int, detail: Any) -> ApiError:
    """An error of the framework as one of ours."""
    if status == 404:
        return ApiError("not_found", "there is no such address; /openapi.json lists them")
    if status == 405:
        return ApiError("wrong_method", "this address does not take this method; /openapi.json lists them")
    return ApiError("bad_request", str(detail))

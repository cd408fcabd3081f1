"""The server: uvicorn, with a limit on connections and on the time that a request may take to arrive."""

import asyncio
import contextlib
import json
import logging
import signal
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from lookalike.serve.metrics import Metrics
from lookalike.serve.settings import Limits

log = logging.getLogger(__name__)
KEEP_ALIVE = 5
GRACE = 20
"""Seconds in which requests are finished when the service stops."""
SPARE_FILES = 100
BUSY = json.dumps({"error": {"code": "busy", "message": "too many connections; try again in a moment"}})
INVALID = json.dumps({"error": {"code": "bad_request", "message": "not a valid HTTP request"}})


def raw_response(status: str, body: str) -> bytes:
    """A response that closes the connection, for use outside of a request."""
    lines = (
        f"HTTP/1.1 {status}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "X-Content-Type-Options: nosniff",
        *(["Retry-After: 1"] if status.startswith("503") else []),
        "Connection: close",
    )
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


class TimedProtocol(H11Protocol):
    """HTTP on one connection, which is closed if it waits for a complete request for too long.

    When there are too many connections, one without a complete request is closed, so that slow senders cannot
    keep others out. If all have sent one, a new connection gets 503.

    Attributes:
        limits: of the service.
        metrics: that count.
        waiting: connections without the headers of a request, the one that has waited longest first.
        receiving: connections without the whole body of a request, the one that was silent longest first.
    """

    limits: Limits
    metrics: Metrics
    waiting: "dict[TimedProtocol, asyncio.TimerHandle]"
    receiving: "dict[TimedProtocol, None]"

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, and make room for it."""
        super().connection_made(transport)
        self.metrics.connections.set(len(self.connections))
        if len(self.connections) > self.limits.connections:
            self._make_room()
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Read, and stop the clock once the headers are complete."""
        super().data_received(data)
        self.receiving.pop(self, None)
        if self._is_answering():
            self._stop_waiting()
            if self.cycle.more_body:
                self.receiving[self] = None
        else:
            self._wait()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if not self._is_answering():
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        self.receiving.pop(self, None)
        super().connection_lost(exc)
        self.metrics.connections.set(len(self.connections))

    def pause_writing(self) -> None:
        """Give a client that does not read its answer only so much time."""
        super().pause_writing()
        self._wait()

    def resume_writing(self) -> None:
        """Go on: the client reads again."""
        super().resume_writing()
        if self._is_answering():
            self._stop_waiting()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, in the format of all errors."""
        self.metrics.rejected.labels("invalid").inc()
        self.transport.write(raw_response("400 Bad Request", INVALID))
        self.transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self._stop_waiting()
        self.transport.abort()

    def _make_room(self) -> None:
        slow = next(iter(self.waiting), None) or next(iter(self.receiving), None)
        if slow is not None:
            self.metrics.rejected.labels("evicted").inc()
            slow.abort()
            return
        self.metrics.rejected.labels("connections").inc()
        self.transport.write(raw_response("503 Service Unavailable", BUSY))
        self.transport.close()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        if self not in self.waiting:
            self.waiting[self] = self.loop.call_later(self.limits.timeout, self._expire)

    def _stop_waiting(self) -> None:
        timer = self.waiting.pop(self, None)
        if timer is not None:
            timer.cancel()

    def _expire(self) -> None:
        self.metrics.rejected.labels("too_slow").inc()
        self.abort()


class Server(uvicorn.Server):
    """A server that ends by itself after SIGINT or SIGTERM, with the requests it has begun finished."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; a second Ctrl-C does not wait for requests."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def make_server(app: Any, host: str, port: int, limits: Limits, metrics: Metrics) -> Server:
    """A server that has not been started."""
    allow_files(limits.connections + SPARE_FILES)
    protocol = type(
        "Protocol", (TimedProtocol,), {"limits": limits, "metrics": metrics, "waiting": {}, "receiving": {}}
    )
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,  # addresses contain names
        proxy_headers=False,  # otherwise a proxy could make anybody a local client
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
        backlog=1024,
    )
    return Server(config)


def allow_files(count: int) -> None:
    """Allow this process as many open files, where the system does."""
    with contextlib.suppress(ImportError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        allowed = count if hard == resource.RLIM_INFINITY else min(count, hard)
        if 0 <= soft < allowed:
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if soft != resource.RLIM_INFINITY and allowed < count:
            log.warning(
                "only %d open files are allowed, so there may be fewer than %d connections", allowed, count
            )

"""Connections with a timeout for the whole response header, against servers that send a byte now and then."""

import http.client
import socket
import threading
import urllib.request
from contextlib import suppress

from lookalike.errors import DataError


class RefusedError(DataError):
    """A request that will not succeed when repeated."""

    def __init__(self, url: str, reason: str, code: int = 0):
        self.url, self.reason, self.code = url, reason, code
        super().__init__(f"{url}: {reason}")

    def __reduce__(self) -> tuple[type, tuple[str, str, int]]:
        return type(self), (self.url, self.reason, self.code)


class Prompt(http.client.HTTPConnection):
    """A connection that fails if the response header is incomplete after the timeout."""

    def getresponse(self) -> http.client.HTTPResponse:
        """The response, with its header read.

        Raises:
            TimeoutError: it takes too long.
        """
        late, connection = threading.Event(), self.sock

        def end() -> None:
            late.set()
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

        timer = threading.Timer(self.timeout or 0, end)
        timer.daemon = True
        timer.start()
        try:
            response = super().getresponse()
        except (OSError, http.client.HTTPException):
            if late.is_set():
                raise TimeoutError from None
            raise
        finally:
            timer.cancel()
        if late.is_set():
            response.close()
            raise TimeoutError
        return response


class PromptSecure(http.client.HTTPSConnection, Prompt):
    """The same for https."""


class PromptHTTP(urllib.request.HTTPHandler):
    """http over such connections."""

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """The response to a request."""
        return self.do_open(Prompt, req)


class PromptHTTPS(urllib.request.HTTPSHandler):
    """The same for https."""

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """The response to a request."""
        return self.do_open(PromptSecure, req)

"""One HTTP request: only http and https, few redirects; errors are either final or retryable."""

import email.message
import email.utils
import http.client
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from typing import IO

from lookalike.prepare.download.addresses import PublicHTTP, PublicHTTPS
from lookalike.prepare.download.connection import PromptHTTP, PromptHTTPS, RefusedError

SCHEMES = ("http", "https")
MOST_REDIRECTS = 5
CHUNK = 1 << 16
DIGITS = 19
AGAIN = (408, 425, 429, 500, 502, 503, 504)
AGENT = "lookalike (a dataset preparation tool)"
WHY = {
    401: "it requires a login",
    403: "it may require a login",
    404: "there is no such file",
    410: "it is gone",
}


class AgainError(Exception):
    """A request that may succeed later; `after` is the wait in seconds that the server asks for, if any."""

    def __init__(self, reason: str, after: float | None = None):
        self.reason, self.after = reason, after
        super().__init__(reason)


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = MOST_REDIRECTS
    max_repeats = 2

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        fp.close()  # otherwise the whole body of the redirect would be read
        scheme = urllib.parse.urlsplit(newurl).scheme.lower()
        if scheme not in SCHEMES or (req.type == "https" and scheme == "http"):
            raise RefusedError(
                req.full_url, f"it redirects from {req.type} to {scheme}, which is not followed"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(private: bool) -> urllib.request.OpenerDirector:
    """Handlers for http and https only: no file:, ftp: or data:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        PromptHTTP() if private else PublicHTTP(),
        PromptHTTPS() if private else PublicHTTPS(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def validate_url(url: str) -> str:
    """The URL with spaces and non-ASCII characters percent-encoded.

    Raises:
        RefusedError: it is not http or https, has no host, or is not a URL.
    """
    try:
        parts = urllib.parse.urlsplit(url.strip())
        host = (parts.hostname or "").encode("idna").decode("ascii")
        port = parts.port
    except (ValueError, UnicodeError) as error:
        raise RefusedError(url, f"not a URL: {error}") from error
    if parts.scheme.lower() not in SCHEMES:
        raise RefusedError(url, f"{parts.scheme or 'no scheme'}: only http and https are supported")
    if not host:
        raise RefusedError(url, "not a URL: it has no host")
    if parts.username or parts.password:
        raise RefusedError(url, "it contains a user name or password, which are not sent")
    netloc = f"[{host}]" if ":" in host else host
    netloc = netloc if port is None else f"{netloc}:{port}"
    path = urllib.parse.quote(parts.path, safe="/%:@!$&'()*+,;=~")
    query = urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=~?")
    return urllib.parse.urlunsplit((parts.scheme.lower(), netloc, path, query, ""))


def open_url(
    url: str, headers: Mapping[str, str] | None = None, timeout: float = 30, *, private: bool = False
) -> http.client.HTTPResponse:
    """The open response to a GET request; the caller closes it.

    Args:
        url: http or https.
        headers: more request headers.
        timeout: seconds without data after which the connection fails.
        private: allow addresses that are not public: of this machine or its network.

    Raises:
        RefusedError: a retry is pointless.
        AgainError: a retry may succeed.
    """
    request = urllib.request.Request(validate_url(url))
    for name, value in {"User-Agent": AGENT, "Accept-Encoding": "identity", **(headers or {})}.items():
        request.add_header(name, value)
    try:
        return _opener(private).open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        raise _classify_error(url, error) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise RefusedError(url, f"its certificate is not valid: {error.reason.verify_message}") from error
        raise AgainError(f"no connection: {error.reason}") from error
    except (http.client.InvalidURL, ValueError) as error:
        raise RefusedError(url, f"not a URL: {error}") from error
    except (OSError, http.client.HTTPException) as error:
        raise AgainError(f"the connection broke: {describe_error(error)}") from error


def chunks(response: http.client.HTTPResponse, timeout: float, slowest: float) -> Iterator[bytes]:
    """The data of a response as it arrives.

    Args:
        response: an open one.
        timeout: seconds over which the speed is measured.
        slowest: bytes a second; less is a stall.

    Raises:
        AgainError: the connection was interrupted or stalled.
    """
    count, since = 0, time.monotonic()
    while True:
        try:
            data = response.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise AgainError(f"the connection broke: {describe_error(error)}") from error
        if not data:
            return
        yield data
        count, now = count + len(data), time.monotonic()
        if now - since >= timeout:
            if count < slowest * (now - since):
                raise AgainError(f"almost no data arrived in {now - since:.0f} s")
            count, since = 0, now


def _classify_error(url: str, error: urllib.error.HTTPError) -> Exception:
    if error.code in AGAIN:
        return AgainError(
            f"the server says {error.code} {_plain_reason(error.reason)}", retry_after(error.headers)
        )
    if 300 <= error.code < 400:
        to = urllib.parse.urlsplit(error.headers.get("Location") or "").scheme
        reason = f"it redirects in a loop, to nowhere, or more than {MOST_REDIRECTS} times"
        other = f"it redirects from http to {to}, which is not followed"
        return RefusedError(url, other if to not in ("", *SCHEMES) else reason, error.code)
    why = f" ({WHY[error.code]})" if error.code in WHY else ""
    return RefusedError(url, f"the server says {error.code} {_plain_reason(error.reason)}{why}", error.code)


def length_of(response: http.client.HTTPResponse) -> int | None:
    """The length that a response announces; None if it does not.

    Raises:
        RefusedError: it announces several lengths.
    """
    lengths = set(response.headers.get_all("Content-Length", []))
    if len(lengths) > 1:
        raise RefusedError(response.url, "the server announces several lengths")
    return whole_number(lengths.pop()) if lengths else None


def whole_number(text: str) -> int | None:
    """A header as a decimal number; None if it is not one, or impossibly large."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < DIGITS else None


def retry_after(headers: email.message.Message | Mapping[str, str]) -> float | None:
    """Seconds to wait according to Retry-After, a number or a date; None without such a header."""
    text = (headers.get("Retry-After") or "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - time.time())


def describe_error(error: BaseException) -> str:
    """A short description of a network error."""
    if isinstance(error, TimeoutError):
        return "no response in time"
    return _plain_reason(error) or type(error).__name__


def _plain_reason(reason: object) -> str:
    """A reason phrase without control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(reason)[:120])

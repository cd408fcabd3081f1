"""Connections to public IP addresses only, so that lists and redirects cannot reach local hosts."""

import http.client
import ipaddress
import socket
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

from lookalike.prepare.download.connection import Prompt, PromptSecure, RefusedError

Address = tuple[str, int]
Connect = Callable[..., socket.socket]
KINDS = (
    ("is_loopback", "this machine itself"),
    ("is_link_local", "link-local"),
    ("is_multicast", "multicast"),
    ("is_private", "private"),
)


def non_public_kind(address_text: str) -> str | None:
    """The kind of a non-public IP address; None if it is public."""
    address = ipaddress.ip_address(address_text)
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address.sixtofour or address
    local = getattr(address, "is_site_local", False) or address.is_multicast
    if address.is_global and not local:
        return None
    return next((kind_text for kind, kind_text in KINDS if getattr(address, kind)), "reserved")


def public_addresses(host: str, port: int) -> list[str]:
    """The public IP addresses of a host.

    Raises:
        RefusedError: it has none; the message states its addresses.
        OSError: the name is not known.
    """
    addresses = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    public = [address_text for address_text in addresses if non_public_kind(address_text) is None]
    if not public:
        address_text = addresses[0]
        subject = f"{host} is {address_text}, " if address_text != host else f"{host} is "
        raise RefusedError(
            host,
            f"{subject}not a public address ({non_public_kind(address_text)}); private=true allows it",
        )
    return public


def is_within(url: str) -> bool:
    """Whether the host of a URL is local; false if its name cannot be resolved."""
    try:
        public_addresses(urllib.parse.urlsplit(url).hostname or "", 0)
    except RefusedError:
        return True
    except (OSError, ValueError):
        return False
    return False


def _connect_public(address: Address, *options: Any) -> socket.socket:
    """A connection to a public address of a host, exactly the one that was checked."""
    host, port = address
    failed: OSError | None = None
    for address_text in public_addresses(host, port):
        try:
            return socket.create_connection((address_text, port), *options)
        except OSError as error:
            failed = error
    raise failed or OSError(f"{host} has no address")


class _Plain(Prompt):
    _create_connection: Connect

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._create_connection = _connect_public


class _Secure(PromptSecure):
    _create_connection: Connect

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._create_connection = _connect_public


class PublicHTTP(urllib.request.HTTPHandler):
    """HTTP to public addresses only; for a proxy, the address is checked by name before the request."""

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """The response to a request."""
        return self.do_open(Prompt if _uses_proxy(req) else _Plain, req)


class PublicHTTPS(urllib.request.HTTPSHandler):
    """The same for https."""

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """The response to a request."""
        return self.do_open(PromptSecure if _uses_proxy(req) else _Secure, req)


def _uses_proxy(request: urllib.request.Request) -> bool:
    """Whether a proxy makes the connection; the host name is then checked, if it can be resolved here."""
    parts = urllib.parse.urlsplit(request.full_url)
    if request.host == parts.netloc:
        return False
    try:
        public_addresses(parts.hostname or "", parts.port or 0)
    except OSError:
        return True
    return True

"""Connections to public addresses alone: a list, or a redirect, must not reach into one's own network."""

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
    """Of what kind an IP address is that not everybody can reach; None if everybody can."""
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
        RefusedError: it has none; says what it has.
        OSError: the name is not known.
    """
    addresses = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    public = [address_text for address_text in addresses if non_public_kind(address_text) is None]
    if not public:
        address_text = addresses[0]
        subject = f"{host} is {address_text}, " if address_text != host else f"{host} is "
        raise RefusedError(
            host,
            f"{subject}not a public address ({non_public_kind(address_text)}); private=true lets it be asked",
        )
    return public


def is_within(url: str) -> bool:
    """Whether the host of a URL is of this machine or its network; false if its name is not known."""
    try:
        public_addresses(urllib.parse.urlsplit(url).hostname or "", 0)
    except RefusedError:
        return True
    except (OSError, ValueError):
        return False
    return False


def _connect_public(address: Address, *options: Any) -> socket.socket:
    """A connection to one of the public addresses of a host: to the very one that was looked at."""
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
    """http to public addresses alone; what a proxy fetches is looked at by name, before it is asked."""

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """The response to a request."""
        return self.do_open(Prompt if _uses_proxy(req) else _Plain, req)


class PublicHTTPS(urllib.request.HTTPSHandler):
    """The same for https."""

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """The response to a request."""
        return self.do_open(PromptSecure if _uses_proxy(req) else _Secure, req)


def _uses_proxy(request: urllib.request.Request) -> bool:
    """Whether a proxy makes the connection; the name that it is told is looked at, if it is known here."""
    parts = urllib.parse.urlsplit(request.full_url)
    if request.host == parts.netloc:
        return False
    try:
        public_addresses(parts.hostname or "", parts.port or 0)
    except OSError:
        return True
    return True

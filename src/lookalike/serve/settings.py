"""What a service allows: sizes, waiting times, and who may do what."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lookalike.detect.cropping import Cropping
from lookalike.search.identify import Validation

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Limits:
    """Limits of requests.

    Attributes:
        max_bytes: of one photo.
        max_pixels: of one photo; checked in its header, before it is decoded.
        max_photos: in one request.
        max_faces: subjects in one photo; the largest are used.
        connections: at a time.
        queue: requests that compute or wait for the model at a time; further ones get 503.
        timeout: seconds in which the headers of a request, or the next part of it, have to arrive.
        memory: bytes of requests that are held at a time.
    """

    max_bytes: int = 20 * MEGABYTE
    max_pixels: int = 50_000_000
    max_photos: int = 16
    max_faces: int = 32
    connections: int = 2000
    queue: int = 32
    timeout: float = 20.0
    memory: int = 400 * MEGABYTE

    @property
    def max_body(self) -> int:
        """Bytes of a request: all photos, and some for the form around them."""
        return min(self.max_photos * self.max_bytes, self.memory // 4) + MEGABYTE // 10


@dataclass(frozen=True)
class Access:
    """Who may use the service.

    Attributes:
        token: for writes; without one, only clients on this computer may write.
        read_token: whether reads need the token as well.
        hosts: names under which the service is reached, besides localhost and IP addresses.
        frames: origins of pages that may show the page of the service in a frame.
    """

    token: str | None = None
    read_token: bool = False
    hosts: Sequence[str] = ()
    frames: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.token is not None and not self.token.strip():
            raise ValueError("token: is empty; leave it out, or choose a long random text")
        if self.read_token and self.token is None:
            raise ValueError("read_token=true: needs token=, which readers then have to send")


@dataclass(frozen=True)
class Settings:
    """How to serve an index.

    Attributes:
        index: index folder.
        host: address to listen on.
        port: TCP port; 0 takes a free one.
        access: who may do what.
        limits: of requests.
        cropping: how photos are cropped; None for whole photos.
        detect: name of that.
        fpir: share of strangers who may be given a name.
        validation: as in `Index.identify`.
        batch_size: pictures per pass of the model.
        immich: whether Immich's contract is served, too.
        upstream: address of a service for Immich's other tasks.
    """

    index: Path
    host: str = "127.0.0.1"
    port: int = 8000
    access: Access = field(default_factory=Access)
    limits: Limits = field(default_factory=Limits)
    cropping: Cropping | None = None
    detect: str = "none"
    fpir: float = 0.01
    validation: Validation = None
    batch_size: int = 16
    immich: bool = False
    upstream: str | None = None

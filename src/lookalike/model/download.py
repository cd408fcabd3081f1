"""One weights file from the web, checked against its published SHA-256."""

import hashlib
import logging
from functools import partial
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch

from lookalike.errors import LookalikeError
from lookalike.files import replace_file
from lookalike.model.hub import WITHOUT_NETWORK
from lookalike.version import __version__

log = logging.getLogger(__name__)
SECONDS = 10.0
"""Time limit of connecting, and of each wait for more data."""
PIECE = 1 << 20
"""Bytes that are read at once."""


def download_weights(address: str, sha256: str) -> Path:
    """The file at an address, kept where PyTorch keeps weights; no request if it is there already.

    Args:
        address: its URL.
        sha256: what its SHA-256 begins with, in hexadecimal.

    Raises:
        LookalikeError: there is no connection or no such file, or the content is another.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / address.rpartition("/")[2]
    if file.is_file():
        if _digest(file).startswith(sha256):
            return file
        log.warning("%s: its SHA-256 is not the published one; it is downloaded again", file)
    log.info("downloading %s to %s (TORCH_HOME sets another folder)", address, file)
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        replace_file(file, partial(_fetch, address, sha256))
    except HTTPError as error:
        raise LookalikeError(
            f"{address}: the server answers {error.code} {error.reason}; {WITHOUT_NETWORK}"
        ) from error
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise LookalikeError(f"{address}: cannot be downloaded ({reason}); {WITHOUT_NETWORK}") from error
    return file


def _fetch(address: str, sha256: str, file: Path) -> None:
    """Write what the server sends, in one attempt."""
    digest, received = hashlib.sha256(), 0
    request = Request(address, headers={"User-Agent": f"lookalike/{__version__}"})
    with urlopen(request, timeout=SECONDS) as answer, file.open("wb") as output:
        expected = int(answer.headers.get("Content-Length") or 0)
        while piece := answer.read(PIECE):
            received += len(piece)
            digest.update(piece)
            output.write(piece)
    if received < expected:
        raise LookalikeError(
            f"{address}: the connection broke after {received:,} of {expected:,} bytes; {WITHOUT_NETWORK}"
        )
    if not digest.hexdigest().startswith(sha256):
        raise LookalikeError(
            f"{address}: is not the published file: its SHA-256 is {digest.hexdigest()}, not {sha256}; "
            f"{WITHOUT_NETWORK}"
        )


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

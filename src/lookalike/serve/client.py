"""A client of the service, which needs no packages."""

import http.client
import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode, urlsplit

from lookalike.errors import LookalikeError

Photo = str | Path | bytes
"""A file, or its content."""
Photos = Photo | Sequence[Photo]
Box = Sequence[float]
PAGE = 1000


class ServiceError(LookalikeError):
    """A request that the service refused, or that did not reach it.

    Attributes:
        code: of the error, as in the documentation; "unreachable" without an answer.
        status: of the HTTP response; None without one.
    """

    def __init__(self, code: str, message: str, status: int | None = None):
        super().__init__(message)
        self.code, self.status = code, status


class Client:
    """Calls a service that `lookalike serve` started.

    Args:
        url: its address.
        token: needed to change the index of a service that has one.
        timeout: seconds to wait for an answer.
    """

    def __init__(self, url: str = "http://127.0.0.1:8000", token: str | None = None, timeout: float = 60.0):
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"url={url}: must start with http:// or https://")
        self.url, self.token, self.timeout = url.rstrip("/"), token, timeout

    def info(self) -> dict[str, Any]:
        """What the service recognises, and what it accepts."""
        return self._call("GET", "/info")

    def identify(
        self, photos: Photos, *, k: int = 5, encounter: bool = False, box: Box | None = None
    ) -> list[dict[str, Any]]:
        """Who each photo shows, as `Index.identify` says it; one entry per subject.

        Args:
            photos: a photo or several.
            k: number of identities in `hits`.
            encounter: whether all photos show the same one, and get one answer.
            box: x1 y1 x2 y2 in pixels, the part of a single photo to look at.

        Raises:
            ServiceError: the service refused, or no photo can be read. Of several photos, one that cannot be
                read has an entry with `error`.
        """
        texts = {"k": str(k), "encounter": str(encounter).lower(), **_box(box)}
        return self._send("/identify", _files(photos), texts)

    def search(
        self,
        photos: Photos,
        k: int = 5,
        *,
        by: Literal["image", "label"] = "image",
        box: Box | None = None,
    ) -> list[dict[str, Any]]:
        """The nearest enrolled photos or identities of each photo; arguments as in `identify`."""
        return self._send("/search", _files(photos), {"k": str(k), "by": by, **_box(box)})

    def verify(self, first: Photo, second: Photo, threshold: float | None = None) -> dict[str, Any]:
        """Whether two photos show the same, as `lookalike.verify` says it."""
        files = [*_files(first), *_files(second, "image_b")]
        return self._send("/verify", files, {} if threshold is None else {"threshold": str(threshold)})

    def embed(self, photos: Photos) -> dict[str, Any]:
        """The vectors of photos, and their space."""
        return self._send("/embed", _files(photos), {})

    def enrol(self, photos: Photos, name: str | None = None, *, box: Box | None = None) -> dict[str, Any]:
        """Enrol photos of one identity; without a name it is called new-1, new-2, …."""
        return self._send("/identities" if name is None else _address(name), _files(photos), _box(box))

    def forget(self, name: str) -> int:
        """Forget an identity; returns the number of its photos."""
        return self._call("DELETE", _address(name))["photos"]

    def identities(self, query: str = "") -> list[dict[str, Any]]:
        """All identities whose names contain a text."""
        rows: list[dict[str, Any]] = []
        while True:
            values = urlencode({"query": query, "offset": len(rows), "limit": PAGE})
            page = self._call("GET", f"/identities?{values}")
            rows += page["identities"]
            if not page["identities"] or len(rows) >= page["total"]:
                return rows

    def photos(self, name: str) -> list[dict[str, Any]]:
        """The enrolled photos of an identity."""
        return self._call("GET", _address(name))["photos"]

    def merge(self, name: str, into: str) -> int:
        """Say that an identity is another one, or rename it; returns the number of the decision."""
        return self._json(f"{_address(name)}/merge", {"into": into})["decision"]

    def split(self, name: str, photos: Sequence[str], into: str) -> int:
        """Make photos of an identity a new one; returns the number of the decision."""
        return self._json(f"{_address(name)}/split", {"photos": list(photos), "into": into})["decision"]

    def decisions(self, limit: int = 50) -> list[dict[str, Any]]:
        """Who decided what, the newest first."""
        return self._call("GET", f"/decisions?limit={limit}")

    def undo(self, decision: int) -> int:
        """Take a decision back; returns the number of that decision."""
        return self._json("/undo", {"decision": decision})["decision"]

    def _json(self, path: str, value: dict[str, Any]) -> Any:
        return self._call("POST", path, json.dumps(value).encode(), "application/json")

    def _send(self, path: str, files: "Sequence[tuple[str, str, bytes]]", texts: dict[str, str]) -> Any:
        boundary = secrets.token_hex(16)
        parts = [(f'name="{name}"', text.encode()) for name, text in texts.items()]
        parts += [(f'name="{field}"; filename="{_header(name)}"', data) for field, name, data in files]
        body = b"".join(
            f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode(errors="replace")
            + data
            + b"\r\n"
            for head, data in parts
        )
        body += f"--{boundary}--\r\n".encode()
        return self._call("POST", path, body, f"multipart/form-data; boundary={boundary}")

    def _call(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> Any:
        headers = {"Accept": "application/json", **({"Content-Type": kind} if kind else {})}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            raise _service_error(error) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise ServiceError("unreachable", f"{self.url}: {reason}; does the service run?") from error


def _service_error(error: urllib.error.HTTPError) -> ServiceError:
    try:
        values = json.loads(error.read())["error"]
        return ServiceError(values["code"], values["message"], error.code)
    except (OSError, ValueError, KeyError, TypeError):
        return ServiceError("unknown", f"{error.code} {error.reason}", error.code)


def _files(photos: Photos, field: str = "image") -> list[tuple[str, str, bytes]]:
    """Field, name and content of each photo."""
    several = [photos] if isinstance(photos, str | Path | bytes) else list(photos)
    files = []
    for photo in several:
        if isinstance(photo, bytes):
            files.append((field, "photo", photo))
            continue
        try:
            files.append((field, Path(photo).name, Path(photo).expanduser().read_bytes()))
        except OSError as error:
            raise ServiceError("unreadable_image", f"{photo}: {error.strerror or error}") from error
    return files


def _header(name: str) -> str:
    """A file name in a header."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _box(box: Box | None) -> dict[str, str]:
    return {} if box is None else {"box": ",".join(f"{value:g}" for value in box)}


def _address(name: str) -> str:
    return f"/identities/{quote(name, safe='')}"

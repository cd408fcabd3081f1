"""Locations of a dataset folder: a web server, an object store, or this machine."""

import logging
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Protocol

from lookalike.errors import DataError
from lookalike.prepare.download.addresses import is_within
from lookalike.prepare.download.file import Expected, OnProgress, Patience, checksum_mismatch, fetch

log = logging.getLogger(__name__)
PIECE = 1 << 20
INSTALL = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}


class Store(Protocol):
    """The location of a dataset folder."""

    def fetch(self, name: str, file: Path, expected: Expected | None, on_progress: OnProgress | None) -> None:
        """Copy the file with this name, resuming an earlier attempt.

        Raises:
            DataError: it cannot be fetched.
        """


class Web:
    """A folder on a web server; a query string, as in a signed URL, is added to every name.

    A server in the local network, as given by the user, may redirect within that network; a public one may
    not.
    """

    def __init__(self, address: str, patience: Patience | None = None):
        self._parts, self._patience = urllib.parse.urlsplit(address), patience

    def fetch(self, name: str, file: Path, expected: Expected | None, on_progress: OnProgress | None) -> None:
        """See `Store`."""
        path = f"{self._parts.path.rstrip('/')}/{name}"
        address = self._parts._replace(path=path).geturl()
        fetch(address, file, expected, on_progress, self._patience, private=is_within(address))


class Files:
    """A folder on this machine, or in a store supported by fsspec."""

    def __init__(self, address: str, opened: Callable[[str], IO[bytes]], patience: Patience | None = None):
        self._address, self._opened, self._patience = address, opened, patience or Patience()

    def fetch(self, name: str, file: Path, expected: Expected | None, on_progress: OnProgress | None) -> None:
        """See `Store`."""
        expected, address = expected or Expected(), f"{self._address.rstrip('/')}/{name}"
        part = file.with_name(f"{file.name}.part")
        for again in (True, False):
            self._copy(name, address, part, expected, on_progress or (lambda done, total: None))
            wrong = checksum_mismatch(part, expected)
            if wrong is None:
                part.replace(file)
                return
            part.unlink()
            log.warning("%s: %s%s", address, wrong, "; restarting from the beginning" if again else "")
        raise DataError(
            f"{address}: {wrong}, twice. It was changed, or is damaged in transit; nothing was kept"
        )

    def _copy(self, name: str, address: str, part: Path, expected: Expected, on_progress: OnProgress) -> None:
        failures = 0
        if expected.checksum is None or _bytes(part) > (expected.size or 0):
            part.unlink(missing_ok=True)
        while True:
            before = _bytes(part)
            try:
                return self._continue_copy(name, part, before, expected, on_progress)
            except _BrokenError as error:
                have = _bytes(part)
                failures = 0 if have > before else failures + 1
                if failures >= self._patience.attempts or error.final:
                    if not have:
                        part.unlink(missing_ok=True)
                    kept_text = f"; {have:,} bytes are kept in {part}" if have else ""
                    advice = "" if error.final else "; run the same command again later"
                    raise DataError(f"{address}: {error}{kept_text}{advice}") from error
                time.sleep(self._patience.pause(failures, None))

    def _continue_copy(
        self, name: str, part: Path, have: int, expected: Expected, on_progress: OnProgress
    ) -> None:
        """Read the rest of the file, or as much as arrives."""
        with part.open("ab") as out:
            for data in _pieces(lambda: self._opened(name), have):
                out.write(data)
                have += len(data)
                on_progress(have, expected.size)
                if expected.size is not None and have > expected.size:
                    return
        if expected.size is not None and have < expected.size:
            raise _BrokenError(f"ended after {have:,} of {expected.size:,} bytes")


def _bytes(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


class _BrokenError(Exception):
    """Reading from a store failed; `final` if a retry is pointless."""

    def __init__(self, reason: str, final: bool = False):
        self.final = final
        super().__init__(reason)


def _pieces(opened: Callable[[], IO[bytes]], start: int) -> Iterator[bytes]:
    """The content of a file from `start` on; all errors of stores are converted to ours."""
    try:
        with opened() as stream:
            if start:
                stream.seek(start)
            while data := stream.read(PIECE):
                yield data
    except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
        reason = "no permission to read it" if isinstance(error, PermissionError) else "there is no such file"
        raise _BrokenError(reason, final=True) from error
    except Exception as error:
        raise _BrokenError(str(error) or type(error).__name__) from error


def open_store(address: str) -> Store:
    """The folder at a URL: http(s)://, any scheme of fsspec (s3://, gs://, …), or a path.

    Raises:
        DataError: there is no such folder, or the package for this scheme is missing.
    """
    scheme = urllib.parse.urlsplit(address).scheme.lower() if "://" in address else ""
    if scheme in ("http", "https"):
        return Web(address)
    if not scheme:
        folder = Path(address).expanduser()
        if not folder.is_dir():
            raise DataError(f"url={address}: there is no such folder")
        return Files(address, lambda name: (folder / name).open("rb"))
    try:
        import fsspec

        system, root = fsspec.core.url_to_fs(address)
    except ImportError as error:
        package = INSTALL.get(scheme, "fsspec")
        raise DataError(f"url={address}: needs a package that is missing: pip install {package}") from error
    except Exception as error:  # third-party packages may raise anything
        raise DataError(f"url={address}: {error}") from error
    return Files(address, lambda name: system.open(f"{root.rstrip('/')}/{name}", "rb"))

"""The unfinished file of a download, written by one process alone."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lookalike.errors import DataError
from lookalike.files import write_text


class Part:
    """The unfinished file, with a note beside it of which version of the original it is."""

    def __init__(self, file: Path):
        self.path = file.with_name(f"{file.name}.part")
        self.note = file.with_name(f"{file.name}.part.json")

    def size(self) -> int:
        """Bytes that are there."""
        return self.path.stat().st_size if self.path.exists() else 0

    def version(self, url: str) -> str | None:
        """What the server called the version that was begun: a strong ETag, or a date."""
        try:
            known = json.loads(self.note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return known.get("version") if isinstance(known, dict) and known.get("url") == url else None

    def begin(self, url: str, version: str | None) -> None:
        """From the start."""
        self.path.write_bytes(b"")
        write_text(self.note, json.dumps({"url": url, "version": version}))

    def discard(self) -> None:
        """Keep nothing."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Two processes that write into the same file would make a mixture of it.

    Raises:
        DataError: another process is fetching it.
    """
    place = file.with_name(f"{file.name}.part.lock")
    with place.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            same = place.exists() and place.stat().st_ino == os.fstat(lock.fileno()).st_ino
        except BlockingIOError:
            same = False
        except OSError:  # a file system without locks
            same = True
        if not same:
            raise DataError(f"{file}: another process is fetching it; try again when it is through")
        try:
            yield
        finally:
            place.unlink(missing_ok=True)

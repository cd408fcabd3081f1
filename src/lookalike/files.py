"""Atomic writing of files and folders."""

import glob
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lookalike.errors import DataError, LookalikeError

log = logging.getLogger(__name__)
SPARE = 64 << 20
"""Number of bytes to keep free."""


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` create a temporary file beside `path`, then rename it to `path`; on failure nothing is
    left.

    Its permissions follow the umask, even if `write` creates a private file, as safetensors does.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(temporary)
        _as_readable_as_others(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _as_readable_as_others(file: Path) -> None:
    """Give a private file the mode of a new file; reading the umask would require changing it."""
    if file.stat().st_mode & 0o077:
        return
    other = file.with_name(f"{file.name}.mode")
    other.touch()
    file.chmod(other.stat().st_mode)
    other.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def temporary_name(folder: Path, ending: str) -> Path:
    """A unique temporary name beside a folder.

    Leftovers of killed runs are reported, since they take space and are hidden. The process id is not used,
    since in containers each run may have the same one.
    """
    for left in sorted(folder.parent.glob(f".{glob.escape(folder.name)}.*.{ending}")):
        log.warning("%s was left by a killed run; remove it unless that run is still active", left)
    return folder.with_name(f".{folder.name}.{os.getpid()}-{secrets.token_hex(3)}.{ending}")


@contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """A temporary folder; it is renamed if the block succeeds, and removed otherwise.

    Raises:
        LookalikeError: `folder` exists and is not empty.
    """
    folder = Path(folder)
    refuse_existing(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(folder, "partial")
    temporary.mkdir()
    try:
        yield temporary
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def require_space(folder: Path, needed: int, purpose: str, advice: str) -> None:
    """Check that the disk has room for `needed` bytes for `purpose`.

    Raises:
        DataError: it has not; `advice` ends the message.
    """
    free = shutil.disk_usage(folder).free
    if needed > free - SPARE:
        have = f"{free / 1e9:.1f} GB are free"
        raise DataError(f"{folder}: {needed / 1e9:.1f} GB more are required for {purpose}, {have}; {advice}")


def refuse_existing(folder: Path) -> None:
    """Reject an output folder or file that already exists with content.

    Raises:
        LookalikeError: it does.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise LookalikeError(f"{folder} exists; finished results are never overwritten. Choose another out=")


@contextmanager
def replace_folder(folder: Path, mark: str) -> Iterator[Path]:
    """Like `new_folder`, but replaces a folder of ours, marked by a file `mark`, when the block ends.

    Raises:
        LookalikeError: `folder` has other content.
    """
    if not (folder / mark).is_file():
        refuse_existing(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = temporary_name(folder, "partial"), temporary_name(folder, "old")
    temporary.mkdir()
    try:
        yield temporary
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)

"""Writing files and folders so that a reader, or a crash, never meets half of one."""

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
"""Bytes that stay free."""


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside `path`, then rename it over `path`; on failure nothing is left.

    It can be read by whom the umask says, also where `write`, as that of safetensors, makes a private one.
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
    """Give a private file the mode that a new file gets here; to ask for the umask would change it."""
    if file.stat().st_mode & 0o077:
        return
    other = file.with_name(f"{file.name}.mode")
    other.touch()
    file.chmod(other.stat().st_mode)
    other.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file as a whole, in UTF-8."""
    replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def temporary_name(folder: Path, ending: str) -> Path:
    """A name beside a folder for what will be in it; no other run has it, not even one that was killed.

    Such leftovers are said: they take room and nobody sees them. The number of a process is no name, since in
    containers each run may have the same.
    """
    for left in sorted(folder.parent.glob(f".{glob.escape(folder.name)}.*.{ending}")):
        log.warning("%s was left by a killed run; remove it unless that run is still active", left)
    return folder.with_name(f".{folder.name}.{os.getpid()}-{secrets.token_hex(3)}.{ending}")


@contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """A folder to fill; it takes its name only when the block ends well, else it vanishes.

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
    """Refuse to begin on a disk on which `needed` bytes for `purpose` would not leave some room.

    Raises:
        DataError: it is so; `advice` ends the message.
    """
    free = shutil.disk_usage(folder).free
    if needed > free - SPARE:
        have = f"{free / 1e9:.1f} GB are free"
        raise DataError(f"{folder}: {needed / 1e9:.1f} GB more are required for {purpose}, {have}; {advice}")


def refuse_existing(folder: Path) -> None:
    """Refuse a folder, or file, that already holds something.

    Raises:
        LookalikeError: it does.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise LookalikeError(f"{folder} exists; finished results are never overwritten. Choose another out=")


@contextmanager
def replace_folder(folder: Path, mark: str) -> Iterator[Path]:
    """As `new_folder`, but a folder that holds a file `mark`, one of ours, gives way when the block ends.

    Raises:
        LookalikeError: `folder` holds other things.
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

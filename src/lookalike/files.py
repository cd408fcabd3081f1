"""Atomic writing of files and folders."""

import ctypes
import errno
import fcntl
import glob
import json
import logging
import os
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

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


def parse_json(text: str | bytes) -> Any:
    """The content of a JSON text from a file, which may come from a stranger.

    Raises:
        ValueError: it is not JSON, or is nested so deeply that the parser of Python gives up.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("not JSON that can be read: it is nested too deeply") from None


def temporary_name(folder: Path, ending: str) -> Path:
    """A unique temporary name beside a folder.

    Leftovers of killed runs are reported, since they take space and are hidden. The process id alone is not
    unique, since in containers each run may have the same one.

    Raises:
        LookalikeError: another process is writing the folder.
    """
    for left in sorted(folder.parent.glob(f".{glob.escape(folder.name)}.*.{ending}")):
        if _is_locked(left):
            process = left.name.removeprefix(f".{folder.name}.").partition("-")[0]
            raise LookalikeError(
                f"{folder}: process {process} is writing it; wait for its end, or choose another out="
            )
        log.warning("%s was left by a killed run and can be removed", left)
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
        with lock_folder(temporary):
            yield temporary
            _rename_new(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _rename_new(temporary: Path, folder: Path) -> None:
    """Give a complete folder its name.

    Raises:
        LookalikeError: another process was quicker.
    """
    try:
        temporary.rename(folder)  # replaces an empty folder
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        raise LookalikeError(
            f"{folder}: another process wrote it in the meantime; its result is kept, and this one discarded"
        ) from error


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock a folder while this process writes it; file systems without locks do without."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _is_locked(folder: Path) -> bool:
    """Whether a process that is still active has locked a folder."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False


@contextmanager
def hold(file: Path, activity: str, advice: str = "wait for its end, or take another out=") -> Iterator[None]:
    """Hold a lock file, so that a second process is refused and told who holds it.

    Args:
        file: hidden file in or beside what is locked; it stays.
        activity: what the holder does, as in "training into runs/mine".
        advice: what a second process is told to do.

    Raises:
        LookalikeError: another process holds it.
    """
    with file.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LookalikeError(f"{_read_holder(file)} is {activity}; {advice}") from error
        except OSError as error:
            log.warning("%s: cannot be locked (%s), so do not start this job twice", file, error.strerror)
        lock.truncate(0)
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        lock.write(json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": since}))
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)


def _read_holder(file: Path) -> str:
    """Who holds a lock file, as it has written there."""
    try:
        holder = json.loads(file.read_text(encoding="utf-8"))
        return f"process {holder['process']} on {holder['host']}, since {holder['since']},"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


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
        with lock_folder(temporary):
            yield temporary
            if folder.exists() and not _exchange(temporary, folder):
                folder.rename(old)
            if not folder.exists():
                temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
    shutil.rmtree(temporary, ignore_errors=True)  # the previous content, if they were exchanged
    shutil.rmtree(old, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders in one step, so that a kill leaves one of them; False where the system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    current, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of Linux
    paths = (os.fsencode(first), os.fsencode(second))
    return rename is not None and rename(current, paths[0], current, paths[1], swap) == 0

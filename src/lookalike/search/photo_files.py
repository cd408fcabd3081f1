"""Pictures of enrolled photos in the index folder: written durably, and removed with what they show."""

import os
import time
from collections.abc import Collection, Iterable
from pathlib import Path

from lookalike.files import replace_file

FOLDER = "pictures"
OLD = 3600.0
"""Seconds after which a picture that belongs to no entry was left by a process that was killed."""


def save_picture(folder: Path, entry: str, jpeg: bytes) -> Path:
    """Write the picture of an entry; it is on disk when this returns.

    Args:
        folder: of the index.
        entry: id of the entry.
        jpeg: content of the file.

    Returns:
        Its path.
    """
    file = folder / FOLDER / f"{entry}.jpg"
    file.parent.mkdir(exist_ok=True)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as stream:
            stream.write(jpeg)
            stream.flush()
            os.fsync(stream.fileno())

    replace_file(file, write)
    _flush_folder(file.parent)
    return file


def remove_pictures(folder: Path, paths: Iterable[str]) -> int:
    """Remove the pictures among the paths of entries; other files, which are the user's, are not touched.

    Args:
        folder: of the index.
        paths: as in the entries, relative to `folder`.

    Returns:
        How many were removed.
    """
    pictures = (folder / FOLDER).resolve()
    count = 0
    for path in paths:
        file = folder / path
        if file.parent.resolve() == pictures and file.is_file():
            file.unlink()
            count += 1
    if count:
        _flush_folder(pictures)
    return count


def remove_unused_pictures(folder: Path, paths: Collection[str]) -> int:
    """Remove pictures that belong to no entry, which a process left that was killed while it enrolled.

    Args:
        folder: of the index.
        paths: of all entries, those in snapshots too.
    """
    pictures = folder / FOLDER
    if not pictures.is_dir():
        return 0
    names = {Path(path).name for path in paths}
    latest = time.time() - OLD
    unused = [file for file in pictures.iterdir() if file.name not in names and file.stat().st_mtime < latest]
    for file in unused:
        file.unlink(missing_ok=True)
    return len(unused)


def _flush_folder(folder: Path) -> None:
    """Make renames and removals in a folder durable, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)

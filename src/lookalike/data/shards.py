"""Image files, and images in shards: plain tar files in which a path says where the bytes of an image are.

`shard-00000.tar/@1536+48211/cat/1.jpg` is the member `cat/1.jpg` of `shard-00000.tar`: 48,211 bytes from byte
1,536 on. Nothing is searched, and nothing held in memory but open files. The tar header in front of the bytes
must be the member's own, so a shard that was changed, cut off or mixed up is found out.
"""

import io
import os
import re
import tarfile
from functools import lru_cache
from pathlib import Path
from typing import IO, NamedTuple

BLOCK = tarfile.BLOCKSIZE
MARK = ".tar/@"
PLACE = re.compile(r"(.*?\.tar)/@(\d{1,15})\+(\d{1,15})/(.+)", re.DOTALL)
OPEN = 256
"""Shards that a process keeps open."""


class ShardError(OSError):
    """A member of a shard that cannot be had; the text is the reason the user gets."""


class Member(NamedTuple):
    """An image in a shard: the tar file, the place of its bytes, and its name in there."""

    shard: str
    offset: int
    length: int
    name: str

    def __str__(self) -> str:
        return f"{self.shard}/@{self.offset}+{self.length}/{self.name}"


class Status(NamedTuple):
    """Bytes of an image, and when its file was changed, in nanoseconds."""

    size: int
    changed: int


def member(path: str | Path) -> Member | None:
    """What the path of an image in a shard says; None for a file of its own."""
    text = os.fspath(path)
    found = PLACE.fullmatch(text) if MARK in text else None
    return None if found is None else Member(found[1], int(found[2]), int(found[3]), found[4])


def opened(path: str | Path) -> IO[bytes]:
    """The bytes of an image, in a file of its own or in a shard.

    Raises:
        OSError: they cannot be read.
    """
    found = member(path)
    return open(path, "rb") if found is None else io.BytesIO(read(found))  # noqa: PTH123 - a str or a Path


def status(path: str | Path) -> Status:
    """Size and time of change of an image; of the shard, where it is in one.

    Raises:
        OSError: there is no such file, or it cannot be looked at.
    """
    found = member(path)
    seen = os.stat(path if found is None else found.shard)  # noqa: PTH116 - called once an image
    return Status(seen.st_size if found is None else found.length, seen.st_mtime_ns)


def exists(path: str | Path) -> bool:
    """Whether there is such a file, or a shard that may hold such an image."""
    try:
        status(path)
    except OSError:
        return False
    return True


def parted(path: str) -> tuple[str, str]:
    """The folder of an image and the rest of its path; of one in a shard, the folder of the shard."""
    found = member(path)
    folder, name = os.path.split(path if found is None else found.shard)
    return folder, name if found is None else name + path[len(found.shard) :]


def misplaced(found: Member, size: int) -> str | None:
    """Why a shard of so many bytes cannot hold a member there."""
    if found.offset < BLOCK or found.offset % BLOCK:
        return f"no image begins at byte {found.offset:,} of a shard"
    if found.offset + found.length > size:
        end = found.offset + found.length
        return f"the shard ends after {size:,} bytes, before the image does ({end:,}): it is cut off"
    return None


def read(found: Member) -> bytes:
    """The bytes of a member; safe in threads and in processes that are forked.

    Raises:
        ShardError: the shard is not there, ends before, or holds something else in that place.
        OSError: the shard cannot be read.
    """
    try:
        seen = os.stat(found.shard)  # noqa: PTH116 - called once an image
    except (FileNotFoundError, NotADirectoryError):
        raise ShardError(f"there is no shard {found.shard}") from None
    wrong = misplaced(found, seen.st_size)
    if wrong:
        raise ShardError(wrong)
    shard = _open(found.shard, seen.st_ino, seen.st_mtime_ns, seen.st_size)
    start, wanted = found.offset - BLOCK, BLOCK + found.length
    data = os.pread(shard.handle, wanted, start)
    while len(data) < wanted and (more := os.pread(shard.handle, wanted - len(data), start + len(data))):
        data += more
    if len(data) < wanted:
        raise ShardError(f"the shard ends after {start + len(data):,} bytes, before the image does")
    if not _is_header(data[:BLOCK], found):
        raise ShardError("the shard holds something else there: it is another one, or was changed")
    return data[BLOCK:]


class _Shard:
    """An open shard; it is closed when nobody reads it any more."""

    def __init__(self, file: str):
        self._close = os.close
        self.handle = os.open(file, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            self._close(self.handle)


@lru_cache(OPEN)
def _open(file: str, *_version: int) -> _Shard:
    return _Shard(file)


def _is_header(block: bytes, found: Member) -> bool:
    """Whether this is the tar header of the member; of a long name it has the beginning."""
    name = found.name.encode("utf-8", "surrogateescape")[:100]
    try:
        size = int(block[124:135], 8)
    except ValueError:
        return False
    regular = block[156:157] == tarfile.REGTYPE and block[257:262] == b"ustar"
    return regular and size == found.length and block[:100].rstrip(b"\0") == name

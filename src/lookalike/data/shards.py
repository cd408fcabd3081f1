"""Image files, and images in shards: plain tar files, with paths that contain the position of an image.

`shard-00000.tar/@1536+48211/cat/1.jpg` is the member `cat/1.jpg` of `shard-00000.tar`: 48,211 bytes from byte
1,536 on. No index is needed, and only open files are kept. The tar header before the bytes must be that
of the member, so changed, truncated or swapped shards are detected.
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
MEMBER_PATTERN = re.compile(r"(.*?\.tar)/@(\d{1,15})\+(\d{1,15})/(.+)", re.DOTALL)
OPEN = 256
"""Maximum number of shards that a process keeps open."""


class ShardError(OSError):
    """A member of a shard that cannot be read; the text is the reason shown to the user."""


class Member(NamedTuple):
    """An image in a shard: the tar file, offset and size, and its name."""

    shard: str
    offset: int
    length: int
    name: str

    def __str__(self) -> str:
        return f"{self.shard}/@{self.offset}+{self.length}/{self.name}"


class Status(NamedTuple):
    """Size of an image, and the modification time of its file in nanoseconds."""

    size: int
    changed: int


def parse_member(path: str | Path) -> Member | None:
    """Parse the path of an image in a shard; None for an ordinary file."""
    text = os.fspath(path)
    match = MEMBER_PATTERN.fullmatch(text) if MARK in text else None
    return None if match is None else Member(match[1], int(match[2]), int(match[3]), match[4])


def open_image_file(path: str | Path) -> IO[bytes]:
    """The bytes of an image, in an ordinary file or in a shard.

    Raises:
        OSError: they cannot be read.
    """
    member = parse_member(path)
    return open(path, "rb") if member is None else io.BytesIO(read_member(member))  # noqa: PTH123 - a str or a Path


def image_status(path: str | Path) -> Status:
    """Size of an image and modification time of its file or shard.

    Raises:
        OSError: there is no such file, or it cannot be accessed.
    """
    member = parse_member(path)
    file_status = os.stat(path if member is None else member.shard)  # noqa: PTH116 - called once an image
    return Status(file_status.st_size if member is None else member.length, file_status.st_mtime_ns)


def image_exists(path: str | Path) -> bool:
    """Whether the file exists, or a shard that may contain the image."""
    try:
        image_status(path)
    except OSError:
        return False
    return True


def split_path(path: str) -> tuple[str, str]:
    """The folder of an image, or of its shard, and the rest of its path."""
    member = parse_member(path)
    folder, name = os.path.split(path if member is None else member.shard)
    return folder, name if member is None else name + path[len(member.shard) :]


def misplaced_reason(member: Member, size: int) -> str | None:
    """Why a shard of this size cannot contain a member at this position."""
    if member.offset < BLOCK or member.offset % BLOCK:
        return f"no image can start at byte {member.offset:,} of a shard"
    if member.offset + member.length > size:
        end = member.offset + member.length
        return f"the shard ends after {size:,} bytes, before the image does ({end:,}): it is truncated"
    return None


def read_member(member: Member) -> bytes:
    """The bytes of a member; safe in threads and forked processes.

    Raises:
        ShardError: the shard is missing, too short, or has other data at that position.
        OSError: the shard cannot be read.
    """
    try:
        file_status = os.stat(member.shard)  # noqa: PTH116 - called once an image
    except (FileNotFoundError, NotADirectoryError):
        raise ShardError(f"there is no shard {member.shard}") from None
    wrong = misplaced_reason(member, file_status.st_size)
    if wrong:
        raise ShardError(wrong)
    shard = _open(member.shard, file_status.st_ino, file_status.st_mtime_ns, file_status.st_size)
    start, num_bytes = member.offset - BLOCK, BLOCK + member.length
    data = os.pread(shard.handle, num_bytes, start)
    while len(data) < num_bytes and (
        more := os.pread(shard.handle, num_bytes - len(data), start + len(data))
    ):
        data += more
    if len(data) < num_bytes:
        raise ShardError(f"the shard ends after {start + len(data):,} bytes, before the image does")
    if not _is_header(data[:BLOCK], member):
        raise ShardError("the shard has other data there: it was replaced or changed")
    return data[BLOCK:]


class _Shard:
    """An open shard, closed when it is no longer used."""

    def __init__(self, file: str):
        self._close = os.close
        self.handle = os.open(file, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            self._close(self.handle)


@lru_cache(OPEN)
def _open(file: str, *_version: int) -> _Shard:
    return _Shard(file)


def _is_header(block: bytes, member: Member) -> bool:
    """Whether this is the tar header of the member; a long name is truncated there."""
    name = member.name.encode("utf-8", "surrogateescape")[:100]
    try:
        size = int(block[124:135], 8)
    except ValueError:
        return False
    regular = block[156:157] == tarfile.REGTYPE and block[257:262] == b"ustar"
    return regular and size == member.length and block[:100].rstrip(b"\0") == name

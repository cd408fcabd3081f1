"""Safe unpacking of untrusted archives: nothing outside the folder, no links, no bombs, all or nothing."""

import bz2
import gzip
import io
import logging
import lzma
import shutil
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lookalike.errors import DataError, LookalikeError
from lookalike.files import new_folder
from lookalike.prepare.download.archive_entries import (
    PlainEntry,
    RefusedEntryError,
    safe_name,
    tar_entries,
    zip_names,
)
from lookalike.prepare.download.locating import find_piece
from lookalike.prepare.download.split_zip import JoinedFiles, open_joined_zip

log = logging.getLogger(__name__)
CHUNK = 1 << 20
SPARE = 64 << 20
PACKED: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda stream: gzip.GzipFile(fileobj=stream),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
OTHERS = {
    b"7z\xbc\xaf'\x1c": "a 7z archive",
    b"Rar!": "a rar archive",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"<": "a web page; the download may need a login",
}
OnProgress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Limits:
    """Limits on the content of an archive.

    Attributes:
        files: entries.
        size: bytes unpacked.
        growth: maximum compression ratio; photos hardly compress.
        free: unpacked bytes that are always allowed.
    """

    files: int = 10_000_000
    size: int = 1 << 41
    growth: float = 100.0
    free: int = 64 << 20

    def bytes_for(self, packed: int) -> int:
        """Maximum unpacked size of an archive of so many bytes."""
        return min(self.size, int(self.growth * packed) + self.free)


def unpack(
    archive: Path | Sequence[Path],
    folder: Path,
    on_progress: OnProgress | None = None,
    limits: Limits | None = None,
    *,
    top: str = "",
) -> None:
    """Unpack a zip, tar, tar.gz, tar.bz2 or tar.xz, recognised by content, into a new folder.

    The folder gets its name when everything is unpacked and every checksum is right; otherwise nothing is
    kept.

    Args:
        archive: one file, or the parts of one in their order (`.zip.001 …`, or `.z01 … .zip`).
        folder: must not exist.
        on_progress: called with bytes read and bytes in all, for a bar.
        limits: maximum content.
        top: a folder that must contain everything; it is created if the archive has no such folder.

    Raises:
        DataError: it is damaged, truncated, encrypted, too large, of another format, or would write outside
            the folder, overwrite a file, or create something other than a plain file.
    """
    parts = [archive] if isinstance(archive, Path) else list(archive)
    limits = limits or Limits()
    try:
        with new_folder(folder) as temporary, ExitStack() as stack:
            stream = stack.enter_context(io.BufferedReader(JoinedFiles(parts), CHUNK))
            packed = sum(part.stat().st_size for part in parts)
            target = _Target(temporary, _Budget(limits, packed, shutil.disk_usage(temporary).free))
            _unpack_stream(stream, parts, target, on_progress or (lambda done, total: None), packed)
            if top and find_piece(temporary, top) is None:
                _put_into(temporary, top)
    except RefusedEntryError as error:
        raise DataError(f"{_archive_names(parts)}: {error}; nothing was unpacked") from error
    except (LookalikeError, MemoryError):
        raise
    except Exception as error:  # for damaged files the libraries raise all kinds of errors
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = f"damaged or truncated: {error or type(error).__name__}"
        raise DataError(f"{_archive_names(parts)}: {reason}; nothing was unpacked. Fetch it again") from error


def _put_into(folder: Path, top: str) -> None:
    """Move the content of a folder into a new subfolder."""
    entries = list(folder.iterdir())
    (folder / top).mkdir()
    for entry in entries:
        entry.rename(folder / top / entry.name)


def _archive_names(parts: Sequence[Path]) -> str:
    return str(parts[0]) if len(parts) == 1 else f"{parts[0]} … {parts[-1].name}"


class _Budget:
    """Counts entries and bytes while unpacking."""

    def __init__(self, limits: Limits, packed: int, free: int):
        self.files, self.size = 0, 0
        self.most_files, self.most_size = limits.files, limits.bytes_for(packed)
        self.packed, self.free = packed, free - SPARE

    def entry(self, declared: int) -> None:
        self.files += 1
        if self.files > self.most_files:
            raise RefusedEntryError(f"it contains more than {self.most_files:,} files")
        self._check(self.size + declared)

    def count_bytes(self, count: int) -> None:
        self.size += count
        self._check(self.size)

    def _check(self, size: int) -> None:
        if size > self.most_size:
            raise RefusedEntryError(
                f"{self.packed:,} bytes would unpack to more than {self.most_size:,}: a decompression bomb, "
                f"not a dataset"
            )
        if size > self.free:
            raise RefusedEntryError(
                f"it needs more than the {self.free / 1e9:.1f} GB of free disk space; free some space"
            )


class _Target:
    """The folder to which entries are written, each name once."""

    def __init__(self, folder: Path, budget: _Budget):
        self.folder, self.budget = folder, budget
        self.names: set[int] = set()

    def write(self, name: str, declared: int, stream: IO[bytes]) -> None:
        path = safe_name(name)
        key = hash(unicodedata.normalize("NFC", path).casefold())
        if key in self.names:
            raise RefusedEntryError(f"{name!r} occurs in it twice, or in upper and lower case")
        self.names.add(key)
        self.budget.entry(declared)
        file = self.folder / path
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("xb") as out:
                while data := stream.read(CHUNK):
                    self.budget.count_bytes(len(data))
                    out.write(data)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise RefusedEntryError(f"{name!r} is a file and a folder at once") from error
        if file.stat().st_size != declared:
            raise RefusedEntryError(
                f"{name!r} has {file.stat().st_size:,} bytes, but {declared:,} are declared"
            )

    def folder_entry(self, name: str) -> None:
        self.budget.entry(0)
        if name.strip("./"):
            safe_name(name)


def _unpack_stream(
    stream: IO[bytes], parts: Sequence[Path], target: _Target, on_progress: OnProgress, packed: int
) -> None:
    start = stream.read(6)
    stream.seek(0)
    opener = next((opener for magic, opener in PACKED.items() if start.startswith(magic)), None)
    if start.startswith(b"PK") or (opener is None and parts[-1].suffix.lower() == ".zip"):
        return _unpack_zip(open_joined_zip(stream, parts), target, on_progress)
    other = next((format_name for magic, format_name in OTHERS.items() if start.startswith(magic)), None)
    if other is not None:
        raise RefusedEntryError(f"it is {other}; only zip, tar, tar.gz, tar.bz2 and tar.xz are supported")
    counted = io.BufferedReader(_ProgressReader(stream, packed, on_progress), CHUNK)
    _unpack_tar(opener(counted) if opener else counted, target)
    return None


def _unpack_zip(archive: zipfile.ZipFile, target: _Target, on_progress: OnProgress) -> None:
    entries = archive.infolist()
    done, total = 0, sum(entry.compress_size for entry in entries)
    for entry, name in zip(entries, zip_names(entries), strict=True):
        if entry.flag_bits & 1:
            raise RefusedEntryError(
                "it is encrypted; unpack it yourself beside the archive, with the authors' password"
            )
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise RefusedEntryError(f"{name!r} is a link or a device")
        if entry.is_dir():
            target.folder_entry(name)
            continue
        with archive.open(entry) as stream:
            target.write(name, entry.file_size, stream)
        done += entry.compress_size
        on_progress(done, total)


def _unpack_tar(stream: IO[bytes], target: _Target) -> None:
    watched = _Tail(stream, target.budget)
    with tarfile.open(fileobj=watched, mode="r|", bufsize=CHUNK, tarinfo=PlainEntry) as archive:  # pyrefly: ignore
        for entry in tar_entries(archive):
            if entry.isdir():
                target.folder_entry(entry.name)
            elif not entry.isreg():
                raise RefusedEntryError(f"{entry.name!r} is a link or a device")
            else:
                target.write(entry.name, entry.size, archive.extractfile(entry))  # pyrefly: ignore
    while watched.read(CHUNK):
        pass
    if watched.tail.strip(b"\0"):
        raise RefusedEntryError("it has no end-of-archive marker; the download may be incomplete")


class _Tail:
    """A stream that keeps its last block and enforces the budget."""

    def __init__(self, stream: IO[bytes], budget: _Budget):
        self.stream, self.budget = stream, budget
        self.tail, self.count = b"", 0

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size)
        self.count += len(data)
        self.tail = (self.tail + data)[-512:]
        if self.count > self.budget.most_size + 1024 * (self.budget.files + 100):
            raise RefusedEntryError(
                f"it unpacks to more than {self.budget.most_size:,} bytes: a decompression bomb, not a "
                f"dataset"
            )
        return data


class _ProgressReader(io.RawIOBase):
    """A file, read from start to end, that reports the progress."""

    def __init__(self, stream: IO[bytes], total: int, on_progress: OnProgress):
        self.stream, self.total, self.on_progress, self.done = stream, total, on_progress, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.stream.read(len(buffer))
        buffer[: len(data)] = data
        self.done += len(data)
        self.on_progress(self.done, self.total)
        return len(data)

"""Multi-part zip files: split into pieces (`.zip.001 …`), or spanned (`.z01 … .zip`)."""

import bisect
import io
import struct
import zipfile
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import IO

END = b"PK\x05\x06"
LONGEST_END = 22 + (1 << 16)


class JoinedFiles(io.RawIOBase):
    """Several files read as one."""

    def __init__(self, files: Sequence[Path]):
        self.streams = [file.open("rb") for file in files]
        ends = list(accumulate(file.stat().st_size for file in files))
        self.starts, self.length, self.position = [0, *ends[:-1]], ends[-1], 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Position of the next byte."""
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go there."""
        self.position = (
            offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.length}[whence]
        )
        if self.position < 0:
            raise ValueError(f"seek to {self.position}: before the start")
        return self.position

    def readinto(self, buffer: memoryview) -> int:  # pyrefly: ignore
        """Read from the part that contains the position, up to its end."""
        index = bisect.bisect_right(self.starts, self.position) - 1
        stream = self.streams[index]
        stream.seek(self.position - self.starts[index])
        count = stream.readinto(buffer)
        self.position += count
        return count

    def close(self) -> None:
        """Close all files."""
        for stream in self.streams:
            stream.close()
        super().close()


def open_joined_zip(stream: IO[bytes], parts: Sequence[Path]) -> zipfile.ZipFile:
    """Open the zip in a stream; the entry offsets of a spanned one are corrected.

    Raises:
        zipfile.BadZipFile: it is not a zip, or parts are missing.
    """
    disks, start = _split_zip_disks(stream)
    if disks != (len(parts) if _is_spanned(parts) else 1):
        raise zipfile.BadZipFile(f"it has {disks} parts, but {len(parts)} are present")
    archive = zipfile.ZipFile(stream)
    if disks > 1:
        starts, shift = [0, *accumulate(part.stat().st_size for part in parts)], archive.start_dir - start
        for entry in archive.infolist():
            entry.header_offset += starts[entry.volume] - shift
            if hasattr(entry, "_end_offset"):
                setattr(entry, "_end_offset", None)  # noqa: B010 - counted from a disk's start, so of no use
    return archive


def _is_spanned(parts: Sequence[Path]) -> bool:
    return len(parts) > 1 and parts[-1].suffix.lower() == ".zip"


def _split_zip_disks(stream: IO[bytes]) -> tuple[int, int]:
    """The number of disks, and the offset of the central directory on its disk."""
    length = stream.seek(0, io.SEEK_END)
    stream.seek(max(0, length - LONGEST_END))
    tail = stream.read()
    position = tail.rfind(END)
    if position < 0 or len(tail) < position + 22:
        raise zipfile.BadZipFile("it has no central directory at its end")
    disk, _, _, _, _, start = struct.unpack_from("<HHHHII", tail, position + 4)
    stream.seek(0)
    return (disk + 1 if disk < 0xFFFF else 1), start

"""Archive entries: names that stay inside their folder, headers of a normal size."""

import logging
import tarfile
import zipfile
from collections.abc import Iterator, Sequence

log = logging.getLogger(__name__)
LONGEST, LONGEST_PART, DEEPEST = 1024, 255, 64
LARGEST_HEADER = 1 << 20
HEADERS = (b"x", b"g", b"X", b"L", b"K")
"""Types of tar entries that hold metadata of the next entry, or of all."""
UTF8_FLAG = 0x800


class RefusedEntryError(Exception):
    """An archive entry that is not unpacked; the text states the reason."""


def safe_name(name: str) -> str:
    """The path of an entry below its folder.

    Raises:
        RefusedEntryError: it is absolute, leads outside, or is not a valid file name on every system.
    """
    path = name.replace("\\", "/")
    names = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in names or (len(path) > 1 and path[1] == ":" and path[0].isalpha()):
        raise RefusedEntryError(f"{name!r} would be written outside the folder")
    long = len(path) > LONGEST or len(names) > DEEPEST
    long = long or any(len(part.encode(errors="surrogateescape")) > LONGEST_PART for part in names)
    if not names or long or any(ord(letter) < 32 for letter in path):
        raise RefusedEntryError(f"{name[:80]!r} is not a valid file name")
    return "/".join(names)


def zip_names(entries: Sequence[zipfile.ZipInfo]) -> list[str]:
    """The names of the entries of a zip.

    Many programs write UTF-8 without declaring it, so names are read as UTF-8 if all are valid UTF-8,
    otherwise in
    the DOS code page, with a warning.

    Raises:
        RefusedEntryError: one contains a NUL byte, at which Python would truncate it.
    """
    cut = next((entry.orig_filename for entry in entries if "\0" in entry.orig_filename), None)
    if cut is not None:
        raise RefusedEntryError(f"{cut[:80]!r} is not a valid file name")
    old = {entry.filename for entry in entries if not entry.flag_bits & UTF8_FLAG}
    try:
        decoded_names = {name: name.encode("cp437").decode() for name in old if not name.isascii()}
    except UnicodeError:
        decoded_names = {}
        example = min(name for name in old if not name.isascii())
        log.warning(
            "file names in the zip do not declare an encoding and are read in the DOS code page: %r", example
        )
    return [
        entry.filename if entry.flag_bits & UTF8_FLAG else decoded_names.get(entry.filename, entry.filename)
        for entry in entries
    ]


def tar_entries(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Iterates over the entries; tarfile itself would keep all of them in memory."""
    while (entry := archive.next()) is not None:
        archive.members = []  # pyrefly: ignore
        yield entry


class PlainEntry(tarfile.TarInfo):
    """An entry with a header of a normal size that is not sparse; tarfile would read all of it at once."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type == tarfile.GNUTYPE_SPARSE:
            self._refuse()
        if self.type in HEADERS and self.size > LARGEST_HEADER:
            raise RefusedEntryError(f"{self.name!r} has a header of {self.size:,} bytes")
        return super()._proc_member(archive)  # pyrefly: ignore

    def _refuse(self, *_: object) -> None:
        raise RefusedEntryError(f"{self.name!r} is a sparse file")

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse

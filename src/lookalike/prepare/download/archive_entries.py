"""The entries of archives: names that stay in their folder, headers of a usual size."""

import logging
import tarfile
import zipfile
from collections.abc import Iterator, Sequence

log = logging.getLogger(__name__)
LONGEST, LONGEST_PART, DEEPEST = 1024, 255, 64
LARGEST_HEADER = 1 << 20
HEADERS = (b"x", b"g", b"X", b"L", b"K")
"""Types of tar entries that hold names and the like of the next one, or of all."""
UTF8_FLAG = 0x800


class RefusedEntryError(Exception):
    """Something in an archive that is not unpacked; the text says what."""


def safe_name(name: str) -> str:
    """The path of an entry below its folder.

    Raises:
        RefusedEntryError: it is absolute, climbs out, or is no name that every system can write.
    """
    path = name.replace("\\", "/")
    names = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in names or (len(path) > 1 and path[1] == ":" and path[0].isalpha()):
        raise RefusedEntryError(f"{name!r} would be written outside of the folder")
    long = len(path) > LONGEST or len(names) > DEEPEST
    long = long or any(len(part.encode(errors="surrogateescape")) > LONGEST_PART for part in names)
    if not names or long or any(ord(letter) < 32 for letter in path):
        raise RefusedEntryError(f"{name[:80]!r} is no name for a file")
    return "/".join(names)


def zip_names(entries: Sequence[zipfile.ZipInfo]) -> list[str]:
    """The names of the entries of a zip.

    Many programs write UTF-8 without saying so: it is, if all names could be. Else they are read as DOS
    wrote them, with a warning.

    Raises:
        RefusedEntryError: one holds a zero byte, at which Python would end it.
    """
    cut = next((entry.orig_filename for entry in entries if "\0" in entry.orig_filename), None)
    if cut is not None:
        raise RefusedEntryError(f"{cut[:80]!r} is no name for a file")
    old = {entry.filename for entry in entries if not entry.flag_bits & UTF8_FLAG}
    try:
        decoded_names = {name: name.encode("cp437").decode() for name in old if not name.isascii()}
    except UnicodeError:
        decoded_names = {}
        example = min(name for name in old if not name.isascii())
        log.warning(
            "names in the zip do not tell their encoding, and are read as DOS wrote them: %r", example
        )
    return [
        entry.filename if entry.flag_bits & UTF8_FLAG else decoded_names.get(entry.filename, entry.filename)
        for entry in entries
    ]


def tar_entries(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """One after another; tarfile itself would remember every one of millions."""
    while (entry := archive.next()) is not None:
        archive.members = []  # pyrefly: ignore
        yield entry


class PlainEntry(tarfile.TarInfo):
    """An entry with a header of a usual size, and not sparse; tarfile would read all of it at once."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type == tarfile.GNUTYPE_SPARSE:
            self._refuse()
        if self.type in HEADERS and self.size > LARGEST_HEADER:
            raise RefusedEntryError(f"{self.name!r} has a header of {self.size:,} bytes")
        return super()._proc_member(archive)  # pyrefly: ignore

    def _refuse(self, *_: object) -> None:
        raise RefusedEntryError(f"{self.name!r} is a sparse file")

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse

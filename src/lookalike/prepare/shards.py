"""Images packed into shards: plain tar files of a limited size, each image with the bytes it has.

An object store or a network file system reads one large file much faster than thousands of small ones.
`shards.json` lists every file of the dataset folder with its length and SHA-256, so that a copy of it can be
checked: see `fetching`.
"""

import hashlib
import io
import json
import os
import tarfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from lookalike.data.decode import guarded, image_size
from lookalike.data.shards import BLOCK, Member, member, parted, status
from lookalike.data.table import Table
from lookalike.errors import DataError, ImageError, Problem
from lookalike.files import refuse_full
from lookalike.prepare.naming import counted, printable

SUMS, VERSION = "shards.json", 1
AHEAD = 256 << 20
"""Bytes of images that are read before their turn to be written."""
END = 2 * BLOCK


class Packed(NamedTuple):
    """What became of a table.

    Attributes:
        table: its rows with their paths in the shards.
        kept: the same rows with their old paths.
        problems: the rows whose image cannot be read.
        sums: SHA-256 of each shard, by its file.
        images: members of the shards; several rows may be boxes of one.
    """

    table: Table
    kept: Table
    problems: list[Problem]
    sums: dict[str, str]
    images: int


class Packing:
    """Images on their way into shards: iterate over it, then take `result`.

    They are packed in the order of the table, so that jobs that read a table from top to bottom read the
    shards like that, too, and images of a class lie beside each other. Rows of one file share a member.

    Args:
        table: rows of images, in files or in shards.
        out: the dataset folder to be, in which the shards will lie.
        place: where they are written.
        most: bytes of a shard; a larger image gets one of its own.
        threads: that read.

    Raises:
        DataError: the disk is too small.
    """

    def __init__(self, table: Table, out: Path, place: Path, most: int, threads: int):
        self._table, self._out, self._threads = table, out, threads
        self._tars = _Tars(place, most)
        self._files = _real_files(table)
        self._names = member_names(dict.fromkeys(self._files.values()))
        self._packed: dict[str, str] = {}
        self._wrong: dict[str, str] = {}
        with ThreadPoolExecutor(threads) as pool:
            self._sizes = dict(zip(self._names, pool.map(_size, self._names), strict=True))
        needed = sum(size + 3 * BLOCK for size in self._sizes.values())
        refuse_full(place, needed, "the shards", "make room, or choose another out=")

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        with self._tars:
            for file, (data, reason) in self._contents():
                if reason:
                    self._wrong[file] = reason
                else:
                    self._packed[file] = self._tars.add(self._names[file], data)
                yield file

    def _contents(self) -> Iterator[tuple[str, tuple[bytes, str]]]:
        """What is in the files, in order, read ahead by threads as far as memory goes."""
        waiting: deque[tuple[str, Future[tuple[bytes, str]]]] = deque()
        ahead = 0
        with ThreadPoolExecutor(self._threads) as pool:
            for file, size in self._sizes.items():
                while waiting and (ahead + size > AHEAD or len(waiting) >= 4 * self._threads):
                    first, future = waiting.popleft()
                    ahead -= self._sizes[first]
                    yield first, future.result()
                waiting.append((file, pool.submit(_content, file)))
                ahead += size
            for first, future in waiting:
                yield first, future.result()

    def result(self) -> Packed:
        """The rows, old and new, and what was left out."""
        files = [self._files[path] for path in self._table.frame["path"]]
        wrong = [row for row, file in enumerate(files) if file in self._wrong]
        paths = self._table.frame["path"]
        problems = [Problem(paths[row], self._wrong[files[row]], row) for row in wrong]
        kept = self._table.take([row for row, file in enumerate(files) if file in self._packed])
        new = pl.Series("path", [self._packed[file] for file in files if file in self._packed], pl.String)
        table = Table(kept.frame.with_columns(new), self._out)
        return Packed(table, kept, problems, self._tars.sums, len(self._packed))


class _Tars:
    """Tar files that are filled one after another, each with its checksum."""

    def __init__(self, place: Path, most: int):
        self.sums: dict[str, str] = {}
        self._place, self._most, self._name = place, most, ""
        self._stream: Any = None
        self._done = 0

    def __enter__(self) -> "_Tars":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._finish()
        elif self._stream is not None:
            self._stream.close()

    def add(self, name: str, data: bytes) -> str:
        """Write a member; the path under which it is found."""
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), 0o644
        header = info.tobuf(tarfile.GNU_FORMAT, "utf-8")
        padding = bytes(-len(data) % BLOCK)
        needed = len(header) + len(data) + len(padding)
        if self._stream is None or self._done + needed + END > self._most:
            self._finish()
            self._begin()
        found = Member(self._name, self._done + len(header), len(data), name)
        for part in (header, data, padding):
            self._write(part)
        return str(found)

    def _begin(self) -> None:
        self._name = f"shard-{len(self.sums):05}.tar"
        self._stream = (self._place / self._name).open("wb")
        self._sum, self._done = hashlib.sha256(), 0

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._sum.update(data)
        self._done += len(data)

    def _finish(self) -> None:
        if self._stream is None:
            return
        self._write(bytes(END))
        self._stream.close()
        self._stream, self.sums[self._name] = None, self._sum.hexdigest()


def _size(file: str) -> int:
    """Bytes of an image; 0 where there is none, which is found out when it is read."""
    try:
        return status(file).size
    except OSError:
        return 0


def _content(file: str) -> tuple[bytes, str]:
    """The bytes of an image whose header can be read, or else why not."""
    try:
        data = guarded(file, lambda stream: stream.read())
        image_size(io.BytesIO(data))
    except ImageError as error:
        return b"", error.reason
    return data, ""


def _real_files(table: Table) -> dict[str, str]:
    """Where the image of each path really is: one name for one file."""

    @cache
    def real(folder: str) -> str:
        return os.path.realpath(table.folder / folder)

    paths = {path: parted(path) for path in table.frame["path"].unique(maintain_order=True)}
    return {path: f"{real(folder)}{os.sep}{name}" for path, (folder, name) in paths.items()}


def member_names(files: Iterable[str]) -> dict[str, str]:
    """Names inside the shards: the paths of the files from the folder on that holds all of them."""
    plain = {file: os.path.normpath(_outside(file)) for file in files}
    start = os.path.commonpath([os.path.dirname(name) for name in plain.values()])  # noqa: PTH120
    names, taken = dict[str, str](), set[str]()
    for number, (file, name) in enumerate(plain.items()):
        short = printable(name[len(start) :].lstrip(os.sep))
        short = f"{number}/{short}" if short in taken else short
        taken.add(short)
        names[file] = short
    return names


def _outside(file: str) -> str:
    """Where a member of a shard would be, were it unpacked."""
    found = member(file)
    return file if found is None else os.path.join(os.path.dirname(found.shard), found.name)  # noqa: PTH118, PTH120


def refuse_lost(packed: Packed, most: float, where: str) -> None:
    """Refuse shards that lack too much.

    Raises:
        DataError: more than the share `most` of the rows are lost, or all.
    """
    lost, total = len(packed.problems), len(packed.problems) + len(packed.table)
    if lost > most * total or lost == total:
        raise DataError(
            f"{where}: {lost:,} of {counted(total, 'image')} cannot be used, more than max_skipped={most:g} "
            "allows:",
            packed.problems,
        )


def write_sums(folder: Path, known: dict[str, str], images: int) -> None:
    """Write `shards.json`: every file of the folder, its length and SHA-256."""
    files = [
        {"file": file.name, "bytes": file.stat().st_size, "sha256": known.get(file.name) or _sha256(file)}
        for file in sorted(folder.iterdir())
    ]
    about = {"lookalike_shards": VERSION, "images": images, "files": files}
    (folder / SUMS).write_text(json.dumps(about, indent=1), encoding="utf-8")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

"""Packing images into shards: plain tar files of a limited size, with the original bytes of each image.

An object store or a network file system reads one large file much faster than thousands of small ones.
`shards.json` lists every file of the dataset folder with its length and SHA-256, so that a copy of it can be
checked: see `download.dataset`.
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

import numpy as np
import polars as pl

from lookalike.data.decode import decode_guarded, image_size
from lookalike.data.shards import BLOCK, Member, image_status, parse_member, split_path
from lookalike.data.table import Table
from lookalike.errors import DataError, ImageError, Problem
from lookalike.files import require_space
from lookalike.prepare.naming import count_noun, escape_controls

NAME, SUMS, VERSION = "shard-{:05}.tar", "shards.json", 1
AHEAD = 256 << 20
"""Maximum number of bytes that are read ahead."""
LARGEST = 1 << 30
"""Maximum size of an image file in bytes."""
END = 2 * BLOCK
NOWHERE = (0, 0)
MANY = 1000


class PackResult(NamedTuple):
    """The result of packing a table.

    Attributes:
        table: its rows with their paths in the shards.
        packed_table: the same rows with their old paths.
        problems: the rows whose image cannot be read.
        sums: SHA-256 of each shard, by its file.
        images: number of members of the shards; several rows may be boxes of one image.
    """

    table: Table
    packed_table: Table
    problems: list[Problem]
    sums: dict[str, str]
    images: int


class Packing:
    """Packs images into shards: iterate over it, then take `result`.

    Images are packed in the order of the table, so that jobs that read a table in order also read the shards
    in
    order, and images of a class are adjacent. Rows of one file share a member.

    Args:
        table: rows of images, in files or in shards.
        out: the new dataset folder, which will contain the shards.
        folder: where they are written.
        max_bytes: maximum size of a shard; a larger image gets its own shard.
        threads: number of reading threads.

    Raises:
        DataError: the disk is too small.
    """

    def __init__(self, table: Table, out: Path, folder: Path, max_bytes: int, threads: int):
        self._table, self._out, self._threads = table, out, threads
        self._tars = _Tars(folder, max_bytes)
        self._files, self._file_of_row = resolve_files(table)
        self._names = pl.Series(member_names(self._files), dtype=pl.String)
        self._sizes = _sizes(self._files, threads)
        self._member_positions: list[tuple[int, int]] = [NOWHERE] * len(self._files)
        self._wrong: dict[int, str] = {}
        needed = int(self._sizes.sum()) + 3 * BLOCK * len(self._files)
        require_space(folder, needed, "the shards", "free some space, or choose another out=")

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[int]:
        with self._tars:
            for number, (data, reason) in enumerate(self._contents()):
                if reason:
                    self._wrong[number] = reason
                else:
                    self._sizes[number] = len(data)
                    self._member_positions[number] = self._tars.add(self._names[number], data)
                yield number

    def _contents(self) -> Iterator[tuple[bytes, str]]:
        """The contents of the files, in order, read ahead by threads within the memory limit."""
        waiting: deque[tuple[int, Future[tuple[bytes, str]]]] = deque()
        ahead = 0
        with ThreadPoolExecutor(self._threads) as pool:
            for file, size in zip(self._files, self._sizes.tolist(), strict=True):
                while waiting and (ahead + size > AHEAD or len(waiting) >= 4 * self._threads):
                    first, future = waiting.popleft()
                    ahead -= first
                    yield future.result()
                waiting.append((size, pool.submit(_content, file)))
                ahead += size
            for _, future in waiting:
                yield future.result()

    def result(self) -> PackResult:
        """The rows with old and new paths, and the problems."""
        new_paths = pl.Series("path", map(self._path, range(len(self))), pl.String)
        new, old = new_paths.gather(self._file_of_row), self._table.frame["path"]
        problems = [
            Problem(old[row], self._wrong[self._file_of_row[row]], row) for row in new.is_null().arg_true()
        ]
        remaining = self._table.take(new.is_not_null().to_numpy())
        table = Table(remaining.frame.with_columns(new.drop_nulls()), self._out)
        return PackResult(table, remaining, problems, self._tars.sums, len(self) - len(self._wrong))

    def _path(self, number: int) -> str | None:
        """The path of a file's image in its shard."""
        shard, offset = self._member_positions[number]
        size, name = int(self._sizes[number]), self._names[number]
        return None if number in self._wrong else str(Member(NAME.format(shard), offset, size, name))


class _Tars:
    """Tar files that are filled one after another, with their checksums."""

    def __init__(self, folder: Path, max_bytes: int):
        self.sums: dict[str, str] = {}
        self._folder, self._max_bytes = folder, max_bytes
        self._stream: Any = None
        self._done = 0

    def __enter__(self) -> "_Tars":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._finish()
        elif self._stream is not None:
            self._stream.close()

    def add(self, name: str, data: bytes) -> tuple[int, int]:
        """Write a member; returns the index of its shard and its offset."""
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), 0o644
        header = info.tobuf(tarfile.GNU_FORMAT, "utf-8")
        padding = bytes(-len(data) % BLOCK)
        needed = len(header) + len(data) + len(padding)
        if self._stream is None or self._done + needed + END > self._max_bytes:
            self._finish()
            self._begin()
        position = len(self.sums), self._done + len(header)
        for part in (header, data, padding):
            self._write(part)
        return position

    def _begin(self) -> None:
        self._stream = (self._folder / NAME.format(len(self.sums))).open("wb")
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
        self._stream, self.sums[NAME.format(len(self.sums))] = None, self._sum.hexdigest()


def _sizes(files: pl.Series, threads: int) -> np.ndarray:
    """Size of each file, [N]; 0 for a missing file, which is reported when it is read."""
    some = (files[start : start + MANY] for start in range(0, len(files), MANY))
    with ThreadPoolExecutor(threads) as pool:
        parts = pool.map(lambda part: [_size(file) for file in part], some)
        return np.array([size for part in parts for size in part], np.int64)


def _size(file: str) -> int:
    try:
        return image_status(file).size
    except OSError:
        return 0


def _content(file: str) -> tuple[bytes, str]:
    """The bytes of an image with a readable header, or the reason why it cannot be used."""
    if _size(file) > LARGEST:
        return b"", f"it has more than {LARGEST:,} bytes"
    try:
        data = decode_guarded(file, lambda stream: stream.read())
        image_size(io.BytesIO(data))
    except ImageError as error:
        return b"", error.reason
    return data, ""


def resolve_files(table: Table) -> tuple[pl.Series, np.ndarray]:
    """The distinct image files of a table, and the index of the file of each row, [N]."""

    @cache
    def real_path(folder: str) -> str:
        return os.path.realpath(table.folder / folder)

    paths = table.frame.select("path").unique(maintain_order=True)
    parts = map(split_path, paths["path"])
    paths = paths.with_columns(
        file=pl.Series([f"{real_path(folder)}{os.sep}{name}" for folder, name in parts])
    )
    files = paths.select("file").unique(maintain_order=True)
    numbered = paths.join(files.with_row_index("number"), on="file", maintain_order="left")
    rows = table.frame.select("path").join(numbered, on="path", maintain_order="left")
    return files["file"], rows["number"].to_numpy()


def member_names(files: Iterable[str]) -> list[str]:
    """Names inside the shards: the paths relative to the common folder of the files."""
    plain = [os.path.normpath(_image_outside(file)) for file in files]
    start = os.path.commonpath({os.path.dirname(name) for name in plain})  # noqa: PTH120 - called once a file
    names, used_names = list[str](), set[str]()
    for number, name in enumerate(plain):
        short = escape_controls(name[len(start) :].lstrip(os.sep))
        short = f"{number}/{short}" if short in used_names else short
        used_names.add(short)
        names.append(short)
    return names


def _image_outside(file: str) -> str:
    """The path that a member of a shard would have if unpacked."""
    member = parse_member(file)
    return file if member is None else os.path.join(os.path.dirname(member.shard), member.name)  # noqa: PTH118, PTH120


def refuse_lost(packed: PackResult, max_share: float, source: str) -> None:
    """Reject shards if too many images are missing.

    Raises:
        DataError: more than the share `max_share` of the rows, or all of them, are lost.
    """
    lost, total = len(packed.problems), len(packed.problems) + len(packed.table)
    if lost > max_share * total or lost == total:
        raise DataError(
            f"{source}: {lost:,} of {count_noun(total, 'image')} cannot be used, more than "
            f"max_skipped={max_share:g} "
            "allows:",
            packed.problems,
        )


def write_sums(folder: Path, checksums: dict[str, str], images: int) -> None:
    """Write `shards.json`: every file of the folder with its length and SHA-256."""
    files = [
        {"file": file.name, "bytes": file.stat().st_size, "sha256": checksums.get(file.name) or _sha256(file)}
        for file in sorted(folder.iterdir())
    ]
    content = {"lookalike_shards": VERSION, "images": images, "files": files}
    (folder / SUMS).write_text(json.dumps(content, indent=1), encoding="utf-8")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

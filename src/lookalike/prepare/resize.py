"""Resized copies of the images of a dataset."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import polars as pl
from PIL import Image

from lookalike.data.checking import BOX
from lookalike.data.decode import Box, open_image
from lookalike.data.table import Table
from lookalike.errors import ImageError, Problem
from lookalike.files import lock_folder, replace_file, temporary_name
from lookalike.prepare.files import CRASHED, FileCheck, run_in_workers
from lookalike.prepare.splits.assigned import hash_names


def shrink_image(file: Path, box: Box | None, target: Path, side: int, quality: int) -> tuple[int, int]:
    """Write an image, or its box, as a JPEG whose shorter side is `side` pixels.

    A smaller image keeps its size. Resampling is antialiased (Lanczos); EXIF rotation is applied,
    transparency is composited on white.

    Args:
        file: the image.
        box: region to keep, x1 y1 x2 y2.
        target: the JPEG to write; its folder must exist.
        side: pixels.
        quality: of the JPEG, 1 to 100.

    Returns:
        Width and height of the result.

    Raises:
        ImageError: the image cannot be read.
    """
    image = open_image(file, box, at_least=2 * side)
    share = side / min(image.size)
    if share < 1:
        size = (max(side, round(image.width * share)), max(side, round(image.height * share)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    replace_file(target, lambda temporary: image.save(temporary, "JPEG", quality=quality))
    return image.size


FOLDER = "images"
DIGITS = 12


class Task(NamedTuple):
    """An image to resize: see `shrink_image`."""

    file: Path
    box: Box | None
    target: Path
    side: int
    quality: int


def resize_task(task: Task) -> FileCheck:
    """Resize one image; returns its new size, or why it cannot be read."""
    try:
        return FileCheck(*shrink_image(*task))
    except ImageError as error:
        return FileCheck(reason=error.reason)


@contextmanager
def require_space_beside(out: Path) -> Iterator[Path]:
    """A temporary folder for images that will be moved to `out`, on the same disk."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(out, "images")
    temporary.mkdir()
    try:
        with lock_folder(temporary):
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class Resizing:
    """Resizes images in worker processes: iterate over it, then take `result`.

    An image whose shorter side is larger than `side` gets a JPEG of its own, cropped to its box; the columns
    original and, for boxes, original_x1 … record the source. Other images stay where they are.

    Args:
        table: with columns width and height.
        target: an empty folder, to be moved to `out` as `images`.
        out: the new dataset folder.
        side, quality: see `shrink_image`.
        workers: processes; a file that crashes one is reported like any other problem.
    """

    def __init__(self, table: Table, target: Path, out: Path, side: int, quality: int, workers: int | None):
        self._table, self._out, self._workers = table, out, workers
        sizes = table.frame.select(pl.min_horizontal("width", "height"))["width"].to_list()
        self._rows = [row for row, shorter in enumerate(sizes) if shorter > side]
        names = hash_names(table)
        self._names = [_name(names[row], table.frame["path"][row]) for row in self._rows]
        self._tasks = [
            Task(table.file(row), table.box(row), target / name, side, quality)
            for row, name in zip(self._rows, self._names, strict=True)
        ]
        for folder in {task.target.parent for task in self._tasks}:
            folder.mkdir()
        self._file_checks: list[FileCheck] = []

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[FileCheck]:
        for check in run_in_workers(self._tasks, resize_task, FileCheck(reason=CRASHED), self._workers):
            self._file_checks.append(check)
            yield check

    def result(self) -> tuple[Table, list[Problem], dict[str, str]]:
        """The table with the resized images, the problems, and a mapping from old to new paths."""
        frame = self._table.frame.with_columns(original=pl.lit(None, pl.String))
        old, reasons = (
            frame["path"].to_list(),
            dict(zip(self._rows, (s.reason for s in self._file_checks), strict=True)),
        )
        start, folder = os.path.realpath(self._table.folder), os.path.realpath(self._out)
        new = [os.path.relpath(Path(folder, FOLDER, name), start) for name in self._names]
        changed = pl.DataFrame(
            {
                "row": self._rows,
                "path": [Path(path).as_posix() for path in new],
                "original": [old[row] for row in self._rows],
                "width": [check.width for check in self._file_checks],
                "height": [check.height for check in self._file_checks],
            },
            schema={
                "row": pl.UInt32,
                "path": pl.String,
                "original": pl.String,
                "width": frame.schema["width"],
                "height": frame.schema["height"],
            },
        )
        frame = _without_boxes(frame.with_row_index("row"), self._rows)
        frame = frame.update(changed, on="row", how="left").drop("row")
        lost = [row for row, reason in reasons.items() if reason]
        problems = [Problem(old[row], reasons[row]) for row in lost]
        remaining = frame.filter(~pl.int_range(pl.len()).is_in(lost))
        moved = {old[row]: path for row, path in zip(self._rows, changed["path"], strict=True)}
        return Table(remaining, self._table.folder), problems, moved


def _name(name: str, path: str) -> str:
    """The file name for a row, which does not depend on the order of the rows."""
    digest = sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:DIGITS]
    stem = re.sub(r"[^\w-]+", "_", Path(path).stem)[:40].strip("_") or "_"
    return f"{digest[:2]}/{stem}-{digest}.jpg"


def _without_boxes(frame: pl.DataFrame, rows: list[int]) -> pl.DataFrame:
    """Rename the boxes of these rows, which were cropped; drop the box columns if none is left."""
    if "x1" not in frame.columns:
        return frame
    cut = pl.col("row").is_in(rows)
    frame = frame.with_columns(
        *(pl.when(cut).then(pl.col(name)).alias(f"original_{name}") for name in BOX),
        *(pl.when(~cut).then(pl.col(name)).alias(name) for name in BOX),
    )
    return frame.drop(BOX) if frame["x1"].null_count() == len(frame) else frame

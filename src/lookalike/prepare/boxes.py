"""Boxes of a source: converted to x1 y1 x2 y2 from other formats, with the file and row of each."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from lookalike.data.checking import BOX
from lookalike.errors import Problem

ROW, FILE = "row of the source", "file of the box"
"""Columns of a source's table that are removed in the end: the row of the source file that each row comes
from
or, with a column `FILE`, the file and row of its box."""


@dataclass(frozen=True)
class Locations:
    """Where the rows of a source were written.

    Attributes:
        rows: of the table, or of the file of boxes; None where there is no such file.
        files: of boxes, where they are in files of their own.
    """

    rows: list[int | None]
    files: list[str | None]

    def problem(self, row: int, path: str, reason: str) -> Problem:
        """The problem with the image of a row."""
        return Problem(path, reason, None if self.files[row] else self.rows[row])

    def box_problem(self, row: int, path: str, reason: str) -> Problem:
        """A remark on the box of a row."""
        file = self.files[row]
        return Problem(path, f"{reason} ({file})" if file else reason, self.rows[row])


def split_locations(frame: pl.DataFrame) -> tuple[pl.DataFrame, Locations]:
    """The table without the columns `ROW` and `FILE`, and their content."""
    rows, files = (
        frame[name] if name in frame.columns else pl.repeat(None, len(frame), eager=True)
        for name in (ROW, FILE)
    )
    return frame.drop(ROW, FILE, strict=False), Locations(rows.to_list(), files.to_list())


def begins_inside(frame: pl.DataFrame) -> pl.DataFrame:
    """Boxes in whole pixels, clipped at the left and upper border."""
    if not all(name in frame.columns and frame.schema[name].is_numeric() for name in BOX):
        return frame
    x1, y1, x2, y2 = map(pl.col, BOX)
    proper = (x1 < x2) & (y1 < y2) & (x2 > 0) & (y2 > 0)
    start, end = pl.col(BOX[:2]), pl.col(BOX[2:])
    return frame.with_columns(
        pl.when(proper).then(start.clip(lower_bound=0).floor()).otherwise(start),
        pl.when(proper).then(end.ceil()).otherwise(end),
    )


def problems_of_differing_boxes(frame: pl.DataFrame) -> pl.Series:
    """The reason to leave out rows that show the same region of the same file as another row, [N]; null for
    others.

    Of rows with the same label the first is kept; rows with different labels are all left out.
    """
    key = ["path", *BOX]
    box = pl.format("box {} {} {} {}, in whole pixels and inside the image, is that of", *BOX)
    reason = (
        pl.when(pl.col("x1").is_null())
        .then(None)
        .when(pl.col("label").n_unique().over(key) > 1)
        .then(box + pl.lit(" another row with another label"))
        .when(pl.int_range(pl.len()).over(key) > 0)
        .then(box + pl.lit(" an earlier row"))
    )
    return frame.select(said=reason)["said"]


def corners_from_one(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Boxes in MATLAB's convention (pixels from 1, the last one inclusive) as x1 y1 x2 y2.

    Pixels then start at 0, and x2, y2 are exclusive: 1 1 4 3 becomes 0 0 4 3, four pixels wide.
    """
    x1, y1, x2, y2 = map(pl.col, names)
    boxes = frame.select(x1=x1 - 1, y1=y1 - 1, x2=x2, y2=y2)
    return frame.drop(names).hstack(boxes)


def corners_from_size(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Boxes x y width height as x1 y1 x2 y2."""
    x, y, width, height = map(pl.col, names)
    boxes = frame.select(x1=x, y1=y, x2=x + width, y2=y + height)
    return frame.drop(names).hstack(boxes)

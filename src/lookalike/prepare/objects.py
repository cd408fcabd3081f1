"""Annotated objects of COCO, YOLO and Pascal VOC as rows of a table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from lookalike.data.checking import BOX
from lookalike.data.table import Table
from lookalike.errors import DataError, Problem
from lookalike.prepare.boxes import FILE, ROW
from lookalike.prepare.naming import UNLISTED
from lookalike.prepare.table import usable

ObjectsResult = tuple[Table, list[Problem]]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class AnnotatedObject:
    """One object in an image.

    Attributes:
        path: of the image, relative to the folder of the source.
        label: its class.
        box: x1 y1 x2 y2 in pixels; None for the whole image.
        file: annotation file.
        row: line or number in that file, from 0.
        split: train, val or test, if the source defines it.
        wrong: why it cannot be used.
    """

    path: str
    label: str
    box: Box | None
    file: str
    row: int
    split: str | None = None
    wrong: str = ""


def objects_table(objects: Sequence[AnnotatedObject], folder: Path, name: str) -> ObjectsResult:
    """The objects that can be used, and the others with the reason, the file and the row.

    Raises:
        DataError: there are none.
    """
    if not objects:
        raise DataError(f"{name}: no object is annotated")
    schema = {"path": pl.String, "label": pl.String, **dict.fromkeys(BOX, pl.Float64), "split": pl.String}
    rows = [(one.path, one.label, *(one.box or (None,) * 4), one.split) for one in objects]
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    wrong = {row: one.wrong for row, one in enumerate(objects) if one.wrong}
    if frame["split"].null_count():
        frame = frame.drop("split")
    if frame["x1"].null_count() == len(frame):
        frame = frame.drop(BOX)
    result, problems = usable(frame, folder, name, wrong)
    positions = [objects[row] for row in result.frame[ROW].to_list()]
    found_frame = result.frame.with_columns(
        pl.Series(ROW, [one.row for one in positions], dtype=pl.Int64),
        pl.Series(FILE, [one.file for one in positions], dtype=pl.String),
    )
    return Table(found_frame, folder), [_locate_problem(problem, objects) for problem in problems]


def _locate_problem(problem: Problem, objects: Sequence[AnnotatedObject]) -> Problem:
    if problem.row is None:
        return problem
    one = objects[problem.row]
    return Problem(problem.path, f"{problem.reason} ({one.file})", one.row)


def unannotated_images(paths: Iterable[str], objects: Sequence[AnnotatedObject]) -> list[Problem]:
    """Images without annotations."""
    known = {one.path for one in objects}
    return [Problem(path, UNLISTED) for path in paths if path not in known]

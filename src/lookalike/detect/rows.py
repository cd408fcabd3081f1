"""From a table of pictures to one of their crops."""

import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import polars as pl

from lookalike.data.checking import BOX
from lookalike.data.table import Table
from lookalike.detect.work import Outcome, Task, Written
from lookalike.errors import DataError

FOLDER = "images"
DIGITS = 12
NEW = {
    "original": pl.String,
    "original_box": pl.String,
    "found": pl.Int32,
    "found_box": pl.String,
    "found_landmarks": pl.String,
    "found_score": pl.Float64,
}
"""The picture's file, the part of it that its row was about, how many things were found in it, and where the
one in the crop is: `x1 y1 x2 y2`, and `x y` of each landmark, in pixels of the upright picture."""


def tasks(table: Table) -> list[Task]:
    """What is to do for each row. Names depend on path, label and box alone: they last while a set grows."""
    if "original" in table.frame.columns:
        raise DataError(
            f"{table.folder}: its images are crops already, and it has a column original. To crop what they "
            "were cut from, add source.path=original"
        )
    rows = zip(table.frame["path"], table.frame["label"], strict=True)
    return [
        Task(table.file(row), _name(path, str(label), table.box(row)), table.box(row))
        for row, (path, label) in enumerate(rows)
    ]


def _name(path: str, label: str, box: tuple[int, ...] | None) -> str:
    digest = sha256(f"{path}|{label}|{box}".encode()).hexdigest()[:DIGITS]
    return f"{_plain_value(label)}/{_plain_value(Path(path).stem)}-{digest}"


def _plain_value(text: str) -> str:
    """The text as a file name on every system."""
    return re.sub(r"[^\w-]+", "_", text)[:40].strip("_") or "_"


def table_of_crops(
    table: Table, outcomes: Sequence[Outcome], size: int, folder: Path
) -> tuple[Table, dict[str, str]]:
    """The table of crops, and the first crop of each picture.

    Args:
        table: of the pictures.
        outcomes: what became of each row.
        size: of the crops, in pixels.
        folder: where the table of crops will lie; its crops are below `images`.

    Returns:
        The table has a row for each crop, and the columns of its picture's row, except that the box is now
        called `original_box`; see `NEW` for those added.
    """
    originals = table.relative_to(folder).frame["path"]
    rows, new = list[int](), list[tuple[object, ...]]()
    first: dict[str, str] = {}
    for row, outcome in enumerate(outcomes):
        for crop in outcome.crops:
            rows.append(row)
            path = f"{FOLDER}/{crop.file}"
            first.setdefault(table.frame["path"][row], path)
            box = table.box(row)
            new.append((path, size, size, originals[row], _text(box), outcome.count, *_crop_columns(crop)))
    schema = {"path": pl.String, "width": pl.Int32, "height": pl.Int32, **NEW}
    added = pl.DataFrame(new, schema=schema, orient="row")
    remaining = table.frame[rows].drop([*schema, *BOX], strict=False)
    return Table(added.select("path").hstack(remaining).hstack(added.drop("path")), folder), first


def _crop_columns(crop: Written) -> tuple[object, ...]:
    return _text(crop.box), _text(crop.landmarks), crop.score


def _text(numbers: Sequence[float] | None) -> str | None:
    return None if numbers is None else " ".join(f"{number:.2f}".removesuffix(".00") for number in numbers)

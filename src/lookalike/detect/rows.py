"""From a table of images to the table of their crops."""

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
"""The image file, the box of its row, the number of detections, and box `x1 y1 x2 y2` and landmarks `x y` of
the detection in the crop, in pixels of the upright image."""


def tasks(table: Table) -> list[Task]:
    """The task of each row. Names depend only on path, label and box, so they stay stable."""
    if "original" in table.frame.columns:
        raise DataError(
            f"{table.folder}: its images are already crops: it has a column original. To crop the original "
            "images, add source.path=original"
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
    """The table of crops, and the first crop of each image.

    Args:
        table: of the images.
        outcomes: of each row.
        size: of the crops, in pixels.
        folder: the folder of the table of crops; the crops are below `images`.

    Returns:
        The table has one row per crop, with the columns of the image's row, except that the box is renamed to
        `original_box`; see `NEW` for the added columns.
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

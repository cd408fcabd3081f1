"""A table of one's own to a dataset table: CSV, Parquet or feather, with whatever column names.

Also reads `dataset_info.csv` of easy_metric_learning: file_name, label, bbox (`x1 y1 x2 y2`), is_test.
"""

import logging
import os
import re
from pathlib import Path
from typing import Literal

import polars as pl

from lookalike.data.checking import BOX, NOTHING, check_table, says_nothing, shortened
from lookalike.data.reading import read_frame
from lookalike.data.table import Table
from lookalike.errors import DataError, Problem
from lookalike.prepare.boxes import ROW, begun_inside
from lookalike.prepare.labels import named, warn_of_alike, whole_labels, without_label
from lookalike.prepare.naming import EMPTY, SPLIT_NAMES, UNLISTED, counted, listed
from lookalike.prepare.shards import real_files

log = logging.getLogger(__name__)
Column = dict[int, str]
BROKEN = "label holds a line break, as where a quote mark lacks its pair"


def table(
    file: Path,
    root: Path | None = None,
    path: str = "path",
    label: str = "label",
    split: str = "split",
    boxes: Literal["corners", "size"] = "corners",
    names: Literal["refuse", "merge", "keep"] = "keep",
    nothing: Literal["leave_out", "keep"] = "leave_out",
    unlisted: bool = False,
) -> tuple[Table, list[Problem]]:
    """The rows of a table file that can be used, and the others with the reason.

    Args:
        file: .csv, .tsv, .parquet or .feather.
        root: where relative paths start; the table's own folder if none.
        path: the column of image files; `file_name` is found by itself.
        label: the column of labels.
        split: the column of splits, if there is one; `is_test` (0 or 1) is found by itself.
        boxes: what the numbers of a `bbox` column are: x1 y1 x2 y2, or x y width height.
        names: what to do with labels that are the same but for case, spaces at the ends, or Unicode form:
            refuse, merge into one class, or keep apart.
        nothing: what to do with labels like NaN, null and None: leave the rows out, or keep them as names.
        unlisted: also list the images below `root` that no row names.

    Raises:
        DataError: the file is no table, a column is missing, or no row can be used.
    """
    file = Path(file).expanduser()
    folder = file.parent if root is None else Path(root).expanduser()
    if not folder.is_dir():
        raise DataError(f"source.root={folder}: there is no such folder")
    frame = _renamed(read_frame(file, (path, label, split, "bbox")), file, path, label, split)
    if frame.is_empty():
        raise DataError(f"{file}: the table has no rows; its columns are {', '.join(frame.columns)}")
    empty = dict.fromkeys(_empty(frame), EMPTY)
    frame = whole_labels(frame, file)
    frame, wrong = _with_splits(frame, file)
    frame, bad_boxes = _with_boxes(frame, boxes)
    frame = _one_spelling(_with_slashes(_sized(frame), folder), folder)
    if nothing == "leave_out":
        wrong |= without_label(frame["label"])
    if file.suffix.lower() in (".csv", ".tsv"):
        wrong |= dict.fromkeys(_broken(frame["label"]), BROKEN)
    frame = named(frame, file, names)
    found, problems = _usable(frame, folder, file.name, wrong | bad_boxes | empty)
    return found, [*problems, *(_unlisted(frame, folder) if unlisted else [])]


def _empty(frame: pl.DataFrame) -> list[int]:
    """Rows with nothing in any column, as spreadsheets leave them."""
    words = [name for name, kind in frame.schema.items() if kind == pl.String]
    tidy = frame.with_columns(pl.when(pl.col(words).str.strip_chars() != "").then(pl.col(words)))
    return tidy.select(pl.all_horizontal(pl.all().is_null())).to_series().arg_true().to_list()


def _broken(labels: pl.Series) -> list[int]:
    """Labels with a line break."""
    if labels.dtype != pl.String:
        return []
    return labels.str.contains(r"[\r\n]").fill_null(False).arg_true().to_list()


def _unlisted(frame: pl.DataFrame, folder: Path) -> list[Problem]:
    """Images below the folder that no row names."""
    from lookalike.prepare.folders import images_below

    known = {os.path.realpath(folder / path) for path in frame["path"].drop_nulls()}
    found = [path for path in images_below(folder) if os.path.realpath(folder / path) not in known]
    return [Problem(path, UNLISTED) for path in found]


def _renamed(frame: pl.DataFrame, file: Path, path: str, label: str, split: str) -> pl.DataFrame:
    """The user's column names to ours; a column that stood under our name makes way."""
    if path == "path" and "path" not in frame.columns and "file_name" in frame.columns:
        path = "file_name"
    missing = {"path": path, "label": label}
    if split != "split":
        missing["split"] = split
    lacking = [(ours, theirs) for ours, theirs in missing.items() if theirs not in frame.columns]
    if lacking:
        said = " and ".join(repr(theirs) for _, theirs in lacking)
        keys = ", ".join(f"source.{ours}=…" for ours, _ in lacking)
        raise DataError(
            f"{file}: has no column {said}; it has {listed(frame.columns, 30)}. "
            f"Name the {'column' if len(lacking) == 1 else 'columns'} that it has for that: {keys}"
        )
    rest = [name for name in frame.columns if name not in {*missing.values(), *missing}]
    return frame.select(*(pl.col(theirs).alias(ours) for ours, theirs in missing.items()), *rest)


def _with_splits(frame: pl.DataFrame, file: Path) -> tuple[pl.DataFrame, Column]:
    """The split as train, val, test; from `is_test` if only that is there; no column if it says nothing."""
    if "split" not in frame.columns and "is_test" in frame.columns:
        log.info("%s: splits are taken from its column is_test: 0 is train, 1 is test", file)
        said = frame["is_test"].cast(pl.String).str.strip_chars().str.to_lowercase()
        known = {"0": "train", "1": "test", "false": "train", "true": "test", "0.0": "train", "1.0": "test"}
        column, what = said, "is_test"
    elif "split" in frame.columns:
        column, what = frame["split"].cast(pl.String).str.strip_chars(), "split"
        known = {
            name: SPLIT_NAMES[name.lower()]
            for name in column.unique().drop_nulls()
            if name.lower() in SPLIT_NAMES
        }
    else:
        return frame, {}
    if (column.is_null() | (column == "")).all():
        return frame.drop("split", strict=False), {}
    splits = column.replace_strict(known, default=None, return_dtype=pl.String).alias("split")
    allowed = "0 or 1" if what == "is_test" else "train, val or test"
    wrong = {
        row: f"{what} {shortened(str(column[row] or ''))!r}: must be {allowed}"
        for row in splits.is_null().arg_true().to_list()
    }
    if len(wrong) == len(frame):
        raise DataError(f"{file}: no row has a split that is known; {wrong[0]}")
    return frame.with_columns(splits), wrong


def _with_boxes(frame: pl.DataFrame, kind: str) -> tuple[pl.DataFrame, Column]:
    """The numbers of a `bbox` column as four columns."""
    if "bbox" not in frame.columns:
        return _with_numbers(frame)
    if any(name in frame.columns for name in BOX):
        raise DataError(f"the table has a column bbox and also {', '.join(BOX)}: keep one of the two")
    rows, wrong = [], {}
    for row, value in enumerate(frame["bbox"].to_list()):
        text = "" if value is None else str(value)
        numbers = _numbers(text)
        if numbers is None:
            wrong[row] = f"bbox {shortened(text)!r}: must be four numbers, as '10 20 110 220'"
        rows.append(_corners(numbers, kind) if numbers else (None,) * 4)
    columns = pl.DataFrame(rows, schema=dict.fromkeys(BOX, pl.Float64), orient="row")
    return frame.drop("bbox").hstack(columns), wrong


def _with_numbers(frame: pl.DataFrame) -> tuple[pl.DataFrame, Column]:
    """Box columns that are text, since something in them is no number, as numbers."""
    wrong: Column = {}
    for name in BOX:
        if name not in frame.columns or frame.schema[name] != pl.String:
            continue
        text = frame[name].str.strip_chars()
        numbers = text.cast(pl.Float64, strict=False)
        given = (text != "").fill_null(False) & ~says_nothing(text)
        for row in (given & numbers.is_null()).arg_true():
            wrong.setdefault(int(row), f"{name} {shortened(text[row])!r}: must be a number")
        frame = frame.with_columns(numbers.alias(name))
    bad = pl.Series([row in wrong for row in range(len(frame))], dtype=pl.Boolean) if wrong else None
    names = [name for name in BOX if name in frame.columns]
    return frame if bad is None else frame.with_columns(pl.when(~bad).then(pl.col(names))), wrong


def _corners(numbers: list[float], kind: str) -> tuple[float, ...]:
    x1, y1, x2, y2 = numbers
    return (x1, y1, x2, y2) if kind == "corners" else (x1, y1, x1 + x2, y1 + y2)


def _numbers(text: str) -> list[float] | None:
    """Four numbers, or an empty list for no box; None if it is neither."""
    words = re.split(r"[\s,;]+", text.strip().strip("[](){}").strip())
    if len(words) == 1 and words[0].lower() in ("", *NOTHING):
        return []
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return None
    return numbers if len(numbers) == 4 else None


def _sized(frame: pl.DataFrame) -> pl.DataFrame:
    """Some write −1 for a size that they could not read."""
    columns = [
        pl.col(name)
        for name in ("width", "height")
        if name in frame.columns and frame[name].dtype.is_numeric()
    ]
    return frame.with_columns(pl.when(column > 0).then(column) for column in columns)


def _with_slashes(frame: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Paths written on Windows."""
    if frame["path"].dtype != pl.String:
        return frame
    rows = frame["path"].str.contains("\\", literal=True).fill_null(False).arg_true()
    if rows.is_empty() or os.path.lexists(folder / frame["path"][rows[0]]):
        return frame
    log.info("backslashes in the table's paths are read as slashes")
    return frame.with_columns(pl.col("path").str.replace_all("\\", "/", literal=True))


def _one_spelling(frame: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """One spelling a file: paths without idle dots; of several that lead to one file, the first."""
    if frame["path"].dtype != pl.String:
        return frame
    plain = pl.col("path").str.replace_all(r"/(\./)+", "/").str.replace(r"^(\./)+(.)", "${2}")
    frame = frame.with_columns(plain)
    paths = frame.select("path").unique(maintain_order=True)
    paths = paths.filter(~pl.col("path").str.contains("\0", literal=True))
    files, which = real_files(Table(paths, folder))
    if len(files) == len(paths):
        return frame
    first = paths.with_columns(file=which).select("path", first=pl.col("path").first().over("file"))
    return frame.with_columns(pl.col("path").replace(first["path"], first["first"]))


def _usable(frame: pl.DataFrame, folder: Path, name: str, wrong: Column) -> tuple[Table, list[Problem]]:
    """The rows nothing is wrong with; every reason against the others."""
    known = (
        frame.with_columns(split=pl.col("split").fill_null("train"))
        if "split" in frame.columns
        else (frame.with_columns(split=pl.lit("train")))
    )
    problems = check_table(begun_inside(known), folder, name)
    whole = [problem for problem in problems if problem.row is None]
    if whole:
        raise DataError(f"{name} cannot be used:", whole)
    found_wrong = ((one.row, one.reason) for one in problems if one.row is not None)
    reasons = [*wrong.items(), *((row, why) for row, why in found_wrong if wrong.get(row) != EMPTY)]
    bad = {row for row, _ in reasons}
    paths = frame["path"]
    found = [
        Problem(shortened(paths[row] or name), reason.removeprefix(f"{shortened(paths[row] or '')}: "), row)
        for row, reason in sorted(reasons)
    ]
    if len(bad) == len(frame):
        raise DataError(
            f"{name}: none of its {counted(len(frame), 'row')} can be used; paths start in {folder}:", found
        )
    good = pl.Series([row not in bad for row in range(len(frame))], dtype=pl.Boolean)
    warn_of_alike(frame.select(pl.when(good).then(pl.col("label")))["label"], name)
    return Table(frame.with_row_index(ROW).filter(good), folder), found

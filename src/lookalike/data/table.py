"""Datasets: a table of images with labels and splits, in a folder."""

import functools
import logging
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl
import yaml

from lookalike.data.box_units import pixel_doubt
from lookalike.data.checking import BOX, REQUIRED, SPLITS, check_frame, is_missing_text
from lookalike.data.columns import find_columns
from lookalike.data.decode import image_size
from lookalike.data.items import Items
from lookalike.data.reading import READERS, normalise_types, read_frame
from lookalike.data.shards import parse_member, split_path
from lookalike.errors import DataError, ImageError, Problem, one_per_row
from lookalike.files import new_folder

__all__ = [
    "BOX",
    "SPLITS",
    "Table",
    "check_table",
    "class_ids",
    "read_table",
    "write_problems",
    "write_table",
]

log = logging.getLogger(__name__)
LARGEST_TEXT_ARRAY = 1 << 28
MOST_SIZES = 100
"""Number of images whose size is read to check the unit of boxes."""


@dataclass(frozen=True, eq=False)
class Table:
    """A table of images. `check_table` lists its problems.

    Attributes:
        frame: columns path, label, split; optionally role, x1 y1 x2 y2 (a region of the image, in pixels of
            the upright image, x2 and y2 exclusive), group, fold, width, height, hash, and any others. A
            pandas frame or a dict of columns becomes a polars frame.
        folder: folder that paths are relative to.
        items: the source of images that are not files; the column `item` is the index of each row in it.
    """

    frame: pl.DataFrame
    folder: Path = Path()
    items: Items | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.frame, pl.DataFrame):
            object.__setattr__(self, "frame", as_frame(self.frame))
        if not isinstance(self.folder, Path):
            object.__setattr__(self, "folder", Path(self.folder))

    def __len__(self) -> int:
        return self.frame.height

    @property
    def labels(self) -> np.ndarray:
        """The label of each row, [N]: int64, uint64, or text.

        Text is a NumPy text array, or an array of Python strings if a long label would make that huge.
        """
        column = self.frame["label"]
        if column.null_count():
            raise DataError(f"{self.folder}: {column.null_count()} rows have no label")
        if column.dtype.is_integer():
            return column.to_numpy(writable=True)
        longest = max(int(column.str.len_chars().max() or 0), 1)  # pyrefly: ignore
        small = 4 * longest * len(self) <= LARGEST_TEXT_ARRAY
        return np.array(column.to_list(), dtype=f"U{longest}" if small else object)

    def split(self, *names: str) -> "Table":
        """The rows of these splits, in order.

        Raises:
            DataError: there are none; the message lists the splits.
        """
        selected = self.frame.filter(pl.col("split").is_in(names))
        if selected.is_empty():
            counts = self.frame["split"].value_counts(sort=True).iter_rows()
            available = ", ".join(f"{name} ({count} images)" for name, count in counts) or "no rows at all"
            raise DataError(f"{self.folder}: no images in split {' or '.join(names)}; there are {available}")
        return replace(self, frame=selected)

    def take(self, rows: Sequence[int] | np.ndarray) -> "Table":
        """These rows, by number or by a mask, in the order given."""
        selection = np.asarray(rows)
        selection = np.flatnonzero(selection) if selection.dtype == bool else selection.astype(np.int64)
        return replace(self, frame=self.frame[selection])

    def file(self, row: int) -> Path:
        """The image file of a row."""
        return self.folder / self.frame["path"][row]

    def box(self, row: int) -> tuple[int, int, int, int] | None:
        """The box of a row in whole pixels; None for the whole image."""
        if "x1" not in self.frame.columns:
            return None
        x1, y1, x2, y2 = (self.frame[name][row] for name in BOX)
        return None if x1 is None else (math.floor(x1), math.floor(y1), math.ceil(x2), math.ceil(y2))

    def relative_to(self, folder: str | Path) -> "Table":
        """The same images for a table in `folder`; absolute paths are kept.

        The column `original` of `prepare`, with the source files of resized images, is adjusted, too.
        """
        start = os.path.realpath(folder)

        @functools.cache
        def move_parent(parent: str) -> str:
            return os.path.relpath(os.path.realpath(self.folder / parent), start)

        def path(old: str) -> str:
            if os.path.isabs(old):  # noqa: PTH117 - called once a row
                return old
            parent, name = split_path(old)
            return Path(move_parent(parent), name).as_posix()

        names = ["path", *(["original"] if self._has_originals() else [])]
        moves = (
            pl.Series(name, [old and path(old) for old in self.frame[name]], dtype=pl.String)
            for name in names
        )
        return replace(self, frame=self.frame.with_columns(*moves), folder=Path(folder))

    def _has_originals(self) -> bool:
        """Whether the column `original` contains files; a user's column of that name may contain anything."""
        if self.frame.schema.get("original") != pl.String:
            return False
        named = self.frame["original"].drop_nulls()
        return bool(len(named)) and (parse_member(named[0]) is not None or (self.folder / named[0]).is_file())


def as_frame(columns: Any) -> pl.DataFrame:
    """A pandas frame, or a dict of columns, as a polars frame with the types of a table file.

    Raises:
        DataError: it is neither, or its columns have different lengths or mixed types.
    """
    if isinstance(columns, pl.DataFrame):
        return normalise_types(columns)
    if not hasattr(columns, "keys"):
        raise DataError(
            f"a table needs a polars or pandas frame, or a dict of columns, not {type(columns).__name__}"
        )
    values = {str(name): columns[name] for name in columns.keys()}  # noqa: SIM118 - a pandas frame has keys, too
    lists = {name: one.tolist() if hasattr(one, "tolist") else list(one) for name, one in values.items()}
    try:
        frame = pl.DataFrame(lists, nan_to_null=False)
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise DataError(f"the columns do not make a table: {str(error).splitlines()[0]}") from error
    return normalise_types(frame)


def check_table(table: Table, *, files: bool = True) -> list[Problem]:
    """Every problem of a table, in the order of its rows; empty if there is none.

    Args:
        table: rows count from 0.
        files: also check that each image file exists.
    """
    return check_frame(table.frame, table.folder, "table", files=files)


def read_table(source: str | Path, *, files: bool = True) -> Table:
    """Read and check a dataset.

    Args:
        source: a dataset folder, or a table file.
        files: also check that every image file exists.

    Raises:
        DataError: there is no table, or it has problems; lists all of them.
    """
    file = _table_file(Path(source))
    frame = read_frame(file)
    prepared = (file.parent / "config.yaml").is_file() and file.stem == "table"
    command = f"`lookalike prepare source=table source.file={file} out=…`"
    problems = check_frame(frame, file.parent, file.name, files=files)
    if any(problem.row is None for problem in problems):
        raise DataError(f"{file} is not a dataset table; {command} makes one from it:", problems)
    if not prepared:
        _refuse_unused(frame, file, command)
    if problems:
        problems = one_per_row(problems)
        also = "" if prepared else f". {command} leaves them out and lists them"
        raise DataError(
            f"{file}: {len(problems)} of {len(frame)} rows are invalid{also}. Rows, counted from 0:", problems
        )
    _warn_of_missing_labels(frame, file)
    return Table(frame, file.parent)


def _refuse_unused(frame: pl.DataFrame, file: Path, command: str) -> None:
    """Log the use of the columns of an unprepared table; columns with other names are not read.

    Raises:
        DataError: an unused column looks as if it should be used; gives the command that reads it.
    """
    try:
        columns = find_columns(frame, file, {}, REQUIRED)
        others = [(ours, theirs) for ours, theirs in columns.used.items() if ours != theirs]
        boxes = [] if columns.boxes is None or columns.boxes.names == BOX else list(columns.boxes.names)
        if others or boxes:
            message = [f"{theirs!r} looks like {ours}" for ours, theirs in others]
            message += (
                [f"{', '.join(boxes)} look like boxes, which must be named x1, y1, x2, y2 here"]
                if boxes
                else []
            )
            raise DataError(f"{file}: {' and '.join(message)}, but is not read without `prepare`.")
    except DataError as error:
        raise DataError(f"{error}\n{command} reads it; or remove the column") from error
    if columns.boxes is not None:
        _refuse_other_units(frame, file, command)
    log.info("%s: %s", file, columns.report())


def _refuse_other_units(frame: pl.DataFrame, file: Path, command: str) -> None:
    """Reject boxes that are unlikely to be in pixels.

    Raises:
        DataError: gives the command that reads them.
    """
    corners = frame.select(pl.col(BOX).cast(pl.Float64, strict=False)).to_numpy()
    rows = np.flatnonzero(np.isfinite(corners).all(1))
    if not len(rows):
        return
    if 0 < np.abs(corners[rows]).max() <= 1:
        raise DataError(
            f"{file}: its boxes are between 0 and 1, like fractions of the image; here they must be pixels. "
            f"{command} converts them"
        )
    some = rows[np.linspace(0, len(rows) - 1, min(MOST_SIZES, len(rows))).astype(int)]
    sizes = [_size_or_nan(file.parent / str(frame["path"][int(row)])) for row in some]
    doubt = pixel_doubt(corners[some], np.array(sizes, np.float64))
    if doubt:
        raise DataError(f"{file}: {doubt}; here boxes must be pixels. {command} converts or clips them")


def _size_or_nan(file: Path) -> tuple[float, float]:
    try:
        return image_size(file)
    except (ImageError, ValueError):
        return (math.nan, math.nan)


def _warn_of_missing_labels(frame: pl.DataFrame, file: Path) -> None:
    """In a CSV, NaN may mean a missing label; in other formats it is a deliberate label."""
    if file.suffix.lower() not in (".csv", ".tsv"):
        return
    rows = is_missing_text(frame["label"]).arg_true()
    if len(rows):
        log.warning(
            "%s: %d rows have a label that usually means a missing one, the first of them %r in row %d; "
            "they are read as class names. Empty cells are errors",
            file,
            len(rows),
            frame["label"][rows[0]],
            rows[0],
        )


def _table_file(source: Path) -> Path:
    if not source.is_dir():
        return source
    candidates = [source / f"table{ending}" for ending in READERS if (source / f"table{ending}").is_file()]
    if not candidates:
        raise DataError(
            f"{source}: no table.parquet, table.feather or table.csv in this folder; "
            f"`lookalike prepare source=folder source.root={source} out=…` makes a dataset from class folders"
        )
    if len(candidates) > 1:
        names = " and ".join(file.name for file in candidates)
        raise DataError(f"{source}: contains {names}; keep only one, or give the file")
    return candidates[0]


def write_table(
    table: Table,
    folder: str | Path,
    metadata: Mapping[str, Any],
    skipped: Iterable[Problem] = (),
    extra_files: Mapping[str, pl.DataFrame | str] = MappingProxyType({}),
    moved: Mapping[str, Path] = MappingProxyType({}),
    sealed: Callable[[Path], object] | None = None,
) -> None:
    """Write a dataset folder atomically: table.parquet, config.yaml, optionally skipped.csv.

    Args:
        table: paths are made relative to `folder`.
        folder: must not exist, or be empty.
        metadata: the settings that produced the table; plain values.
        skipped: what was left out, and why.
        extra_files: more tables and texts, by file name.
        moved: folders and files on the same disk to move into it, by their new names.
        sealed: called with the complete folder before it is renamed.

    Raises:
        LookalikeError: the folder is not empty.
        DataError: it could not be written; nothing is left.
    """
    folder, skipped = Path(folder), list(skipped)
    try:
        with new_folder(folder) as temporary:
            table.relative_to(folder).frame.write_parquet(temporary / "table.parquet")
            text = yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True)
            (temporary / "config.yaml").write_text(text, encoding="utf-8")
            for name, content in extra_files.items():
                _write_extra_file(content, temporary / name)
            if skipped:
                write_problems(skipped, temporary / "skipped.csv")
            for name, old in moved.items():
                old.rename(temporary / name)
            if sealed is not None:
                sealed(temporary)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{folder} could not be written: {error}; nothing was kept") from error


def _write_extra_file(content: pl.DataFrame | str, file: Path) -> None:
    if isinstance(content, str):
        file.write_text(content, encoding="utf-8")
    elif file.suffix == ".parquet":
        content.write_parquet(file)
    else:
        content.write_csv(file)


def write_problems(problems: Iterable[Problem], file: Path) -> None:
    """A CSV of what was left out: path, row, reason."""
    problem_frame(problems).write_csv(file)


def problem_frame(problems: Iterable[Problem]) -> pl.DataFrame:
    """Problems as rows of path, row, reason."""
    rows = [(problem.path, problem.row, problem.reason) for problem in problems]
    schema = {"path": pl.String, "row": pl.Int64, "reason": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def class_ids(labels: np.ndarray) -> dict[int | str, int]:
    """A class id, 0 … C−1, for each label, in the order of the sorted labels."""
    return {label: number for number, label in enumerate(np.unique(labels).tolist())}

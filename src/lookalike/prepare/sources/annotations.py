"""Strict readers of annotation files of public datasets: every invalid line is listed with its row.

Rows are numbered from 0 for the first row below the header, as everywhere in `prepare`.
"""

import csv
import io
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from lookalike.data.checking import BOX, check_boxes, check_frame, shorten_middle
from lookalike.data.table import Table
from lookalike.errors import DataError, Problem
from lookalike.files import parse_json
from lookalike.prepare.boxes import FILE, begins_inside
from lookalike.prepare.boxes import ROW as BOXES_ROW
from lookalike.prepare.labels import Location, warn_of_similar_labels
from lookalike.prepare.naming import quote_names
from lookalike.prepare.sources.public import PublicSet, warn_of_counts

log = logging.getLogger(__name__)
ParsedTable = tuple[Table, list[Problem]]
BLANKS = " \t"
FROM, ROW = "annotation file", "annotation row"
BEFORE = re.compile(r"(?<= is listed before, in row )\d+$")
BOX_PLACE = (f"{FROM} of the box", f"{ROW} of the box")
"""Columns with the file and row of a box, if boxes are in a separate file."""


def read_text(file: Path) -> str:
    """A text file in UTF-8, with or without a byte order mark.

    Raises:
        DataError: it is missing, or in another encoding; the message names the line.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{file}: line {line} is not UTF-8 text (byte {data[error.start]:#04x}); it has another "
            "encoding, or is not text. Download it again"
        ) from error


def read_lines(file: Path) -> list[str]:
    """The lines of a text file; other Unicode line separators may be part of a name."""
    return read_text(file).replace("\r\n", "\n").replace("\r", "\n").split("\n")


def read_fields(
    file: Path,
    names: Sequence[str],
    *,
    header: int = 0,
    last_is_rest: bool = False,
) -> tuple[pl.DataFrame, list[Problem]]:
    """The lines of a text file as columns of text, with the row of each, and the invalid lines.

    Args:
        file: lines of fields, separated by any number of spaces and tabs.
        names: of the fields.
        header: number of lines to skip at the top.
        last_is_rest: the last field is the rest of the line, spaces included.

    Raises:
        DataError: the file cannot be read, or no line is valid.
    """
    lines = read_lines(file)[header:]
    rows, wrong = [], []
    for row, line in enumerate(lines):
        if not line.strip(BLANKS):
            continue
        cells = re.split(f"[{BLANKS}]+", line.strip(BLANKS), maxsplit=len(names) - 1 if last_is_rest else 0)
        if len(cells) == len(names):
            rows.append((*cells, row))
        else:
            reason = (
                f"{len(cells)} fields where {len(names)} are expected ({' '.join(names)}): "
                f"{shorten_middle(line)!r}"
            )
            wrong.append(Problem(file.name, reason, row))
    if not rows:
        raise DataError(f"{file}: no line has {len(names)} fields, {' '.join(names)}", wrong)
    schema = dict.fromkeys(names, pl.String) | {ROW: pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(_from(file)), wrong


def read_header(file: Path, names: Sequence[str], line: int = 0) -> None:
    """Reject a file whose header differs from the published one.

    Raises:
        DataError: it differs; the message shows both.
    """
    lines = read_lines(file)
    column_names = lines[line].split() if len(lines) > line else []
    if column_names != list(names):
        raise DataError(
            f"{file}: line {line + 1} must be {' '.join(names)!r}; it is {' '.join(column_names)[:200]!r}"
        )


def read_csv(file: Path, names: Sequence[str]) -> tuple[pl.DataFrame, list[Problem]]:
    """Columns of a CSV as text, with the row of each, and the rows with too few or too many fields.

    Raises:
        DataError: the file cannot be read, or lacks a column.
    """
    reader = csv.reader(io.StringIO(read_text(file), newline=""), strict=True)
    rows, wrong = [], []
    try:
        header = next(reader, [])
        lacking = [name for name in names if name not in header]
        if lacking:
            raise DataError(
                f"{file}: has no column {quote_names(lacking)}; its columns are {quote_names(header, 30)}"
            )
        twice = [name for name in names if header.count(name) > 1]
        if twice:
            raise DataError(f"{file}: has the column {quote_names(twice)} twice")
        columns = [header.index(name) for name in names]
        for row, line in enumerate(reader):
            if len(line) == len(header):
                rows.append((*(line[column] for column in columns), row))
            elif line:
                reason = f"{len(line)} fields where the header has {len(header)}"
                wrong.append(Problem(file.name, reason, row))
    except csv.Error as error:
        reason = f"not a readable CSV from line {max(1, reader.line_num)} on, or earlier: {error}"
        raise DataError(f"{file}: {reason}") from error
    if not rows:
        raise DataError(f"{file}: no row has {len(header)} fields, as the header has", wrong)
    schema = dict.fromkeys(names, pl.String) | {ROW: pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(_from(file)), wrong


def read_json(file: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: it is not JSON.
    """
    try:
        return parse_json(read_text(file))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not readable JSON: {error}") from error


def _from(file: Path) -> pl.Expr:
    return pl.lit(file.name).alias(FROM)


def parse_numbers(
    frame: pl.DataFrame, names: Sequence[str], *, whole: bool = True, of: str | None = None
) -> tuple[pl.DataFrame, list[Problem]]:
    """Columns of text as numbers; rows with another value are left out, and listed with the file of `of`."""
    kind = pl.Int64 if whole else pl.Float64
    file, line = _file_and_row(of)
    read = frame.with_columns(pl.col(name).str.strip_chars().cast(kind, strict=False) for name in names)
    bad = read.select(pl.any_horizontal(pl.col(names).is_null() | ~pl.col(names).is_finite())).to_series()
    wrong = []
    for row in bad.arg_true():
        values_text = " ".join(f"{name}={frame[name][row]!r}" for name in names)
        expected = "whole numbers" if whole else "numbers"
        wrong.append(Problem(frame[file][row], f"{values_text}: must be {expected}", frame[line][row]))
    return read.filter(~bad), wrong


def join_by_key(
    main: pl.DataFrame, other: pl.DataFrame, by: str, *, of: str | None = None
) -> tuple[pl.DataFrame, list[Problem]]:
    """The rows of `main` with the columns of `other` that has the same key.

    Duplicate keys in a file (the first is kept), rows of `main` missing from `other`, and rows of `other`
    missing from `main` are left out and listed. The file and row of `other` are kept as those of `of`.
    """
    wrong = []
    tables = []
    for table in (main, other):
        twice = ~pl.Series(table[by].is_first_distinct())
        wrong += _problems(table.filter(twice), f"{by} {{}} is listed before", by)
        tables.append(table.filter(~twice))
    main, other = tables
    extra = other.join(main, on=by, how="anti", maintain_order="left")
    wrong += _problems(extra, f"{by} {{}} is not in {_files_of(main)}", by)
    missing = main.join(other, on=by, how="anti", maintain_order="left")
    wrong += _problems(missing, f"{by} {{}} has no row in {_files_of(other)}", by)
    other = (
        other.drop(FROM, ROW)
        if of is None
        else other.rename(dict(zip((FROM, ROW), _file_and_row(of), strict=True)))
    )
    return main.join(other, on=by, maintain_order="left"), wrong


def join_labels(
    frame: pl.DataFrame, classes: pl.DataFrame, by: str, *, of: str | None = None
) -> tuple[pl.DataFrame, list[Problem]]:
    """The rows of `frame` with the `label` of their class; rows of an unknown class are left out.

    Classes with the number or name of an earlier one are left out, too; all of them are listed.
    """
    wrong = []
    for key in (by, "label"):
        first = pl.Series(classes[key].is_first_distinct())
        wrong += _problems(classes.filter(~first), f"{key} {{}} is listed before", key)
        classes = classes.filter(first)
    unknown = frame.join(classes, on=by, how="anti", maintain_order="left")
    wrong += _problems(unknown, f"{by} {{}} is not in {_files_of(classes)}", by, of)
    return frame.join(classes.select(by, "label"), on=by, maintain_order="left"), wrong


def _file_and_row(of: str | None) -> tuple[str, str]:
    return (FROM, ROW) if of is None else (f"{FROM} of the {of}", f"{ROW} of the {of}")


def _files_of(frame: pl.DataFrame) -> str:
    return " or ".join(frame[FROM].unique(maintain_order=True))


def _problems(frame: pl.DataFrame, reason: str, column: str, of: str | None = None) -> list[Problem]:
    rows = frame.select(*_file_and_row(of), column).iter_rows()
    return [Problem(file, reason.format(repr(value)), row) for file, row, value in rows]


def check_public_table(
    frame: pl.DataFrame,
    folder: Path,
    public_set: PublicSet,
    problems: Iterable[Problem] = (),
    *,
    keep_split: bool = True,
) -> ParsedTable:
    """The table of a dataset without its invalid rows, and all problems.

    Args:
        frame: path (relative to `folder`), label, perhaps split, role, box and others, and the location
            of each row.
        folder: folder that paths are relative to.
        public_set: for messages, and the published counts.
        problems: the problems so far.
        keep_split: false drops the split after its counts have been compared.

    Raises:
        DataError: no row can be used.
    """
    warn_of_counts(frame if "split" in frame.columns else frame.with_columns(split=pl.lit("all")), public_set)
    frame = frame if keep_split else frame.drop("split")
    frame = frame.with_columns(path=pl.col("path").str.replace(r"^(\.?/)+", ""))
    if FROM in frame.columns:
        climbs = pl.col("path").str.contains(r"(^|[/\\])\.\.([/\\]|$)").fill_null(False)
        problems = [*problems, *_problems(frame.filter(climbs), "{} leads out of its folder", "path")]
        frame = frame.filter(~climbs)
    known_columns = frame.drop(FROM, ROW, *BOX_PLACE, strict=False)
    rules = begins_inside(
        known_columns
        if "split" in known_columns.columns
        else known_columns.with_columns(split=pl.lit("train"))
    )
    locations, boxes = _row_locations(frame, FROM, ROW), _row_locations(frame, *BOX_PLACE)
    wrong_boxes = dict(check_boxes(rules))
    wrong, bad = list(problems), set()
    for problem in check_frame(rules, folder, public_set.name):
        if problem.row is None:
            raise DataError(f"{public_set.title}: {problem.reason}", wrong)
        bad.add(problem.row)
        file, row = (boxes if problem.reason == wrong_boxes.get(problem.row) else locations)[problem.row]
        reason = BEFORE.sub(lambda match: "{1} of {0}".format(*locations[int(match[0])]), problem.reason)
        wrong.append(Problem(file or known_columns["path"][problem.row] or public_set.name, reason, row))
    if len(bad) == len(known_columns):
        raise DataError(
            f"{public_set.title}: none of its {len(known_columns):,} rows can be used; paths are relative to "
            f"{folder}:",
            wrong,
        )
    warn_of_similar_labels(known_columns["label"], public_set.title, locations)
    if "x1" in known_columns.columns:
        file, row = zip(*boxes, strict=True)
        known_columns = known_columns.with_columns(pl.Series(FILE, file), pl.Series(BOXES_ROW, row))
        log.info("images are cropped to their boxes; source.boxes=false keeps them whole")
    good = pl.Series([row not in bad for row in range(len(known_columns))], dtype=pl.Boolean)
    remaining = known_columns.filter(good)
    order = ["path", "label", *(name for name in ("split", "role", *BOX) if name in remaining.columns)]
    return Table(remaining.select(*order, pl.exclude(order)), folder), wrong


def _row_locations(frame: pl.DataFrame, file: str, row: str) -> list[Location]:
    """File and row of the annotation of each row; those of the boxes default to the same."""
    names = (file, row) if file in frame.columns else (FROM, ROW)
    columns = (frame[name].to_list() if name in frame.columns else [None] * len(frame) for name in names)
    return list(zip(*columns, strict=True))

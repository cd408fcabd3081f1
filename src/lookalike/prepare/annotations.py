"""Annotation files of public sets, read strictly: every line that is not as published is listed with its row.

Rows are counted from 0, the first row below the header, as everywhere in `prepare`.
"""

import csv
import io
import json
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from lookalike.data.checking import BOX, check_boxes, check_table, shortened
from lookalike.data.table import Table
from lookalike.errors import DataError, Problem
from lookalike.prepare.boxes import FILE, begun_inside
from lookalike.prepare.boxes import ROW as BOXES_ROW
from lookalike.prepare.labels import Place, warn_of_alike
from lookalike.prepare.naming import listed
from lookalike.prepare.public import PublicSet, warn_of_counts

log = logging.getLogger(__name__)
Found = tuple[Table, list[Problem]]
BLANKS = " \t"
FROM, ROW = "annotation file", "annotation row"
BEFORE = re.compile(r"(?<= is listed before, in row )\d+$")
BOX_PLACE = (f"{FROM} of the box", f"{ROW} of the box")
"""Columns of where a box was written, if that is a file of its own."""


def text_of(file: Path) -> str:
    """A text file in UTF-8, with or without a byte order mark.

    Raises:
        DataError: it is not there, or in another encoding; names the line.
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
            f"{file}: line {line} is not UTF-8 text (byte {data[error.start]:#04x}); it was saved in another "
            "encoding, or is no text at all. Fetch it again"
        ) from error


def lines_of(file: Path) -> list[str]:
    """The lines of a text file; what else counts as the end of a line in Unicode may be part of a name."""
    return text_of(file).replace("\r\n", "\n").replace("\r", "\n").split("\n")


def fields(
    file: Path,
    names: Sequence[str],
    *,
    header: int = 0,
    last_is_rest: bool = False,
) -> tuple[pl.DataFrame, list[Problem]]:
    """The lines of a text file as columns of text, with the row of each; and the lines that are otherwise.

    Args:
        file: lines of fields, with any number of spaces and tabs between them.
        names: what the fields are.
        header: lines to leave out at the top.
        last_is_rest: the last field is the rest of the line, spaces included.

    Raises:
        DataError: the file cannot be read, or no line is as it should be.
    """
    lines = lines_of(file)[header:]
    rows, wrong = [], []
    for row, line in enumerate(lines):
        if not line.strip(BLANKS):
            continue
        found = re.split(f"[{BLANKS}]+", line.strip(BLANKS), maxsplit=len(names) - 1 if last_is_rest else 0)
        if len(found) == len(names):
            rows.append((*found, row))
        else:
            said = (
                f"{len(found)} fields where {len(names)} are wanted ({' '.join(names)}): {shortened(line)!r}"
            )
            wrong.append(Problem(file.name, said, row))
    if not rows:
        raise DataError(f"{file}: no line has {len(names)} fields, {' '.join(names)}", wrong)
    schema = dict.fromkeys(names, pl.String) | {ROW: pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(_from(file)), wrong


def header_of(file: Path, names: Sequence[str], line: int = 0) -> None:
    """Refuse a file whose header is not as published.

    Raises:
        DataError: it is not; shows both.
    """
    lines = lines_of(file)
    found = lines[line].split() if len(lines) > line else []
    if found != list(names):
        raise DataError(
            f"{file}: line {line + 1} must be {' '.join(names)!r}; it is {' '.join(found)[:200]!r}"
        )


def csv_of(file: Path, names: Sequence[str]) -> tuple[pl.DataFrame, list[Problem]]:
    """These columns of a CSV as text, with the row of each; and the rows with too few or too many fields.

    Raises:
        DataError: the file cannot be read, or lacks a column.
    """
    reader = csv.reader(io.StringIO(text_of(file), newline=""), strict=True)
    rows, wrong = [], []
    try:
        header = next(reader, [])
        lacking = [name for name in names if name not in header]
        if lacking:
            raise DataError(f"{file}: has no column {listed(lacking)}; its columns are {listed(header, 30)}")
        twice = [name for name in names if header.count(name) > 1]
        if twice:
            raise DataError(f"{file}: has the column {listed(twice)} twice")
        places = [header.index(name) for name in names]
        for row, line in enumerate(reader):
            if len(line) == len(header):
                rows.append((*(line[place] for place in places), row))
            elif line:
                said = f"{len(line)} fields where the header has {len(header)}"
                wrong.append(Problem(file.name, said, row))
    except csv.Error as error:
        said = f"not a readable CSV from line {max(1, reader.line_num)} on, or earlier: {error}"
        raise DataError(f"{file}: {said}") from error
    if not rows:
        raise DataError(f"{file}: no row has {len(header)} fields, as the header has", wrong)
    schema = dict.fromkeys(names, pl.String) | {ROW: pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(_from(file)), wrong


def json_of(file: Path) -> Any:
    """What a JSON file holds.

    Raises:
        DataError: it is no JSON.
    """
    try:
        return json.loads(text_of(file))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not readable JSON: {error}") from error


def _from(file: Path) -> pl.Expr:
    return pl.lit(file.name).alias(FROM)


def numbers(
    frame: pl.DataFrame, names: Sequence[str], *, whole: bool = True, of: str | None = None
) -> tuple[pl.DataFrame, list[Problem]]:
    """Columns of text as numbers; rows where one is none are left out, and listed where the `of` is from."""
    kind = pl.Int64 if whole else pl.Float64
    file, line = _at(of)
    read = frame.with_columns(pl.col(name).str.strip_chars().cast(kind, strict=False) for name in names)
    bad = read.select(pl.any_horizontal(pl.col(names).is_null() | ~pl.col(names).is_finite())).to_series()
    wrong = []
    for row in bad.arg_true():
        said = " ".join(f"{name}={frame[name][row]!r}" for name in names)
        what = "whole numbers" if whole else "numbers"
        wrong.append(Problem(frame[file][row], f"{said}: must be {what}", frame[line][row]))
    return read.filter(~bad), wrong


def joined(
    main: pl.DataFrame, other: pl.DataFrame, by: str, *, of: str | None = None
) -> tuple[pl.DataFrame, list[Problem]]:
    """The rows of `main` with the columns of `other` that has the same key.

    Left out and listed are keys that stand twice in a file (the first counts), rows of `main` that `other`
    lacks, and rows of `other` that `main` lacks. The file and row of `other` stay known as those of the `of`.
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
        other.drop(FROM, ROW) if of is None else other.rename(dict(zip((FROM, ROW), _at(of), strict=True)))
    )
    return main.join(other, on=by, maintain_order="left"), wrong


def looked_up(
    frame: pl.DataFrame, classes: pl.DataFrame, by: str, *, of: str | None = None
) -> tuple[pl.DataFrame, list[Problem]]:
    """The rows of `frame` with the `label` of their class; rows of a class that is not there are left out.

    Classes of the same number, or name, as an earlier one are left out, too; all of it is listed.
    """
    wrong = []
    for key in (by, "label"):
        first = pl.Series(classes[key].is_first_distinct())
        wrong += _problems(classes.filter(~first), f"{key} {{}} is listed before", key)
        classes = classes.filter(first)
    unknown = frame.join(classes, on=by, how="anti", maintain_order="left")
    wrong += _problems(unknown, f"{by} {{}} is not in {_files_of(classes)}", by, of)
    return frame.join(classes.select(by, "label"), on=by, maintain_order="left"), wrong


def _at(of: str | None) -> tuple[str, str]:
    return (FROM, ROW) if of is None else (f"{FROM} of the {of}", f"{ROW} of the {of}")


def _files_of(frame: pl.DataFrame) -> str:
    return " or ".join(frame[FROM].unique(maintain_order=True))


def _problems(frame: pl.DataFrame, said: str, column: str, of: str | None = None) -> list[Problem]:
    rows = frame.select(*_at(of), column).iter_rows()
    return [Problem(file, said.format(repr(value)), row) for file, row, value in rows]


def finished(
    frame: pl.DataFrame,
    folder: Path,
    about: PublicSet,
    problems: Iterable[Problem] = (),
    *,
    keep_split: bool = True,
) -> Found:
    """The table of a set, without the rows that something is wrong with, and all that is wrong.

    Args:
        frame: path (relative to `folder`), label, perhaps split, role, box and others, and where each row
            comes from.
        folder: where paths start.
        about: for messages, and the published counts.
        problems: what was found so far.
        keep_split: false drops the split, after its counts were compared.

    Raises:
        DataError: no row can be used.
    """
    warn_of_counts(frame if "split" in frame.columns else frame.with_columns(split=pl.lit("all")), about)
    frame = frame if keep_split else frame.drop("split")
    frame = frame.with_columns(path=pl.col("path").str.replace(r"^(\.?/)+", ""))
    if FROM in frame.columns:
        climbs = pl.col("path").str.contains(r"(^|[/\\])\.\.([/\\]|$)").fill_null(False)
        problems = [*problems, *_problems(frame.filter(climbs), "{} leads out of its folder", "path")]
        frame = frame.filter(~climbs)
    known = frame.drop(FROM, ROW, *BOX_PLACE, strict=False)
    rules = begun_inside(known if "split" in known.columns else known.with_columns(split=pl.lit("train")))
    places, boxes = _places(frame, FROM, ROW), _places(frame, *BOX_PLACE)
    wrong_boxes = dict(check_boxes(rules))
    wrong, bad = list(problems), set()
    for problem in check_table(rules, folder, about.name):
        if problem.row is None:
            raise DataError(f"{about.title}: {problem.reason}", wrong)
        bad.add(problem.row)
        file, row = (boxes if problem.reason == wrong_boxes.get(problem.row) else places)[problem.row]
        reason = BEFORE.sub(lambda found: "{1} of {0}".format(*places[int(found[0])]), problem.reason)
        wrong.append(Problem(file or known["path"][problem.row] or about.name, reason, row))
    if len(bad) == len(known):
        raise DataError(
            f"{about.title}: none of its {len(known):,} rows can be used; paths start in {folder}:", wrong
        )
    warn_of_alike(known["label"], about.title, places)
    if "x1" in known.columns:
        file, row = zip(*boxes, strict=True)
        known = known.with_columns(pl.Series(FILE, file), pl.Series(BOXES_ROW, row))
        log.info("images are cropped to their boxes; source.boxes=false keeps them whole")
    good = pl.Series([row not in bad for row in range(len(known))], dtype=pl.Boolean)
    kept = known.filter(good)
    order = ["path", "label", *(name for name in ("split", "role", *BOX) if name in kept.columns)]
    return Table(kept.select(*order, pl.exclude(order)), folder), wrong


def _places(frame: pl.DataFrame, file: str, row: str) -> list[Place]:
    """File and row by which each row was annotated; those of the boxes are by default the same."""
    names = (file, row) if file in frame.columns else (FROM, ROW)
    columns = (frame[name].to_list() if name in frame.columns else [None] * len(frame) for name in names)
    return list(zip(*columns, strict=True))

"""Lists of images or classes, by path or label: which rows of a table they name."""

import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl

from lookalike.data.reading import READERS, read_frame
from lookalike.data.table import Table
from lookalike.errors import DataError, Problem
from lookalike.prepare.sources.annotations import read_text

TEXTS = (".txt", ".lst", ".list")


def find_listed_rows(table: Table, file: Path) -> tuple[np.ndarray, list[Problem]]:
    """Which rows a list selects, [N] bool, and the entries that match nothing or several files.

    A text file has one label or path per line; a table file has a column `path`, or else `label`. A path is
    absolute, or the last components of one: `cat/1.jpg` matches `/photos/cat/1.jpg`, not `/bobcat/1.jpg`.

    Args:
        table: whose rows are meant.
        file: .txt, .csv, .tsv, .parquet or .feather.

    Raises:
        DataError: the file cannot be read, or matches nothing in the table.
    """
    entries, kind = _entries(file)
    by_label = _rows_by_label(table) if kind != "path" else {}
    by_path = _rows_by_path(table, entries) if kind != "label" else {}
    is_listed, problems = np.zeros(len(table), bool), list[Problem]()
    for row, entry in entries.items():
        label, paths = by_label.get(entry, []), by_path.get(entry, {})
        if label and paths:
            problems.append(Problem(file.name, f"{entry!r} is a label and also a path", row))
        elif len(paths) > 1:
            some = " or ".join(list(paths)[:2])
            problems.append(
                Problem(file.name, f"{entry!r} may be {some}: {len(paths)} files; give more of the path", row)
            )
        elif not label and not paths:
            problems.append(Problem(file.name, f"{entry!r} is not a {kind} in the table", row))
        else:
            is_listed[label or next(iter(paths.values()))] = True
    if not is_listed.any():
        raise DataError(
            f"{file}: matches nothing in the table, whose paths are relative to {table.folder}:", problems
        )
    return is_listed, problems


def _entries(file: Path) -> tuple[dict[int, str], str]:
    """The entries by row, from 0, and whether they are labels or paths."""
    ending = file.suffix.lower()
    if ending in TEXTS:
        lines = [line.strip() for line in read_text(file).splitlines()]
        entries, kind = {row: line for row, line in enumerate(lines) if line}, "label or path"
    elif ending in READERS:
        frame = read_frame(file)
        frame = frame.rename({"column 1": "path"}) if frame.columns == ["column 1"] else frame
        kind = next((name for name in ("path", "label") if name in frame.columns), "")
        if not kind:
            raise DataError(f"{file}: a list needs a column path or label; it has {', '.join(frame.columns)}")
        column = frame[kind].cast(pl.String).to_list()
        entries = {row: entry for row, entry in enumerate(column) if entry}
    else:
        raise DataError(
            f"{file}: a list ends in {', '.join([*TEXTS, *READERS])}, not {ending or 'nothing'!r}"
        )
    if not entries:
        raise DataError(f"{file}: the list is empty")
    return entries, kind


def _rows_by_label(table: Table) -> dict[str, list[int]]:
    rows = defaultdict[str, list[int]](list)
    for row, label in enumerate(table.frame["label"].cast(pl.String)):
        rows[label].append(row)
    return rows


def _rows_by_path(table: Table, entries: dict[int, str]) -> dict[str, dict[str, list[int]]]:
    """The rows of each entry, by their file."""
    base = os.path.abspath(table.folder)  # noqa: PTH100 - called once a row
    files = [os.path.normpath(os.path.join(base, path)) for path in table.frame["path"]]  # noqa: PTH118
    absolute = {entry: _resolve_entry(entry, base) for entry in set(entries.values())}
    rows: dict[str, dict[str, list[int]]] = {}
    for depth in {end.count("/") for end in absolute.values()}:
        ends = defaultdict[str, dict[str, list[int]]](dict)
        for row, file in enumerate(files):
            parts = file.rsplit("/", depth + 1)
            ends["/".join(parts[-depth - 1 :])].setdefault(file, []).append(row)
        rows |= {entry: ends[end] for entry, end in absolute.items() if end in ends}
    return rows


def _resolve_entry(entry: str, base: str) -> str:
    """A path with dots and backslashes resolved; one that begins with ../ is relative to the table."""
    text = entry.replace("\\", "/")
    if text.startswith("../"):
        text = f"{base}/{text}"
    return os.path.normpath(text)

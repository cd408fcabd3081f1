"""What reviews decided that leaves the table as it is: pairs that are different, and images to keep."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from lookalike.data.table import Table
from lookalike.prepare.naming import count_noun

log = logging.getLogger(__name__)
DIFFERENT, KEPT = "different.csv", "kept.csv"
PATHS = {DIFFERENT: ("path_a", "path_b"), KEPT: ("path",)}
"""The columns of each file that hold paths."""
NOUNS = {DIFFERENT: "pair", KEPT: "decision"}


def read_reviewed(folder: Path) -> dict[str, pl.DataFrame]:
    """The files that lie beside a table, all columns as text."""
    return {
        name: pl.read_csv(folder / name, infer_schema=False) for name in PATHS if (folder / name).is_file()
    }


def join_reviewed(
    parts: Iterable[tuple[Path, Mapping[str, pl.DataFrame]]], table: Table, out: Path
) -> dict[str, pl.DataFrame]:
    """The files for a table in `out`: rows of all parts whose images it still has.

    Args:
        parts: each with the folder that its paths start in.
        table: the rows of the new table.
        out: where it will lie.

    Returns:
        by the name of the file; none without rows.
    """
    parts = list(parts)
    available = table.relative_to(out).frame["path"].unique().implode()
    files = {}
    for name, columns in PATHS.items():
        moved = [
            _move_paths(files_of[name], columns, folder, out)
            for folder, files_of in parts
            if name in files_of
        ]
        if not moved:
            continue
        rows = pl.concat([frame.cast(pl.String) for frame in moved], how="diagonal")
        remaining = rows.filter(pl.all_horizontal(pl.col(columns).is_in(available)))
        if len(remaining) < len(rows):
            gone = count_noun(len(rows) - len(remaining), NOUNS[name])
            log.warning("%s of %s left out: an image is missing", gone, name)
        if len(remaining):
            files[name] = _without_empty_kind(name, remaining)
    return files


def _without_empty_kind(name: str, rows: pl.DataFrame) -> pl.DataFrame:
    if name == DIFFERENT and "kind" in rows.columns and not rows["kind"].fill_null("").ne("").any():
        return rows.drop("kind")
    return rows


def _move_paths(rows: pl.DataFrame, columns: Sequence[str], folder: Path, out: Path) -> pl.DataFrame:
    paths = pl.concat([rows[column] for column in columns]).unique().alias("path")
    new_paths = Table(paths.to_frame(), folder).relative_to(out).frame["path"]
    return rows.with_columns(pl.col(columns).replace(paths, new_paths))

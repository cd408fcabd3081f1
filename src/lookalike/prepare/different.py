"""The pairs said to be different, in a dataset that is made from one with patches."""

import logging
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from lookalike.data.table import Table
from lookalike.prepare.naming import counted

log = logging.getLogger(__name__)
DIFFERENT = "different.csv"
LOG = "changes.jsonl"


def carried_pairs(folders: Iterable[Path], table: Table, out: Path) -> dict[str, pl.DataFrame]:
    """`different.csv` for a dataset made from others: their pairs whose two images it still has.

    What a patch changed in one of these datasets can only be undone there, which is said.

    Args:
        folders: of the datasets that it is made from.
        table: its rows.
        out: where it will lie.

    Returns:
        the pairs by the name of their file; empty where no dataset has any.
    """
    folders = list(folders)
    for folder in folders:
        if (folder / LOG).is_file():
            log.warning(
                "%s: its patches stay applied, and can be undone only there (original.parquet and %s are not "
                "carried on); undo there first, then make this dataset again",
                folder,
                LOG,
            )
    files = [folder / DIFFERENT for folder in folders if (folder / DIFFERENT).is_file()]
    if not files:
        return {}
    said = pl.concat([_moved(pl.read_csv(file, infer_schema=False), file.parent, out) for file in files])
    here = table.relative_to(out).frame["path"].unique()
    kept = said.filter(pl.all_horizontal(pl.col("path_a", "path_b").is_in(here.implode())))
    if len(kept) < len(said):
        gone = counted(len(said) - len(kept), "pair")
        log.warning("%s of %s left out: an image is missing", gone, DIFFERENT)
    return {DIFFERENT: kept} if len(kept) else {}


def _moved(pairs: pl.DataFrame, folder: Path, out: Path) -> pl.DataFrame:
    paths = pl.concat([pairs["path_a"], pairs["path_b"]]).unique().alias("path")
    there = Table(paths.to_frame(), folder).relative_to(out).frame["path"]
    return pairs.with_columns(pl.col("path_a", "path_b").replace(paths, there))

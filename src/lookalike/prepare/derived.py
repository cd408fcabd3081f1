"""Datasets made from datasets: what is written beside the table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from lookalike.data.datasets import folders_of
from lookalike.data.table import Table, write_table
from lookalike.prepare.dataset import move_pairs
from lookalike.prepare.patch.dataset import carry_over_pairs

PAIRS = "pairs.csv"


def write_derived(
    table: Table,
    out: Path,
    dataset: str | list[str],
    data_dir: Path,
    metadata: Mapping[str, Any],
    extra_files: Mapping[str, pl.DataFrame],
) -> None:
    """Write the table as a dataset folder, with the pairs that lie beside its sources.

    Args:
        table: paths start in the folder of the dataset it is made from.
        out: folder to write.
        dataset: the datasets it is made from, as in `read_datasets`.
        data_dir: folder in which datasets are found by name.
        metadata: what made the table; plain values.
        extra_files: more tables, by the name of the CSV.
    """
    files = {**extra_files, **pair_files(table, out, dataset, data_dir)}
    write_table(table, out, metadata, extra_files=files)


def pair_files(table: Table, out: Path, dataset: str | list[str], data_dir: Path) -> dict[str, pl.DataFrame]:
    """The pairs that lie beside the sources of a table, for a table in `out`, by the names of their files."""
    files: dict[str, pl.DataFrame] = {}
    pairs = table.folder / PAIRS
    if isinstance(dataset, str) and pairs.is_file():
        pair_frame = pl.read_csv(pairs, schema_overrides={"path_a": pl.String, "path_b": pl.String})
        if {"path_a", "path_b"} <= set(pair_frame.columns):
            files[PAIRS] = move_pairs(pair_frame, table, out)
    return files | carry_over_pairs(folders_of(dataset, data_dir), table, out)

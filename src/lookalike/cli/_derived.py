"""What the jobs have in common that make a dataset from datasets: keys, and how it is written."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

if TYPE_CHECKING:
    import polars as pl

    from lookalike.data.table import Table

log = logging.getLogger(__name__)
Names = str | list[str]
SplitName = Literal["train", "val", "test"]
DATASET = Field(
    description="dataset folder, table file, or name of a dataset in data_dir; [a,b] joins several"
)
OF = Field(description="splits to divide again; the others stay unchanged; null divides all")
OUT = Field(description="dataset folder to write; must not exist yet")
DATA_DIR = Field(description="folder in which datasets are looked up by name")
PAIRS = "pairs.csv"


def write_derived(table: "Table", config: BaseModel, extra_files: "dict[str, pl.DataFrame]") -> None:
    """Write the table as a dataset folder; pairs that lie beside its source come along.

    Args:
        table: its paths start in the folder of the dataset it is made from.
        config: with `dataset`, `data_dir` and `out`.
        extra_files: more tables, by the name of the CSV.
    """
    from lookalike.data.table import write_table

    values = config.model_dump(mode="json")
    write_table(table, values["out"], values, extra_files=extra_files | pair_files(table, config))


def pair_files(table: "Table", config: BaseModel) -> "dict[str, pl.DataFrame]":
    """The pairs that lie beside the source of a table, for one in `out`, by the name of their file."""
    import polars as pl

    from lookalike.cli._datasets import folders_of
    from lookalike.prepare.dataset import move_pairs
    from lookalike.prepare.patch.dataset import carry_over_pairs

    values = config.model_dump(mode="json")
    files: dict[str, pl.DataFrame] = {}
    pairs = table.folder / PAIRS
    if isinstance(values["dataset"], str) and pairs.is_file():
        pair_frame = pl.read_csv(pairs, schema_overrides={"path_a": pl.String, "path_b": pl.String})
        if {"path_a", "path_b"} <= set(pair_frame.columns):
            files[PAIRS] = move_pairs(pair_frame, table, Path(values["out"]))
    folders = folders_of(values["dataset"], Path(values["data_dir"]))
    return files | carry_over_pairs(folders, table, Path(values["out"]))

"""Keys shared by the jobs that make a dataset from datasets."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

if TYPE_CHECKING:
    import polars as pl

    from lookalike.data.table import Table

Names = str | list[str]
SplitName = Literal["train", "val", "test"]
DATASET = Field(
    description="dataset folder, table file, or name of a dataset in data_dir; [a,b] joins several"
)
OF = Field(description="splits to divide again; the others stay unchanged; null divides all")
OUT = Field(description="dataset folder to write; must not exist yet")
DATA_DIR = Field(description="folder in which datasets are looked up by name")


def write_derived(table: "Table", config: BaseModel, extra_files: "dict[str, pl.DataFrame]") -> None:
    """Write the table as a dataset folder; `config` has `dataset`, `data_dir` and `out`."""
    from lookalike.prepare import derived

    values = config.model_dump(mode="json")
    out, data_dir = Path(values["out"]), Path(values["data_dir"])
    derived.write_derived(table, out, values["dataset"], data_dir, values, extra_files)

"""Keys shared by the jobs that make a dataset from datasets."""

from typing import Literal

from pydantic import Field

Names = str | list[str]
SplitName = Literal["train", "val", "test"]
DATASET = Field(
    description="dataset folder, table file, or name of a dataset in data_dir; [a,b] joins several"
)
OF = Field(description="splits to divide again; the others stay unchanged; null divides all")
OUT = Field(description="dataset folder to write; must not exist yet")
DATA_DIR = Field(description="folder in which datasets are looked up by name")

"""The job `prepare merge`: several datasets become one."""

import logging
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from lookalike.cli._derived import DATA_DIR, OUT

log = logging.getLogger(__name__)


class Config(BaseModel):
    """The keys of `lookalike prepare merge`; their defaults are in conf/prepare-merge.yaml."""

    dataset: Annotated[list[str], Field(min_length=2)] = Field(
        description="datasets to merge, in order of precedence; dataset= may be omitted"
    )
    prefixes: list[str] = Field(
        description="prefix for the labels and groups of each dataset, such as [a/,b/]; [] adds none"
    )
    labels: Literal["refuse", "same"] = Field(
        description="what to do with a label that is in two datasets: raise an error, or treat it as one "
        "identity"
    )
    files: Literal["refuse", "first"] = Field(
        description="what to do with a file that is in two datasets: raise an error, or keep only the row"
        " of the first dataset"
    )
    contents: bool = Field(description="compare file contents as well as paths")
    dedup: int | None = Field(
        ge=0,
        le=64,
        description="of copies of a photo with the same label in several datasets, keep only the largest; "
        "number of bits of the 64-bit hash in which candidates may differ, such as 10; null keeps all",
    )
    workers: int | None = Field(
        ge=0, description="number of processes that read images for dedup=; null uses one per core"
    )
    progress: bool = Field(description="show a progress bar")
    out: Path = OUT
    data_dir: Path = DATA_DIR

    @model_validator(mode="after")
    def _one_each(self) -> "Config":
        if self.prefixes and len(self.prefixes) != len(self.dataset):
            raise ValueError(f"prefixes: {len(self.prefixes)} for {len(self.dataset)} datasets; one for each")
        return self


def main(config: Config) -> Path:
    """Write the merged dataset, with all clashes in clashes.csv, and return its folder."""
    from lookalike.data.datasets import folders_of, read_tables
    from lookalike.data.table import write_table
    from lookalike.files import refuse_existing
    from lookalike.prepare.merge import Choices, merge_tables
    from lookalike.prepare.patch.dataset import carry_over_pairs
    from lookalike.prepare.splits.assigned import order_columns, summarise_counts, warn_of_shared

    refuse_existing(config.out)
    tables = read_tables(config.dataset, config.data_dir)
    choices = Choices(**config.model_dump(include=set(Choices.__dataclass_fields__)))
    table, clashes = merge_tables(tables, config.out, choices)
    table = order_columns(table)
    warn_of_shared(table.frame)
    extra_files = {"clashes.csv": clashes} if len(clashes) else {}
    extra_files |= carry_over_pairs(folders_of(config.dataset, config.data_dir), table, config.out)
    write_table(table, config.out, config.model_dump(mode="json"), extra_files=extra_files)
    log.info("%s", summarise_counts(table))
    return config.out

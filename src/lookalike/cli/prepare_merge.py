"""The job `prepare merge`: make one dataset of several."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from lookalike.cli._dataset_keys import DATA_DIR, OUT


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


def main(config: Config) -> Path:
    """Write the merged dataset, and return its folder."""
    from lookalike.prepare.derived import merge_datasets

    keys = {name: value for name, value in config if name != "dataset"}
    merge_datasets(config.dataset, **keys, metadata=config.model_dump(mode="json"))
    return config.out

"""The job `prepare filter`: select rows of a dataset."""

from pathlib import Path

from pydantic import BaseModel, Field

from lookalike.cli._dataset_keys import DATA_DIR, DATASET, OUT, Names, SplitName


class Config(BaseModel):
    """The keys of `lookalike prepare filter`; their defaults are in conf/prepare-filter.yaml."""

    dataset: Names = DATASET
    keep: Path | None = Field(
        description="file with the labels or paths to keep (.txt, .csv, …); everything else is removed"
    )
    drop: Path | None = Field(description="file with the labels or paths to remove")
    min_side: int = Field(
        ge=0, description="minimum length in pixels of the shorter side of an image or its box"
    )
    dedup: int | None = Field(
        ge=0,
        le=64,
        description="keep only the largest of several copies of a photo in a class; number of bits of the "
        "64-bit hash in which candidates may differ, such as 10; null keeps copies",
    )
    min_images: int = Field(
        ge=1, description="minimum number of images per class; smaller classes are removed"
    )
    max_images: int | None = Field(
        ge=1, description="maximum number of images per class, chosen at random; null keeps all"
    )
    of: list[SplitName] | None = Field(
        description="splits to filter; the others stay unchanged; null filters all"
    )
    out: Path = OUT
    seed: int = Field(ge=0, description="random seed for choosing images")
    workers: int | None = Field(
        ge=0, description="number of processes that read images for dedup=; null uses one per core"
    )
    progress: bool = Field(description="show a progress bar")
    data_dir: Path = DATA_DIR


def main(config: Config) -> Path:
    """Write a dataset with the rows that stay, and return its folder."""
    from lookalike.prepare.derived import filter_dataset

    filter_dataset(**dict(config), metadata=config.model_dump(mode="json"))
    return config.out

"""The job `prepare filter`: rows taken out of a prepared table."""

import logging
from pathlib import Path

from pydantic import BaseModel, Field, model_validator

from lookalike.cli._derived import DATA_DIR, DATASET, OUT, Names, SplitName

log = logging.getLogger(__name__)


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

    @model_validator(mode="after")
    def _something(self) -> "Config":
        if self.max_images is not None and self.max_images < self.min_images:
            raise ValueError(f"max_images={self.max_images} is less than min_images={self.min_images}")
        return self


def main(config: Config) -> Path:
    """Write a dataset with the rows that stay, and return its folder."""
    from lookalike.cli._derived import write_derived
    from lookalike.data.datasets import read_datasets
    from lookalike.errors import ConfigError
    from lookalike.files import refuse_existing
    from lookalike.prepare.filter import Filters, filter_table
    from lookalike.prepare.splits.assigned import count_images, summarise_counts

    refuse_existing(config.out)
    filters = Filters(**config.model_dump(include=set(Filters.__dataclass_fields__)))
    if filters == Filters(seed=config.seed, workers=config.workers, progress=config.progress):
        raise ConfigError(
            "nothing to filter by; give keep=, drop=, min_side=, dedup=, min_images= or max_images="
        )
    for name in ("keep", "drop"):
        file = getattr(config, name)
        if file is not None and not file.is_file():
            raise ConfigError(f"{name}={file}: there is no such file")
    table, left_out = filter_table(read_datasets(config.dataset, config.data_dir), filters, config.of)
    extra_files = {"counts.csv": count_images(table)}
    write_derived(table, config, extra_files | ({"left_out.csv": left_out} if len(left_out) else {}))
    log.info("%s", summarise_counts(table))
    return config.out

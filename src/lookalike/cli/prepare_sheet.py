"""The job `prepare sheet`: an HTML page with some images of every class."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from lookalike.cli._dataset_keys import DATA_DIR, DATASET, Names, SplitName


class Config(BaseModel):
    """The keys of `lookalike prepare sheet`; their defaults are in conf/prepare-sheet.yaml."""

    dataset: Names = DATASET
    split: list[SplitName] | None = Field(description="splits to show; null shows all")
    per_class: Annotated[int, Field(ge=1, le=100)] = Field(description="number of images to show per class")
    thumbnail: Annotated[int, Field(ge=16, le=512)] = Field(description="longer side of the images in pixels")
    classes: Annotated[int, Field(ge=1, le=10_000)] = Field(
        description="maximum number of classes to show; if there are more, a random sample is shown"
    )
    out: Path = Field(description="folder for index.html and its images; must not exist yet")
    seed: int = Field(ge=0, description="random seed for choosing classes")
    progress: bool = Field(description="show a progress bar")
    data_dir: Path = DATA_DIR


def main(config: Config) -> Path:
    """Write the page, and return it."""
    from lookalike.data.datasets import dataset_title, read_datasets
    from lookalike.files import refuse_existing
    from lookalike.report.sheet import Options, save_sheet

    refuse_existing(config.out)
    table = read_datasets(config.dataset, config.data_dir)
    table = table.split(*config.split) if config.split else table
    options = Options(**config.model_dump(include={"per_class", "thumbnail", "classes", "seed"}))
    metadata = config.model_dump(mode="json")
    return save_sheet(table, config.out, dataset_title(config.dataset), options, metadata, config.progress)

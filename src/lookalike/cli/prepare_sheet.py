"""The job `prepare sheet`: a page to look through, with some images of every class."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field

from lookalike.cli._derived import DATA_DIR, DATASET, Names, SplitName

if TYPE_CHECKING:
    from lookalike.data.table import Table
    from lookalike.errors import Problem

log = logging.getLogger(__name__)


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
    from lookalike.cli.prepare_stats import title
    from lookalike.data.datasets import read_datasets
    from lookalike.errors import list_problems
    from lookalike.files import refuse_existing
    from lookalike.wording import count_noun

    refuse_existing(config.out)
    table = read_datasets(config.dataset, config.data_dir)
    table = table.split(*config.split) if config.split else table
    problems = write_contact_sheet(table, title(config.dataset), config)
    if problems:
        log.warning("%s could not be read:%s", count_noun(len(problems), "image"), list_problems(problems))
    return config.out / "index.html"


def write_contact_sheet(table: "Table", name: str, config: Config) -> "list[Problem]":
    """The folder, whole or not at all."""
    import yaml
    from rich.progress import track

    from lookalike.data.table import write_problems
    from lookalike.files import new_folder
    from lookalike.report.sheet import Options, write_sheet

    def progress_bar(classes: Iterable[Any], total: int) -> Iterable[Any]:
        return track(classes, "Making thumbnails", total=total, disable=not config.progress)

    option_keys = {"per_class", "thumbnail", "classes", "seed"}
    options = Options(**config.model_dump(include=option_keys))
    with new_folder(config.out) as temporary:
        problems = write_sheet(table, temporary, name, options, progress_bar)
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        (temporary / "config.yaml").write_text(text, encoding="utf-8")
        if problems:
            write_problems(problems, temporary / "skipped.csv")
    return problems

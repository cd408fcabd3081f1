"""The job `prepare`: folders or a table of images become a checked, split dataset folder."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

if TYPE_CHECKING:
    from lookalike.data.table import Table
    from lookalike.errors import Problem

log = logging.getLogger(__name__)
Share = Annotated[float, Field(ge=0, le=1)]


class Config(BaseModel):
    """The keys of `lookalike prepare`; their defaults are in conf/prepare.yaml."""

    source: dict[str, Any] = Field(description="what the images come from")
    out: Path = Field(description="dataset folder to write; one that exists is refused")
    split: Literal["classes", "images"] = Field(
        description="what is divided: classes (val and test are never trained on) or the images of each class"
    )
    val: Share = Field(description="share of the identities to choose the best model by")
    test: Share = Field(
        description="share of the identities to measure it on; 1 for all, to judge a finished model"
    )
    seed: int = Field(ge=0, description="another seed, another split")
    check: bool = Field(
        description="decode every image to the last pixel; false reads headers only, much faster"
    )
    max_skipped: Share = Field(description="fail if a larger share of the images cannot be used")
    workers: int | None = Field(ge=0, description="processes that check images; null takes one a core")
    progress: bool = Field(description="show a progress bar")

    @model_validator(mode="after")
    def _shares(self) -> "Config":
        if self.val + self.test > 1 + 1e-9:
            raise ValueError(f"val={self.val:g} and test={self.test:g} add up to more than 1")
        return self


def main(config: Config) -> Path:
    """Prepare a dataset, and return its folder."""
    from lookalike.config import build
    from lookalike.data.table import write_table
    from lookalike.errors import listing
    from lookalike.files import refuse_existing
    from lookalike.prepare.dataset import Shares, refuse_unusable, summary, with_split

    refuse_existing(config.out)
    found, unusable = build(config.source, "source")
    table, unreadable = _looked_at(found, config)
    problems = [*unusable, *unreadable]
    where = str(config.source.get("root") or config.source.get("file") or found.folder)
    if problems:
        log.warning("%d left out:%s", len(problems), listing(problems))
    refuse_unusable(table, problems, config.max_skipped, where)
    table = with_split(table, Shares(config.split, config.val, config.test, config.seed))
    write_table(table, config.out, config.model_dump(mode="json"), problems)
    if problems:
        log.info("%s lists what was left out", config.out / "skipped.csv")
    log.info("%s", summary(table))
    return config.out


def _looked_at(table: "Table", config: Config) -> "tuple[Table, list[Problem]]":
    """Every file looked at once, however many rows it has."""
    from rich.progress import track

    from lookalike.prepare.dataset import with_sizes
    from lookalike.prepare.files import decoded, glanced, look_at

    paths = table.frame["path"].to_list()
    files = {path: table.folder / path for path in paths}
    found = look_at(list(files.values()), decoded if config.check else glanced, config.workers)
    bar = track(found, "Checking images", total=len(files), disable=not config.progress)
    seen = dict(zip(files, bar, strict=True))
    return with_sizes(table, (seen[path] for path in paths))

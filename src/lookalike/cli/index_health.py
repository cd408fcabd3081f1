"""The job `index health`: which enrolled photos cause false matches."""

import logging
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

log = logging.getLogger(__name__)


class Config(BaseModel):
    """The keys of `lookalike index health`; their defaults are in conf/index-health.yaml."""

    index: Path = Field(description="index folder with the enrolled identities")
    fpir: float = Field(gt=0, lt=1, description="false positive identification rate, as in identify")
    validation: Path | None = Field(
        description="embeddings folder, or file of vectors with labels, of identities that the model was not "
        "trained on and that are not enrolled; null uses those in the model folder"
    )
    most: Annotated[int, Field(ge=1)] = Field(description="number of photos to print")
    out: Path | None = Field(
        description="CSV file to write with all enrolled photos and their figures; must not exist yet"
    )


def main(config: Config) -> Path | None:
    """Print the photos with problems, and return the file with all."""
    from lookalike.console import print_tables
    from lookalike.files import refuse_existing, replace_file
    from lookalike.search.health import gallery_health, worst_rows
    from lookalike.search.index import Index

    if config.out is not None:
        refuse_existing(config.out)
    health = gallery_health(Index.load(config.index), config.fpir, config.validation)
    log.info("%s", health)
    rows = worst_rows(health, config.most)
    if rows:
        print_tables("index", ("label", "path", "problem"), {str(config.index): rows})
    if len(health.problems) > len(rows):
        log.info("and %d more; most= or out= shows them", len(health.problems) - len(rows))
    if config.out is not None:
        replace_file(config.out, health.photos.write_csv)
    return config.out

"""The job `prepare fetch`: a dataset with shards copied here from where it lies."""

import logging
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from lookalike.cli._derived import OUT

log = logging.getLogger(__name__)


class Config(BaseModel):
    """The keys of `lookalike prepare fetch`; their defaults are in conf/prepare-fetch.yaml."""

    url: str = Field(description="folder written by `prepare shards`: https://…, s3://…, gs://…, or a path")
    out: Path = OUT
    threads: Annotated[int, Field(ge=1, le=64)] = Field(description="number of files to download in parallel")
    progress: bool = Field(description="show a progress bar")


def main(config: Config) -> Path:
    """Fetch the dataset, and return its folder."""
    from lookalike.data.table import read_table
    from lookalike.files import refuse_existing
    from lookalike.prepare.download.dataset import fetch_dataset
    from lookalike.prepare.download.stores import open_store
    from lookalike.prepare.sources.public import progress_bar
    from lookalike.prepare.splits.assigned import summarise_counts

    refuse_existing(config.out)
    store = open_store(config.url)
    with progress_bar("Fetching", config.progress) as on_progress:
        fetch_dataset(store, config.out, config.threads, on_progress)
    log.info("%s", summarise_counts(read_table(config.out, files=False)))
    return config.out

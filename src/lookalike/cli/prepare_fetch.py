"""The job `prepare fetch`: copy a dataset with shards to this machine."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from lookalike.cli._dataset_keys import OUT


class Config(BaseModel):
    """The keys of `lookalike prepare fetch`; their defaults are in conf/prepare-fetch.yaml."""

    url: str = Field(description="folder written by `prepare shards`: https://…, s3://…, gs://…, or a path")
    out: Path = OUT
    threads: Annotated[int, Field(ge=1, le=64)] = Field(description="number of files to download in parallel")
    progress: bool = Field(description="show a progress bar")


def main(config: Config) -> Path:
    """Fetch the dataset, and return its folder."""
    from lookalike.prepare.sharding import fetch_shards

    fetch_shards(**dict(config))
    return config.out

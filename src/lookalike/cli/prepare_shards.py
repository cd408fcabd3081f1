"""The job `prepare shards`: pack the images of a dataset into a few large tar files."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from lookalike.cli._dataset_keys import DATA_DIR, DATASET, OUT, Names


class Config(BaseModel):
    """The keys of `lookalike prepare shards`; their defaults are in conf/prepare-shards.yaml."""

    dataset: Names = DATASET
    out: Path = OUT
    megabytes: Annotated[float, Field(gt=0)] = Field(
        description="maximum size of a shard in megabytes; a larger image gets its own shard"
    )
    max_skipped: Annotated[float, Field(ge=0, le=1)] = Field(
        description="fail if more than this fraction of the images cannot be read"
    )
    threads: Annotated[int, Field(ge=1, le=256)] = Field(
        description="number of images to read in parallel; raise it for slow storage such as a network disk"
    )
    progress: bool = Field(description="show a progress bar")
    data_dir: Path = DATA_DIR


def main(config: Config) -> Path:
    """Write the dataset with its shards, and return its folder."""
    from lookalike.prepare.sharding import pack_shards

    pack_shards(**dict(config), metadata=config.model_dump(mode="json"))
    return config.out

"""The job `index`: build a searchable index from vectors or from the images of a dataset."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from lookalike.cli._vector_keys import Source


class Config(Source):
    """The keys of `lookalike index`; their defaults are in conf/index.yaml."""

    split: str | list[str] | None = Field(description="split to index, such as test; null indexes all images")
    engine: Literal["exact", "sqlite"] = Field(
        description="exact: a folder that does not change; sqlite: identities can be enrolled and forgotten"
    )
    out: Path = Field(description="index folder to write; must not exist yet")


def main(config: Config) -> Path:
    """Write an index folder, and return it."""
    from lookalike.cli._vector_keys import load_or_compute
    from lookalike.files import refuse_existing
    from lookalike.search.index import Index

    refuse_existing(config.out)
    split = [config.split] if isinstance(config.split, str) else config.split
    embeddings = load_or_compute(config, split)
    metadata = {"job": "index", **config.model_dump(mode="json")}
    Index.build(embeddings, out=config.out, metadata=metadata, engine=config.engine)
    return config.out

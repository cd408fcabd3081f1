"""The job `index`: vectors, or the images of a dataset, become a folder that can be searched."""

from pathlib import Path

from pydantic import Field

from lookalike.jobs._embedding import Source


class Config(Source):
    """The keys of `lookalike index`; their defaults are in conf/index.yaml."""

    split: str | list[str] | None = Field(description="split to index, such as test; null takes all images")
    out: Path = Field(description="index folder to write; one that exists is refused")


def main(config: Config) -> Path:
    """Write an index folder, and return it."""
    from lookalike.files import refuse_existing
    from lookalike.jobs._embedding import vectors_of
    from lookalike.search.folder import Index

    refuse_existing(config.out)
    split = [config.split] if isinstance(config.split, str) else config.split
    found = vectors_of(config, split)
    index = Index(found.vectors, found.table, found.space, found.model)
    index.save(config.out, {"job": "index", **config.model_dump(mode="json")})
    return config.out

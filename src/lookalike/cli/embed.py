"""The job `embed`: compute the embeddings of a dataset."""

from pathlib import Path

from pydantic import Field

from lookalike.cli._vector_keys import Machine


class Config(Machine):
    """The keys of `lookalike embed`; their defaults are in conf/embed.yaml."""

    model: Path = Field(description="model folder")
    dataset: str | list[str] = Field(
        description="dataset folder, table file, or name of a dataset in data_dir; [a,b] joins several"
    )
    split: str | list[str] | None = Field(description="split to embed, such as test; null embeds all images")
    out: Path = Field(description="embeddings folder to write; must not exist yet")


def main(config: Config) -> Path:
    """Embed, and return the embeddings folder."""
    from lookalike.cli._vector_keys import compute_embeddings
    from lookalike.files import refuse_existing

    refuse_existing(config.out)
    split = [config.split] if isinstance(config.split, str) else config.split
    embeddings = compute_embeddings(config, config.model, config.dataset, split)
    embeddings.save(config.out, {"job": "embed", **config.model_dump(mode="json")})
    return config.out

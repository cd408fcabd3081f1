"""The job `embed`: compute the embeddings of a dataset."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from lookalike.cli._vector_keys import Machine

if TYPE_CHECKING:
    from lookalike.embeddings import Embeddings


class Config(Machine):
    """The keys of `lookalike embed`; their defaults are in conf/embed.yaml."""

    model: Path = Field(description="model folder")
    dataset: str | list[str] = Field(
        description="dataset folder, table file, or name of a dataset in data_dir; [a,b] joins several"
    )
    split: str | list[str] | None = Field(description="split to embed, such as test; null embeds all images")
    text: str | None = Field(
        description="column of texts to embed in place of the images, by the model's text tower (see "
        "align-text)"
    )
    text_encoder: dict[str, Any] | None = Field(
        description="{_target_: …}: the encoder that the text tower was trained around; null for the others"
    )
    out: Path = Field(description="embeddings folder to write; must not exist yet")


def main(config: Config) -> Path:
    """Embed, and return the embeddings folder."""
    from lookalike.cli._vector_keys import compute_embeddings
    from lookalike.files import refuse_existing

    refuse_existing(config.out)
    split = [config.split] if isinstance(config.split, str) else config.split
    if config.text is None:
        embeddings = compute_embeddings(config, config.model, config.dataset, split)
    else:
        embeddings = _embed_texts(config, config.text, split)
    embeddings.save(config.out, {"job": "embed", **config.model_dump(mode="json")})
    return config.out


def _embed_texts(config: Config, column: str, split: list[str] | None) -> "Embeddings":
    from lookalike.config import build
    from lookalike.data.datasets import read_datasets
    from lookalike.evaluation.text_recall import embed_texts
    from lookalike.machine import configure_memory
    from lookalike.model.text import load_text

    configure_memory(config.threads)
    encoder = None if config.text_encoder is None else build(config.text_encoder, "text_encoder")
    table = read_datasets(config.dataset, config.data_dir)
    table = table.split(*split) if split else table
    embeddings = embed_texts(load_text(config.model, encoder), table, column, config.dim)
    return replace(embeddings, model=config.model)

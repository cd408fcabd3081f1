"""Vectors as the jobs get them: from an embeddings folder, or from a model and a dataset."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field

from lookalike.errors import ConfigError, LookalikeError, listing

if TYPE_CHECKING:
    from lookalike.embeddings import Embeddings

log = logging.getLogger(__name__)


class Machine(BaseModel):
    """Keys of the jobs that compute vectors: how to do it on this machine."""

    batch_size: Annotated[int, Field(ge=1)] = Field(description="images the model sees at once")
    workers: int | None = Field(
        ge=0, description="processes that read images; null takes what the machine has"
    )
    threads: int | None = Field(ge=1, description="CPU threads of the model; null takes what the machine has")
    device: str | None = Field(description="where to compute: cpu, cuda, cuda:1, mps; null takes the best")
    progress: bool = Field(description="show progress bars")
    data_dir: Path = Field(description="folder in which datasets are found by name")


class Source(Machine):
    """Keys of the jobs that take vectors from a folder, or compute them."""

    embeddings: Path | None = Field(description="embeddings folder; or give model and dataset")
    model: Path | None = Field(description="model folder, to embed the dataset with")
    dataset: str | list[str] | None = Field(
        description="dataset folder, table file, or name of a set under data_dir; [a,b] joins several"
    )


def vectors_of(config: Source, split: list[str] | None) -> "Embeddings":
    """The vectors that the keys name.

    Args:
        config: with `embeddings`, or with `model` and `dataset`.
        split: take only the rows of these splits.

    Raises:
        ConfigError: neither or both are given.
        LookalikeError: `embeddings` and `model` are given, and the vectors are of another model.
        DataError: there are no rows in these splits; says which there are.
    """
    if config.embeddings is None and config.model is not None and config.dataset is not None:
        return computed(config, config.model, config.dataset, split)
    if config.embeddings is None or config.dataset is not None:
        raise ConfigError("give either embeddings=FOLDER, or model=FOLDER and dataset=FOLDER")
    found = _chosen(config.embeddings, split)
    return found if config.model is None else _of_model(found, config.embeddings, config.model)


def computed(config: Machine, model: Path, dataset: str | list[str], split: list[str] | None) -> "Embeddings":
    """Embed a dataset; images that cannot be read are listed on stderr."""
    from lookalike.embeddings import embed
    from lookalike.jobs._datasets import read_datasets
    from lookalike.machine import choose_device, choose_workers, settle
    from lookalike.model.embedder import load

    device = choose_device(config.device)
    settle(config.threads)
    table = read_datasets(dataset, config.data_dir)
    table = table.split(*split) if split else table
    found = embed(
        load(model, device),
        table,
        batch_size=config.batch_size,
        workers=choose_workers(config.workers, device),
        progress=config.progress,
        folder=model,
    )
    if found.skipped:
        log.warning("%d images cannot be read, left out:%s", len(found.skipped), listing(found.skipped))
    return found


def _chosen(folder: Path, split: list[str] | None) -> "Embeddings":
    from lookalike.embeddings import Embeddings

    found = Embeddings.load(folder)
    if not split:
        return found
    found.table.split(*split)  # says which splits there are
    rows = found.table.frame["split"].is_in(split).to_numpy()
    return Embeddings(found.vectors[rows], found.table.take(rows), found.space, found.skipped, found.model)


def _of_model(found: "Embeddings", folder: Path, model: Path) -> "Embeddings":
    from dataclasses import replace

    from lookalike.model.embedder import load

    space = load(model).space
    if space != found.space:
        raise LookalikeError(
            f"{folder} holds vectors of the model {found.space}, but {model} is {space}; "
            "leave out model=, or embed again with this model"
        )
    return replace(found, model=model)

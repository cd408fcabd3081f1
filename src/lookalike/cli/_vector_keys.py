"""Keys of the jobs that take vectors from an embeddings folder, or from a model and a dataset."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field

from lookalike.errors import ConfigError, list_problems

if TYPE_CHECKING:
    from lookalike.data.table import Table
    from lookalike.embeddings import Embeddings

log = logging.getLogger(__name__)
Check = Callable[["Table"], None]
"""Raises an error if a table cannot be used."""


class Machine(BaseModel):
    """Keys of the jobs that compute vectors: batch size, processes, device."""

    batch_size: Annotated[int, Field(ge=1)] = Field(description="batch size")
    workers: int | None = Field(
        ge=0, description="number of data-loading processes; null chooses by device and cores"
    )
    threads: int | None = Field(
        ge=1, description="number of CPU threads for the model; null keeps the default of PyTorch"
    )
    device: str | None = Field(description="device: cpu, cuda, cuda:1 or mps; null selects the best")
    progress: bool = Field(description="show progress bars")
    data_dir: Path = Field(description="folder in which datasets are looked up by name")
    dim: int | None = Field(
        ge=1,
        description="number of leading dimensions to keep, for models trained with matryoshka=; null keeps "
        "all",
    )


class Source(Machine):
    """Keys of the jobs that read or compute vectors."""

    embeddings: Path | None = Field(description="embeddings folder; alternatively set model= and dataset=")
    model: Path | None = Field(description="model folder; embeds the images of dataset=")
    dataset: str | list[str] | None = Field(
        description="dataset folder, table file, or name of a dataset in data_dir; [a,b] joins several"
    )


def load_or_compute(
    config: Source, split: list[str] | None, labels: Path | None = None, check: Check | None = None
) -> "Embeddings":
    """The vectors that the keys name.

    Args:
        config: with `embeddings`, or with `model` and `dataset`.
        split: take only the rows of these splits.
        labels: of a file of vectors that holds none.
        check: is shown the images before they are embedded.

    Raises:
        ConfigError: neither or both are given.
        LookalikeError: `embeddings` and `model` are given, and the vectors are of another model.
        DataError: there are no rows in these splits; says which there are.
    """
    if config.embeddings is None and config.model is not None and config.dataset is not None:
        return compute_embeddings(config, config.model, config.dataset, split, check)
    if config.embeddings is None or config.dataset is not None:
        raise ConfigError("give either embeddings=FOLDER, or model=FOLDER and dataset=FOLDER")
    from lookalike.embeddings import load_embeddings, require_model

    embeddings = load_embeddings(config.embeddings, split, labels)
    if config.model is not None:
        embeddings = require_model(embeddings, config.embeddings, config.model)
    return embeddings if config.dim is None else embeddings.truncate(config.dim)


def compute_embeddings(
    config: Machine,
    model: Path,
    dataset: str | list[str],
    split: list[str] | None,
    check: Check | None = None,
) -> "Embeddings":
    """Embed a dataset; images that cannot be read are listed on stderr. See `load_or_compute`."""
    from lookalike.data.datasets import read_datasets
    from lookalike.embeddings import embed
    from lookalike.machine import choose_device, choose_workers, configure_memory
    from lookalike.model.loading import load
    from lookalike.prepare.leaks import warn_of_leaks

    device = choose_device(config.device)
    configure_memory(config.threads)
    table = read_datasets(dataset, config.data_dir)
    if check is not None and split:
        warn_of_leaks(table, split)
    table = table.split(*split) if split else table
    if check is not None:
        check(table)
    embeddings = embed(
        load(model, device),
        table,
        batch_size=config.batch_size,
        workers=choose_workers(config.workers, device),
        progress=config.progress,
        folder=model,
        dim=config.dim,
    )
    if embeddings.skipped:
        log.warning(
            "%d images cannot be read, left out:%s",
            len(embeddings.skipped),
            list_problems(embeddings.skipped),
        )
    return embeddings

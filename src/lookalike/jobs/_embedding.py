"""Vectors as the jobs get them: from an embeddings folder, or from a model and a dataset."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field

from lookalike.errors import ConfigError, DataError, LookalikeError, listing

if TYPE_CHECKING:
    import numpy as np

    from lookalike.data.table import Table
    from lookalike.embeddings import Embeddings

log = logging.getLogger(__name__)
Check = Callable[["Table"], None]
"""Refuses a table by an error."""


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


def vectors_of(
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
        return computed(config, config.model, config.dataset, split, check)
    if config.embeddings is None or config.dataset is not None:
        raise ConfigError("give either embeddings=FOLDER, or model=FOLDER and dataset=FOLDER")
    found = stored(config.embeddings, split, labels)
    return found if config.model is None else _of_model(found, config.embeddings, config.model)


def computed(
    config: Machine,
    model: Path,
    dataset: str | list[str],
    split: list[str] | None,
    check: Check | None = None,
) -> "Embeddings":
    """Embed a dataset; images that cannot be read are listed on stderr. See `vectors_of`."""
    from lookalike.embeddings import embed
    from lookalike.jobs._datasets import read_datasets
    from lookalike.machine import choose_device, choose_workers, settle
    from lookalike.model.embedder import load

    device = choose_device(config.device)
    settle(config.threads)
    table = read_datasets(dataset, config.data_dir)
    table = table.split(*split) if split else table
    if check is not None:
        check(table)
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


def stored(
    place: Path, split: list[str] | None, labels: Path | None = None, labelled: bool = True
) -> "Embeddings":
    """The vectors of an embeddings folder, or of a file that another tool wrote.

    Args:
        place: the folder or file.
        split: take only the rows of these splits.
        labels: of a file that holds none.
        labelled: whether labels are needed.

    Raises:
        ConfigError: labels are given for a folder, which has its own.
        DataError: there are no rows in these splits; says which there are.
    """
    from lookalike.embeddings import Embeddings

    if labels is not None and place.is_dir():
        raise ConfigError(f"labels={labels}: {place} is an embeddings folder, which has labels of its own")
    found = _of_file(place, labels, labelled) if place.is_file() else Embeddings.load(place)
    if not split:
        return found
    found.table.split(*split)  # says which splits there are
    rows = found.table.frame["split"].is_in(split).to_numpy()
    return Embeddings(found.vectors[rows], found.table.take(rows), found.space, found.skipped, found.model)


def classes_of(table: "Table", by: str) -> "np.ndarray":
    """The class of each row, by a column of the table.

    Raises:
        ConfigError: there is no such column.
    """
    import numpy as np

    if by == "label":
        return table.labels
    if by not in table.frame.columns:
        raise ConfigError(f"by={by}: the table has no such column; it has {', '.join(table.frame.columns)}")
    column = table.frame[by]
    whole = column.dtype.is_integer() and not column.null_count()
    return column.to_numpy() if whole else np.array([str(value) for value in column.to_list()])


def _of_file(file: Path, labels: Path | None, labelled: bool) -> "Embeddings":
    import hashlib

    from lookalike.data.foreign import read_foreign
    from lookalike.data.table import Table
    from lookalike.embeddings import Embeddings
    from lookalike.metrics.inputs import normalised

    vectors, frame = read_foreign(file, labels, labelled)
    try:
        unit = normalised(vectors)
    except ValueError as error:
        raise DataError(f"{file}: {error}") from error
    space = hashlib.sha256(file.read_bytes()).hexdigest()[:11]
    return Embeddings(unit, Table(frame, file.parent), f"file:{space}")


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

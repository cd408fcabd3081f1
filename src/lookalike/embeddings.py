"""Embeddings: the vectors of a table of images, and the folder that holds both."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
import yaml
from rich.console import Console
from rich.progress import track

from lookalike.data.html import card, cards_in_row
from lookalike.data.import_vectors import import_vectors
from lookalike.data.object_table import as_table
from lookalike.data.read_batches import read_batches
from lookalike.data.table import Table, write_problems
from lookalike.data.thumbnails import Thumbnails
from lookalike.data.vectors import path_from, read_json, read_vectors, resolve_path, write_vectors
from lookalike.errors import ConfigError, DataError, LookalikeError, Problem
from lookalike.files import new_folder, write_text
from lookalike.metrics.inputs import unit_length
from lookalike.model.loading import load
from lookalike.model.onnx_model import OnnxModel
from lookalike.model.truncation import (
    check_dim,
    match_space,
    trained_dims,
    truncate_vectors,
    truncated_space,
    warn_of_truncation,
)

if TYPE_CHECKING:  # exported models work without PyTorch
    import torch
    from torch.utils.data import Dataset

    from lookalike.data.images import Batch
    from lookalike.model.embedder import EmbeddingModel

SHOWN, SIDE = 12, 80
"""In a notebook: how many images, and how large in pixels."""


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Vectors and the images they are of, in the same order.

    Attributes:
        vectors: float32 [N, D], each of length 1.
        table: one row a vector.
        space: hash of the model's weights and preprocessing; vectors of two spaces must not be compared.
        skipped: images that could not be read; they are in neither `vectors` nor `table`.
        model: folder of the model, where known.
    """

    vectors: np.ndarray
    table: Table
    space: str
    skipped: list[Problem] = field(default_factory=list)
    model: Path | None = None

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.table):
            shape = list(self.vectors.shape)
            raise ValueError(f"embeddings: vectors {shape} do not fit a table of {len(self.table)} rows")

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, rows: Any) -> Any:
        """The vector of a row; the Embeddings of some rows, by a slice, row numbers or a mask."""
        if isinstance(rows, int | np.integer):
            return self.vectors[rows]
        if isinstance(rows, str | tuple):
            raise TypeError(f"embeddings[{rows!r}]: a row, a slice, row numbers or a mask is needed")
        positions = np.arange(len(self))[rows if isinstance(rows, slice) else np.asarray(rows)]
        frame = self.table.frame[positions.tolist()]
        return replace(self, vectors=self.vectors[positions], table=replace(self.table, frame=frame))

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.vectors)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The vectors, for NumPy: np.asarray(embeddings)."""
        if copy is False and dtype is not None and np.dtype(dtype) != self.vectors.dtype:
            raise ValueError(
                f"embeddings: vectors of {self.vectors.dtype} become {np.dtype(dtype)} by a copy only"
            )
        return np.array(self.vectors, dtype=dtype, copy=copy)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of vectors and their dimension."""
        return self.vectors.shape[0], self.vectors.shape[1]

    def truncate(self, dim: int) -> "Embeddings":
        """The first `dim` dimensions of the vectors, at length 1: another space.

        A warning is logged if the model was not trained for that (`matryoshka=`).

        Raises:
            ConfigError: `dim` is more than the vectors have.
            ValueError: the first dimensions of a vector are all 0.
        """
        return _truncate(self, dim, trained_dims(self.model))

    def _repr_html_(self) -> str:
        """What a notebook shows: sizes, and some of the images, evenly chosen."""
        pictures = Thumbnails(self.table, 2 * SIDE)
        labels = self.table.frame["label"]
        rows = np.unique(np.linspace(0, len(self) - 1, min(SHOWN, len(self))).astype(int)).tolist()
        cards = [card(pictures.uri(row), labels[row], side=SIDE) for row in rows]
        size, dim = self.vectors.shape
        heading = f"Embeddings: {size:,} × {dim}, {labels.n_unique():,} classes, space {self.space}"
        left = f", {len(self.skipped):,} images left out" if self.skipped else ""
        return cards_in_row(cards, heading + left)

    def save(self, folder: str | Path, metadata: Mapping[str, Any] | None = None) -> None:
        """Write vectors.npy, table.parquet, space.json, config.yaml and, if any, skipped.csv.

        Args:
            folder: must not exist.
            metadata: what made it, for config.yaml.

        Raises:
            LookalikeError: `folder` exists.
        """
        with new_folder(folder) as temporary:
            self.fill(temporary, Path(folder), metadata)

    def fill(self, target: Path, folder: Path, metadata: Mapping[str, Any] | None = None) -> None:
        """Write the files of `save` into the existing folder `target`, which will be renamed to `folder`."""
        write_vectors(self.vectors, self.table, target, folder)
        size, dim = self.vectors.shape
        space = {"space": self.space, "count": size, "dim": dim, "model": path_from(folder, self.model)}
        write_text(target / "space.json", json.dumps(space, indent=2) + "\n")
        metadata = metadata or {"made_by": "lookalike.Embeddings.save"}
        write_text(
            target / "config.yaml", yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True)
        )
        if self.skipped:
            write_problems(self.skipped, target / "skipped.csv")

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """An embeddings folder. Vectors stay on disk until they are used; images need not be there.

        Raises:
            LookalikeError: a file is missing or does not fit the others.
        """
        folder = Path(folder)
        space = read_json(folder, "space.json", "an embeddings folder; `lookalike embed` makes one")
        vectors, table = read_vectors(folder)
        skipped = []
        if (folder / "skipped.csv").exists():
            texts = {"path": pl.String, "reason": pl.String}
            rows = pl.read_csv(folder / "skipped.csv", schema_overrides=texts)
            skipped = [Problem(row["path"], row["reason"], row["row"]) for row in rows.iter_rows(named=True)]
        return cls(vectors, table, str(space["space"]), skipped, resolve_path(folder, space.get("model")))


def load_embeddings(
    path: Path, split: list[str] | None, labels: Path | None = None, labelled: bool = True
) -> Embeddings:
    """The vectors of an embeddings folder, or of a file that another tool wrote.

    Args:
        path: the folder or file.
        split: take only the rows of these splits.
        labels: of a file that holds none.
        labelled: whether labels are needed.

    Raises:
        ConfigError: labels are given for a folder, which has its own.
        DataError: there are no rows in these splits; says which there are.
    """
    if labels is not None and path.is_dir():
        raise ConfigError(f"labels={labels}: {path} is an embeddings folder, which has labels of its own")
    embeddings = _embeddings_of_file(path, labels, labelled) if path.is_file() else Embeddings.load(path)
    if not split:
        return embeddings
    embeddings.table.split(*split)  # says which splits there are
    rows = embeddings.table.frame["split"].is_in(split).to_numpy()
    return Embeddings(
        embeddings.vectors[rows],
        embeddings.table.take(rows),
        embeddings.space,
        embeddings.skipped,
        embeddings.model,
    )


def _embeddings_of_file(file: Path, labels: Path | None, labelled: bool) -> Embeddings:
    vectors, frame = import_vectors(file, labels, labelled)
    try:
        unit = unit_length(vectors)
    except ValueError as error:
        raise DataError(f"{file}: {error}") from error
    space = hashlib.sha256(file.read_bytes()).hexdigest()[:11]
    return Embeddings(unit, Table(frame, file.parent), f"file:{space}")


def require_model(embeddings: Embeddings, folder: Path, model: Path) -> Embeddings:
    """The embeddings with the folder of their model noted.

    Raises:
        LookalikeError: they are of another model.
    """
    space = match_space(load(model), embeddings.space).space
    if space != embeddings.space:
        raise LookalikeError(
            f"{folder} contains vectors of the model {embeddings.space}, but {model} is {space}; "
            "leave out model=, or embed again with this model"
        )
    return replace(embeddings, model=model)


def classes_of(table: Table, by: str) -> np.ndarray:
    """The class of each row, by a column of the table.

    Raises:
        ConfigError: there is no such column.
    """
    if by == "label":
        return table.labels
    if by not in table.frame.columns:
        raise ConfigError(f"by={by}: the table has no such column; it has {', '.join(table.frame.columns)}")
    column = table.frame[by]
    whole = column.dtype.is_integer() and not column.null_count()
    return column.to_numpy() if whole else np.array([str(value) for value in column.to_list()])


def embed(
    model: "EmbeddingModel | OnnxModel",
    table: "Table | Dataset[Any]",
    batch_size: int = 64,
    workers: int = 0,
    device: "str | torch.device | None" = None,
    progress: bool = True,
    folder: str | Path | None = None,
    dim: int | None = None,
) -> Embeddings:
    """Compute the vectors of all images of a table.

    Images that cannot be read are missing from the result and listed in its `skipped`; each vector keeps its
    row, so nothing is shifted. The model runs in eval mode, and its mode is restored.

    Args:
        model: an `EmbeddingModel`, an exported `OnnxModel`, or anything with the `transform`, `space`, `dim`,
            `device` and call of the former.
        table: the images; a torch Dataset of (image, label) will do.
        batch_size: images per forward pass.
        workers: processes that read images; an `OnnxModel` takes threads, at least one.
        device: moves the model there first; by default it stays where it is.
        progress: show a bar on stderr.
        folder: where the model is saved, recorded in the result.
        dim: keep the first `dim` dimensions, which are another space; all if not given.

    Raises:
        ConfigError: `dim` is more than the model has.
        DataError: no image could be read.
        TypeError: `table` is something else, such as a folder.
    """
    if isinstance(table, str | Path) or not hasattr(table, "__len__"):
        raise TypeError(f"embed takes a table: embed(model, lookalike.read_table(folder)), got {table!r}")
    table = as_table(table)
    if dim is not None:
        check_dim(dim, model.dim)
    if device is not None and hasattr(model, "to"):
        model = model.to(device)
    part = embed_rows(model, table, range(len(table)), batch_size, workers, progress)
    whole = join_parts(model, table, [part], folder)
    return whole if dim is None else _truncate(whole, dim, getattr(model, "matryoshka", None))


def _truncate(embeddings: Embeddings, dim: int, trained: Sequence[int] | None) -> Embeddings:
    """See `Embeddings.truncate`; `trained` as in `warn_of_truncation`."""
    vectors = truncate_vectors(embeddings.vectors, dim)
    if dim == embeddings.shape[1]:
        return embeddings
    if "+pca" not in embeddings.space:  # its dimensions are in the order of their variance
        warn_of_truncation(dim, trained)
    return replace(embeddings, vectors=vectors, space=truncated_space(embeddings.space, dim))


@dataclass(frozen=True)
class EmbeddedRows:
    """Vectors [n, D] of some `rows` [n] of a table, and what could not be read of the rows asked for."""

    rows: np.ndarray
    vectors: np.ndarray
    skipped: list[Problem]


def embed_rows(
    model: "EmbeddingModel | OnnxModel",
    table: Table,
    rows: Sequence[int],
    batch_size: int = 64,
    workers: int = 0,
    progress: bool = True,
) -> EmbeddedRows:
    """Vectors of some rows of a table, in their order; the other arguments are those of `embed`."""
    vectors = np.empty((len(rows), model.dim), np.float32)
    numbers = np.empty(len(rows), np.int64)
    skipped: list[Problem] = []
    done = 0
    if isinstance(model, OnnxModel):
        batches = _onnx_vectors(model, table, rows, batch_size, workers)
    else:
        batches = _torch_vectors(model, table, rows, batch_size, workers)
    total = -(-len(rows) // batch_size)
    bar = Console(stderr=True)
    for part in track(batches, "embedding", total=total, console=bar, disable=not progress):
        skipped += part.skipped
        batch_slice = slice(done, done + len(part.rows))
        numbers[batch_slice], vectors[batch_slice] = part.rows, part.vectors
        done = batch_slice.stop
    return EmbeddedRows(numbers[:done], vectors[:done], skipped)


def _onnx_vectors(
    model: OnnxModel, table: Table, rows: Sequence[int], batch_size: int, workers: int
) -> Iterator[EmbeddedRows]:
    transform = model.transform()
    for batch in read_batches(table, rows, transform.pixels, transform.at_least, batch_size, workers or 1):
        yield EmbeddedRows(batch.rows, model.run(batch.images), batch.skipped)


def _torch_vectors(
    model: "EmbeddingModel", table: Table, rows: Sequence[int], batch_size: int, workers: int
) -> Iterator[EmbeddedRows]:
    from torch.utils.data import DataLoader

    from lookalike.data.images import ImageTable, collate

    images = ImageTable(table, model.transform(), at_least=getattr(model.transform(), "at_least", None))
    loader = DataLoader(images, batch_size, sampler=rows, num_workers=workers, collate_fn=collate)
    was_training = _set_training(model, False)
    try:
        for batch in loader:
            yield EmbeddedRows(batch.rows.numpy(), _forward_pass(model, batch), batch.skipped)
    finally:
        _set_training(model, was_training)


def join_parts(
    model: "EmbeddingModel | OnnxModel",
    table: Table,
    parts: Sequence[EmbeddedRows],
    folder: str | Path | None = None,
) -> Embeddings:
    """The parts of a table as one, in the table's order.

    Raises:
        DataError: no image could be read.
    """
    skipped = sorted((problem for part in parts for problem in part.skipped), key=lambda p: p.row or 0)
    if not any(len(part.rows) for part in parts):
        raise DataError(f"{table.folder}: none of the {len(table)} images can be read", skipped)
    rows, vectors = parts[0].rows, parts[0].vectors
    if len(parts) > 1:
        order = np.argsort(np.concatenate([part.rows for part in parts]))
        rows = np.concatenate([part.rows for part in parts])[order]
        vectors = np.concatenate([part.vectors for part in parts])[order]
    done = np.zeros(len(table), bool)
    done[rows] = True
    remaining = table if done.all() else table.take(done)
    return Embeddings(vectors, remaining, model.space, skipped, Path(folder) if folder else None)


def _forward_pass(model: "EmbeddingModel", batch: "Batch") -> np.ndarray:
    import torch

    if not len(batch.rows):
        return np.empty((0, model.dim), np.float32)
    with torch.inference_mode():
        return model(batch.images.to(model.device)).float().cpu().numpy()


def _set_training(model: Any, training: bool) -> bool:
    """Switch between train and eval mode where the model has one; returns the mode it had."""
    if not hasattr(model, "train"):
        return False
    before = model.training
    model.train(training)
    return before

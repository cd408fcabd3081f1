"""The vectors that an index is built from."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from lookalike.data.object_table import as_table
from lookalike.data.table import Table, read_table
from lookalike.embeddings import Embeddings, embed, load_embeddings
from lookalike.errors import list_problems
from lookalike.metrics.inputs import factorise, unit_length
from lookalike.model.loading import load

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


def gallery_embeddings(
    source: Any, labels: Any, splits: Sequence[str], device: "str | torch.device | None", **options: Any
) -> tuple[Embeddings, Any]:
    """The vectors, and the model or its folder, where known; the arguments are those of `Index.build`.

    Args:
        source: as in `Index.build`.
        labels: as in `Index.build`.
        splits: as in `Index.build`.
        device: as in `Index.build`.
        options: of `embed`.

    Raises:
        ValueError: vectors or labels are wrong, or missing.
        LookalikeError: a folder, file or table cannot be read.
    """
    if _is_model(source) or (isinstance(source, str | Path) and labels is not None):
        model = load_model(source, device)
        return _embed_images(model, labels, splits, options), model
    embeddings = _existing_embeddings(source, labels, splits)
    return embeddings, embeddings.model


def _is_model(value: Any) -> bool:
    return callable(value) and hasattr(value, "transform") and hasattr(value, "space")


def load_model(model: Any, device: "str | torch.device | None") -> Any:
    """A model, from its folder if that is given."""
    if not isinstance(model, str | Path):
        return model.to(device) if device else model
    return load(model, device)


def _embed_images(model: Any, table: Any, splits: Sequence[str], options: dict[str, Any]) -> Embeddings:
    """The vectors of a table by a model."""
    if table is None:
        raise ValueError("labels: a model needs a table of images: Index.build(model, table)")
    table = read_table(table) if isinstance(table, str | Path) else as_table(table)
    table = table.split(*splits) if splits else table
    embeddings = embed(model, table, folder=getattr(model, "folder", None), **options)
    if embeddings.skipped:
        count, listed = len(embeddings.skipped), list_problems(embeddings.skipped)
        log.warning("%d images cannot be read and are not indexed:%s", count, listed)
    return embeddings


def _existing_embeddings(source: Any, labels: Any, splits: Sequence[str]) -> Embeddings:
    """Vectors that need not be computed."""
    if isinstance(source, str | Path):
        return load_embeddings(Path(source), list(splits))
    if isinstance(source, Embeddings):
        if labels is not None:
            raise ValueError("labels: Embeddings have labels of their own; leave them out")
        if not splits:
            return source
        source.table.split(*splits)  # says which splits there are
        return source[source.table.frame["split"].is_in(splits).to_numpy()]
    if splits:
        raise ValueError("split: vectors have no splits; it is for Embeddings, or a model and a table")
    if labels is None:
        raise ValueError(
            "labels: each vector needs one: Index.build(vectors, labels), Index.build(embeddings) or "
            "Index.build(model, table)"
        )
    vectors = unit_length(source)
    digest = hashlib.sha256(np.ascontiguousarray(vectors).tobytes()).hexdigest()[:11]
    return Embeddings(vectors, _vector_table(labels, len(vectors)), f"vectors:{digest}")


def _vector_table(labels: Any, count: int) -> Table:
    """The table of vectors that were given with labels, or with a table."""
    if isinstance(labels, Table):
        return labels
    names, codes = factorise(labels, count)
    paths = [f"vectors#{row}" for row in range(count)]
    return Table(pl.DataFrame({"path": paths, "label": names[codes].tolist(), "split": "test"}))

"""What `evaluate` is given: vectors, `Embeddings`, a folder or file of them, or a model and a table."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from lookalike.data.object_table import as_table
from lookalike.data.table import Table, read_table
from lookalike.embeddings import Embeddings, embed, load_embeddings
from lookalike.errors import list_problems
from lookalike.evaluation.arguments import frame_of
from lookalike.model.truncation import truncate_vectors
from lookalike.prepare.leaks import warn_of_leaks

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from lookalike.model.embedder import EmbeddingModel

    Source = ArrayLike | Embeddings | EmbeddingModel | str | Path
else:
    Source = Any

log = logging.getLogger(__name__)


def resolve_inputs(
    vectors: Any,
    labels: Any,
    frame: Any,
    split: str | Sequence[str] | None,
    refuse_table: Callable[[Table], None],
    dim: int | None = None,
    **options: Any,
) -> tuple[Any, Any, pl.DataFrame, Embeddings | None]:
    """Vectors, labels and further columns; and the `Embeddings` that they are, where they came with a table.

    Args:
        vectors: as in `evaluate`.
        labels: as in `evaluate`.
        frame: as in `evaluate`.
        split: as in `evaluate`.
        refuse_table: is called with the table before anything is embedded, and raises where it does not fit.
        dim: as in `evaluate`.
        options: of `embed`.

    Raises:
        ValueError: there are no labels, or `split` is given for plain vectors.
        LookalikeError: a folder, file or table cannot be read, or has no rows in `split`.
    """
    splits = [split] if isinstance(split, str) else list(split or [])
    if _is_model(vectors) or (isinstance(vectors, str | Path) and labels is not None):
        embeddings = _embed_table(vectors, labels, splits, refuse_table, {**options, "dim": dim})
        return embeddings.vectors, embeddings.table.labels, _frame_or(frame, embeddings), embeddings
    if isinstance(vectors, str | Path):
        vectors = load_embeddings(Path(vectors), None)
    if isinstance(vectors, Embeddings):
        if splits:
            vectors.table.split(*splits)  # says which splits there are
            vectors = vectors[vectors.table.frame["split"].is_in(splits).to_numpy()]
        vectors = vectors if dim is None else vectors.truncate(dim)
        unchanged = vectors if labels is None and frame is None else None
        labels = vectors.table.labels if labels is None else labels
        return vectors.vectors, labels, _frame_or(frame, vectors), unchanged
    if labels is None:
        raise ValueError(
            "labels: each vector needs one; evaluate(vectors, labels), evaluate(embeddings) or "
            "evaluate(model, table)"
        )
    if splits:
        raise ValueError("split: vectors have no splits; it is for Embeddings, or a model and a table")
    if dim is not None:
        vectors = truncate_vectors(np.asarray(vectors), dim)
    return vectors, labels, frame_of(frame), None


def _frame_or(frame: Any, embeddings: Embeddings) -> pl.DataFrame:
    return embeddings.table.frame if frame is None else frame_of(frame)


def _is_model(value: Any) -> bool:
    return callable(value) and hasattr(value, "transform") and hasattr(value, "space")


def _embed_table(
    model: Any,
    table: Any,
    splits: Sequence[str],
    refuse_table: Callable[[Table], None],
    options: dict[str, Any],
) -> Embeddings:
    """The vectors of a table by a model, either of which may be a folder."""
    if table is None:
        raise ValueError("labels: a model needs a table of images: evaluate(model, table, split=...)")
    table = read_table(table) if isinstance(table, str | Path) else as_table(table, "test")
    if splits:
        warn_of_leaks(table, splits)
    table = table.split(*splits) if splits else table
    refuse_table(table)
    folder = getattr(model, "folder", None)
    if isinstance(model, str | Path):
        from lookalike.model.loading import load

        folder, model = model, load(model)
    embeddings = embed(model, table, folder=folder, **options)
    if embeddings.skipped:
        log.warning(
            "%d images cannot be read and are not evaluated:%s",
            len(embeddings.skipped),
            list_problems(embeddings.skipped),
        )
    return embeddings

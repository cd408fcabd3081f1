"""The nearest images, or the nearest identities, of each query."""

from typing import Protocol

import numpy as np
import polars as pl

Nearest = tuple[list[list[float]], list[list[int]]]
"""Similarities and rows, a list for each query, nearest first; row -1 where nothing is left."""


class Engine(Protocol):
    """Ranks a gallery."""

    def __len__(self) -> int: ...

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores and rows [Q, k] of the nearest vectors."""
        ...


def find_nearest(engine: Engine, vectors: np.ndarray, k: int, labels: pl.Series | None = None) -> Nearest:
    """The `k` nearest rows of each query; with labels, the nearest row of each of the `k` nearest labels.

    Args:
        engine: holds the gallery.
        vectors: queries, [Q, D].
        k: results per query; there are fewer if the gallery has fewer labels.
        labels: of the gallery, [N].

    Raises:
        ValueError: `k` is below 1, or the queries have another dimension.
    """
    if labels is not None:
        return _nearest_labels(engine, vectors, k, labels)
    scores, rows = engine.search(vectors, k)
    return scores.tolist(), rows.tolist()


def _nearest_labels(engine: Engine, vectors: np.ndarray, k: int, labels: pl.Series) -> Nearest:
    """Search deeper and deeper, until there are enough labels."""
    size, requested = len(engine), min(k, labels.n_unique())
    depth, codes = min(8 * k, size), labels.rank("dense").to_numpy()
    while True:
        scores, rows = engine.search(vectors, depth)
        first = [np.sort(np.unique(codes[each], return_index=True)[1])[:k] for each in rows]
        if depth == size or all(len(each) == requested for each in first):
            break
        depth = min(4 * depth, size)
    return (
        [each[positions].tolist() for each, positions in zip(scores, first, strict=True)],
        [each[positions].tolist() for each, positions in zip(rows, first, strict=True)],
    )

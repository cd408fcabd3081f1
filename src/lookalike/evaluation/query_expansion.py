"""Query expansion and database augmentation: a vector moves towards its nearest neighbours."""

from dataclasses import replace

import numpy as np

from lookalike.metrics.inputs import exact_vectors
from lookalike.ranking.rank import rank_gallery
from lookalike.ranking.task import RetrievalTask


def expand_queries(task: RetrievalTask, n: int = 3, alpha: float = 3.0) -> RetrievalTask:
    """Alpha query expansion: each query becomes the mean of itself and its `n` nearest, weighed by
    similarity^alpha.

    Rows that a query does not find, itself among them, do not count. Pairs are then of an expanded query and
    a gallery row, both ways. Source: Radenović, Tolias and Chum 2018 (arXiv 1711.02512), section 3.3.

    Raises:
        ValueError: `n` is below 1, or `alpha` below 0.
    """
    moved = _move_towards_neighbours(task, task.queries, n, alpha)
    if not task.self_retrieval:
        return replace(task, queries=moved)
    return RetrievalTask(
        moved,
        task.query_codes,
        task.queries,
        task.query_codes,
        exclude_row=np.arange(len(task.queries)),
        query_groups=task.query_groups,
        gallery_groups=task.query_groups,
        ignore=task.ignore,
    )


def augment_gallery(task: RetrievalTask, n: int = 3, alpha: float = 3.0) -> RetrievalTask:
    """Database-side augmentation: each gallery row moves to the mean of itself and its `n` nearest in the
    gallery.

    Source: Turcot and Lowe 2009; weights as Radenović et al. 2018.

    Raises:
        ValueError: queries are in the gallery, so that rows would move towards the very queries they are
        judged by; or
            an argument is out of range.
    """
    if task.gallery is None or (task.exclude_row is not None and (task.exclude_row >= 0).any()):
        raise ValueError(
            "augment_gallery: queries are in the gallery here, and its rows would move towards the very "
            "queries they are judged by; take protocol=query_gallery or protocol=references"
        )
    alone = RetrievalTask(task.gallery, task.codes)
    return replace(task, gallery=_move_towards_neighbours(alone, task.gallery, n, alpha))


def _move_towards_neighbours(task: RetrievalTask, vectors: np.ndarray, n: int, alpha: float) -> np.ndarray:
    if n < 1 or alpha < 0:
        raise ValueError(f"expansion: n={n}, alpha={alpha:g}: n is at least 1 and alpha at least 0")
    ranked = rank_gallery(task, {}, neighbours=n)
    weights = np.where(ranked.nearest >= 0, np.clip(ranked.scores, 0, 1), 0.0).astype(np.float64)
    weights = np.where(weights > 0, weights**alpha, 0.0)
    total = vectors.astype(np.float64)
    for rank in range(ranked.nearest.shape[1]):
        total += weights[:, rank, None] * task.rows[np.maximum(ranked.nearest[:, rank], 0)]
    return exact_vectors(total)

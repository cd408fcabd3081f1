"""Query expansion and database augmentation: a vector moves towards its nearest neighbours."""

from dataclasses import replace

import numpy as np

from lookalike.metrics.inputs import exact_vectors
from lookalike.search.compare import compare
from lookalike.search.sides import Sides


def expand_queries(sides: Sides, n: int = 3, alpha: float = 3.0) -> Sides:
    """Alpha query expansion: each query becomes the mean of itself and its `n` nearest, weighed by
    similarity^alpha.

    Rows that a query does not find, itself among them, do not count. Pairs are then of an expanded query and
    a gallery row, both ways. Source: Radenović, Tolias and Chum 2018 (arXiv 1711.02512), section 3.3.

    Raises:
        ValueError: `n` is below 1, or `alpha` below 0.
    """
    moved = _moved(sides, sides.queries, n, alpha)
    if not sides.itself:
        return replace(sides, queries=moved)
    return Sides(
        moved,
        sides.query_codes,
        sides.queries,
        sides.query_codes,
        own=np.arange(len(sides.queries)),
        query_groups=sides.query_groups,
        gallery_groups=sides.query_groups,
        ignore=sides.ignore,
    )


def augment_gallery(sides: Sides, n: int = 3, alpha: float = 3.0) -> Sides:
    """Database-side augmentation: each gallery row moves to the mean of itself and its `n` nearest in the
    gallery.

    Source: Turcot and Lowe 2009; weights as Radenović et al. 2018.

    Raises:
        ValueError: queries are in the gallery, so that rows would move towards the very queries they are
        judged by; or
            an argument is out of range.
    """
    if sides.gallery is None or (sides.own is not None and (sides.own >= 0).any()):
        raise ValueError(
            "augment_gallery: queries are in the gallery here, and its rows would move towards the very "
            "queries they are judged by; take protocol=query_gallery or protocol=references"
        )
    alone = Sides(sides.gallery, sides.codes)
    return replace(sides, gallery=_moved(alone, sides.gallery, n, alpha))


def _moved(sides: Sides, vectors: np.ndarray, n: int, alpha: float) -> np.ndarray:
    if n < 1 or alpha < 0:
        raise ValueError(f"expansion: n={n}, alpha={alpha:g}: n is at least 1 and alpha at least 0")
    found = compare(sides, {}, neighbours=n)
    weights = np.where(found.nearest >= 0, np.clip(found.scores, 0, 1), 0.0).astype(np.float64)
    weights = np.where(weights > 0, weights**alpha, 0.0)
    total = vectors.astype(np.float64)
    for place in range(found.nearest.shape[1]):
        total += weights[:, place, None] * sides.rows[np.maximum(found.nearest[:, place], 0)]
    return exact_vectors(total)

"""Where images lie on the map, and which are nearest to each."""

import logging

import numpy as np

from lookalike.plots.places import principal
from lookalike.plots.tsne import tsne
from lookalike.search.exact import Exact

log = logging.getLogger(__name__)
BLOCK = 4096


def lay_out(vectors: np.ndarray, layout: str, seed: int) -> np.ndarray:
    """Positions in the plane, float64 [N, 2]: by t-SNE, or the first two principal components.

    Fewer than 4 vectors, too few for t-SNE, are laid out by PCA.
    """
    if layout == "tsne" and len(vectors) >= 4:
        log.info("t-SNE of %s vectors; layout=pca is quicker and shows less", f"{len(vectors):,}")
        return np.asarray(tsne(np.asarray(vectors, np.float32), seed), np.float64)
    return principal(vectors)[0]


def scaled(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions with the longer side from 0 to 1 and y downwards, float32 [N, 2]; and both extents, [2]."""
    low, extent = places.min(axis=0), np.ptp(places, axis=0)
    unit = (places - low) / max(float(extent.max()), 1e-12)
    share = unit.max(axis=0)
    unit[:, 1] = share[1] - unit[:, 1]
    return unit.astype(np.float32), np.maximum(share, 0.05)


def nearest(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` most similar rows of each row, itself left out.

    Returns:
        rows int64 [N, k], -1 where there are no more; cosine similarities float32 [N, k].
    """
    exact = Exact(vectors)
    rows = np.full((len(vectors), k), -1, np.int64)
    scores = np.zeros((len(vectors), k), np.float32)
    for start in range(0, len(vectors), BLOCK):
        block = slice(start, min(start + BLOCK, len(vectors)))
        scores[block], rows[block] = exact.search(vectors[block], k, np.arange(block.start, block.stop))
    return rows, np.where(rows < 0, 0, np.clip(scores, -1, 1)).astype(np.float32)

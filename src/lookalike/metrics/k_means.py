"""k-means: seeded, in blocks, with a number of clusters that is given or estimated."""

from dataclasses import dataclass

import numpy as np
import torch

BLOCK_BYTES = 1 << 26
"""Distances held at once."""

CANDIDATES = 12
"""How many cluster counts are tried where the count is estimated."""

DRAWS = 64
"""The start takes at most so many draws; of more clusters several are drawn together."""


@dataclass(frozen=True)
class Clusters:
    """What k-means found.

    Attributes:
        codes: cluster of each vector, int64 [N].
        centres: float32 [k, D].
        cost: sum of squared distances to the centres.
    """

    codes: np.ndarray
    centres: np.ndarray
    cost: float


def k_means(vectors: np.ndarray, k: int, seed: int = 0, rounds: int = 50) -> Clusters:
    """Lloyd's k-means from a k-means++ start, in blocks.

    An empty cluster takes the vector that is farthest from its centre; of equally near centres the first one
    is taken. Source: Lloyd 1982; Arthur and Vassilvitskii 2007.

    Raises:
        ValueError: `k` is not from 1 to N, or `seed` or `rounds` are negative.
    """
    if not 1 <= k <= len(vectors) or rounds < 1:
        raise ValueError(f"k-means: k={k}, rounds={rounds}: k is from 1 to {len(vectors)}, rounds at least 1")
    rows = torch.from_numpy(np.array(vectors, np.float32))
    centres = _initial_centres(rows, k, np.random.default_rng(seed))
    codes, distances = _nearest(rows, centres)
    for _ in range(rounds):
        centres = _update_centres(rows, codes, distances, k)
        before = codes
        codes, distances = _nearest(rows, centres)
        if torch.equal(codes, before):
            break
    return Clusters(codes.numpy(), centres.numpy(), float(distances.double().sum()))


def estimate_clusters(unit: np.ndarray, seed: int = 0, rounds: int = 50) -> int:
    """How many clusters the vectors fall into: the count with the largest simplified silhouette.

    Tried are counts in even ratios from 2 to N / 2, then around the best of these. Source of the simplified
    silhouette, distances to centres instead of to all others: Hruschka et al. 2004.

    Raises:
        ValueError: fewer than 4 vectors.
    """
    size = len(unit)
    if size < 4:
        raise ValueError(f"clusters: {size} vectors are too few to estimate a number of clusters from")
    tried: dict[int, float] = {}

    def best_clustering(candidates: np.ndarray) -> int:
        for k in np.unique(np.clip(np.rint(candidates), 2, size // 2).astype(int)).tolist():
            if k not in tried:
                tried[k] = _silhouette(unit, k_means(unit, k, seed, rounds))
        return max(tried, key=lambda k: (tried[k], -k))

    coarse = best_clustering(np.geomspace(2, size // 2, CANDIDATES))
    ratio = (size / 4) ** (1 / (CANDIDATES - 1))
    return best_clustering(np.geomspace(max(2, coarse / ratio), min(size // 2, coarse * ratio), CANDIDATES))


def _initial_centres(rows: torch.Tensor, k: int, rng: np.random.Generator) -> torch.Tensor:
    """k-means++: each next centre is drawn with the squared distance to the nearest so far as its weight."""
    centre_rows = [int(rng.integers(len(rows)))]
    distances = _squared_distances(rows, rows[centre_rows])[:, 0]
    together = -(-k // DRAWS)
    while len(centre_rows) < k:
        distances[centre_rows] = 0
        with np.errstate(divide="ignore"):
            keys = np.log(distances.double().numpy()) + rng.gumbel(
                size=len(rows)
            )  # the largest: a draw by weight
        new_rows = np.argsort(-keys, kind="stable")[: min(together, k - len(centre_rows))].tolist()
        centre_rows += new_rows
        nearest = _nearest(rows, rows[new_rows])[1]
        distances = torch.minimum(distances, nearest)
    return rows[centre_rows].clone()


def _nearest(rows: torch.Tensor, centres: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The nearest centre of each row, and the squared distance to it."""
    codes = torch.empty(len(rows), dtype=torch.int64)
    distances = torch.empty(len(rows))
    step = max(1, BLOCK_BYTES // (4 * len(centres)))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        distances[part], codes[part] = _squared_distances(rows[part], centres).min(dim=1)
    return codes, distances


def _squared_distances(rows: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Squared distances [N, k], of a product: exact enough for vectors of like lengths."""
    products = rows @ centres.T
    return products.mul_(-2).add_(rows.square().sum(1, True)).add_(centres.square().sum(1)).clamp_(min=0)


def _update_centres(rows: torch.Tensor, codes: torch.Tensor, distances: torch.Tensor, k: int) -> torch.Tensor:
    """The mean of each cluster; the farthest rows become the centres of empty ones."""
    sums = torch.zeros(k, rows.shape[1], dtype=torch.float64).index_add_(0, codes, rows.double())
    counts = torch.bincount(codes, minlength=k)
    centres = (sums / counts.clamp(min=1)[:, None]).float()
    empty = torch.nonzero(counts == 0)[:, 0]
    if len(empty):
        far = torch.argsort(distances, descending=True, stable=True)[: len(empty)]
        centres[empty] = rows[far]
    return centres


def _silhouette(unit: np.ndarray, clusters: Clusters) -> float:
    """Mean over vectors of (b − a) / max(a, b): distances to the nearest other centre and to the own one."""
    rows, centres = torch.from_numpy(np.array(unit, np.float32)), torch.from_numpy(clusters.centres)
    step = max(1, BLOCK_BYTES // (4 * len(centres)))
    total = 0.0
    for start in range(0, len(rows), step):
        two = (
            _squared_distances(rows[start : start + step], centres)
            .topk(2, dim=1, largest=False)
            .values.double()
            .sqrt()
        )
        total += float(((two[:, 1] - two[:, 0]) / two[:, 1].clamp(min=1e-12)).sum())
    return total / len(rows)

"""Clustering: how far seeded k-means clusters of the vectors agree with the identities."""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from lookalike.metrics.k_means import estimate_clusters, k_means


def clustering(
    unit: np.ndarray, codes: np.ndarray, clusters: int = 0, seed: int = 0, rounds: int = 50
) -> dict[str, float]:
    """NMI, AMI and ARI of k-means clusters against identities.

    Args:
        unit: vectors of length 1, [N, D].
        codes: identities, [N].
        clusters: how many; 0 for as many as there are identities, -1 to estimate it (`estimate_clusters`).
        seed: of the start.
        rounds: most rounds of k-means.

    Returns:
        `nmi`, `ami`, `ari`, and `clusters`, how many there were.

    Raises:
        ValueError: more clusters than vectors, or fewer than -1.
    """
    wanted = clusters if clusters > 0 else len(np.unique(codes))
    if clusters == -1:
        wanted = estimate_clusters(unit, seed, rounds)
    found = k_means(unit, wanted, seed, rounds).codes
    return {**agreement(codes, found), "clusters": float(wanted)}


def agreement(labels: np.ndarray, clusters: np.ndarray) -> dict[str, float]:
    """How well two partitions agree, 1 if they are the same, about 0 (AMI, ARI) if by chance.

    `nmi`: mutual information over the mean of the two entropies (Strehl and Ghosh 2002). `ami`: the same,
    less what chance gives (Vinh et al. 2010). `ari`: pairs of images put together or apart alike, less
    chance (Hubert and Arabie 1985).
    """
    counts, rows, columns = _contingency(labels, clusters)
    size = rows.sum()
    joint, of_rows, of_columns = counts.data, rows[counts.row], columns[counts.column]
    shared = joint / size
    information = float((shared * np.log(shared / (of_rows / size) / (of_columns / size))).sum())
    entropies = [-float((each / size * np.log(each / size)).sum()) for each in (rows, columns)]
    mean = sum(entropies) / 2
    chance = _expected_information(rows, columns)
    trivial = len(rows) == len(columns) and len(rows) in (1, size)
    above = mean - chance
    ami = (information - chance) / (above if abs(above) > np.finfo(float).eps else np.finfo(float).eps)
    return {
        "nmi": 1.0 if trivial else information / mean if information > 1e-12 else 0.0,
        "ami": 1.0 if trivial else ami,
        "ari": _rand(joint, rows, columns),
    }


@dataclass(frozen=True)
class _Sparse:
    data: np.ndarray
    row: np.ndarray
    column: np.ndarray


def _contingency(labels: np.ndarray, clusters: np.ndarray) -> tuple[_Sparse, np.ndarray, np.ndarray]:
    """How many images each identity and cluster share, where any; and the sizes of both, float64."""
    _, rows = np.unique(labels, return_inverse=True)
    _, columns = np.unique(clusters, return_inverse=True)
    width = int(columns.max()) + 1
    cells, counts = np.unique(rows.astype(np.int64) * width + columns, return_counts=True)
    sparse = _Sparse(counts.astype(np.float64), cells // width, cells % width)
    return sparse, np.bincount(rows).astype(np.float64), np.bincount(columns).astype(np.float64)


def _rand(joint: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> float:
    size = rows.sum()
    together, in_rows, in_columns = ((each * (each - 1) / 2).sum() for each in (joint, rows, columns))
    pairs = size * (size - 1) / 2
    expected = in_rows * in_columns / pairs if pairs else 0.0
    most = (in_rows + in_columns) / 2
    return 1.0 if most == expected else float((together - expected) / (most - expected))


def _expected_information(rows: np.ndarray, columns: np.ndarray) -> float:
    """Mutual information that chance gives: each pair of sizes once, however many clusters have it."""
    size = rows.sum()
    row_sizes, row_counts = np.unique(rows, return_counts=True)
    column_sizes, column_counts = np.unique(columns, return_counts=True)
    total = 0.0
    for a, times in zip(row_sizes, row_counts, strict=True):
        for b, others in zip(column_sizes, column_counts, strict=True):
            shared = np.arange(max(1.0, a + b - size), min(a, b) + 1)
            chance = np.exp(
                gammaln(a + 1) + gammaln(b + 1) + gammaln(size - a + 1) + gammaln(size - b + 1)
                - gammaln(size + 1) - gammaln(shared + 1) - gammaln(a - shared + 1)
                - gammaln(b - shared + 1) - gammaln(size - a - b + shared + 1)
            )  # fmt: skip
            total += times * others * float((shared / size * np.log(size * shared / (a * b)) * chance).sum())
    return total

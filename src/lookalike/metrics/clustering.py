"""Clustering: how far seeded k-means clusters of the vectors agree with the identities."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import gammaln

from lookalike.metrics.estimate import Spread, split_errors
from lookalike.metrics.k_means import estimate_clusters, k_means

MOST_SPLIT = 4096
"""Intervals come from identities with about so many images at most, since k-means takes long."""

FEWEST = 4
"""Of fewer identities there are no intervals."""


def clustering(
    unit: np.ndarray, codes: np.ndarray, clusters: int = 0, seed: int = 0, rounds: int = 50, splits: int = 10
) -> dict[str, float]:
    """NMI, AMI and ARI of k-means clusters against identities.

    k-means ends elsewhere from each start, and finds other clusters among other identities, so intervals come
    from splits of the identities in halves, of which each is clustered anew (see `split_errors`).

    Args:
        unit: vectors of length 1, [N, D].
        codes: identities, [N].
        clusters: how many; 0 for as many as there are identities, -1 to estimate it (`estimate_clusters`).
        seed: of the start and of the splits.
        rounds: most rounds of k-means.
        splits: how many splits of the identities tell the intervals; 0 for no intervals.

    Returns:
        `nmi`, `ami`, `ari`, and `clusters`, how many there were.

    Raises:
        ValueError: more clusters than vectors, or fewer than -1.
    """
    identities = len(np.unique(codes))
    num_clusters = clusters if clusters > 0 else identities
    if clusters == -1:
        num_clusters = estimate_clusters(unit, seed, rounds)
    scores = agreement(codes, k_means(unit, num_clusters, seed, rounds).codes)
    if splits > 0 and identities >= FEWEST:
        halves = _Halves(unit, codes, max(clusters, 0), num_clusters / identities, seed, rounds)
        scores = {
            name: Spread(
                scores[name], error, min(splits, halves.counted - 1), identities, share=name == "nmi"
            )
            for name, error in halves.errors(splits).items()
        }
    return {**scores, "clusters": float(num_clusters)}


class _Halves:
    """Clusters halves of the identities; of many images, halves of a sample of the identities.

    Args:
        unit: vectors, [N, D].
        codes: identities, [N].
        clusters: how many; 0 for `rate` times the number of identities.
        rate: clusters by identity.
        seed: of the halves and of the starts.
        rounds: most rounds of k-means.
    """

    def __init__(
        self, unit: np.ndarray, codes: np.ndarray, clusters: int, rate: float, seed: int, rounds: int
    ):
        self.unit, self.clusters, self.rate, self.rounds = unit, clusters, rate, rounds
        self.rng = np.random.default_rng(seed)
        class_index = np.unique(codes, return_inverse=True)[1]
        counts = np.bincount(class_index)
        order = self.rng.permutation(len(counts))
        self.counted = max(FEWEST, int((np.cumsum(counts[order]) <= MOST_SPLIT).sum()))
        self.class_rank = np.argsort(order)[class_index]  # the first ones are counted
        self.share = self.counted / len(counts)

    def errors(self, splits: int) -> dict[str, float]:
        """Standard errors of all numbers; that of a sample shrinks with the root of its share."""
        errors = split_errors(self.agreement, self.counted, splits, self.rng) * self.share**0.5
        return dict(zip(("nmi", "ami", "ari"), errors.tolist(), strict=True))

    def agreement(self, is_kept: np.ndarray) -> np.ndarray:
        """Of clusters of the identities that are kept."""
        rows = np.flatnonzero(
            np.append(is_kept, np.zeros(self.class_rank.max() + 1 - len(is_kept), bool))[self.class_rank]
        )
        k = int(np.clip(self.clusters or round(self.rate * is_kept.sum()), 1, len(rows)))
        clusters = k_means(self.unit[rows], k, int(self.rng.integers(1 << 31)), self.rounds)
        return np.array(list(agreement(self.class_rank[rows], clusters.codes).values()))


def agreement(labels: np.ndarray, clusters: np.ndarray) -> dict[str, float]:
    """How well two partitions agree, 1 if they are the same, about 0 (AMI, ARI) if by chance.

    `nmi`: mutual information over the mean of the two entropies (Strehl and Ghosh 2002). `ami`: the same,
    less what chance gives (Vinh et al. 2010). `ari`: pairs of images put together or apart alike, less
    chance (Hubert and Arabie 1985).
    """
    table = _Table.from_labels(labels, clusters)
    if len(table.rows) == len(table.columns) and len(table.rows) in (1, table.size):
        return {"nmi": 1.0, "ami": 1.0, "ari": _rand_index(table)}
    information, entropy = table.information(), table.mean_entropy()
    chance = _expected_mutual_information(table.rows, table.columns)
    above = entropy - chance
    above = above if abs(above) > np.finfo(float).eps else np.finfo(float).eps
    nmi = information / entropy if information > 1e-12 else 0.0
    return {"nmi": nmi, "ami": (information - chance) / above, "ari": _rand_index(table)}


@dataclass(frozen=True, eq=False)
class _Table:
    """How many images each label and cluster share, where any, [S]; and the sizes of both, float64."""

    joint: np.ndarray
    row: np.ndarray
    column: np.ndarray
    rows: np.ndarray
    columns: np.ndarray

    @classmethod
    def from_labels(cls, labels: np.ndarray, clusters: np.ndarray) -> Self:
        _, rows = np.unique(labels, return_inverse=True)
        _, columns = np.unique(clusters, return_inverse=True)
        width = int(columns.max()) + 1
        cells, counts = np.unique(rows.astype(np.int64) * width + columns, return_counts=True)
        sizes = (np.bincount(codes).astype(np.float64) for codes in (rows, columns))
        return cls(counts.astype(np.float64), cells // width, cells % width, *sizes)

    @property
    def size(self) -> float:
        """How many images."""
        return float(self.rows.sum())

    def information(self) -> float:
        """Mutual information in nats."""
        share = self.joint / self.size
        likely = self.rows[self.row] / self.size * self.columns[self.column] / self.size
        return float((share * np.log(share / likely)).sum())

    def mean_entropy(self) -> float:
        """Mean of the entropies of labels and of clusters."""
        shares = (sizes / self.size for sizes in (self.rows, self.columns))
        return -sum(float((share * np.log(share)).sum()) for share in shares) / 2


def _rand_index(table: _Table) -> float:
    """The adjusted Rand index."""
    together, in_rows, in_columns = (
        float((sizes * (sizes - 1) / 2).sum()) for sizes in (table.joint, table.rows, table.columns)
    )
    pairs = table.size * (table.size - 1) / 2
    expected = in_rows * in_columns / pairs if pairs else 0.0
    maximum = (in_rows + in_columns) / 2
    return 1.0 if maximum == expected else (together - expected) / (maximum - expected)


def _expected_mutual_information(rows: np.ndarray, columns: np.ndarray) -> float:
    """The mutual information that chance gives; equal sizes are reckoned once."""
    size = rows.sum()
    row_sizes, row_counts = np.unique(rows, return_counts=True)
    column_sizes, column_counts = np.unique(columns, return_counts=True)
    total = 0.0
    for a, alike in zip(row_sizes, row_counts, strict=True):
        for b, others in zip(column_sizes, column_counts, strict=True):
            shared = np.arange(max(1.0, a + b - size), min(a, b) + 1)
            chance = np.exp(
                gammaln(a + 1) + gammaln(b + 1) + gammaln(size - a + 1) + gammaln(size - b + 1)
                - gammaln(size + 1) - gammaln(shared + 1) - gammaln(a - shared + 1)
                - gammaln(b - shared + 1) - gammaln(size - a - b + shared + 1)
            )  # fmt: skip
            total += alike * others * float((shared / size * np.log(size * shared / (a * b)) * chance).sum())
    return total

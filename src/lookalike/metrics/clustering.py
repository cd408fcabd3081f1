"""Clustering: how far seeded k-means clusters of the vectors agree with the identities."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import gammaln

from lookalike.metrics.estimate import Estimate
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


def agreement(labels: np.ndarray, clusters: np.ndarray) -> dict[str, Estimate]:
    """How well two partitions agree, 1 if they are the same, about 0 (AMI, ARI) if by chance.

    `nmi`: mutual information over the mean of the two entropies (Strehl and Ghosh 2002). `ami`: the same,
    less what chance gives (Vinh et al. 2010). `ari`: pairs of images put together or apart alike, less
    chance (Hubert and Arabie 1985). Influences are those of the labels, sorted, on the table of labels and
    clusters: which cluster an image is in stays as it is.
    """
    table = _Table.of(labels, clusters)
    none = np.zeros(len(table.rows))
    if len(table.rows) == len(table.columns) and len(table.rows) in (1, table.size):
        return {"nmi": Estimate(1.0, none), "ami": Estimate(1.0, none), "ari": _rand(table)}
    information, of_information = table.information()
    entropy, of_entropy = table.mean_entropy()
    parts = _expected_information(table.rows, table.columns)
    chance = float(parts.sum())
    of_chance = parts - table.rows / table.size * chance
    above = entropy - chance
    above = above if abs(above) > np.finfo(float).eps else np.finfo(float).eps
    nmi = information / entropy if information > 1e-12 else 0.0
    ami = (information - chance) / above
    return {
        "nmi": Estimate(nmi, (of_information - nmi * of_entropy) / entropy),
        "ami": Estimate(ami, (of_information - of_chance - ami * (of_entropy - of_chance)) / above),
        "ari": _rand(table),
    }


@dataclass(frozen=True, eq=False)
class _Table:
    """How many images each label and cluster share, where any, [S]; and the sizes of both, float64.

    Sums over it come with their parts: by how much each label changes them when it is counted once more, less
    what its share of all images would.
    """

    joint: np.ndarray
    row: np.ndarray
    column: np.ndarray
    rows: np.ndarray
    columns: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, clusters: np.ndarray) -> Self:
        _, rows = np.unique(labels, return_inverse=True)
        _, columns = np.unique(clusters, return_inverse=True)
        width = int(columns.max()) + 1
        cells, counts = np.unique(rows.astype(np.int64) * width + columns, return_counts=True)
        sizes = (np.bincount(each).astype(np.float64) for each in (rows, columns))
        return cls(counts.astype(np.float64), cells // width, cells % width, *sizes)

    @property
    def size(self) -> float:
        """How many images."""
        return float(self.rows.sum())

    def by_label(self, values: np.ndarray) -> np.ndarray:
        """Sums over the clusters of each label."""
        return np.bincount(self.row, values, minlength=len(self.rows))

    def information(self) -> tuple[float, np.ndarray]:
        """Mutual information in nats."""
        share = self.joint / self.size
        likely = self.rows[self.row] / self.size * self.columns[self.column] / self.size
        parts = self.by_label(share * np.log(share / likely))
        return float(parts.sum()), parts - self.rows / self.size * parts.sum()

    def mean_entropy(self) -> tuple[float, np.ndarray]:
        """Mean of the entropies of labels and of clusters."""
        rows, columns = -np.log(self.rows / self.size), -np.log(self.columns / self.size)
        share = self.joint / self.size
        parts = self.by_label(share * (rows[self.row] + columns[self.column])) / 2
        return float(parts.sum()), parts - self.rows / self.size * parts.sum()


def _rand(table: _Table) -> Estimate:
    """The adjusted Rand index."""
    joint, rows, columns, size = table.joint, table.rows, table.columns, table.size
    together, in_rows, in_columns = ((each * (each - 1) / 2).sum() for each in (joint, rows, columns))
    pairs = size * (size - 1) / 2
    expected = in_rows * in_columns / pairs if pairs else 0.0
    most = (in_rows + in_columns) / 2
    if most == expected:
        return Estimate(1.0, np.zeros(len(rows)))
    value = (together - expected) / (most - expected)
    of_together, of_rows = table.by_label(joint * (joint - 1) / 2), rows * (rows - 1) / 2
    of_columns = table.by_label(joint * (columns[table.column] - 0.5))
    of_pairs = rows * (size - 0.5)
    of_expected = (of_rows * in_columns + in_rows * of_columns - expected * of_pairs) / pairs
    of_most = (of_rows + of_columns) / 2
    moved = of_together - of_expected - value * (of_most - of_expected)
    return Estimate(float(value), moved / (most - expected))


def _expected_information(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """What each row adds to the mutual information that chance gives, [C]; equal sizes are reckoned once."""
    size = rows.sum()
    row_sizes, place = np.unique(rows, return_inverse=True)
    column_sizes, column_counts = np.unique(columns, return_counts=True)
    found = np.zeros(len(row_sizes))
    for number, a in enumerate(row_sizes):
        for b, others in zip(column_sizes, column_counts, strict=True):
            shared = np.arange(max(1.0, a + b - size), min(a, b) + 1)
            chance = np.exp(
                gammaln(a + 1) + gammaln(b + 1) + gammaln(size - a + 1) + gammaln(size - b + 1)
                - gammaln(size + 1) - gammaln(shared + 1) - gammaln(a - shared + 1)
                - gammaln(b - shared + 1) - gammaln(size - a - b + shared + 1)
            )  # fmt: skip
            found[number] += others * float((shared / size * np.log(size * shared / (a * b)) * chance).sum())
    return found[place]

"""Agglomerative clustering by average linkage, cut at a similarity; in time for 10⁵ vectors.

The mean cosine over all pairs of two clusters is the product of the means of their unit vectors, so no matrix
of pairs is needed. Clusters whose mean reaches the threshold have a pair of rows that reaches it, so the
graph of such pairs contains every merge.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BLOCK = 1 << 25
"""Similarities computed at once."""
MOST_NEIGHBOURS = 64
"""Neighbours of a vector in the graph. Where one has more, the clusters are joined again among themselves."""
TOLERANCE = 1e-6
"""By how much a mean in 32 bits may miss the threshold."""
TIE = 1e-9
"""Difference up to which two means are equal."""


@dataclass(frozen=True, eq=False)
class Constraints:
    """What is known of the rows before they are clustered.

    Attributes:
        groups: rows with the same number are together from the start (must-link), int [N]; None if each row
            is alone.
        conflicts: pairs of rows that are never together (cannot-link).
        owners: for rows that belong to someone known, his number; −1 for others, int [N]; rows of different
            owners are never together. None if nobody is known.
    """

    groups: np.ndarray | None = None
    conflicts: Sequence[tuple[int, int]] = ()
    owners: np.ndarray | None = None


def agglomerate(
    unit: np.ndarray, threshold: float, constraints: Constraints | None = None, most: int = MOST_NEIGHBOURS
) -> np.ndarray:
    """Clusters by average linkage (UPGMA, Sokal and Michener 1958), int64 [N], numbered by their first row.

    The two clusters with the greatest mean similarity over all their pairs are joined, until none reaches the
    threshold. One similar pair between two clusters is therefore not enough.

    Args:
        unit: vectors of length 1, [N, D].
        threshold: least mean cosine similarity of two clusters that are joined.
        constraints: pairs that are or are never together.
        most: neighbours of a vector in the graph; with fewer neighbours above the threshold the result is
            exact.

    Raises:
        ValueError: two rows of a conflict, or with different owners, are in one group.
    """
    constraints = constraints or Constraints()
    groups = constraints.groups
    first = np.arange(len(unit)) if groups is None else number_groups(groups)
    clusters = _Clusters(np.asarray(unit, np.float32), first, constraints)
    while clusters.join_all(threshold, most):
        pass
    return number_groups(clusters.codes())


def number_groups(codes: np.ndarray) -> np.ndarray:
    """The same partition, numbered by the first row of each part."""
    _, rows, inverse = np.unique(codes, return_index=True, return_inverse=True)
    rank = np.empty(len(rows), np.int64)
    rank[np.argsort(rows)] = np.arange(len(rows))
    return rank[inverse.reshape(-1)]


class _Clusters:
    """Clusters with the sums of their vectors, which are joined one pair at a time."""

    def __init__(self, unit: np.ndarray, codes: np.ndarray, constraints: Constraints):
        owners, count = constraints.owners, int(codes.max(initial=-1)) + 1
        order = np.argsort(codes, kind="stable")
        self.start = codes
        self.sizes = np.bincount(codes, minlength=count).astype(np.float64)
        starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.int64)
        sums = np.add.reduceat(unit[order], starts) if count else unit[:0]
        self.sums = np.asarray(sums, np.float32)
        self.parent = np.arange(count)
        self.owner = np.full(count, -1)
        if owners is not None:
            np.maximum.at(self.owner, codes, owners)
            if (owners[owners >= 0] != self.owner[codes[owners >= 0]]).any():
                raise ValueError("owners: two rows of one group have different owners")
        self.conflicts: list[set[int]] = [set() for _ in range(count)]
        for one, other in constraints.conflicts:
            a, b = int(codes[one]), int(codes[other])
            if a == b:
                raise ValueError(f"conflicts: rows {one} and {other} are of one group")
            self.conflicts[a].add(b)
            self.conflicts[b].add(a)

    def codes(self) -> np.ndarray:
        """The cluster of each row."""
        roots = np.array([self._root(one) for one in range(len(self.parent))], np.int64)
        return roots[self.start]

    def _root(self, one: int) -> int:
        while self.parent[one] != one:
            self.parent[one] = self.parent[self.parent[one]]
            one = int(self.parent[one])
        return one

    def join_all(self, threshold: float, most: int) -> bool:
        """Join until no pair of the graph is left; returns whether another round may join more.

        Nearest-neighbour chains (Benzécri 1982; Murtagh 1983): two clusters that are nearest to one another
        are joined at once, which gives the same clusters, since a mean is never above both of its parts.
        """
        active = np.flatnonzero(self.parent == np.arange(len(self.parent)))
        means = self.sums[active] / self.sizes[active, None].astype(np.float32)
        one, other, is_cut = neighbour_pairs(means, threshold - TOLERANCE, most)
        links = [set[int]() for _ in range(len(self.parent))]
        for a, b in zip(active[one].tolist(), active[other].tolist(), strict=True):
            links[a].add(b)
            links[b].add(a)
        joined = 0
        for start in active[np.unique(np.concatenate([one, other]))].tolist():
            chain = [start] if self.parent[start] == start else []
            while chain:
                last = chain[-1]
                before = chain[-2] if len(chain) > 1 else -1
                nearest = self._nearest(last, links[last], before, threshold)
                if nearest < 0:
                    chain = []
                elif nearest == before:
                    del chain[-2:]
                    self._join(min(last, nearest), max(last, nearest), links)
                    chain = chain or [min(last, nearest)]
                    joined += 1
                else:
                    chain.append(nearest)
        return is_cut and joined > 0

    def _nearest(self, one: int, others: set[int], before: int, threshold: float) -> int:
        """The most similar cluster that it may be joined with, of equal ones `before`; -1 without any."""
        numbers = np.fromiter(others, np.int64, len(others))
        numbers.sort()
        if self.owner[one] >= 0:
            numbers = numbers[(self.owner[numbers] < 0) | (self.owner[numbers] == self.owner[one])]
        if self.conflicts[one]:
            numbers = numbers[~np.isin(numbers, list(self.conflicts[one]))]
        if not len(numbers):
            return -1
        products = self.sums[numbers].astype(np.float64) @ self.sums[one].astype(np.float64)
        means = products / (self.sizes[numbers] * self.sizes[one])
        best = int(means.argmax())
        if means[best] < threshold - TOLERANCE:
            return -1
        equal = numbers[means >= means[best] - TIE]
        return before if before in equal else int(equal[0])

    def _join(self, a: int, b: int, links: list[set[int]]) -> None:
        """Make `b` a part of `a`."""
        self.sums[a] += self.sums[b]
        self.sizes[a] += self.sizes[b]
        self.owner[a] = max(self.owner[a], self.owner[b])
        self.parent[b] = a
        for neighbours in (self.conflicts, links):
            for each in neighbours[b]:
                neighbours[each].discard(b)
                neighbours[each].add(a)
            neighbours[a] |= neighbours[b]
            neighbours[a].discard(a)
            neighbours[b] = set()


def neighbour_pairs(vectors: np.ndarray, least: float, most: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Pairs of rows whose product is at least `least`, and whether rows had more than `most` of them.

    Of such a row, the `most` greatest products with later rows are kept. Memory grows with the number of
    pairs.
    """
    ones, others, is_cut, start = [np.empty(0, np.int64)], [np.empty(0, np.int64)], False, 0
    while start < len(vectors):
        stop = min(start + max(1, BLOCK // (len(vectors) - start)), len(vectors))
        products = vectors[start:stop] @ vectors[start:].T
        reaches = products >= least
        reaches[np.tril_indices(stop - start)] = False
        for row in np.flatnonzero(np.count_nonzero(reaches, axis=1) > most).tolist():
            is_cut = True
            columns = np.flatnonzero(reaches[row])
            kept = columns[np.argpartition(-products[row, columns], most)[:most]]
            reaches[row] = False
            reaches[row, kept] = True
        one, other = np.divmod(np.flatnonzero(reaches), reaches.shape[1])
        ones.append(one + start)
        others.append(other + start)
        start = stop
    return np.concatenate(ones), np.concatenate(others), is_cut

"""Re-ranking by k-reciprocal neighbours: two images are near if they have the same neighbours."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from lookalike.metrics.retrieval import Ranking, positions
from lookalike.metrics.verification import Pairs
from lookalike.search.compare import Comparison, Metric
from lookalike.search.exact import Exact, best
from lookalike.search.sides import Sides


@dataclass(frozen=True)
class KReciprocal:
    """Rank by (1 − weight) · Jaccard distance of k-reciprocal neighbourhoods + weight · squared distance.

    As in the authors' code, neighbourhoods are of queries and gallery together, and squared distances are
    divided by the greatest that each query has. Source: Zhong et al. 2017 (arXiv 1701.08398).

    Attributes:
        k1: neighbours looked at.
        k2: neighbours that a neighbourhood is averaged over (local query expansion).
        weight: of the original distance.
    """

    k1: int = 20
    k2: int = 6
    weight: float = 0.3

    def __post_init__(self) -> None:
        if self.k1 < 2 or self.k2 < 1 or not 0 <= self.weight <= 1:
            raise ValueError(
                f"rerank: k1={self.k1}, k2={self.k2}, weight={self.weight:g}: k1 is at least 2, k2 at least "
                "1, weight from 0 to 1"
            )

    def __call__(self, sides: Sides, metrics: Mapping[str, Metric], neighbours: int) -> Comparison:
        """Compare as `lookalike.search.compare.compare` does, by the new order; without pairs."""
        every, queries = _together(sides)
        greatest = np.array([max(2 - 2 * float((every @ row).min()), 1e-12) for row in every])
        encoded = self._encoded(every, greatest)
        by_column = encoded.tocsc()
        size, width = len(queries), min(neighbours, len(sides.rows) - sides.itself)
        columns = {name: np.full(size, np.nan) for name in metrics}
        totals = np.zeros(size, np.int64)
        nearest, scores = np.full((size, width), -1), np.full((size, width), -np.inf, np.float32)
        for start, block in Exact(sides.rows).scores(sides.queries):
            for query, similarity in enumerate(block, start):
                original = np.clip(2 - 2 * similarity.astype(np.float64), 0, None) / greatest[queries[query]]
                jaccard = _jaccard(encoded[queries[query]], by_column)[: len(original)]
                final = -(1 - self.weight) * jaccard - self.weight * original
                final[sides.hidden(query)] = -np.inf
                relevant = sides.relevant(query)
                ranking = Ranking.from_lists([positions(final, relevant)])
                totals[query] = len(relevant)
                for name, metric in metrics.items():
                    columns[name][query] = metric(ranking)[0]
                near = best(final, width)
                nearest[query, : len(near)], scores[query, : len(near)] = near, final[near]
        return Comparison(columns, totals, nearest, scores, Pairs.of([], []))

    def _encoded(self, every: np.ndarray, greatest: np.ndarray) -> csr_matrix:
        """Each row's neighbourhood as weights that sum to 1, [A, A], sparse."""
        size = len(every)
        k1 = min(self.k1, size - 1)
        order = Exact(every).search(every, k1 + 1)[1]
        halves = _reciprocal(order, max(1, round(k1 / 2)))
        full = _reciprocal(order, k1)
        rows, columns, values = [], [], []
        for row in range(size):
            kept = _expanded(full[row], halves)
            distance = 2 - 2 * (every[kept].astype(np.float64) @ every[row])
            weight = np.exp(-distance / greatest[row])
            rows.append(np.full(len(kept), row))
            columns.append(kept)
            values.append(weight / weight.sum())
        matrix = csr_matrix(
            (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(size, size)
        )
        if self.k2 == 1:
            return matrix
        near = order[:, : self.k2]
        count = near.shape[1]
        places = (np.repeat(np.arange(size), count), near.ravel())
        return (csr_matrix((np.full(near.size, 1 / count), places), shape=(size, size)) @ matrix).tocsr()


def _jaccard(mine: Any, by_column: Any) -> np.ndarray:
    """Jaccard distance of a neighbourhood (sparse [1, A]) to those of all rows (sparse [A, A]), [A]."""
    shared = np.zeros(by_column.shape[0])
    for column, value in zip(mine.indices, mine.data, strict=True):
        part = slice(by_column.indptr[column], by_column.indptr[column + 1])
        shared[by_column.indices[part]] += np.minimum(by_column.data[part], value)
    return 1 - shared / (2 - shared)


def _together(sides: Sides) -> tuple[np.ndarray, np.ndarray]:
    """All vectors, the gallery first and none twice, and the place of each query among them."""
    gallery = sides.rows
    if sides.itself:
        return gallery, np.arange(len(gallery))
    own = np.full(len(sides.queries), -1) if sides.own is None else sides.own
    extra = own < 0
    places = np.where(extra, len(gallery) + np.cumsum(extra) - 1, own)
    return np.concatenate([gallery, sides.queries[extra]]), places


def _reciprocal(order: np.ndarray, k: int) -> list[np.ndarray]:
    """For each row the rows among its k + 1 nearest (itself is one) that have it among theirs."""
    near = order[:, : k + 1]
    size = len(order)
    forward = csr_matrix((np.ones(near.size), (np.repeat(np.arange(size), near.shape[1]), near.ravel())))
    both = forward.multiply(forward.T).tocsr()
    return [both.indices[both.indptr[row] : both.indptr[row + 1]] for row in range(size)]


def _expanded(kept: np.ndarray, halves: list[np.ndarray]) -> np.ndarray:
    """With the smaller neighbourhoods of its members that lie for more than two thirds in it."""
    found = [kept]
    found += [
        halves[member] for member in kept if np.isin(halves[member], kept).sum() > 2 / 3 * len(halves[member])
    ]
    return np.unique(np.concatenate(found))

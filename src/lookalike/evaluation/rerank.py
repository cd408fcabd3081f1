"""Re-ranking by k-reciprocal neighbours: two images are near if they have the same neighbours."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from lookalike.metrics.retrieval import Ranking, relevant_positions
from lookalike.metrics.verification import Pairs
from lookalike.ranking.exact import ExactSearch, top_scores
from lookalike.ranking.rank import Metric, RankingResult
from lookalike.ranking.task import RetrievalTask


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

    def __call__(self, task: RetrievalTask, metrics: Mapping[str, Metric], neighbours: int) -> RankingResult:
        """Compare as `lookalike.ranking.rank.rank_gallery` does, by the new order; without pairs."""
        every, queries = _join_vectors(task)
        greatest = np.array([max(2 - 2 * float((every @ row).min()), 1e-12) for row in every])
        encoded = self._encode_neighbourhoods(every, greatest)
        by_column = encoded.tocsc()
        size, width = len(queries), min(neighbours, len(task.rows) - task.self_retrieval)
        columns = {name: np.full(size, np.nan) for name in metrics}
        totals = np.zeros(size, np.int64)
        nearest, scores = np.full((size, width), -1), np.full((size, width), -np.inf, np.float32)
        for start, block in ExactSearch(task.rows).scores(task.queries):
            for query, similarity in enumerate(block, start):
                original = np.clip(2 - 2 * similarity.astype(np.float64), 0, None) / greatest[queries[query]]
                jaccard = _jaccard(encoded[queries[query]], by_column)[: len(original)]
                final = -(1 - self.weight) * jaccard - self.weight * original
                final[task.hidden_rows(query)] = -np.inf
                relevant = task.relevant_rows(query)
                ranking = Ranking.from_lists([relevant_positions(final, relevant)])
                totals[query] = len(relevant)
                for name, metric in metrics.items():
                    columns[name][query] = metric(ranking)[0]
                top_rows = top_scores(final, width)
                nearest[query, : len(top_rows)], scores[query, : len(top_rows)] = top_rows, final[top_rows]
        return RankingResult(columns, totals, nearest, scores, Pairs.from_scores([], []))

    def _encode_neighbourhoods(self, every: np.ndarray, greatest: np.ndarray) -> csr_matrix:
        """Each row's neighbourhood as weights that sum to 1, [A, A], sparse."""
        size = len(every)
        k1 = min(self.k1, size - 1)
        order = ExactSearch(every).search(every, k1 + 1)[1]
        halves = _reciprocal_neighbours(order, max(1, round(k1 / 2)))
        full = _reciprocal_neighbours(order, k1)
        rows, columns, values = [], [], []
        for row in range(size):
            neighbourhood = _expand_neighbourhood(full[row], halves)
            distance = 2 - 2 * (every[neighbourhood].astype(np.float64) @ every[row])
            weight = np.exp(-distance / greatest[row])
            rows.append(np.full(len(neighbourhood), row))
            columns.append(neighbourhood)
            values.append(weight / weight.sum())
        matrix = csr_matrix(
            (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(size, size)
        )
        if self.k2 == 1:
            return matrix
        nearest = order[:, : self.k2]
        count = nearest.shape[1]
        coordinates = (np.repeat(np.arange(size), count), nearest.ravel())
        return (
            csr_matrix((np.full(nearest.size, 1 / count), coordinates), shape=(size, size)) @ matrix
        ).tocsr()


def _jaccard(mine: Any, by_column: Any) -> np.ndarray:
    """Jaccard distance of a neighbourhood (sparse [1, A]) to those of all rows (sparse [A, A]), [A]."""
    shared = np.zeros(by_column.shape[0])
    for column, value in zip(mine.indices, mine.data, strict=True):
        part = slice(by_column.indptr[column], by_column.indptr[column + 1])
        shared[by_column.indices[part]] += np.minimum(by_column.data[part], value)
    return 1 - shared / (2 - shared)


def _join_vectors(task: RetrievalTask) -> tuple[np.ndarray, np.ndarray]:
    """All vectors, the gallery first and none twice, and the place of each query among them."""
    gallery = task.rows
    if task.self_retrieval:
        return gallery, np.arange(len(gallery))
    excluded_rows = np.full(len(task.queries), -1) if task.exclude_row is None else task.exclude_row
    extra = excluded_rows < 0
    positions = np.where(extra, len(gallery) + np.cumsum(extra) - 1, excluded_rows)
    return np.concatenate([gallery, task.queries[extra]]), positions


def _reciprocal_neighbours(order: np.ndarray, k: int) -> list[np.ndarray]:
    """For each row the rows among its k + 1 nearest (itself is one) that have it among theirs."""
    nearest = order[:, : k + 1]
    size = len(order)
    forward = csr_matrix(
        (np.ones(nearest.size), (np.repeat(np.arange(size), nearest.shape[1]), nearest.ravel()))
    )
    both = forward.multiply(forward.T).tocsr()
    return [both.indices[both.indptr[row] : both.indptr[row + 1]] for row in range(size)]


def _expand_neighbourhood(neighbourhood: np.ndarray, halves: list[np.ndarray]) -> np.ndarray:
    """With the smaller neighbourhoods of its members that lie for more than two thirds in it."""
    members = [neighbourhood]
    members += [
        halves[member]
        for member in neighbourhood
        if np.isin(halves[member], neighbourhood).sum() > 2 / 3 * len(halves[member])
    ]
    return np.unique(np.concatenate(members))

"""Retrieval: one value a query, NaN where there is nothing to find.

Every metric is a function of where the relevant rows stand in the full ranking of a query, so that nothing
else of that ranking has to be kept.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

FEW = 32
"""Up to this many relevant rows, counting what beats each is faster than sorting all scores."""


@dataclass(frozen=True)
class Ranking:
    """Where the relevant rows of each query stand.

    Attributes:
        positions: int64 [Q, M], ascending, 1 is the nearest row; 0 at the end where a query has fewer than M.
        total: int64 [Q], how many relevant rows the gallery holds.
    """

    positions: np.ndarray
    total: np.ndarray

    @classmethod
    def from_relevant(cls, relevant: np.ndarray, total: np.ndarray) -> Self:
        """From booleans [Q, K], nearest first. Relevant rows beyond K count as never found."""
        relevant = np.asarray(relevant, dtype=bool)
        positions = np.where(relevant, np.arange(1, relevant.shape[1] + 1), np.iinfo(np.int64).max)
        width = int(relevant.sum(axis=1).max(initial=0))
        positions = np.sort(positions, axis=1)[:, :width]
        return cls(np.where(positions == np.iinfo(np.int64).max, 0, positions), np.asarray(total, np.int64))

    @classmethod
    def from_lists(cls, positions: list[np.ndarray]) -> Self:
        """From the positions of each query, in any order."""
        total = np.array([len(ranks) for ranks in positions], np.int64)
        padded = np.zeros((len(positions), int(total.max(initial=0))), np.int64)
        for row, ranks in zip(padded, positions, strict=True):
            row[: len(ranks)] = np.sort(ranks)
        return cls(padded, total)

    def relevant(self, k: int) -> np.ndarray:
        """Whether each of the `k` nearest rows is relevant, bool [Q, k]."""
        is_relevant = np.zeros((len(self.total), k + 1), bool)
        queries, columns = np.nonzero((self.positions > 0) & (self.positions <= k))
        is_relevant[queries, self.positions[queries, columns]] = True
        return is_relevant[:, 1:]


def recall_at(ranking: Ranking, k: int) -> np.ndarray:
    """Whether any of the `k` nearest rows is relevant (recall@k of metric learning; Jégou et al. 2011)."""
    return _nan_without_relevant(ranking, _first_position(ranking, k).sum(axis=1) > 0)


def precision_at(ranking: Ranking, k: int) -> np.ndarray:
    """Share of relevant rows among the `k` nearest; divided by `k` even where fewer rows are relevant."""
    return _nan_without_relevant(ranking, _first_position(ranking, k).sum(axis=1) / k)


def r_precision(ranking: Ranking) -> np.ndarray:
    """Share of relevant rows among the R nearest; R is how many there are (Buckley and Voorhees 2000)."""
    return _share_within(ranking, _hits_within(ranking, ranking.total[:, None]).astype(np.float64))


def map_at_r(ranking: Ranking) -> np.ndarray:
    """Average precision over the R nearest rows, divided by R (Musgrave et al. 2020, arXiv 2003.08505)."""
    return _share_within(ranking, _hits_within(ranking, ranking.total[:, None]) * _precisions(ranking))


def average_precision(ranking: Ranking) -> np.ndarray:
    """Mean, over all relevant rows, of the precision at each one's position; not interpolated, not cut."""
    return _share_within(ranking, _precisions(ranking))


def relevant_positions(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Where some rows stand in the full ranking by score: the best is at 1, equal scores stand in row order.

    Args:
        scores: floats [N], without NaN.
        relevant: the rows asked for, [M].

    Returns:
        int64 [M].
    """
    if len(relevant) > FEW:
        return _positions_by_sorting(scores, relevant)
    ranks = np.empty(len(relevant), np.int64)
    for index, row in enumerate(relevant):
        score = scores[row]
        ahead = np.count_nonzero(scores > score) + np.count_nonzero(scores[:row] == score)
        ranks[index] = ahead + 1
    return ranks


def _positions_by_sorting(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """One sort; equal scores are then told apart by row."""
    ordered, relevant_scores = np.sort(scores), scores[relevant]
    first = np.searchsorted(ordered, relevant_scores, side="right")
    ranks = len(scores) - first + 1
    tied = np.flatnonzero(first - np.searchsorted(ordered, relevant_scores) > 1)
    for score in np.unique(relevant_scores[tied]):
        equals = tied[relevant_scores[tied] == score]
        ranks[equals] += np.searchsorted(np.flatnonzero(scores == score), relevant[equals])
    return ranks


def _first_position(ranking: Ranking, k: int) -> np.ndarray:
    if k < 1:
        raise ValueError(f"k={k}: at least 1 is needed")
    return _hits_within(ranking, k)


def _hits_within(ranking: Ranking, k: int | np.ndarray) -> np.ndarray:
    return (ranking.positions > 0) & (ranking.positions <= k)


def _precisions(ranking: Ranking) -> np.ndarray:
    """Precision at the position of each relevant row, 0 where there is none, [Q, M]."""
    counts = np.arange(1, ranking.positions.shape[1] + 1)
    return np.where(ranking.positions > 0, counts / np.maximum(ranking.positions, 1), 0.0)


def _share_within(ranking: Ranking, values: np.ndarray) -> np.ndarray:
    """The sum of the values of each query, divided by its number of relevant rows.

    Values are added one after the other, so that zeros at the end do not change how a sum is rounded.
    """
    sums = np.cumsum(values, axis=1)[:, -1] if values.shape[1] else np.zeros(len(values))
    return _nan_without_relevant(ranking, sums / np.maximum(ranking.total, 1))


def _nan_without_relevant(ranking: Ranking, values: np.ndarray) -> np.ndarray:
    return np.where(ranking.total > 0, values, np.nan)

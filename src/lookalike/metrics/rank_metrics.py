"""Retrieval metrics of web search, landmarks and re-identification: one value a query, as in retrieval.py."""

import numpy as np

from lookalike.metrics.retrieval import Ranking


def hits_at(ranking: Ranking, k: int) -> np.ndarray:
    """How many of the `k` nearest rows are relevant: a count, not a share."""
    return _nan_without_relevant(ranking, _hits_within(ranking, k).sum(axis=1))


def map_at(ranking: Ranking, k: int) -> np.ndarray:
    """Precision at each relevant row among the `k` nearest, summed, divided by min(k, R).

    Source: Weyand et al. 2020 (arXiv 2004.01804, Google Landmarks v2), equation 2.
    """
    counts = np.arange(1, ranking.positions.shape[1] + 1)
    num_hits = _hits_within(ranking, k)
    precisions = np.where(num_hits, counts / np.maximum(ranking.positions, 1), 0.0)
    return _nan_without_relevant(ranking, precisions.sum(axis=1) / np.clip(ranking.total, 1, k))


def ndcg_at(ranking: Ranking, k: int) -> np.ndarray:
    """Discounted gain of the `k` nearest rows, 1 for a relevant one, as a share of the best possible.

    A row at position i counts 1 / log2(1 + i). Source: Järvelin and Kekäläinen 2002.
    """
    gains = np.where(_hits_within(ranking, k), 1 / np.log2(1 + np.maximum(ranking.positions, 1)), 0.0)
    max_rank = min(k, int(ranking.total.max(initial=0)))
    ideal = np.concatenate([[1.0], np.cumsum(1 / np.log2(2 + np.arange(max_rank)))])
    return _nan_without_relevant(
        ranking, gains.sum(axis=1) / ideal[np.where(ranking.total > 0, np.minimum(ranking.total, k), 0)]
    )


def reciprocal_rank(ranking: Ranking) -> np.ndarray:
    """1 / the position of the first relevant row, 0 if none was found; its mean is MRR (Voorhees 1999)."""
    first = np.where(ranking.positions > 0, ranking.positions, np.iinfo(np.int64).max)
    best = first.min(axis=1, initial=np.iinfo(np.int64).max)
    return _nan_without_relevant(ranking, np.where(best < np.iinfo(np.int64).max, 1 / best, 0.0))


def inverse_negative_penalty(ranking: Ranking) -> np.ndarray:
    """R / the position of the last relevant row: what finding all of them costs; its mean is mINP.

    0 where not all were found. Source: Ye et al. 2021 (arXiv 2001.04193), section 4.4.
    """
    last = ranking.positions.max(axis=1, initial=0)
    complete = (ranking.positions > 0).sum(axis=1) == ranking.total
    return _nan_without_relevant(ranking, np.where(complete, ranking.total / np.maximum(last, 1), 0.0))


def _hits_within(ranking: Ranking, k: int) -> np.ndarray:
    if k < 1:
        raise ValueError(f"k={k}: at least 1 is needed")
    return (ranking.positions > 0) & (ranking.positions <= k)


def _nan_without_relevant(ranking: Ranking, values: np.ndarray) -> np.ndarray:
    return np.where(ranking.total > 0, values, np.nan)

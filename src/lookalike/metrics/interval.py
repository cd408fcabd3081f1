"""How sure a number is: the bootstrap over identities."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from lookalike.metrics.confidence import confidence
from lookalike.metrics.inputs import factorise

CELLS = 1 << 22
"""Weights held at once: resamples × identities."""


def bootstrap(
    values: np.ndarray,
    groups: Any,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    shares: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the mean, from resampling identities with all their images (Efron 1979; see `confidence`).

    Images of one identity succeed and fail together, so resampling images would promise too much.

    Args:
        values: one value a query, [Q] or [Q, M] for M metrics at once; queries with NaN are left out.
        groups: the identity of each query, integers or strings [Q].
        n: resamples.
        seed: the same seed gives the same interval.
        level: share of such intervals that hold the truth.
        shares: whether metrics whose values all lie from 0 to 1 can be no more and no less, so that the
            interval stays honest where nearly all queries succeed, or fail.

    Returns:
        Low and high end: numbers for [Q], arrays [M] for [Q, M].

    Raises:
        ValueError: fewer than two identities with a value, or an argument out of range.
    """
    if n < 1 or not 0 < level < 1:
        raise ValueError(f"bootstrap: n={n}, level={level}: n is at least 1 and level between 0 and 1")
    columns = np.asarray(values, np.float64)
    _, codes = factorise(groups, len(columns))
    matrix = columns.reshape(len(columns), -1)
    known = ~np.isnan(matrix).any(axis=1)
    _, codes = np.unique(codes[known], return_inverse=True)
    sums, counts = _per_group(matrix[known], codes)
    if len(counts) < 2:
        many = "1 identity has" if len(counts) == 1 else f"{len(counts)} identities have"
        raise ValueError(f"bootstrap: {many} a value; an interval needs at least 2")
    drawn = _resampled_means(sums, counts, n, np.random.default_rng(seed))
    means = sums.sum(axis=0) / counts.sum()
    influence = (sums - means * counts[:, None]) / counts.sum()
    limits = _limits(matrix[known]) if shares else None
    low, high = confidence(means, drawn, influence, limits, level)
    return low.reshape(columns.shape[1:])[()], high.reshape(columns.shape[1:])[()]


def _limits(matrix: np.ndarray) -> np.ndarray:
    """0 and 1 for columns whose values lie between them, infinite for others, [2, M]."""
    inside = (matrix.min(axis=0) >= 0) & (matrix.max(axis=0) <= 1)
    return np.where(inside, [[0.0], [1.0]], [[-np.inf], [np.inf]])


def _per_group(matrix: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the values [C, M] and number of queries [C] of each identity."""
    sums = [np.bincount(codes, column) for column in matrix.T]
    return np.stack(sums, axis=1), np.bincount(codes)


def resampled(size: int, n: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """How often each identity is in each of `n` resamples, float64 [some resamples, `size`] at a time."""
    step = max(1, CELLS // size)
    for start in range(0, n, step):
        resamples = min(step, n - start)
        drawn = rng.integers(size, size=(resamples, size)) + np.arange(resamples)[:, None] * size
        weights = np.bincount(drawn.ravel(), minlength=resamples * size).reshape(resamples, size)
        yield weights.astype(np.float64)


def _resampled_means(sums: np.ndarray, counts: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Mean over the queries of each resample, [n, M]; identities are drawn with replacement."""
    blocks = resampled(len(counts), n, rng)
    return np.concatenate([(weights @ sums) / (weights @ counts)[:, None] for weights in blocks])

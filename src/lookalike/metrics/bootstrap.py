"""From resamples of identities to an interval that holds, with few identities and near 0 and 1, too."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from lookalike.metrics.inputs import factorise

MOST_BEYOND = 0.05
"""Least denominator of the acceleration: only hopelessly skewed resamples come near it."""


def confidence_interval(
    value: np.ndarray,
    resampled_values: np.ndarray,
    influence: np.ndarray,
    limits: np.ndarray | None = None,
    level: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of numbers that were measured on resamples of identities, low and high [M] each.

    They are corrected for bias and skewness (BCa: Efron 1987) and made wider where few identities decide: the
    quantile is Student's (Hesterberg 2015), with as many degrees of freedom as the influences have
    (Satterthwaite 1946; see `freedom`). Resamples of a share near 0 or 1 hardly vary and promise too much, so
    an interval of a number with limits covers that of Wilson (1927) with the effective size of the sample,
    too (Korn and Graubard 1998; Dean and Pagano 2015).

    Args:
        value: of all identities, [M].
        resampled_values: of each resample, [B, M].
        influence: of each identity, or of each of many groups of them, [C, M]; NaN for those without a part.
        limits: least and most that each number can be, [2, M]; infinite or NaN where that is not known.
        level: share of such intervals that hold the truth.
    """
    units = (~np.isnan(influence)).sum(axis=0)
    t = stdtrit(freedom(influence), (1 + level) / 2)
    low, high = _bias_corrected(
        value, resampled_values, np.nan_to_num(influence), t * (units / np.maximum(units - 1, 1)) ** 0.5
    )
    if limits is None:
        return low, high
    spread = resampled_values.var(axis=0) * units / np.maximum(units - 1, 1)
    lower, upper = wilson(value, spread, t, units, limits)
    return np.fmin(low, lower), np.fmax(high, upper)


def freedom(influence: np.ndarray) -> np.ndarray:
    """How many degrees of freedom the sum of squared influences [C, M] has, [M]; from 1 to C − 1.

    By its mean and variance (Satterthwaite 1946): C − 1 if influences are spread normally or less, few if a
    few identities have nearly all of it.
    """
    squares = np.nan_to_num(influence) ** 2
    units = np.maximum((~np.isnan(influence)).sum(axis=0), 2)
    total = squares.sum(axis=0)
    uneven = ((squares / np.where(total > 0, total, 1.0)) ** 2).sum(axis=0) - 1 / units
    return np.clip(2 / np.maximum(uneven, 1e-12), 1, units - 1)


def wilson(
    value: np.ndarray, spread: np.ndarray, t: np.ndarray, units: np.ndarray, limits: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Score intervals of numbers between limits, NaN where these are not known.

    The size of the sample is the one at which a share varies as much; where nothing varies, it is that of the
    identities, each of which may go either way.

    Args:
        value: [M].
        spread: its variance, [M].
        t: quantile, [M].
        units: number of identities, [M].
        limits: least and most, [2, M].
    """
    least, width = limits[0], limits[1] - limits[0]
    is_finite = np.isfinite(width) & (width > 0)
    width = np.where(is_finite, width, 1.0)
    share = np.clip((value - least) / width, 0, 1)
    alone, variance = share * (1 - share), spread / width**2
    varied = variance > 1e-12 * alone
    size = np.where(varied & (alone > 0), alone / np.where(varied, variance, 1.0), units)
    middle = (share + t**2 / (2 * size)) / (1 + t**2 / size)
    half = t * np.sqrt(alone / size + (t / (2 * size)) ** 2) / (1 + t**2 / size)
    ends = (least + width * (middle + side * half) for side in (-1, 1))
    low, high = (np.where(is_finite, end, np.nan) for end in ends)
    return low, high


def _bias_corrected(
    value: np.ndarray, resampled_values: np.ndarray, influence: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of resamples at ±z, moved by their bias and by the skewness of the influences (BCa)."""
    size = len(resampled_values)
    below = ((resampled_values < value).mean(axis=0) + (resampled_values <= value).mean(axis=0)) / 2
    bias = ndtri(np.clip(below, 0.5 / size, 1 - 0.5 / size))
    norm = np.sqrt((influence**2).sum(axis=0))
    skew = ((influence / np.where(norm > 0, norm, 1.0)) ** 3).sum(axis=0) / 6
    z = np.minimum(z, ndtri(1 - 0.5 / size))
    ordered = np.sort(resampled_values, axis=0)
    ends = []
    for side in (-z, z):
        moved = bias + (bias + side) / np.maximum(1 - skew * (bias + side), MOST_BEYOND)
        position = ndtr(moved) * (size - 1)
        first = np.floor(position).astype(np.int64)
        columns = np.arange(resampled_values.shape[1])
        lower, other = (ordered[np.minimum(row, size - 1), columns] for row in (first, first + 1))
        ends.append(lower + (position - first) * (other - lower))
    return ends[0], ends[1]


CELLS = 1 << 22
"""Weights held at once: resamples × identities."""


def bootstrap_interval(
    values: np.ndarray,
    groups: Any,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    shares: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the mean, from resampling identities with all their images (Efron 1979; see
    `confidence_interval`).

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
    is_known = ~np.isnan(matrix).any(axis=1)
    _, codes = np.unique(codes[is_known], return_inverse=True)
    sums, counts = _group_sums(matrix[is_known], codes)
    if len(counts) < 2:
        many = "1 identity has" if len(counts) == 1 else f"{len(counts)} identities have"
        raise ValueError(f"bootstrap: {many} a value; an interval needs at least 2")
    resampled_values = _resample_means(sums, counts, n, np.random.default_rng(seed))
    means = sums.sum(axis=0) / counts.sum()
    influence = (sums - means * counts[:, None]) / counts.sum()
    limits = _limits(matrix[is_known]) if shares else None
    low, high = confidence_interval(means, resampled_values, influence, limits, level)
    return low.reshape(columns.shape[1:])[()], high.reshape(columns.shape[1:])[()]


def _limits(matrix: np.ndarray) -> np.ndarray:
    """0 and 1 for columns whose values lie between them, infinite for others, [2, M]."""
    inside = (matrix.min(axis=0) >= 0) & (matrix.max(axis=0) <= 1)
    return np.where(inside, [[0.0], [1.0]], [[-np.inf], [np.inf]])


def _group_sums(matrix: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the values [C, M] and number of queries [C] of each identity."""
    sums = [np.bincount(codes, column) for column in matrix.T]
    return np.stack(sums, axis=1), np.bincount(codes)


def resample_counts(size: int, n: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """How often each identity is in each of `n` resamples, float64 [some resamples, `size`] at a time."""
    step = max(1, CELLS // size)
    for start in range(0, n, step):
        resamples = min(step, n - start)
        indices = rng.integers(size, size=(resamples, size)) + np.arange(resamples)[:, None] * size
        weights = np.bincount(indices.ravel(), minlength=resamples * size).reshape(resamples, size)
        yield weights.astype(np.float64)


def _resample_means(sums: np.ndarray, counts: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Mean over the queries of each resample, [n, M]; identities are drawn with replacement."""
    blocks = resample_counts(len(counts), n, rng)
    return np.concatenate([(weights @ sums) / (weights @ counts)[:, None] for weights in blocks])

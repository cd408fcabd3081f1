"""From resamples of identities to an interval that holds, with few identities and near 0 and 1, too."""

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

MOST_BEYOND = 0.05
"""Least denominator of the acceleration: only hopelessly skewed resamples come near it."""


def confidence(
    value: np.ndarray,
    drawn: np.ndarray,
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
        drawn: of each resample, [B, M].
        influence: of each identity, or of each of many groups of them, [C, M]; NaN for those without a part.
        limits: least and most that each number can be, [2, M]; infinite or NaN where that is not known.
        level: share of such intervals that hold the truth.
    """
    units = (~np.isnan(influence)).sum(axis=0)
    t = stdtrit(freedom(influence), (1 + level) / 2)
    low, high = _corrected(
        value, drawn, np.nan_to_num(influence), t * (units / np.maximum(units - 1, 1)) ** 0.5
    )
    if limits is None:
        return low, high
    spread = drawn.var(axis=0) * units / np.maximum(units - 1, 1)
    least, most = wilson(value, spread, t, units, limits)
    return np.fmin(low, least), np.fmax(high, most)


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
    known = np.isfinite(width) & (width > 0)
    width = np.where(known, width, 1.0)
    share = np.clip((value - least) / width, 0, 1)
    alone, variance = share * (1 - share), spread / width**2
    varied = variance > 1e-12 * alone
    size = np.where(varied & (alone > 0), alone / np.where(varied, variance, 1.0), units)
    middle = (share + t**2 / (2 * size)) / (1 + t**2 / size)
    half = t * np.sqrt(alone / size + (t / (2 * size)) ** 2) / (1 + t**2 / size)
    ends = (least + width * (middle + side * half) for side in (-1, 1))
    low, high = (np.where(known, end, np.nan) for end in ends)
    return low, high


def _corrected(
    value: np.ndarray, drawn: np.ndarray, influence: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of resamples at ±z, moved by their bias and by the skewness of the influences (BCa)."""
    size = len(drawn)
    below = ((drawn < value).mean(axis=0) + (drawn <= value).mean(axis=0)) / 2
    bias = ndtri(np.clip(below, 0.5 / size, 1 - 0.5 / size))
    norm = np.sqrt((influence**2).sum(axis=0))
    skew = ((influence / np.where(norm > 0, norm, 1.0)) ** 3).sum(axis=0) / 6
    z = np.minimum(z, ndtri(1 - 0.5 / size))
    ordered = np.sort(drawn, axis=0)
    ends = []
    for side in (-z, z):
        moved = bias + (bias + side) / np.maximum(1 - skew * (bias + side), MOST_BEYOND)
        place = ndtr(moved) * (size - 1)
        first = np.floor(place).astype(np.int64)
        columns = np.arange(drawn.shape[1])
        one, other = (ordered[np.minimum(row, size - 1), columns] for row in (first, first + 1))
        ends.append(one + (place - first) * (other - one))
    return ends[0], ends[1]
